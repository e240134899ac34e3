// SPDX-License-Identifier: Apache-2.0
//
// Stripe: one independently locked part of a cache.

#ifndef LARDER_INTERNAL_STRIPE_H_
#define LARDER_INTERNAL_STRIPE_H_

#include <atomic>
#include <cstdint>
#include <optional>

#include "larder/internal/flight.h"
#include "larder/internal/growing_table.h"
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
  std::atomic<const TableView*> table{nullptr};
  typename Policy::Shared shared;
};

// Belongs to its lock, but for the front.
template <class Policy, class Flight>
struct alignas(64) Stripe {
  Stripe(StripeFront<Policy>* front, Slab* slab, uint32_t number)
      : slots(slab, number),
        policy(slab, &slots, &front->shared),
        limbo(slab),
        table(&front->table) {}

  Mutex mutex;

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

  // Returns the weight of all that was there.
  uint64_t UncountAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    size.store(0, std::memory_order_relaxed);
    return weight.exchange(0, std::memory_order_relaxed);
  }

  SlotAllocator slots ABSL_GUARDED_BY(mutex);
  // Whether nodes that were cleared are still to be removed, or to be taken from `cleared`.
  bool has_cleared ABSL_GUARDED_BY(mutex) = false;
  Policy policy ABSL_GUARDED_BY(mutex);
  std::optional<TimerWheel> wheel ABSL_GUARDED_BY(mutex);  // from the first entry that expires on
  Limbo limbo ABSL_GUARDED_BY(mutex);
  GrowingTable table ABSL_GUARDED_BY(mutex);  // published in the front

  // Most changes don't write what is below.
  FlightTable<Flight> flights ABSL_GUARDED_BY(mutex);

  // Nodes that were cleared, and removed since: on their way to the limbo.
  NodeChain cleared ABSL_GUARDED_BY(mutex);

  // Entries that were invalidated up to this generation of tags have left. The next walk over the
  // slots, where it goes on, and which generation it is for.
  uint64_t swept ABSL_GUARDED_BY(mutex) = 1;
  size_t sweep_next ABSL_GUARDED_BY(mutex) = 0;
  uint64_t sweep_generation ABSL_GUARDED_BY(mutex) = 1;

 private:
  static void Add(std::atomic<uint64_t>& sum, uint64_t change) {
    sum.store(sum.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
  }
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_STRIPE_H_
