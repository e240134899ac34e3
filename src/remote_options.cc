// SPDX-License-Identifier: Apache-2.0

#include "larder/remote_options.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

template <class Value>
absl::Status Invalid(const char* field, const char* rule, const Value& value) {
  return absl::InvalidArgumentError(
      absl::StrCat("RemoteOptions::", field, " must ", rule, ", is ", value));
}

absl::Status CheckPositive(const char* field, absl::Duration value) {
  return value > absl::ZeroDuration() ? absl::OkStatus()
                                      : Invalid(field, "be positive", absl::FormatDuration(value));
}

absl::Status CheckNotNegative(const char* field, absl::Duration value) {
  return value >= absl::ZeroDuration()
             ? absl::OkStatus()
             : Invalid(field, "not be negative", absl::FormatDuration(value));
}

}  // namespace

absl::Status RemoteOptions::Validate() const {
  for (const absl::Status& status :
       {CheckPositive("ttl", ttl), CheckNotNegative("negative_ttl", negative_ttl),
        CheckNotNegative("stale_if_error", stale_if_error),
        CheckPositive("retry_after", retry_after), CheckPositive("timeout", timeout),
        CheckNotNegative("wait_for_other_loads", wait_for_other_loads),
        CheckPositive("load_lease", load_lease), CheckPositive("write_lease", write_lease),
        CheckPositive("unverified_ttl", unverified_ttl), CheckPositive("first_probe", first_probe),
        CheckPositive("last_probe", last_probe), CheckNotNegative("settle_time", settle_time)}) {
    if (!status.ok()) return status;
  }
  if (last_probe < first_probe) {
    const std::string rule =
        absl::StrCat("be at least first_probe (", absl::FormatDuration(first_probe), ")");
    return Invalid("last_probe", rule.c_str(), absl::FormatDuration(last_probe));
  }
  if (failures_to_open < 1) return Invalid("failures_to_open", "be positive", failures_to_open);
  if (const int number = static_cast<int>(when_cut_off);
      number < 0 || number > static_cast<int>(WhenCutOff::kFlush)) {
    return Invalid("when_cut_off", "be one that is named", number);
  }
  return absl::OkStatus();
}

}  // namespace larder
