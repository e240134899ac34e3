// SPDX-License-Identifier: Apache-2.0
//
// WriteChain, QueuedWrite: what write-behind keeps of a key, and of each of its writes.

#ifndef LARDER_INTERNAL_WRITE_CHAIN_H_
#define LARDER_INTERNAL_WRITE_CHAIN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "larder/internal/pending_write.h"

namespace larder::internal {

// A caller that waits for its write. Its own; the queue sets the status.
struct ThroughWrite {
  absl::Status status;
};

struct WriteChain;

// A place in the queue, and the write that has it. A later write of the key may take the place
// over.
struct QueuedWrite {
  explicit QueuedWrite(std::shared_ptr<const PendingWrite> write, ThroughWrite* through = nullptr)
      : write(std::move(write)), through(through) {}

  std::shared_ptr<const PendingWrite> write;
  absl::Status error;  // of the last attempt
  int attempts = 0;
  bool failed_for_good = false;  // it is to be given up

  ThroughWrite* through;         // nullptr: nobody waits
  QueuedWrite* newer = nullptr;  // of the same key; or the next in a list of resolved ones
  WriteChain* chain = nullptr;   // its key's
  // All places, by the time at which they were taken.
  QueuedWrite* taken_before = nullptr;
  QueuedWrite* taken_after = nullptr;
  uint64_t position = 0;  // counts places
  int64_t queued_at = 0;
};

// The writes of a key, oldest first. At most one of them, the oldest, is in flight.
struct WriteChain {
  // Where the chain waits for its oldest write's turn.
  enum class Turn : uint8_t {
    kInLine,     // first of its key; in the order of the queue
    kSuccessor,  // for batch_delay; the write before it has been resolved
    kTimed,      // for a moment: that of its next attempt, or now
    kInFlight,
  };

  uint64_t hash = 0;
  WriteChain* next_in_bucket = nullptr;
  QueuedWrite* oldest = nullptr;
  QueuedWrite* newest = nullptr;
  QueuedWrite* visible = nullptr;  // the newest one that isn't written through; nullptr: none
  WriteChain* line_before = nullptr;
  WriteChain* line_after = nullptr;
  size_t heap_slot = 0;
  int64_t due = 0;
  uint32_t failures = 0;  // of the key's writes in a row
  uint32_t throughs = 0;  // how many are written through
  Turn turn = Turn::kInLine;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_CHAIN_H_
