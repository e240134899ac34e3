// SPDX-License-Identifier: Apache-2.0
//
// LruPolicy: evict the entry whose last access is longest ago, exactly, without a list.

#ifndef LARDER_INTERNAL_LRU_H_
#define LARDER_INTERNAL_LRU_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"

namespace larder::internal {

// Each access stamps its node with the next value of a logical clock; the victim is the node with
// the smallest stamp. A hit thus costs one store into a line that the hit has read anyway: no list
// to splice, no lock, no shared counter.
//
// The clock is a Lamport clock (L. Lamport, "Time, clocks, and the ordering of events in a
// distributed system", 1978): each thread counts its own accesses, and takes over larger values
// that it meets, in a node it hits and from the stripe, whose writers keep a clock too. With one
// thread, stamps order all accesses exactly. With more, a thread may lag behind another: what it
// does is then ordered as if it had happened earlier, but not before the stripe was last walked.
//
// To find the smallest stamps, the stripe's slots are walked once in a while, in the order of
// memory, and the oldest part of the nodes are put in a queue, sorted. A queued node is a victim
// only if its stamp is still the one it was queued with. Any node that isn't in the queue has a
// larger stamp than all that are: the walk left it out for that, or it was stamped since (by a
// thread that keeps up: the stripe's clock takes over the largest stamp of the walk). So the first
// valid node of the queue is the least recently used one of all. A walk visits kShare nodes per
// node queued: O(1) amortised per victim, and no memory per entry but the stamp.
//
// A node has room for 32 bits of the clock, which count from a base that the stripe's writers move
// on: once in four billion accesses the stripe's stamps become the numbers 1, 2, 3 ... of the same
// order (Renew).
class LruPolicy {
 public:
  // What hits read: the stripe's clock as its writers last published it, and what stamps count
  // from.
  struct Shared {
    std::atomic<uint64_t> clock{0};
    std::atomic<uint64_t> base{0};
  };

  static constexpr bool kLinked = false;
  // Each hit stamps its node.
  static constexpr uint32_t kSettled = 0;

  LruPolicy(const Slab* slab, const SlotAllocator* slots, Shared* shared)
      : slab_(*slab), slots_(*slots), shared_(*shared) {}

  // A hit. Without a lock; may lose against another thread's hit on the same node.
  static bool OnHit(NodeHeader& node, ThreadRecord& thread, const Shared& shared) {
    const uint64_t base = shared.base.load(std::memory_order_acquire);
    uint64_t now = std::max(thread.recency, shared.clock.load(std::memory_order_relaxed)) - base;
    const uint64_t stamp = node.policy.load(std::memory_order_relaxed);
    if (stamp >= now) {
      // This thread's last access was this node, or another thread was here just now: its stamp
      // will do. One that is far ahead may be old; it only shows how far this thread lags.
      thread.recency = base + stamp;
      if (stamp - now <= kJustNow) return true;
      now = stamp;
    }
    if (now >= kMostStamp) [[unlikely]]
      return false;
    thread.recency = base + now + 1;
    node.policy.store(static_cast<uint32_t>(now + 1), std::memory_order_relaxed);
    return true;
  }

  // --- All below under the stripe's lock.

  // Makes room for stamps up to the thread's time: O(n log n), once in 2^32 accesses of a thread.
  void Renew(ThreadRecord& thread);

  void OnInsert(NodeIndex node, uint64_t /*fingerprint*/, ThreadRecord& thread) {
    Stamp(node, thread);
  }
  void OnReplace(NodeIndex /*old*/, NodeIndex node, ThreadRecord& thread) { Stamp(node, thread); }
  void OnUpdate(NodeIndex node, ThreadRecord& thread) { Stamp(node, thread); }

  // Nothing to do: the queue checks its entries when it comes to them.
  void OnEvict(NodeIndex, uint64_t /*fingerprint*/) {}
  void OnRemove(NodeIndex) {}

  // The node to evict next, which stays where it is; kNoNode where there is none. `live`: nodes in
  // the stripe.
  NodeIndex Victim(size_t live);
  NextVictims Next() const {
    const size_t left = queue_.size();
    return {left < 1 ? kNoNode : queue_[left - 1].node, left < 2 ? kNoNode : queue_[left - 2].node};
  }

 private:
  struct Candidate {
    uint32_t stamp;
    NodeIndex node;
  };

  static constexpr uint64_t kMostStamp = UINT32_MAX;
  // Two threads that are this close are as good as equal.
  static constexpr uint64_t kJustNow = 64;
  // Hits read this line: publish rarely.
  static constexpr uint64_t kPublishEvery = 64;
  // One in this many nodes is queued at a time.
  static constexpr size_t kShare = 8;

  void Stamp(NodeIndex node, ThreadRecord& thread) {
    clock_ = std::max(clock_, thread.recency) + 1;
    if (clock_ - base_ >= kMostStamp) [[unlikely]] {
      Renew(thread);
      ++clock_;
    }
    thread.recency = clock_;
    slab_.At(node)->policy.store(static_cast<uint32_t>(clock_ - base_), std::memory_order_relaxed);
    if (clock_ - published_ >= kPublishEvery) Publish();
  }
  // Lets hits see the stripe's clock.
  void Publish() {
    published_ = clock_;
    shared_.clock.store(clock_, std::memory_order_relaxed);
  }
  // The oldest queued node that is still as old as when it was queued. Drops those that aren't.
  NodeIndex NextQueued();
  void FillQueue(size_t live);
  // A stamp that about one in kShare nodes is older than.
  uint32_t QueueThreshold(size_t live);
  // Some node of the stripe.
  NodeIndex AnyNode() const;

  const Slab& slab_;
  const SlotAllocator& slots_;
  Shared& shared_;
  uint64_t clock_ = 0;
  uint64_t base_ = 0;  // stamps count from here
  uint64_t published_ = 0;
  uint64_t random_ = 0;
  std::vector<Candidate> queue_;  // the oldest last
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LRU_H_
