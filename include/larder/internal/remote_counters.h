// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_INTERNAL_REMOTE_COUNTERS_H_
#define LARDER_INTERNAL_REMOTE_COUNTERS_H_

#include <atomic>
#include <cstdint>

#include "larder/internal/remote_cache.h"

namespace larder::internal {

// What RemoteCache counts; as in RemoteStats.
struct RemoteCache::Counters {
  using Count = std::atomic<uint64_t>;

  static void Add(Count& count, uint64_t n = 1) { count.fetch_add(n, std::memory_order_relaxed); }

  Count hits{0};
  Count negative_hits{0};
  Count stale_hits{0};
  Count misses{0};
  Count bypassed{0};
  Count damaged{0};
  Count fills{0};
  Count fills_refused{0};
  Count waits_for_loads{0};
  Count writes{0};
  Count missed_writes{0};
  Count own_changes{0};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_COUNTERS_H_
