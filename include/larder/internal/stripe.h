// SPDX-License-Identifier: Apache-2.0
//
// Stripe: one independently locked part of a cache.

#ifndef LARDER_INTERNAL_STRIPE_H_
#define LARDER_INTERNAL_STRIPE_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "larder/internal/epoch.h"
#include "larder/internal/flight.h"
#include "larder/internal/limbo.h"
#include "larder/internal/mutex.h"
#include "larder/internal/slab.h"
#include "larder/internal/table.h"
#include "larder/internal/timer_wheel.h"

namespace larder::internal {

// What hits read of a stripe, without the lock: a cache line of its own, which is seldom written.
template <class Policy>
struct alignas(64) StripeFront {
  // Readers load it inside an EpochGuard; writers store it under the stripe's lock.
  std::atomic<Table*> table{nullptr};
  typename Policy::Shared shared;
};

// Belongs to its lock, but for the front.
template <class Policy, class Flight>
struct alignas(64) Stripe {
  Stripe(StripeFront<Policy>* front, Slab* slab, uint32_t number)
      : table(front->table),
        slots(slab, number),
        policy(slab, &slots, &front->shared),
        limbo(slab) {}
  ~Stripe() { delete table.load(std::memory_order_relaxed); }

  Mutex mutex;

  std::atomic<Table*>& table;  // the front's

  // Written under the lock, by plain stores; read without.
  std::atomic<uint64_t> size{0};
  std::atomic<uint64_t> weight{0};
  void CountEntry(uint64_t entry_weight) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Add(size, 1);
    Add(weight, entry_weight);
  }
  void UncountEntry(uint64_t entry_weight) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Add(size, ~uint64_t{0});
    Add(weight, ~entry_weight + 1);
  }

  SlotAllocator slots ABSL_GUARDED_BY(mutex);
  Policy policy ABSL_GUARDED_BY(mutex);
  std::optional<TimerWheel> wheel ABSL_GUARDED_BY(mutex);  // from the first entry that expires on
  Limbo limbo ABSL_GUARDED_BY(mutex);

  // Most changes don't write what is below.
  FlightTable<Flight> flights ABSL_GUARDED_BY(mutex);
  uint64_t replacements ABSL_GUARDED_BY(mutex) = 0;  // tables had so far

  // Replaces the table, if there is one, by an empty one for `entries`. False where memory is out;
  // then nothing has changed.
  bool ReplaceTable(size_t entries) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return ReplaceTable(entries, [](Table&) {});
  }

  // Replaces the table by one for `entries` with the same in it. home_of(NodeIndex):
  // HashBits::Home() of a node's key. False where memory is out; then nothing has changed.
  template <class HomeOf>
  bool GrowTable(size_t entries, HomeOf&& home_of) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const Table& old = *table.load(std::memory_order_relaxed);
    return ReplaceTable(entries, [&](Table& replacement) {
      for (size_t i = 0; i < old.bucket_count(); ++i) {
        const Bucket& bucket = old.bucket(i);
        for (uint32_t used = bucket.Used(); used != 0; used &= used - 1) {
          const int slot = std::countr_zero(used);
          const NodeIndex node = bucket.nodes[slot].load(std::memory_order_relaxed);
          replacement.Insert(home_of(node), bucket.TagAt(slot), node);
        }
      }
    });
  }

  bool HasRetiredTables() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return !retired.empty(); }

  struct RetiredTable {
    uint64_t tag;
    std::unique_ptr<Table> table;
  };
  using RetiredTables = std::vector<RetiredTable>;

  // The former tables, once all are from before the epoch `free_before`; to be destroyed after the
  // lock was released.
  RetiredTables TakeRetiredTables(uint64_t free_before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const bool free = !retired.empty() && retired.back().tag < free_before;
    return free ? std::exchange(retired, RetiredTables()) : RetiredTables();
  }

 private:
  static void Add(std::atomic<uint64_t>& sum, uint64_t change) {
    sum.store(sum.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
  }

  template <class Fill>
  bool ReplaceTable(size_t entries, Fill&& fill) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_ptr<Table> replacement = Table::Create(entries);
    if (replacement == nullptr) return false;
    retired.reserve(retired.size() + 1);
    fill(*replacement);
    Table* old = table.exchange(replacement.release(), std::memory_order_release);
    ++replacements;
    if (old != nullptr) retired.push_back({Epoch::Advance(), std::unique_ptr<Table>(old)});
    return true;
  }

  RetiredTables retired ABSL_GUARDED_BY(mutex);  // oldest first
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_STRIPE_H_
