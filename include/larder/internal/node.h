// SPDX-License-Identifier: Apache-2.0
//
// Node: an entry's place in memory: a small header that policies, the timer wheel and reclamation
// work on, then key and value.

#ifndef LARDER_INTERNAL_NODE_H_
#define LARDER_INTERNAL_NODE_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "absl/base/config.h"

#include "larder/removal_cause.h"

#if defined(ABSL_HAVE_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace larder::internal {

// Nodes are named by their index in the cache's slab: half a pointer's size.
using NodeIndex = uint32_t;
inline constexpr NodeIndex kNoNode = 0xffffffff;
// Indices stay below this; the values above serve as markers in `timer_prev`.
inline constexpr NodeIndex kMaxNodes = 0x80000000;

// A deadline that never comes.
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
// The deadline of an entry that was found expired: nothing can move it any more.
inline constexpr int64_t kOver = std::numeric_limits<int64_t>::min();

// Guesses at which nodes will be evicted next, and after that; kNoNode: no idea.
struct NextVictims {
  NodeIndex first = kNoNode;
  NodeIndex second = kNoNode;
};

// What lies before a node's header in a slab whose nodes have it. Fields that not all nodes need:
// those whose key's hash is quicker made than kept, under a policy without lists, do without.
struct NodePrefix {
  uint32_t home;          // HashBits::Home() of the key
  NodeIndex policy_next;  // of the policy's list
};

// 24 bytes, whatever the key and the value are. Fields that lock-free readers touch are atomic; the
// others belong to the lock of the node's stripe, or, for a node that isn't in the cache, to
// whoever removed it.
struct NodeHeader {
  // ns on the cache's clock; expired once this is reached. Readers move it: to later times where
  // the entry has an idle_ttl, and to kOver once they found it expired. In a node with NodeTerms,
  // the time from which on a hit must look at those.
  std::atomic<int64_t> deadline;

  // In the cache: the previous node of the timer list, before the first one the last; or kNoTimer.
  // Otherwise: kRemoved + cause, or kFree.
  uint32_t timer_prev;
  // In the cache: the next node of the timer list, or kTimerEnd | list. Otherwise: of the list that
  // the node is on: a removal chain, a batch to be reclaimed, the free slots.
  uint32_t timer_next;

  // Pins in the low bits, flags above.
  std::atomic<uint32_t> state;

  // The policy's. Lru: the stamp of the last access. Others: the previous node of a list.
  std::atomic<uint32_t> policy;

  static constexpr uint32_t kTimerEnd = 0x80000000;
  static constexpr uint32_t kNoTimer = 0xfffffff0;
  static constexpr uint32_t kRemoved = 0xfffffff1;
  static constexpr uint32_t kFree = 0xffffffff;
  static_assert(kRemoved + kRemovalCauses < kFree);

  static constexpr uint32_t kPins = 0x000fffff;
  static constexpr uint32_t kTerms = 0x00100000;     // its times are in its NodeTerms
  static constexpr uint32_t kTagged = 0x00200000;    // has tags there; implies kTerms
  static constexpr uint32_t kNegative = 0x00400000;  // has no value: the key wasn't found
  static constexpr uint32_t kIdle = 0x01000000;      // has an idle_ttl in its NodeExtra
  static constexpr uint32_t kExtra = 0x02000000;     // has a NodeExtra
  static constexpr uint32_t kAsks = 0x08000000;      // a hit must look at the cache's clock
  static constexpr uint32_t kOrphaned =
      0x04000000;  // reclaimed but for its pins: the last pin frees
  // Two bits for policies that count accesses, up to three.
  static constexpr uint32_t kAccess = 0x10000000;
  static constexpr uint32_t kAccessMask = 0x30000000;
  static constexpr uint32_t kPolicyFlag = 0x40000000;   // for the policy's own use
  static constexpr uint32_t kOverwriting = 0x80000000;  // a writer without pins to heed is at work

  bool Has(uint32_t flags) const { return (state.load(std::memory_order_relaxed) & flags) != 0; }
  bool IsIdle() const { return Has(kIdle); }
  bool InCache() const { return timer_prev <= kNoTimer; }
  bool HasTimer() const { return timer_prev < kNoTimer; }
  void SetRemoved(RemovalCause cause) { timer_prev = kRemoved + static_cast<uint32_t>(cause); }
  RemovalCause Cause() const { return static_cast<RemovalCause>(timer_prev - kRemoved); }

  // Requires: the slab's nodes have a prefix.
  NodePrefix& prefix() { return reinterpret_cast<NodePrefix*>(this)[-1]; }
  const NodePrefix& prefix() const { return reinterpret_cast<const NodePrefix*>(this)[-1]; }

  // For policies that keep lists. Under the stripe's lock. Require: the prefix.
  NodeIndex policy_prev() const { return policy.load(std::memory_order_relaxed); }
  NodeIndex policy_next() const { return prefix().policy_next; }
  void set_policy_prev(NodeIndex node) { policy.store(node, std::memory_order_relaxed); }
  void set_policy_next(NodeIndex node) { prefix().policy_next = node; }

  // Accesses counted, 0..3.
  uint32_t accesses() const {
    return (state.load(std::memory_order_relaxed) & kAccessMask) / kAccess;
  }
  // Counts one more, up to `most`, unless another thread changes the state at this moment.
  void CountAccess(uint32_t most) {
    uint32_t seen = state.load(std::memory_order_relaxed);
    if ((seen & kAccessMask) >= most * kAccess) return;
    state.compare_exchange_strong(seen, seen + kAccess, std::memory_order_relaxed);
  }
  // Under the stripe's lock; an access counted at this moment may be lost.
  void set_accesses(uint32_t count) {
    uint32_t seen = state.load(std::memory_order_relaxed);
    while (!state.compare_exchange_weak(seen, (seen & ~kAccessMask) | (count * kAccess),
                                        std::memory_order_relaxed)) {
    }
  }

  // Not set in a node that is inserted. Both under the stripe's lock.
  bool policy_flag() const { return (state.load(std::memory_order_relaxed) & kPolicyFlag) != 0; }
  void set_policy_flag() { state.fetch_or(kPolicyFlag, std::memory_order_relaxed); }
};
static_assert(sizeof(NodeHeader) == 24);

// What few entries have, kept apart so that the others don't pay for it. Written before the node is
// published, then constant.
struct NodeExtra {
  uint64_t weight;   // where it isn't 1
  int64_t idle_ttl;  // ns; kNever: none
  // The write's ttl alone: an access can't move the deadline past it. A load that finds the entry
  // not modified moves it.
  std::atomic<int64_t> hard_deadline;
};

class TagSet;

// What entries have that are refreshed, kept past their expiry, or tagged: the terms under which
// they may be served. A line of its own, which a hit reads once the node's deadline has come, or
// after an invalidation where there are tags. Written under the stripe's lock, but for what is said
// otherwise.
struct alignas(64) NodeTerms {
  std::atomic<int64_t> expires_at;   // as `deadline` of other nodes, and moved by readers as that
  std::atomic<int64_t> fresh_until;  // the same, but never kOver
  std::atomic<int64_t> kept_for;     // ns that the node stays past that
  std::atomic<int64_t> refresh_at;   // a hit from then on may start a load; kNever: none
  std::atomic<int64_t> written_at;
  const TagSet* tags;                 // constant
  std::atomic<uint32_t> load_micros;  // how long its load took
  std::atomic<bool> failed;           // the last load to replace it failed

  // When the node is to leave the cache; kNever: not by itself.
  int64_t LeavesAt() const {
    int64_t sum;
    const int64_t fresh = fresh_until.load(std::memory_order_relaxed);
    const int64_t kept = kept_for.load(std::memory_order_relaxed);
    const bool never = fresh == kNever || kept == kNever;
    return never || __builtin_add_overflow(fresh, kept, &sum) ? kNever : sum;
  }
};
static_assert(sizeof(NodeTerms) == 64);

// The whole of an entry. Lives in raw slab memory, so key and value are in unions: the header is
// valid in every slot, key and value from Construct to Destroy.
template <class K, class V>
struct Node : NodeHeader {
  Node() = delete;
  ~Node() = delete;
  union {
    K key;
  };
  union {
    V value;
  };

  // Strong guarantee: where a constructor throws, nothing was constructed.
  template <class Key, class Value>
  void Construct(Key&& new_key, Value&& new_value) {
    Unpoison();
    std::construct_at(std::addressof(key), std::forward<Key>(new_key));
    try {
      std::construct_at(std::addressof(value), std::forward<Value>(new_value));
    } catch (...) {
      std::destroy_at(std::addressof(key));
      throw;
    }
  }

  // The same for a key that wasn't found.
  template <class Key>
  void ConstructNegative(Key&& new_key) {
    Unpoison();
    std::construct_at(std::addressof(key), std::forward<Key>(new_key));
  }

  void Destroy() {
    if (!Has(kNegative)) std::destroy_at(std::addressof(value));
    std::destroy_at(std::addressof(key));
    Poison();
  }

 private:
  // Slots are recycled without the allocator's knowing; this lets AddressSanitizer see it.
#if defined(ABSL_HAVE_ADDRESS_SANITIZER)
  void Poison() { ASAN_POISON_MEMORY_REGION(Body(), sizeof(Node) - sizeof(NodeHeader)); }
  void Unpoison() { ASAN_UNPOISON_MEMORY_REGION(Body(), sizeof(Node) - sizeof(NodeHeader)); }
  void* Body() { return static_cast<NodeHeader*>(this) + 1; }
#else
  void Poison() {}
  void Unpoison() {}
#endif
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_NODE_H_
