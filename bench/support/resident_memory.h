// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_RESIDENT_MEMORY_H_
#define LARDER_BENCH_SUPPORT_RESIDENT_MEMORY_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"

namespace larder::bench {

// This process's memory in RAM, but for what it shares with files, such as its code. Bytes; 0 where
// there is no /proc.
int64_t ResidentBytes();

struct MemoryUse {
  int64_t bytes = 0;    // by how many it grew
  int64_t entries = 0;  // what they hold
};

// Runs `fill` in a newly forked process, where no earlier measurement has left free memory behind,
// and tells by how much the process grew. `fill` returns what it made, which still exists when the
// memory is read, as a function that counts its entries after that. Unavailable where the process
// can't be made or dies. Requires: the caller's process has one thread.
absl::StatusOr<MemoryUse> MeasureMemory(const std::function<std::function<int64_t()>()>& fill);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_RESIDENT_MEMORY_H_
