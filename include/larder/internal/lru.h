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

#include "larder/internal/age_buckets.h"
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
// To find the smallest stamps, the stripe's slots are walked in the order of memory, and the nodes
// of the oldest sixth gathered (age_buckets.h). A walk goes on bit by bit, while what the last one
// gathered is used up, and gathers what is next in age. When a bucket of those gathered is reached,
// those of its nodes that are still as old are sorted. A node that isn't queued is younger than all
// that are: the walk left it out for its stamp, or it was stamped since, and a walk gathers no
// stamps but those from before it began. So the first of the sorted nodes whose stamp hasn't
// changed is the least recently used one of all.
//
// Costs: O(1) amortised per victim, with about six slots to look at; about a byte of memory per
// node besides its stamp, and none allocated where it may not fail. One call of Victim looks at the
// slots that are a bucket's share of the walk, some thousands where the stripe has 150,000, and
// sorts a bucket: 256 to 512 nodes where stamps are evenly spread. More only where it must be,
// since a hit tells nobody: where all that was gathered was hit, or removed, before the next walk
// is over, the rest of that walk is done at once, O(n). The same holds, without memory, for each
// victim.
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
    // So that there is a queue when evictions begin.
    if (++inserts_ % kStep == 0) Walk(kStep);
    Stamp(node, thread);
  }
  void OnReplace(NodeIndex /*old*/, NodeIndex node, ThreadRecord& thread) { Stamp(node, thread); }
  void OnUpdate(NodeIndex node, ThreadRecord& thread) { Stamp(node, thread); }

  void OnEvict(NodeIndex node, uint64_t /*fingerprint*/) {
    if (!sorted_.empty() && sorted_.back().node == node) sorted_.pop_back();
  }
  // Nothing to do: nodes are looked at again when their turn comes.
  void OnRemove(NodeIndex) {}
  void Clear() {
    sorted_.clear();
    queue_.Clear();
  }

  // The node to evict next, which stays where it is; kNoNode where there is none. `live`: nodes in
  // the stripe.
  NodeIndex Victim(size_t live);
  NextVictims Next() const {
    const size_t left = sorted_.size();
    return {left < 1 ? kNoNode : sorted_[left - 1].node,
            left < 2 ? kNoNode : sorted_[left - 2].node};
  }

  // --- For snapshots.

  static constexpr int kLines = 0;
  // Its stamp, as a number that other stripes' may be compared with. Blurred while the stripe is
  // renewed.
  static uint64_t Rank(const NodeHeader& node, const Shared& shared) {
    return shared.base.load(std::memory_order_relaxed) +
           node.policy.load(std::memory_order_relaxed);
  }
  static uint32_t Standing(const NodeHeader& /*node*/) { return 0; }

  // Slots that Victim and OnInsert have looked at so far.
  uint64_t slots_walked() const { return slots_walked_; }

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
  static constexpr size_t kShare = 6;
  // After so many insertions, as many slots are walked where the queue is short.
  static constexpr uint32_t kStep = 512;

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
  // The oldest node, if it is among those sorted. Drops from there what was hit or has left.
  NodeIndex NextSorted();
  // Sorts the oldest bucket, and walks on. False where memory is out. Requires: some are queued,
  // none is sorted.
  bool SortBucket();
  // Walks on for `slots` slots, or to the end. Begins a walk where the queue is short.
  void Walk(size_t slots);
  // False where there is none to begin. May throw std::bad_alloc.
  bool BeginWalk();
  // Up to slot number `end`. May throw std::bad_alloc.
  void WalkSlots(size_t end);
  struct Range {
    uint32_t first;  // few that aren't queued are older
    uint32_t last;
  };
  // The stamps of about one in kShare nodes, the oldest that aren't queued.
  Range NextRange();
  // The oldest by a look at all of them.
  NodeIndex FindOldest() const;

  const Slab& slab_;
  const SlotAllocator& slots_;
  Shared& shared_;
  uint64_t clock_ = 0;
  uint64_t base_ = 0;  // stamps count from here
  uint64_t published_ = 0;
  std::vector<Candidate> sorted_;  // the oldest last; older than all others
  AgeBuckets queue_;               // what is next in age

  // Of the walk that goes on, while queue_ is gathering.
  size_t next_slot_ = 0;
  size_t end_slot_ = 0;  // those used since hold nothing that old
  uint32_t newest_ = 0;  // the largest stamp met

  uint32_t inserts_ = 0;
  uint64_t random_ = 0;
  uint64_t slots_walked_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LRU_H_
