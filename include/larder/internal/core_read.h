// SPDX-License-Identifier: Apache-2.0
//
// Core's lookups: lock-free, see core.h.

#ifndef LARDER_INTERNAL_CORE_READ_H_
#define LARDER_INTERNAL_CORE_READ_H_

#include <algorithm>
#include <cassert>

#include "larder/internal/core.h"
#include "larder/internal/nanos.h"

namespace larder::internal {

template <class K, class V, class P, class H, class E>
ThreadRecord& Core<K, V, P, H, E>::EnterCall() const {
  ThreadRecord& thread = ThreadRecord::Current();
  assert(thread.visiting != this && "a Visit callback called its own cache");
  return thread;
}

template <class K, class V, class P, class H, class E>
template <class Q>
Node<K, V>* Core<K, V, P, H, E>::FindNode(const StripeT& stripe, const Q& key, HashBits hash,
                                          NodeIndex* index) const {
  const Table* table = stripe.table.load(std::memory_order_acquire);
  NodeT* found = nullptr;
  table->Find(hash.Home(), hash.Tag(), [&](NodeIndex candidate) {
    NodeT* node = slab_.At<NodeT>(candidate);
    if (!eq_(node->key, key)) return false;
    found = node;
    *index = candidate;
    return true;
  });
  return found;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::Expired(NodeHeader& node) const {
  int64_t deadline = node.deadline.load(std::memory_order_relaxed);
  if (deadline == kNever || !HasPassed(deadline)) return false;
  // A hit that looked at the clock before this call may be about to move the deadline, and a
  // Compute may have just taken it away (DeadlineHold). Where this call says that the entry is
  // gone, no other may find it again.
  while (deadline != kOver &&
         !node.deadline.compare_exchange_weak(deadline, kOver, std::memory_order_relaxed)) {
    if (!HasPassed(deadline)) return false;
  }
  return true;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::Touch(NodeHeader& node, NodeIndex index) {
  int64_t deadline = node.deadline.load(std::memory_order_relaxed);
  if (deadline == kNever) return true;
  if (Expired(node)) return false;
  if ((node.state.load(std::memory_order_relaxed) & NodeHeader::kIdle) == 0) return true;
  const NodeExtra& extra = *slab_.Extra(index);
  const int64_t moved = std::min(extra.hard_deadline, SaturatingAdd(Now(), extra.idle_ttl));
  // Only ever later: another thread may have seen a later time.
  while (deadline < moved && deadline != kOver &&
         !node.deadline.compare_exchange_weak(deadline, moved, std::memory_order_relaxed)) {
  }
  return deadline != kOver;
}

template <class K, class V, class P, class H, class E>
template <class Q, class F>
bool Core<K, V, P, H, E>::Read(const Q& key, F&& f) {
  const HashBits hash(hash_(key));
  const StripeT& stripe = StripeOf(hash);
  ThreadRecord& thread = EnterCall();
  EpochGuard guard(thread);
  NodeIndex index = kNoNode;
  NodeT* node = FindNode(stripe, key, hash, &index);
  if (node == nullptr || !Touch(*node, index)) {
    counters_.Add(thread, Counter::kMisses);
    return false;
  }
  PolicyT::OnHit(*node, thread, stripe.shared);
  counters_.Add(thread, Counter::kHits);
  f(index, *node);
  return true;
}

template <class K, class V, class P, class H, class E>
template <class Q>
std::optional<V> Core<K, V, P, H, E>::Get(const Q& key) {
  std::optional<V> value;
  Read(key, [&value](NodeIndex, const NodeT& node) { value.emplace(node.value); });
  return value;
}

template <class K, class V, class P, class H, class E>
Handle<K, V> Core<K, V, P, H, E>::PinNode(NodeT& node, NodeIndex index) {
  // Far enough from the limit for any number of threads that check it at once.
  constexpr uint32_t kMostPins = NodeHeader::kPins - 0xffff;
  if ((node.state.load(std::memory_order_relaxed) & NodeHeader::kPins) >= kMostPins) return {};
  // Relaxed will do: the end of the guard, or of the lock, orders this before any look at the pins
  // by a reclaimer.
  node.state.fetch_add(1, std::memory_order_relaxed);
  return Handle<K, V>(this, &node, index);
}

template <class K, class V, class P, class H, class E>
template <class Q>
Handle<K, V> Core<K, V, P, H, E>::Pin(const Q& key) {
  Handle<K, V> handle;
  Read(key, [&](NodeIndex index, NodeT& node) { handle = PinNode(node, index); });
  return handle;
}

template <class K, class V, class P, class H, class E>
template <class Q>
Handle<K, V> Core<K, V, P, H, E>::PinQuietly(const Q& key, HashBits hash) {
  EpochGuard guard(EnterCall());
  NodeIndex index = kNoNode;
  NodeT* node = FindNode(StripeOf(hash), key, hash, &index);
  return node != nullptr && Touch(*node, index) ? PinNode(*node, index) : Handle<K, V>();
}

template <class K, class V, class P, class H, class E>
template <class Q, class F>
bool Core<K, V, P, H, E>::Visit(const Q& key, F&& f) {
#ifdef NDEBUG
  return Read(key, [&f](NodeIndex, const NodeT& node) { f(node.value); });
#else
  return Read(key, [&](NodeIndex, const NodeT& node) {
    struct Visiting {
      ThreadRecord& thread;
      const void* const before;
      ~Visiting() { thread.visiting = before; }
    };
    ThreadRecord& thread = ThreadRecord::Current();
    const Visiting visiting{thread, std::exchange(thread.visiting, this)};
    f(node.value);
  });
#endif
}

template <class K, class V, class P, class H, class E>
template <class Q>
bool Core<K, V, P, H, E>::Contains(const Q& key) {
  const HashBits hash(hash_(key));
  EpochGuard guard(EnterCall());
  NodeIndex index = kNoNode;
  NodeT* node = FindNode(StripeOf(hash), key, hash, &index);
  return node != nullptr && !Expired(*node);
}

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::size() const {
  uint64_t sum = 0;
  for (const StripeT& stripe : stripes()) sum += stripe.size.load(std::memory_order_relaxed);
  return sum;
}

template <class K, class V, class P, class H, class E>
CacheStats Core<K, V, P, H, E>::Stats() const {
  CacheStats stats;
  counters_.Sum(stats);
  stats.size = size();
  stats.weight = weight();
  stats.max_overshoot = max_overshoot_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_READ_H_
