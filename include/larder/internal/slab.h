// SPDX-License-Identifier: Apache-2.0
//
// Slab: where all nodes of a cache live; SlotAllocator: one stripe's share of it.

#ifndef LARDER_INTERNAL_SLAB_H_
#define LARDER_INTERNAL_SLAB_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "larder/internal/mutex.h"
#include "larder/internal/node.h"
#include "larder/internal/pages.h"

namespace larder::internal {

// Maps node indices to memory. Reserves address space for the most nodes that there can be, so that
// a node's address is its index times its size, and never changes: readers may hold on to it.
// Memory is taken as nodes are used: by chunks of equal, power-of-two numbers of slots, each given
// to one stripe for good.
class Slab {
 public:
  // `node_size`: bytes a node, a multiple of its alignment, >= sizeof(NodeHeader).
  // `chunk_log2`: slots per chunk, 4..16. `most_nodes`: address space is reserved for as many where
  // the system allows. `prefix`: bytes before each node, a multiple of its alignment: 0, or
  // >= sizeof(NodePrefix). `likely_nodes`: about how many will be used at most, which saves part of
  // a huge page; 0: not known.
  Slab(size_t node_size, int chunk_log2, size_t most_nodes = kDefaultMostNodes,
       size_t prefix = sizeof(NodePrefix), size_t likely_nodes = 0);
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // Enough where nothing better is known.
  static constexpr size_t kDefaultMostNodes = size_t{1} << 26;

  // False where the address space wasn't to be had.
  bool ok() const { return owners_.data() != nullptr; }

  NodeHeader* At(NodeIndex index) const {
    return reinterpret_cast<NodeHeader*>(nodes_ + index * stride_);
  }

  // `At` for callers that know the node's size and prefix, which spares a load.
  template <class NodeType, size_t kPrefix = sizeof(NodePrefix)>
  NodeType* At(NodeIndex index) const {
    return reinterpret_cast<NodeType*>(nodes_ + index * (kPrefix + sizeof(NodeType)));
  }

  // The node's extra. Requires: it has one.
  NodeExtra* Extra(NodeIndex index) const {
    return reinterpret_cast<NodeExtra*>(extras_.data()) + index;
  }

  // Makes room for extras of the nodes up to `index`. False where memory is out. Thread-safe.
  bool EnsureExtra(NodeIndex index);

  // The same for terms.
  NodeTerms* Terms(NodeIndex index) const {
    return reinterpret_cast<NodeTerms*>(terms_.data()) + index;
  }
  bool EnsureTerms(NodeIndex index);

  // When the node is to leave the cache by itself, ns; kNever: not.
  int64_t LeavesAt(NodeIndex index) const {
    const NodeHeader& node = *At(index);
    return node.Has(NodeHeader::kTerms) ? Terms(index)->LeavesAt()
                                        : node.deadline.load(std::memory_order_relaxed);
  }

  // A new chunk's first index, its slots zeroed; kNoNode where memory or indices are out.
  // Thread-safe.
  NodeIndex AllocateChunk(uint32_t owner);

  // The stripe that `index` belongs to.
  uint32_t OwnerOf(NodeIndex index) const {
    return reinterpret_cast<const uint32_t*>(owners_.data())[index >> chunk_log2_];
  }

  int chunk_log2() const { return chunk_log2_; }
  size_t chunk_slots() const { return size_t{1} << chunk_log2_; }
  size_t stride() const { return stride_; }  // from one node to the next

 private:
  const size_t stride_;
  const int chunk_log2_;
  size_t most_chunks_ = 0;
  char* nodes_ = nullptr;  // the first node; its prefix is before it
  Reservation node_memory_;
  Reservation extras_;  // NodeExtra for each node; made with the first one that has any
  Reservation terms_;   // NodeTerms for each node; the same
  Reservation owners_;  // uint32_t for each chunk

  Mutex mutex_;  // for what grows
  size_t chunks_ ABSL_GUARDED_BY(mutex_) = 0;
  bool Ensure(Reservation& side, size_t size, std::atomic<size_t>& end);

  std::atomic<size_t> extras_end_{0};  // nodes that there is room for extras for
  std::atomic<size_t> terms_end_{0};   // the same of terms
};

// Hands out the slots of one stripe. Everything here belongs to the stripe's lock.
class SlotAllocator {
 public:
  SlotAllocator(Slab* slab, uint32_t stripe) : slab_(*slab), stripe_(stripe) {}

  // A slot that isn't in the cache; kNoNode where memory or indices are out. O(1).
  NodeIndex Allocate() {
    const NodeIndex index = free_;
    if (index == kNoNode) return AllocateFresh();
    free_ = slab_.At(index)->timer_next;
    return index;
  }

  // The same, but one that was never handed out before.
  NodeIndex AllocateFresh();

  // What Allocate will probably return next.
  NodeIndex Next() const { return free_; }

  // Gives back the slots from `first` to `last`, linked through timer_next; one, if they are the
  // same. O(1). Requires: no reader can be looking at them, and none is in the cache.
  void Free(NodeIndex first, NodeIndex last) {
    slab_.At(last)->timer_next = free_;
    free_ = first;
  }

  void Free(NodeIndex index) {
    slab_.At(index)->timer_prev = NodeHeader::kFree;
    Free(index, index);
  }

  // All slots ever handed out can be walked: number i, for i < slots_used().
  size_t slots_used() const { return slots_used_; }
  template <class F>
  void ForEachSlot(F&& f) const {  // f(NodeIndex, NodeHeader&) -> void
    ForEachSlot(0, slots_used_, f);
  }
  // Those of numbers from `begin` up to `end`. Requires: end <= slots_used().
  template <class F>
  void ForEachSlot(size_t begin, size_t end, F&& f) const {
    while (begin < end) {
      const size_t in_chunk = begin & (slab_.chunk_slots() - 1);
      const size_t slots = std::min(end - begin, slab_.chunk_slots() - in_chunk);
      const NodeIndex first = SlotNumber(begin);
      char* node = reinterpret_cast<char*>(slab_.At(first));
      for (size_t i = 0; i < slots; ++i, node += slab_.stride()) {
        f(static_cast<NodeIndex>(first + i), *reinterpret_cast<NodeHeader*>(node));
      }
      begin += slots;
    }
  }
  NodeIndex SlotNumber(size_t i) const {
    return chunks_[i >> slab_.chunk_log2()] + static_cast<NodeIndex>(i & (slab_.chunk_slots() - 1));
  }

 private:
  Slab& slab_;
  const uint32_t stripe_;
  NodeIndex free_ = kNoNode;
  std::vector<NodeIndex> chunks_;
  size_t slots_used_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SLAB_H_
