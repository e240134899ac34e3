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

absl::Status CheckNotNegative(const char* field, absl::Duration value) {
  if (value >= absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must not be negative, is ", absl::FormatDuration(value)));
}

absl::Status CheckNotNegative(const char* field, const std::optional<absl::Duration>& value) {
  return value.has_value() ? CheckNotNegative(field, *value) : absl::OkStatus();
}

absl::Status CheckBeta(double early_refresh) {
  // Written so that NaN fails too.
  if (early_refresh >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("early_refresh must not be negative, is ", early_refresh));
}

absl::Status CheckPositive(const char* field, const std::optional<absl::Duration>& value) {
  return value.has_value() ? CheckPositive(field, *value) : absl::OkStatus();
}

absl::Status CheckRefresh(const std::optional<RefreshAfter>& refresh_after) {
  return refresh_after.has_value() ? refresh_after->Validate("refresh_after") : absl::OkStatus();
}

// What CacheOptions and LoadOptions both say about loads; in the latter each field may be unset.
template <class Options>
absl::Status CheckLoads(const Options& options) {
  for (const absl::Status& status :
       {CheckRefresh(options.refresh_after),
        CheckNotNegative("stale_while_revalidate", options.stale_while_revalidate),
        CheckNotNegative("stale_if_error", options.stale_if_error),
        CheckNotNegative("retry_after", options.retry_after),
        CheckPositive("soft_timeout", options.soft_timeout),
        CheckPositive("hard_timeout", options.hard_timeout),
        CheckPositive("background_timeout", options.background_timeout),
        CheckNotNegative("negative_ttl", options.negative_ttl)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
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
  if (max_concurrent_loads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_concurrent_loads must not be negative, is ", max_concurrent_loads));
  }
  if (max_queued_loads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_queued_loads must not be negative, is ", max_queued_loads));
  }
  for (const absl::Status& status :
       {CheckPositive("maintenance_interval", maintenance_interval), CheckLoads(*this),
        CheckBeta(early_refresh), circuit_breaker.Validate()}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PutOptions::ValidateTimes() const {
  if (absl::Status status = CheckPositive("ttl", ttl); !status.ok()) return status;
  if (absl::Status status = CheckPositive("idle_ttl", idle_ttl); !status.ok()) return status;
  return CheckRefresh(refresh_after);
}

absl::Status LoadOptions::Validate() const {
  if (this == &Default()) return absl::OkStatus();
  for (const absl::Status& status : {CheckPositive("ttl", ttl), CheckPositive("idle_ttl", idle_ttl),
                                     CheckLoads(*this), CheckBeta(early_refresh.value_or(0))}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace larder
