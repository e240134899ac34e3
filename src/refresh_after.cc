// SPDX-License-Identifier: Apache-2.0

#include "larder/refresh_after.h"

#include "absl/strings/str_cat.h"

namespace larder {

absl::Status RefreshAfter::Validate(const char* field) const {
  if (is_share()) {
    // Written so that NaN fails too.
    if (share_ > 0 && share_ < 1) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(field, " as a share of the ttl must be between 0 and 1, is ", share_));
  }
  if (duration_ > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be positive, is ", absl::FormatDuration(duration_)));
}

}  // namespace larder
