// SPDX-License-Identifier: Apache-2.0
//
// SievePolicy: a queue with a hand that spares what was hit since it last came by.

#ifndef LARDER_INTERNAL_SIEVE_H_
#define LARDER_INTERNAL_SIEVE_H_

#include <cstddef>
#include <cstdint>

#include "larder/internal/index_list.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"

namespace larder::internal {

// SIEVE (Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson and K. V. Rashmi, "SIEVE is simpler than LRU: an
// efficient turn-key eviction algorithm for web caches", NSDI 2024). New nodes enter at the front
// of a queue, and nothing moves in it. A hand goes from the back to the front and round again; it
// evicts the first node that wasn't hit since it last came by, and forgets the hits of those that
// it passes. The new are thus tried soon, while those that proved themselves stay behind the hand.
//
// A hit sets one bit, and writes nothing where the bit is set. With one thread the order of
// eviction is exactly the paper's, unless the hand would have to pass more than kMostPassed nodes.
class SievePolicy {
 public:
  // Hits need nothing that threads share.
  struct Shared {};

  SievePolicy(const Slab* slab, const SlotAllocator* /*slots*/, Shared* /*shared*/)
      : slab_(*slab), queue_(slab) {}

  // Links nodes through their prefixes.
  static constexpr bool kLinked = true;

  // A node with these bits of its state set is as it would be after another hit.
  static constexpr uint32_t kSettled = NodeHeader::kAccess;

  // A hit. Without a lock; lost if another thread pins the same node at this moment.
  static bool OnHit(NodeHeader& node, ThreadRecord& /*thread*/, const Shared& /*shared*/) {
    node.CountAccess(1);
    return true;
  }

  // --- All below under the stripe's lock.

  void Renew(ThreadRecord& /*thread*/) {}

  void OnInsert(NodeIndex node, uint64_t /*fingerprint*/, ThreadRecord& /*thread*/) {
    queue_.PushFront(node);
  }
  void OnReplace(NodeIndex old, NodeIndex node, ThreadRecord& thread);
  void OnUpdate(NodeIndex node, ThreadRecord& /*thread*/) { slab_.At(node)->CountAccess(1); }
  void OnEvict(NodeIndex node, uint64_t /*fingerprint*/) { OnRemove(node); }
  void OnRemove(NodeIndex node);
  void Clear() {
    queue_.Clear();
    hand_ = kNoNode;
  }

  // The node to evict next, which stays where it is; kNoNode where there is none. O(1) amortised:
  // each node passed was hit or replaced since the hand last passed it. At most kMostPassed at
  // once: the next node then has to go, hit or not.
  NodeIndex Victim(size_t live);
  NextVictims Next() const {
    const NodeIndex next = hand_ != kNoNode ? hand_ : queue_.back();
    return {next, next == kNoNode ? kNoNode : queue_.Before(next)};
  }

  // --- For snapshots. The queue from the hand to the front and round again: a stripe that is
  // filled in this order, and whose hand is at the back, evicts in the same order.
  static constexpr int kLines = 1;
  static uint32_t Standing(const NodeHeader& node) { return node.accesses(); }
  size_t LineSize(int /*line*/) const { return queue_.size(); }
  NodeIndex FirstInLine(int /*line*/) const { return hand_ != kNoNode ? hand_ : queue_.back(); }
  NodeIndex NextInLine(int line, NodeIndex node) const {
    const NodeIndex before = queue_.Before(node);
    const NodeIndex next = before != kNoNode ? before : queue_.back();
    return next == FirstInLine(line) ? kNoNode : next;
  }
  bool IsInLine(int /*line*/, NodeIndex node) const { return slab_.At(node)->InCache(); }
  void Restore(NodeIndex node, uint32_t standing);

 private:
  // Bounds how long the lock is held where all of a large stripe was hit.
  static constexpr size_t kMostPassed = size_t{1} << 16;

  const Slab& slab_;
  IndexList queue_;           // the newest in front
  NodeIndex hand_ = kNoNode;  // whom it looks at next; kNoNode: the back
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SIEVE_H_
