// SPDX-License-Identifier: Apache-2.0
//
// CacheStats: what a cache has done so far.

#ifndef LARDER_STATS_H_
#define LARDER_STATS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "larder/circuit_state.h"

namespace larder {

// A snapshot of a cache's counters since it was created. Each counter is exact once the
// operations it counts have returned; while others run, counters are read one after the other,
// so sums over them may be off by the operations in flight.
struct CacheStats {
  uint64_t hits = 0;           // Get, Pin, Visit, GetOrLoad that found a live entry
  uint64_t misses = 0;         // the same that found none
  uint64_t puts = 0;           // entries stored: Put, PutIfAbsent, Compute, loads
  uint64_t rejected_puts = 0;  // entries not stored: heavier than the whole cache

  uint64_t loads = 0;          // loader calls that have ended
  uint64_t load_failures = 0;  // of these, with an error other than NotFound, or an exception
  absl::Duration load_time;    // spent in loaders, summed over loads
  uint64_t joined = 0;         // callers that waited for another caller's load

  uint64_t refreshes = 0;         // background loads that brought an answer
  uint64_t refresh_failures = 0;  // background loads that failed
  uint64_t not_modified = 0;      // loads that confirmed the value there was
  uint64_t stale = 0;             // callers that were given a value past its expiry
  uint64_t negative_hits = 0;     // callers told NotFound without a load
  uint64_t timeouts = 0;          // callers that went on without their load: soft_, hard_timeout
  uint64_t refused_loads = 0;     // loads refused by max_queued_loads
  uint64_t queued_loads = 0;      // loads that wait now for others to end
  CircuitState circuit = CircuitState::kClosed;  // of the circuit breaker, now
  uint64_t circuit_opens = 0;                    // how often it has opened

  uint64_t evictions = 0;    // entries removed because the cache was full
  uint64_t expirations = 0;  // entries removed after their ttl or idle_ttl
  uint64_t erased = 0;       // entries removed with the cause kErased, see removal_cause.h
  uint64_t replaced = 0;     // entries removed by a newer value
  uint64_t cleared = 0;      // entries removed by Clear, which doesn't ask which had expired

  uint64_t size = 0;           // entries held now, expired ones not yet reclaimed included
  uint64_t weight = 0;         // what they weigh together
  uint64_t max_overshoot = 0;  // the most that weight was ever over the capacity

  // hits / (hits + misses); 0 where nothing was looked up.
  double hit_ratio() const {
    const uint64_t lookups = hits + misses;
    return lookups == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(lookups);
  }
};

}  // namespace larder

#endif  // LARDER_STATS_H_
