// SPDX-License-Identifier: Apache-2.0

#include "larder/options.h"

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr int kMostStripes = 4096;

absl::Status CheckPositive(const char* field, absl::Duration value) {
  if (value > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be positive, is ", absl::FormatDuration(value)));
}

absl::Status CheckPositive(const char* field, const std::optional<absl::Duration>& value) {
  return value.has_value() ? CheckPositive(field, *value) : absl::OkStatus();
}

}  // namespace

absl::Status CacheOptions::Validate() const {
  if (capacity == 0) return absl::InvalidArgumentError("capacity must be positive, is 0");
  if (absl::Status status = CheckPositive("ttl", ttl); !status.ok()) return status;
  if (absl::Status status = CheckPositive("idle_ttl", idle_ttl); !status.ok()) return status;
  // Written so that NaN fails too.
  if (!(ttl_jitter >= 0 && ttl_jitter <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("ttl_jitter must be within 0..1, is ", ttl_jitter));
  }
  if (stripes < 0 || stripes > kMostStripes) {
    return absl::InvalidArgumentError(
        absl::StrCat("stripes must be within 0..", kMostStripes, ", is ", stripes));
  }
  return CheckPositive("maintenance_interval", maintenance_interval);
}

absl::Status PutOptions::ValidateTtls() const {
  if (absl::Status status = CheckPositive("ttl", ttl); !status.ok()) return status;
  return CheckPositive("idle_ttl", idle_ttl);
}

absl::Status LoadOptions::Validate() const {
  return PutOptions{.ttl = ttl, .idle_ttl = idle_ttl, .weight = weight}.Validate();
}

}  // namespace larder
