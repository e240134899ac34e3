// SPDX-License-Identifier: Apache-2.0
//
// StatsCounters: the counters behind CacheStats, written without contention.

#ifndef LARDER_INTERNAL_STATS_COUNTERS_H_
#define LARDER_INTERNAL_STATS_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "larder/internal/thread_record.h"
#include "larder/removal_cause.h"
#include "larder/stats.h"

namespace larder::internal {

enum class Counter : size_t {
  kHits,
  kMisses,
  kPuts,
  kRejectedPuts,
  kLoads,
  kLoadFailures,
  kLoadNanos,
  kJoined,
  kRefreshes,
  kRefreshFailures,
  kNotModified,
  kStale,
  kNegativeHits,
  kTimeouts,
  kRemovals,  // the first of one for each RemovalCause
};

// Striped by thread: each of the first kOwnCells threads of the process counts in a cell of its
// own, with plain stores; later ones share one cell, with atomic additions.
//
// Thread safety: Add from any thread with its own record; Sum from any thread.
class StatsCounters {
 public:
  StatsCounters() : cells_(new Cell[kOwnCells + 1]) {}

  void Add(const ThreadRecord& thread, Counter counter, uint64_t amount = 1) {
    if (thread.index < kOwnCells) [[likely]] {
      AddOwn(thread, counter, amount);
    } else {
      cells_[kOwnCells].values[static_cast<size_t>(counter)].fetch_add(amount,
                                                                       std::memory_order_relaxed);
    }
  }

  // Add for a thread that has a cell of its own: one that is quick.
  void AddOwn(const ThreadRecord& thread, Counter counter, uint64_t amount = 1) {
    auto& value = cells_[thread.index].values[static_cast<size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }

  void AddRemoval(const ThreadRecord& thread, RemovalCause cause, uint64_t amount = 1) {
    Add(thread,
        static_cast<Counter>(static_cast<size_t>(Counter::kRemovals) + static_cast<size_t>(cause)),
        amount);
  }

  // Fills in all that is counted here.
  void Sum(CacheStats& stats) const;

 private:
  static constexpr size_t kOwnCells = ThreadRecord::kQuickThreads;
  static constexpr size_t kCounters = static_cast<size_t>(Counter::kRemovals) + kRemovalCauses;

  struct alignas(128) Cell {
    std::array<std::atomic<uint64_t>, kCounters> values{};
  };

  std::unique_ptr<Cell[]> cells_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_STATS_COUNTERS_H_
