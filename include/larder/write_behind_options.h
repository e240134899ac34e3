// SPDX-License-Identifier: Apache-2.0
//
// WriteBehindOptions: how writes wait for a store, and what survives meanwhile.

#ifndef LARDER_WRITE_BEHIND_OPTIONS_H_
#define LARDER_WRITE_BEHIND_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/file_system.h"

namespace larder {

// What a write survives once it was acknowledged, before the store has it.
enum class Durability {
  kMemory,               // nothing: it ends with the process
  kJournal,              // the end of the process, however it comes; not that of the system
  kJournalSyncInterval,  // the end of the system, unless it comes within sync_interval
  kJournalSync,          // the end of the system: each write waits for the disk
};

// Which writes of a key the store sees where several wait.
enum class Coalescing {
  kLatest,  // the last one
  kNone,    // each, in order
};

// What becomes of a write that finds the queue full.
enum class WhenFull {
  kBlock,         // it waits, up to full_timeout: then DeadlineExceeded
  kReject,        // ResourceExhausted
  kWriteThrough,  // it waits until the store has it, and returns what the store says
};

struct WriteBehindOptions {
  // --- The queue: writes that wait for the store, or are on their way.
  uint64_t max_entries = 100'000;          // > 0
  uint64_t max_bytes = uint64_t{1} << 30;  // > 0. Of keys and values, by Codec or sizeof, and about
                                           // 200 more each
  WhenFull when_full = WhenFull::kBlock;
  absl::Duration full_timeout = absl::Seconds(10);  // >= 0
  Coalescing coalescing = Coalescing::kLatest;

  // --- Batches: the writes of one WriteMany; one of a key at a time.
  size_t batch_size = 128;  // > 0
  // How long a write may wait for others to go with, and for later ones of its key to take its
  // place. >= 0
  absl::Duration batch_delay = absl::Milliseconds(10);
  int threads = 2;  // batches under way at a time, 1..256

  // --- Failures. After the nth failed attempt of a write, which isn't permanent, the next one
  // follows after first_backoff * 2^(n-1), at most max_backoff, of which a random half at most is
  // taken off.
  absl::Duration first_backoff = absl::Milliseconds(50);  // > 0
  absl::Duration max_backoff = absl::Seconds(30);         // >= first_backoff
  // After this many a write has failed for good. >= 0; 0: never, so that a write for which the
  // store throws, or ends with an error that isn't permanent, is tried for ever.
  int max_attempts = 0;
  // Whether a write that ended with this error has failed for good. Empty: see Store.
  std::function<bool(const absl::Status&)> is_permanent = nullptr;
  // Writes that failed for good are appended to a file PATH.1, PATH.2, ..., a new one for each
  // process that has any, and synced, before they are given up. See ReadDeadLetters. Empty: none.
  std::string dead_letter_path = {};

  // How long the destructor waits for the store. >= 0. Then what is left stays in the journal or,
  // without one, is treated as failed for good.
  absl::Duration close_timeout = absl::Seconds(30);

  // --- Durability.
  Durability durability = Durability::kMemory;
  std::string journal_directory = {};  // required with a journal; created if it isn't there
  absl::Duration sync_interval = absl::Milliseconds(100);  // > 0; for kJournalSyncInterval
  uint64_t segment_bytes = uint64_t{64} << 20;  // of a journal's file, from which on the next
                                                // begins; 4 KiB to 1 GiB

  FileSystem* file_system = nullptr;  // nullptr: FileSystem::Default(). Must outlive the cache

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const;
};

}  // namespace larder

#endif  // LARDER_WRITE_BEHIND_OPTIONS_H_
