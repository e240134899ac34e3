// SPDX-License-Identifier: Apache-2.0
//
// Limbo: nodes that have left the cache, but which readers may still be looking at.

#ifndef LARDER_INTERNAL_LIMBO_H_
#define LARDER_INTERNAL_LIMBO_H_

#include <algorithm>
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
  size_t count = 0;
  uint64_t weight = 0;

  bool empty() const { return first == kNoNode; }

  void Append(const Slab& slab, NodeIndex node, uint64_t node_weight) {
    slab.At(node)->timer_next = kNoNode;
    Append(slab, NodeChain{node, node, 1, node_weight});
  }

  void Append(const Slab& slab, const NodeChain& other) {
    if (other.empty()) return;
    if (empty()) {
      first = other.first;
    } else {
      slab.At(last)->timer_next = other.first;
    }
    last = other.last;
    count += other.count;
    weight += other.weight;
  }
};

// One stripe's limbo; belongs to its lock. Removed nodes collect here until there are enough of
// them to be worth a look at all readers; a batch that readers still held then waits here for the
// next. At most two batches wait: the older one is left alone until it is free, however many come
// after, so that a stream of new removals can't keep it from becoming so.
class Limbo {
 public:
  explicit Limbo(const Slab* slab) : slab_(*slab) {}

  void Add(const NodeChain& removed) { fresh_.Append(slab_, removed); }

  // Nodes added since the last TakeFresh.
  const NodeChain& fresh() const { return fresh_; }
  NodeChain TakeFresh() { return std::exchange(fresh_, NodeChain()); }

  bool empty() const { return fresh_.empty() && older_.chain.empty() && newer_.chain.empty(); }

  // Takes `batch`, unlinked up to epoch `tag`, and returns all that no reader can hold, given the
  // epoch of the oldest reader, which was asked for after epoch `tag` ended (see epoch.h). Batches
  // of several threads may come in any order: an answer says nothing of what was unlinked after it.
  NodeChain Settle(const NodeChain& batch, uint64_t tag, uint64_t oldest_reader) {
    const uint64_t free_before = std::min(oldest_reader, tag + 1);
    newer_.chain.Append(slab_, batch);
    newer_.tag = std::max(newer_.tag, tag);
    NodeChain free;
    if (older_.tag < free_before) {
      free = older_.chain;
      older_ = std::exchange(newer_, Tagged());
      if (older_.tag < free_before) {
        free.Append(slab_, older_.chain);
        older_ = Tagged();
      }
    }
    return free;
  }

  // Everything, for when there are no readers any more.
  NodeChain TakeAll() {
    NodeChain all = TakeFresh();
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
