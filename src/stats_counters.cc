// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/stats_counters.h"

#include "absl/time/time.h"

namespace larder::internal {

void StatsCounters::Sum(CacheStats& stats) const {
  std::array<uint64_t, kCounters> sums{};
  for (size_t cell = 0; cell <= kOwnCells; ++cell) {
    for (size_t i = 0; i < kCounters; ++i) {
      sums[i] += cells_[cell].values[i].load(std::memory_order_relaxed);
    }
  }
  const auto sum = [&sums](Counter counter) { return sums[static_cast<size_t>(counter)]; };
  const auto removed = [&sums](RemovalCause cause) {
    return sums[static_cast<size_t>(Counter::kRemovals) + static_cast<size_t>(cause)];
  };
  stats.hits = sum(Counter::kHits);
  stats.misses = sum(Counter::kMisses);
  stats.puts = sum(Counter::kPuts);
  stats.rejected_puts = sum(Counter::kRejectedPuts);
  stats.loads = sum(Counter::kLoads);
  stats.load_failures = sum(Counter::kLoadFailures);
  stats.load_time = absl::Nanoseconds(static_cast<int64_t>(sum(Counter::kLoadNanos)));
  stats.joined = sum(Counter::kJoined);
  stats.refreshes = sum(Counter::kRefreshes);
  stats.refresh_failures = sum(Counter::kRefreshFailures);
  stats.not_modified = sum(Counter::kNotModified);
  stats.stale = sum(Counter::kStale);
  stats.negative_hits = sum(Counter::kNegativeHits);
  stats.timeouts = sum(Counter::kTimeouts);
  stats.evictions = removed(RemovalCause::kEvicted);
  stats.expirations = removed(RemovalCause::kExpired);
  stats.erased = removed(RemovalCause::kErased);
  stats.replaced = removed(RemovalCause::kReplaced);
  stats.cleared = removed(RemovalCause::kCleared);
}

}  // namespace larder::internal
