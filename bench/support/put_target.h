// SPDX-License-Identifier: Apache-2.0
//
// What puts are measured on.

#ifndef LARDER_BENCH_SUPPORT_PUT_TARGET_H_
#define LARDER_BENCH_SUPPORT_PUT_TARGET_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder::bench {

struct PutTargetStats {
  uint64_t queued = 0;                           // writes that wait for the store
  absl::Duration oldest = absl::ZeroDuration();  // how long the first of them has
  // Since the beginning:
  uint64_t stored = 0;     // writes that the store has taken
  uint64_t coalesced = 0;  // writes that a later one of their key has replaced
  uint64_t failures = 0;   // attempts to write that failed
  uint64_t blocked = 0;    // puts that had to wait for room
  uint64_t syncs = 0;      // of files
};

// Something that takes values for keys, and what became of them. Thread-safe.
class PutTarget {
 public:
  virtual ~PutTarget() = default;

  virtual absl::Status Put(const std::string& key, const std::string& value) = 0;

  // What is in memory for `key`.
  virtual std::optional<std::string> Get(const std::string& key) = 0;

  // Waits until all that was put is where it is to go in the end.
  virtual absl::Status Flush() = 0;

  virtual PutTargetStats Stats() const = 0;
};

// What a program does that has nobody to share syncs with: each put appends its key and value to
// the file `path`, which must not exist, and returns when this is on the disk. Keeps nothing in
// memory.
absl::StatusOr<std::unique_ptr<PutTarget>> SyncEachPut(const std::string& path);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_PUT_TARGET_H_
