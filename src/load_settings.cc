// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/load_settings.h"

#include <optional>

#include "absl/time/time.h"

namespace larder::internal {
namespace {

// Saturates at kNever.
int64_t Nanos(absl::Duration duration) { return absl::ToInt64Nanoseconds(duration); }

void Override(int64_t& field, const std::optional<absl::Duration>& given) {
  if (given.has_value()) field = Nanos(*given);
}

template <class T>
void Override(T& field, const std::optional<T>& given) {
  if (given.has_value()) field = *given;
}

}  // namespace

LoadSettings::LoadSettings(const CacheOptions& options)
    : refresh_after(options.refresh_after),
      stale_while_revalidate(Nanos(options.stale_while_revalidate)),
      stale_if_error(Nanos(options.stale_if_error)),
      retry_after(Nanos(options.retry_after)),
      soft_timeout(Nanos(options.soft_timeout)),
      hard_timeout(Nanos(options.hard_timeout)),
      background_timeout(Nanos(options.background_timeout)),
      negative_ttl(Nanos(options.negative_ttl)),
      early_refresh(options.early_refresh),
      after_timeout(options.after_timeout) {}

LoadSettings LoadSettings::With(const LoadOptions& options) const {
  LoadSettings merged = *this;
  Override(merged.refresh_after, options.refresh_after);
  Override(merged.stale_while_revalidate, options.stale_while_revalidate);
  Override(merged.stale_if_error, options.stale_if_error);
  Override(merged.retry_after, options.retry_after);
  Override(merged.soft_timeout, options.soft_timeout);
  Override(merged.hard_timeout, options.hard_timeout);
  Override(merged.background_timeout, options.background_timeout);
  Override(merged.negative_ttl, options.negative_ttl);
  Override(merged.early_refresh, options.early_refresh);
  Override(merged.after_timeout, options.after_timeout);
  return merged;
}

}  // namespace larder::internal
