// SPDX-License-Identifier: Apache-2.0
//
// Core's lookups: lock-free, see core.h.

#ifndef LARDER_INTERNAL_CORE_READ_H_
#define LARDER_INTERNAL_CORE_READ_H_

#include <algorithm>
#include <cassert>

#include "absl/base/attributes.h"
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
Node<K, V>* Core<K, V, P, H, E>::FindNode(const Front& front, const Q& key, HashBits hash,
                                          NodeIndex* index) const {
  const TableView& table = *front.table.load(std::memory_order_acquire);
  NodeT* found = nullptr;
  table.Find(hash.Home(), hash.Tag(), [&](NodeIndex candidate) {
    NodeT* node = NodeAt(candidate);
    if (!eq_(node->key, key)) [[unlikely]]
      return false;
    found = node;
    *index = candidate;
    return true;
  });
  return found;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::ExpiredNow(NodeHeader& node, NodeIndex index) const {
  std::atomic<int64_t>& expiry = ExpiryOf(node, index);
  int64_t deadline = expiry.load(std::memory_order_relaxed);
  if (!HasPassed(deadline)) return false;
  // A hit that looked at the clock before this call may be about to move the deadline, and a
  // Compute may have just taken it away (DeadlineHold). Where this call says that the entry is
  // gone, no other may find it again.
  while (deadline != kOver &&
         !expiry.compare_exchange_weak(deadline, kOver, std::memory_order_relaxed)) {
    if (!HasPassed(deadline)) return false;
  }
  return true;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::HasValidValue(const NodeHeader& node, NodeIndex index) const {
  return !node.Has(NodeHeader::kNegative) && !Invalidated(node, index);
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::Touch(NodeHeader& node, NodeIndex index) {
  if (!IsLive(node, index)) return false;
  if (!node.IsIdle()) return true;
  const NodeExtra& extra = *slab_.Extra(index);
  const int64_t moved = std::min(extra.hard_deadline.load(std::memory_order_relaxed),
                                 SaturatingAdd(Now(), extra.idle_ttl));
  // First, so that the node stays for as long as it may be served.
  if (node.Has(NodeHeader::kTerms)) MoveForward(slab_.Terms(index)->fresh_until, moved);
  return MoveForward(ExpiryOf(node, index), moved) != kOver;
}

// Only ever later: another thread may have seen a later time. Returns what it is then, or kOver.
template <class K, class V, class P, class H, class E>
int64_t Core<K, V, P, H, E>::MoveForward(std::atomic<int64_t>& deadline, int64_t to) {
  int64_t seen = deadline.load(std::memory_order_relaxed);
  while (seen < to && seen != kOver &&
         !deadline.compare_exchange_weak(seen, to, std::memory_order_relaxed)) {
  }
  return seen;
}

// --- A lookup is written twice. LookUp is the common case, in line and without a call, so that it
// needs no registers saved: where it would have to call anything, it gives up having changed
// nothing, and the caller starts anew with LookUpSlowly.

template <class K, class V, class P, class H, class E>
struct Core<K, V, P, H, E>::Glance {
  NodeT* node = nullptr;  // a hit; it has been counted
  NodeIndex index = kNoNode;
  bool unsure = false;  // neither hit nor miss yet: LookUpSlowly knows
};

template <class K, class V, class P, class H, class E>
template <class Q>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline auto Core<K, V, P, H, E>::LookUp(const Q& key, HashBits hash,
                                                                     ThreadRecord& thread)
    -> Glance {
  const Front& front = FrontOf(hash);
  const TableView& table = *front.table.load(std::memory_order_acquire);
  const Bucket& bucket = table.HomeBucket(hash.Home());
  Glance glance;
  const bool found = bucket.Find(hash.Tag(), [&](NodeIndex candidate) {
    glance.node = NodeAt(candidate);
    glance.index = candidate;
    return eq_(glance.node->key, key);
  });
  if (!found) {
    if (bucket.Displaced() != 0 || table.older != nullptr) return {.unsure = true};
    counters_.AddOwn(thread, Counter::kMisses);
    return {};
  }
  if (glance.node->deadline.load(std::memory_order_relaxed) <=
      ClockTicker::Horizon().load(std::memory_order_relaxed)) [[unlikely]] {
    return {.unsure = true};
  }
  const uint32_t state = glance.node->state.load(std::memory_order_relaxed);
  constexpr uint32_t kSettled = PolicyT::kSettled;
  constexpr uint32_t kRare = NodeHeader::kAsks | NodeHeader::kTagged;
  if (kSettled == 0 || (state & (kRare | kSettled)) != kSettled) {
    if ((state & kRare) != 0 && !IsPlainlyValid(state, glance.index)) return {.unsure = true};
    if (kSettled == 0 || (state & kSettled) != kSettled) {
      const bool told = PolicyT::OnHit(*glance.node, thread, front.shared);
      if (!told) return {.unsure = true};
    }
  }
  counters_.AddOwn(thread, Counter::kHits);
  return glance;
}

template <class K, class V, class P, class H, class E>
template <class Q, class F>
ABSL_ATTRIBUTE_NOINLINE bool Core<K, V, P, H, E>::LookUpSlowly(const Q& key, HashBits hash, F&& f) {
  ThreadRecord& thread = EnterCall();
  const Front& front = FrontOf(hash);
  EpochGuard guard(thread);
  NodeIndex index = kNoNode;
  NodeT* node = FindNode(front, key, hash, &index);
  if (node == nullptr || !Touch(*node, index)) {
    counters_.Add(thread, Counter::kMisses);
    return false;
  }
  if (!PolicyT::OnHit(*node, thread, front.shared)) {
    StripeT& stripe = StripeOf(hash);
    MutexLock lock(&stripe.mutex);
    // Another thread may have renewed it while this one waited for the lock.
    if (!PolicyT::OnHit(*node, thread, front.shared)) {
      stripe.policy.Renew(thread);
      PolicyT::OnHit(*node, thread, front.shared);
    }
  }
  counters_.Add(thread, Counter::kHits);
  f(*node, index);
  return true;
}

template <class K, class V, class P, class H, class E>
template <class Q>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline std::optional<V> Core<K, V, P, H, E>::Get(const Q& key) {
  const HashBits hash(hash_(key));
  if (ThreadRecord* const thread = ThreadRecord::IfQuick(); thread != nullptr) [[likely]] {
    QuickGuard guard(*thread);
    [[maybe_unused]] const UserCode<!kPlainKey || !std::is_trivially_copyable_v<V>> user_code;
    const Glance glance = LookUp(key, hash, *thread);
    if (glance.node != nullptr) [[likely]]
      return Access::Load(glance.node->value);
    if (!glance.unsure) return std::nullopt;
  }
  return GetSlowly<Q>(key, hash);
}

template <class K, class V, class P, class H, class E>
template <class Q>
ABSL_ATTRIBUTE_NOINLINE std::optional<V> Core<K, V, P, H, E>::GetSlowly(KeyParameter<Q> key,
                                                                        HashBits hash) {
  std::optional<V> value;
  LookUpSlowly(key, hash,
               [&value](const NodeT& node, NodeIndex) { value.emplace(Access::Load(node.value)); });
  return value;
}

template <class K, class V, class P, class H, class E>
Handle<K, V> Core<K, V, P, H, E>::PinNode(NodeT& node, NodeIndex index) {
  // Far enough from the limit for any number of threads that check it at once.
  constexpr uint32_t kMostPins = NodeHeader::kPins - 0xffff;
  if ((node.state.load(std::memory_order_relaxed) & NodeHeader::kPins) >= kMostPins) return {};
  // The end of the guard, or of the lock, orders this before any look at the pins by a reclaimer.
  // Acquire: an overwriting that has ended is seen.
  const uint32_t before = node.state.fetch_add(1, std::memory_order_acquire);
  if constexpr (Access::kOverwritable) {
    // The writer, who saw no pin, holds the lock to the end.
    if ((before & NodeHeader::kOverwriting) != 0) [[unlikely]] {
      const MutexLock ended(&stripes_[slab_.OwnerOf(index)].mutex);
    }
  }
  return Handle<K, V>(this, &node, index);
}

template <class K, class V, class P, class H, class E>
template <class Q>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline Handle<K, V> Core<K, V, P, H, E>::Pin(const Q& key) {
  const HashBits hash(hash_(key));
  if (ThreadRecord* const thread = ThreadRecord::IfQuick(); thread != nullptr) [[likely]] {
    QuickGuard guard(*thread);
    [[maybe_unused]] const UserCode<!kPlainKey> user_code;
    const Glance glance = LookUp(key, hash, *thread);
    if (glance.node != nullptr) [[likely]]
      return PinNode(*glance.node, glance.index);
    if (!glance.unsure) return {};
  }
  return PinSlowly<Q>(key, hash);
}

template <class K, class V, class P, class H, class E>
template <class Q>
ABSL_ATTRIBUTE_NOINLINE Handle<K, V> Core<K, V, P, H, E>::PinSlowly(KeyParameter<Q> key,
                                                                    HashBits hash) {
  Handle<K, V> handle;
  LookUpSlowly(key, hash, [&](NodeT& node, NodeIndex index) { handle = PinNode(node, index); });
  return handle;
}

template <class K, class V, class P, class H, class E>
template <class Q>
Handle<K, V> Core<K, V, P, H, E>::PinQuietly(const Q& key, HashBits hash) {
  const Front& front = FrontOf(hash);
  EpochGuard guard(EnterCall());
  NodeIndex index = kNoNode;
  NodeT* node = FindNode(front, key, hash, &index);
  return node != nullptr && Touch(*node, index) ? PinNode(*node, index) : Handle<K, V>();
}

// Notes in debug builds that a callback of this cache runs.
template <class K, class V, class P, class H, class E>
class Core<K, V, P, H, E>::VisitMark {
 public:
#ifdef NDEBUG
  VisitMark(ThreadRecord&, const Core*) {}
#else
  VisitMark(ThreadRecord& thread, const Core* core)
      : thread_(thread), before_(std::exchange(thread.visiting, core)) {}
  ~VisitMark() { thread_.visiting = before_; }
  VisitMark(const VisitMark&) = delete;
  VisitMark& operator=(const VisitMark&) = delete;

 private:
  ThreadRecord& thread_;
  const void* const before_;
#endif
};

template <class K, class V, class P, class H, class E>
template <class Q, class F>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool Core<K, V, P, H, E>::Visit(const Q& key, F&& f) {
  const HashBits hash(hash_(key));
  if (ThreadRecord* const thread = ThreadRecord::IfQuick(); thread != nullptr) [[likely]] {
    QuickGuard guard(*thread);
    [[maybe_unused]] const UserCode<true> user_code;
    const Glance glance = LookUp(key, hash, *thread);
    if (glance.node != nullptr) [[likely]] {
      const VisitMark mark(*thread, this);
      typename Access::Seen value = Access::Load(glance.node->value);
      f(value);
      return true;
    }
    if (!glance.unsure) return false;
  }
  return LookUpSlowly(key, hash, [&](const NodeT& node, NodeIndex) {
    const VisitMark mark(ThreadRecord::Current(), this);
    typename Access::Seen value = Access::Load(node.value);
    f(value);
  });
}

template <class K, class V, class P, class H, class E>
template <class Q>
bool Core<K, V, P, H, E>::Contains(const Q& key) {
  const HashBits hash(hash_(key));
  const Front& front = FrontOf(hash);
  EpochGuard guard(EnterCall());
  NodeIndex index = kNoNode;
  NodeT* node = FindNode(front, key, hash, &index);
  return node != nullptr && IsLive(*node, index);
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
