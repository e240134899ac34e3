// SPDX-License-Identifier: Apache-2.0
//
// RemoteStats: how a TieredCache gets on with the tier that it shares.

#ifndef LARDER_REMOTE_STATS_H_
#define LARDER_REMOTE_STATS_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

namespace larder {

enum class RemoteHealth {
  kNone,     // there is no remote tier
  kDown,     // it can't be reached, or nothing is heard of changes
  kSyncing,  // it is back; not read from yet
  kUp,
};

// A lower-case word for logs and metrics: "none", "down", ...
constexpr std::string_view RemoteHealthName(RemoteHealth health) {
  constexpr std::string_view kNames[] = {"none", "down", "syncing", "up"};
  return kNames[static_cast<int>(health)];
}

struct RemoteStats {
  RemoteHealth health = RemoteHealth::kNone;
  absl::Status last_error = absl::OkStatus();  // the last one of any call, probes included

  // --- Reads, of keys that memory didn't have
  uint64_t hits = 0;           // a value came from the tier
  uint64_t negative_hits = 0;  // it knew that there is none
  uint64_t stale_hits = 0;     // an expired value, returned since the store failed
  uint64_t misses = 0;
  uint64_t bypassed = 0;  // not asked: down, syncing, or its breaker open
  uint64_t damaged = 0;   // values that no larder, or one with other types, wrote
  uint64_t fills = 0;
  uint64_t fills_refused = 0;    // the key was changed since the load began
  uint64_t waits_for_loads = 0;  // of other servers

  // --- Writes
  uint64_t writes = 0;          // that it was told of
  uint64_t missed_writes = 0;   // that it could not be told of at once
  uint64_t missed_waiting = 0;  // of these, keys it is still to be told of

  // --- Changes told
  uint64_t changes = 0;      // keys, own changes included
  uint64_t own_changes = 0;  // of these, found to be this server's own
  uint64_t flushes = 0;      // times that all of memory was dropped

  // --- Trouble
  uint64_t failed_calls = 0;
  uint64_t timeouts = 0;       // of these, DeadlineExceeded
  uint64_t breaker_opens = 0;  // times that calls were given up for a while
  uint64_t connects = 0;       // subscriptions begun
  uint64_t disconnects = 0;    // subscriptions lost
  uint64_t generations = 0;    // times that this server had the tier's entries disregarded
};

}  // namespace larder

#endif  // LARDER_REMOTE_STATS_H_
