// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_OPTION_CHECKS_H_
#define LARDER_SRC_OPTION_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace larder::internal {

// Errors for the fields of a struct of options, which name the struct, the field, the rule and the
// value.
class OptionChecks {
 public:
  // `options`: the struct's name; a literal.
  explicit constexpr OptionChecks(const char* options) : options_(options) {}

  template <class Value>
  absl::Status Invalid(const char* field, absl::string_view rule, const Value& value) const {
    return absl::InvalidArgumentError(
        absl::StrCat(options_, "::", field, " must ", rule, ", is ", value));
  }

  absl::Status Positive(const char* field, uint64_t value) const {
    return value > 0 ? absl::OkStatus() : Invalid(field, "be positive", value);
  }
  absl::Status Positive(const char* field, absl::Duration value) const {
    return value > absl::ZeroDuration()
               ? absl::OkStatus()
               : Invalid(field, "be positive", absl::FormatDuration(value));
  }
  absl::Status NotNegative(const char* field, absl::Duration value) const {
    return value >= absl::ZeroDuration()
               ? absl::OkStatus()
               : Invalid(field, "not be negative", absl::FormatDuration(value));
  }
  absl::Status AtLeast(const char* field, absl::Duration value, const char* other,
                       absl::Duration least) const {
    if (value >= least) return absl::OkStatus();
    return Invalid(field,
                   absl::StrCat("be at least ", other, " (", absl::FormatDuration(least), ")"),
                   absl::FormatDuration(value));
  }
  // Of an enum that counts from 0 to `last`.
  template <class Enum>
  absl::Status Named(const char* field, Enum value, Enum last) const {
    const int number = static_cast<int>(value);
    const bool is_one = number >= 0 && number <= static_cast<int>(last);
    return is_one ? absl::OkStatus() : Invalid(field, "be one that is named", number);
  }

 private:
  const char* const options_;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_OPTION_CHECKS_H_
