// SPDX-License-Identifier: Apache-2.0
//
// Limbo: nodes that have left the cache, but which readers may still be looking at.

#ifndef LARDER_INTERNAL_LIMBO_H_
#define LARDER_INTERNAL_LIMBO_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "larder/internal/node.h"
#include "larder/internal/slab.h"

namespace larder::internal {

// Nodes linked through timer_next.
struct NodeChain {
  NodeIndex first = kNoNode;
  NodeIndex last = kNoNode;
  uint32_t count = 0;
  uint64_t weight = 0;

  bool empty() const { return first == kNoNode; }

  void Append(const Slab& slab, NodeIndex node, uint64_t node_weight) {
    slab.At(node)->timer_next = kNoNode;
    Link(slab, node);
    last = node;
    ++count;
    weight += node_weight;
  }

  void Append(const Slab& slab, const NodeChain& other) {
    if (other.empty()) return;
    Link(slab, other.first);
    last = other.last;
    count += other.count;
    weight += other.weight;
  }

  // Takes the first `nodes` out, 0 < nodes < count, and looks at each. What they weigh isn't known
  // any more: all of the weight stays.
  NodeChain TakeFront(const Slab& slab, size_t nodes) {
    NodeChain front{.first = first, .last = first, .count = static_cast<uint32_t>(nodes)};
    for (size_t i = 1; i < nodes; ++i) front.last = slab.At(front.last)->timer_next;
    first = std::exchange(slab.At(front.last)->timer_next, kNoNode);
    count -= front.count;
    return front;
  }

 private:
  void Link(const Slab& slab, NodeIndex node) {
    (empty() ? first : slab.At(last)->timer_next) = node;
  }
};

// One stripe's limbo; belongs to its lock. Removed nodes collect here; once there are enough of
// them they are sealed as a batch, which waits for its epoch to be over (epoch.h). At most two
// batches wait: the older one is left alone until it is free, however many come after, so that a
// stream of new removals can't keep it from becoming so.
class Limbo {
 public:
  explicit Limbo(const Slab* slab) : slab_(*slab) {}

  void Add(const NodeChain& removed) { fresh_.Append(slab_, removed); }

  // Nodes added since the last Seal.
  const NodeChain& fresh() const { return fresh_; }

  bool empty() const { return fresh_.empty() && older_.chain.empty(); }

  // More than one batch waits: it is time to look at the readers.
  bool crowded() const { return !newer_.chain.empty(); }

  // Makes a batch of the fresh nodes. `tag`: the epoch they were unlinked in, as of Epoch::Advance
  // under the lock that this belongs to.
  void Seal(uint64_t tag) {
    Tagged& batch = older_.chain.empty() ? older_ : newer_;
    batch.chain.Append(slab_, std::exchange(fresh_, NodeChain()));
    batch.tag = tag;
  }

  // Nodes in batches from before the epoch `free_before`.
  size_t free_count(uint64_t free_before) const {
    const size_t older = older_.tag < free_before ? older_.chain.count : 0;
    return older + (newer_.tag < free_before ? newer_.chain.count : 0);
  }

  // Takes out `most` nodes of the batches from before the epoch `free_before`. Looks at those of a
  // batch that is taken in part, at none of one that is taken whole.
  NodeChain TakeFree(uint64_t free_before, size_t most = SIZE_MAX) {
    NodeChain free;
    while (!older_.chain.empty() && older_.tag < free_before && free.count < most) {
      if (older_.chain.count > most - free.count) {
        free.Append(slab_, older_.chain.TakeFront(slab_, most - free.count));
        break;
      }
      free.Append(slab_, older_.chain);
      older_ = std::exchange(newer_, Tagged());
    }
    return free;
  }

  // Everything, for when there are no readers any more.
  NodeChain TakeAll() {
    NodeChain all = std::exchange(fresh_, NodeChain());
    all.Append(slab_, std::exchange(older_, Tagged()).chain);
    all.Append(slab_, std::exchange(newer_, Tagged()).chain);
    return all;
  }

 private:
  struct Tagged {
    NodeChain chain;
    uint64_t tag = 0;
  };

  const Slab& slab_;
  NodeChain fresh_;
  Tagged older_;
  Tagged newer_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LIMBO_H_
