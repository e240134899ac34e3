// SPDX-License-Identifier: Apache-2.0
//
// WriteBehindStats: what waits for the store, and what has become of the rest.

#ifndef LARDER_WRITE_BEHIND_STATS_H_
#define LARDER_WRITE_BEHIND_STATS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// All of one moment. Every write that was queued is queued still, or counts as one of stored,
// coalesced, given_up and through_failures.
struct WriteBehindStats {
  uint64_t queued = 0;         // writes that wait now, those in flight included
  uint64_t queued_bytes = 0;   // of these, as counted for max_bytes
  uint64_t in_flight = 0;      // of these, in the store's hands now
  absl::Duration oldest_age;   // since when the oldest of these waits, or one that it replaced;
                               // 0: none does
  uint64_t stored = 0;         // writes that the store has taken
  uint64_t batches = 0;        // calls of WriteMany that have returned
  uint64_t failures = 0;       // attempts that failed, each write of a batch counted
  uint64_t coalesced = 0;      // writes that a later one of their key has replaced
  uint64_t given_up = 0;       // writes that failed for good
  uint64_t rejected = 0;       // writes refused with ResourceExhausted
  uint64_t blocked = 0;        // writes that had to wait for room
  uint64_t timeouts = 0;       // of these, such as got none in full_timeout
  uint64_t write_through = 0;  // writes queued beyond the limit, whose caller waits for the store
  uint64_t through_failures = 0;  // of these, such as failed
  absl::Status last_error;        // of the last attempt that failed; OK: none has yet
};

}  // namespace larder

#endif  // LARDER_WRITE_BEHIND_STATS_H_
