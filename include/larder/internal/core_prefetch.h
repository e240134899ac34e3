// SPDX-License-Identifier: Apache-2.0
//
// Core's prefetches: what a change will read and write, fetched before it is needed. See core.h.

#ifndef LARDER_INTERNAL_CORE_PREFETCH_H_
#define LARDER_INTERNAL_CORE_PREFETCH_H_

#include <cstddef>
#include <cstdint>

#include "larder/internal/core.h"

namespace larder::internal {

// Most of what a change waits for is memory, and other processors' caches: both come faster all at
// once than one after the other.
template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::Prefetch(HashBits hash) {
  const StripeT& stripe = StripeOf(hash);
  const char* const seldom_written = reinterpret_cast<const char*>(&stripe.flights);
  for (const char* at = reinterpret_cast<const char*>(&stripe); at < seldom_written; at += 64) {
    __builtin_prefetch(at, 1);
  }
  ThreadRecord* const quick = ThreadRecord::IfQuick();
  if (quick == nullptr) return;
  QuickGuard guard(*quick);
  FrontOf(hash).table.load(std::memory_order_acquire)->Prefetch(hash.Home());
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::PrefetchNext(StripeT& stripe) {
  const auto [first, second] = stripe.policy.Next();
  PrefetchEviction(stripe, first);
  for (const NodeIndex index : {second, stripe.slots.Next()}) {
    if (index == kNoNode) continue;
    __builtin_prefetch(slab_.At(index), 1);
    __builtin_prefetch(NodeAt(index) + 1, 1);
  }
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::PrefetchEviction(StripeT& stripe, NodeIndex victim) {
  if (victim == kNoNode || weight() < capacity()) return;
  const NodeT& node = *NodeAt(victim);
  // It may have left the cache since it was queued; its key with it.
  if (!node.InCache()) return;
  stripe.table.Prefetch(HomeOf(node));
  PrefetchNeighbours(node);
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::PrefetchNeighbours(const NodeHeader& node) {
  const auto fetch = [this](uint32_t link) {
    if (link < kMaxNodes) __builtin_prefetch(slab_.At(link), 1);
  };
  if (node.HasTimer()) {
    fetch(node.timer_prev);
    fetch(node.timer_next);
  }
  if constexpr (PolicyT::kLinked) {
    fetch(node.policy_prev());
    fetch(node.policy_next());
  }
}

// The nodes are at hand, as the wheel has just looked at them; what they lead to is not, and comes
// faster all at once than one after the other.
template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::PrefetchRemovals(StripeT& stripe, NodeIndex first) {
  if constexpr (kCheapHash) {
    for (NodeIndex index = first; index != kNoNode; index = slab_.At(index)->timer_next) {
      __builtin_prefetch(&NodeAt(index)->key);
    }
  }
  for (NodeIndex index = first; index != kNoNode;) {
    const NodeT& node = *NodeAt(index);
    stripe.table.Prefetch(HomeOf(node));
    PrefetchNeighbours(node);
    index = node.timer_next;
  }
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_PREFETCH_H_
