// SPDX-License-Identifier: Apache-2.0
//
// S3FifoPolicy: three first-in-first-out queues: small, main, and ghosts.

#ifndef LARDER_INTERNAL_S3FIFO_H_
#define LARDER_INTERNAL_S3FIFO_H_

#include <cstddef>
#include <cstdint>

#include "larder/internal/ghost_queue.h"
#include "larder/internal/index_list.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"

namespace larder::internal {

// S3-FIFO (J. Yang, Y. Zhang, Z. Qiu, Y. Yue and K. V. Rashmi, "FIFO queues are all you need for
// cache eviction", SOSP 2023). New nodes enter the small queue, a tenth of all. Those that were hit
// twice by the time they leave it go on to the main queue; the others are evicted, and their keys
// remembered as ghosts, as many as 0.9 of all: one that comes back as long as it is remembered
// enters the main queue at once. What most keys are asked for, once, thus passes quickly through a
// small part of the cache. In the main queue a node's turn costs it one of its hits, and it is
// evicted when it has none left.
//
// A hit counts up to three in its node, and writes nothing from there on. With one thread and
// entries of equal weight the order of eviction is exactly the paper's, unless one eviction would
// have to move more than kMostMoved nodes.
class S3FifoPolicy {
 public:
  // Hits need nothing that threads share.
  struct Shared {};

  S3FifoPolicy(const Slab* slab, const SlotAllocator* /*slots*/, Shared* /*shared*/)
      : slab_(*slab), small_(slab), main_(slab) {}

  // Links nodes through their prefixes.
  static constexpr bool kLinked = true;

  // A node with these bits of its state set is as it would be after another hit.
  static constexpr uint32_t kSettled = NodeHeader::kAccessMask;

  // A hit. Without a lock; lost if another thread hits or pins the same node at this moment.
  static bool OnHit(NodeHeader& node, ThreadRecord& /*thread*/, const Shared& /*shared*/) {
    node.CountAccess(kMostAccesses);
    return true;
  }

  // --- All below under the stripe's lock.

  void Renew(ThreadRecord& /*thread*/) {}

  void OnInsert(NodeIndex node, uint64_t fingerprint, ThreadRecord& thread);
  void OnReplace(NodeIndex old, NodeIndex node, ThreadRecord& thread);
  void OnUpdate(NodeIndex node, ThreadRecord& /*thread*/) {
    slab_.At(node)->CountAccess(kMostAccesses);
  }
  void OnEvict(NodeIndex node, uint64_t fingerprint);
  void OnRemove(NodeIndex node);
  // Ghosts stay: they are of keys that aren't there.
  void Clear();

  // The node to evict next, which stays where it is; kNoNode where there is none. `live`: nodes in
  // the stripe, of which the queues get their shares. O(1) amortised: a node moves to the main
  // queue once, and to its front again once for each hit counted. At most kMostMoved move at once:
  // the next node then has to go, however often it was hit.
  NodeIndex Victim(size_t live);
  NextVictims Next() const {
    const IndexList& queue = small_.empty() ? main_ : small_;
    const NodeIndex next = queue.back();
    return {next, next == kNoNode ? kNoNode : queue.Before(next)};
  }

  // --- For snapshots. The small queue, then the main one, from their backs on. Ghosts are lost:
  // what stands for a key there means nothing to another process.
  static constexpr int kLines = 2;
  static uint32_t Standing(const NodeHeader& node) {
    return node.accesses() | (node.policy_flag() ? kInMain : 0);
  }
  size_t LineSize(int line) {
    Settle();
    return Line(line).size();
  }
  NodeIndex FirstInLine(int line) const { return Line(line).back(); }
  NodeIndex NextInLine(int line, NodeIndex node) const { return Line(line).Before(node); }
  bool IsInLine(int line, NodeIndex node) const {
    return slab_.At(node)->InCache() && slab_.At(node)->policy_flag() == (line == 1) &&
           node != entering_;
  }
  void Restore(NodeIndex node, uint32_t standing);

 private:
  static constexpr uint32_t kMostAccesses = 3;
  // Beside them in a standing.
  static constexpr uint32_t kInMain = 4;
  // Hits that take a node from the small to the main queue.
  static constexpr uint32_t kPromoted = 2;
  // Bounds how long the lock is held where all of a large stripe was hit.
  static constexpr size_t kMostMoved = size_t{1} << 16;

  const IndexList& Line(int line) const { return line == 0 ? small_ : main_; }
  IndexList& QueueOf(NodeIndex node) { return slab_.At(node)->policy_flag() ? main_ : small_; }
  void EnterMain(NodeIndex node);
  // Lets the entering node into its queue. To be called before anything else is done.
  void Settle() {
    if (entering_ != kNoNode) LetIn();
  }
  void LetIn();
  // Sets how many ghosts to keep, given the nodes in the stripe now.
  void SizeGhosts(size_t live);
  // Takes the back of the small queue to the main queue.
  void Promote(NodeIndex node);
  NodeIndex VictimOfMain(size_t may_move);

  const Slab& slab_;
  IndexList small_;  // the newest in front
  IndexList main_;   // of nodes with the policy's flag
  GhostQueue ghosts_;
  size_t full_ = 0;  // nodes in the stripe when it is full
  // The last node that was inserted, until the next call: by then, what says whether its key is a
  // ghost has come from memory.
  NodeIndex entering_ = kNoNode;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_S3FIFO_H_
