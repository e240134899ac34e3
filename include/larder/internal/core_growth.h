// SPDX-License-Identifier: Apache-2.0
//
// Core's part in the growth of its tables (growing_table.h). See core.h.

#ifndef LARDER_INTERNAL_CORE_GROWTH_H_
#define LARDER_INTERNAL_CORE_GROWTH_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/base/attributes.h"
#include "larder/internal/core.h"

namespace larder::internal {

// Bytes of a larger table that one write has the system find memory for: at most one huge page, or
// 64 small ones.
inline constexpr size_t kPopulatedPerWrite = size_t{256} << 10;

// Without the lock: to find memory, the system may have to wait for other threads, and has to clear
// what it finds.
template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE void Core<K, V, P, H, E>::ProvideLarger(StripeT& stripe) {
  std::unique_ptr<Table> larger;
  size_t entries = 0;
  {
    MutexLock lock(&stripe.mutex);
    if (!stripe.table.WantsLarger()) return;
    larger = stripe.table.Claim();
    entries = sizing_.GrownTable(stripe.table.capacity());
  }
  if (larger == nullptr) larger = Table::Create(entries);
  const bool ready = larger != nullptr && larger->Populate(kPopulatedPerWrite);
  MutexLock lock(&stripe.mutex);
  larger = stripe.table.HandIn(std::move(larger), ready);
}

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::StepTable(StripeT& stripe) {
  const auto prefetch = [this](NodeIndex index) {
    const NodeT* node = NodeAt(index);
    if constexpr (kCheapHash) {
      __builtin_prefetch(&node->key);
    } else {
      __builtin_prefetch(&node->prefix());
    }
  };
  return stripe.table.Step(prefetch, [this](NodeIndex node) { return HomeOf(*NodeAt(node)); });
}

template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE bool Core<K, V, P, H, E>::PrepareTable(StripeT& stripe) {
  StepTable(stripe);
  return stripe.table.RoomForOneMore(sizing_.GrownTable(stripe.table.capacity()),
                                     [this](NodeIndex node) { return HomeOf(*NodeAt(node)); });
}

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::GrowStripe(StripeT& stripe, size_t budget) {
  size_t worked = 0;
  for (bool more = true; more && worked < budget;) {
    MutexLock lock(&stripe.mutex);
    worked += StepTable(stripe);
    more = stripe.table.growing();
  }
  return worked;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_GROWTH_H_
