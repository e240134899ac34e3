// SPDX-License-Identifier: Apache-2.0

#include "larder/circuit_breaker_options.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr int kLargestWindow = 10'000;

template <class Value>
absl::Status Invalid(const char* field, const char* rule, const Value& value) {
  return absl::InvalidArgumentError(
      absl::StrCat("CircuitBreakerOptions::", field, " must ", rule, ", is ", value));
}

}  // namespace

absl::Status CircuitBreakerOptions::Validate() const {
  if (failures < 0 || failures > kLargestWindow) {
    return Invalid("failures", "be within 0..10000", failures);
  }
  if (failures == 0) return absl::OkStatus();
  if (window != 0 && (window < failures || window > kLargestWindow)) {
    const std::string rule = absl::StrCat("be 0 or within failures (", failures, ")..10000");
    return Invalid("window", rule.c_str(), window);
  }
  if (open_for <= absl::ZeroDuration()) {
    return Invalid("open_for", "be positive", absl::FormatDuration(open_for));
  }
  if (most_open_for.has_value() && *most_open_for < open_for) {
    const std::string rule =
        absl::StrCat("be at least open_for (", absl::FormatDuration(open_for), ")");
    return Invalid("most_open_for", rule.c_str(), absl::FormatDuration(*most_open_for));
  }
  if (half_open_loads < 1) return Invalid("half_open_loads", "be at least 1", half_open_loads);
  if (successes < 1) return Invalid("successes", "be at least 1", successes);
  return absl::OkStatus();
}

}  // namespace larder
