// SPDX-License-Identifier: Apache-2.0
//
// LoadSettings: what the options of a cache and of one call say about a load, taken together.

#ifndef LARDER_INTERNAL_LOAD_SETTINGS_H_
#define LARDER_INTERNAL_LOAD_SETTINGS_H_

#include <algorithm>
#include <cstdint>

#include "larder/internal/node.h"
#include "larder/options.h"
#include "larder/refresh_after.h"

namespace larder::internal {

// Durations in ns, kNever for infinite ones. A plain value.
struct LoadSettings {
  explicit LoadSettings(const CacheOptions& options);

  // These, but for the fields that the call sets. The options must be valid.
  LoadSettings With(const LoadOptions& options) const;

  // How long an entry is kept past its expiry.
  int64_t stale_window() const { return std::max(stale_while_revalidate, stale_if_error); }
  bool has_timeout() const { return soft_timeout != kNever || hard_timeout != kNever; }
  // Whether entries need NodeTerms for them.
  bool needs_terms() const {
    return stale_window() > 0 || !refresh_after.never() || early_refresh > 0;
  }

  RefreshAfter refresh_after;
  int64_t stale_while_revalidate;
  int64_t stale_if_error;
  int64_t retry_after;
  int64_t soft_timeout;
  int64_t hard_timeout;
  int64_t background_timeout;
  int64_t negative_ttl;  // 0: NotFound isn't kept
  double early_refresh;
  AfterTimeout after_timeout;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOAD_SETTINGS_H_
