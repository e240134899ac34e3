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
  bool ok() const { return owned_.data() != nullptr; }

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

  // The same for the generation up to which a tagged node is known to be valid (see Tags), which
  // readers move. Apart from the terms, since each hit reads it: eight in a cache line.
  std::atomic<uint64_t>& Validated(NodeIndex index) const {
    return reinterpret_cast<std::atomic<uint64_t>*>(validated_.data())[index];
  }
  bool EnsureValidated(NodeIndex index);

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
  uint32_t OwnerOf(NodeIndex index) const { return ChunkOf(index).owner; }
  // The number that the owner has given to the chunk of `index`. Belongs to the owner's lock.
  uint32_t& ChunkNumberOf(NodeIndex index) const { return ChunkOf(index).number; }

  int chunk_log2() const { return chunk_log2_; }
  size_t chunk_slots() const { return size_t{1} << chunk_log2_; }
  size_t stride() const { return stride_; }  // from one node to the next

 private:
  struct Chunk {
    uint32_t owner;
    uint32_t number;
  };
  Chunk& ChunkOf(NodeIndex index) const {
    return reinterpret_cast<Chunk*>(owned_.data())[index >> chunk_log2_];
  }

  const size_t stride_;
  const int chunk_log2_;
  size_t most_chunks_ = 0;
  char* nodes_ = nullptr;  // the first node; its prefix is before it
  Reservation node_memory_;
  Reservation extras_;     // NodeExtra for each node; made with the first one that has any
  Reservation terms_;      // NodeTerms for each node; the same
  Reservation validated_;  // uint64_t for each node; the same
  Reservation owned_;      // a Chunk for each

  Mutex mutex_;  // for what grows
  size_t chunks_ ABSL_GUARDED_BY(mutex_) = 0;
  bool Ensure(Reservation& side, size_t size, std::atomic<size_t>& end);

  std::atomic<size_t> extras_end_{0};  // nodes that there is room for extras for
  std::atomic<size_t> terms_end_{0};   // the same of terms
  std::atomic<size_t> validated_end_{0};
};

// Hands out the slots of one stripe. Everything here belongs to the stripe's lock.
//
// All entries can be declared cleared at once, without a look at their nodes. That holds for whole
// chunks: no entry that comes later may be in a cleared chunk. So a chunk stays cleared until each
// of its slots was visited, and a slot that is handed out from one brings its chunk forward.
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

  // All slots ever handed out, but for those of cleared chunks, can be walked: number i, for
  // i < slots_used(). After a Clear a few of the numbers may stand for slots that never were.
  size_t slots_used() const {
    const size_t chunks = current_chunks();
    return chunks == 0 ? 0 : ((chunks - 1) << slab_.chunk_log2()) + UsedIn(chunks - 1);
  }
  template <class F>
  void ForEachSlot(F&& f) const {  // f(NodeIndex, NodeHeader&) -> void
    ForEachSlot(0, slots_used(), f);
  }
  // The same with those of cleared chunks.
  template <class F>
  void ForEachSlotAndCleared(F&& f) const {
    ForEachSlot(0, chunks_.size() << slab_.chunk_log2(), f);
  }
  // Those of numbers from `begin` up to `end`. Requires: end <= slots_used().
  template <class F>
  void ForEachSlot(size_t begin, size_t end, F&& f) const {
    while (begin < end) {
      const size_t in_chunk = begin & (slab_.chunk_slots() - 1);
      const size_t slots = std::min(end - begin, slab_.chunk_slots() - in_chunk);
      const size_t stop = std::min(in_chunk + slots, UsedIn(begin >> slab_.chunk_log2()));
      const NodeIndex first = SlotNumber(begin);
      char* node = reinterpret_cast<char*>(slab_.At(first));
      for (size_t i = in_chunk; i < stop; ++i, node += slab_.stride()) {
        f(static_cast<NodeIndex>(first + (i - in_chunk)), *reinterpret_cast<NodeHeader*>(node));
      }
      begin += slots;
    }
  }
  NodeIndex SlotNumber(size_t i) const {
    return chunks_[i >> slab_.chunk_log2()] + static_cast<NodeIndex>(i & (slab_.chunk_slots() - 1));
  }

  // Declares all entries cleared: those in the cache now are in cleared chunks. O(1).
  void Clear() {
    cleared_chunks_ = chunks_.size();
    next_cleared_ = 0;
  }

  // Whether there are cleared chunks.
  bool HasCleared() const { return cleared_chunks_ != 0; }
  // Whether one of them has been visited in part.
  bool IsInCleared() const { return next_cleared_ != 0; }

  // Whether the slot is in one: if so, what is in it, and isn't removed yet, was cleared.
  bool IsCleared(NodeIndex index) const {
    return HasCleared() && slab_.ChunkNumberOf(index) >= current_chunks();
  }

  // Visits the next slots of cleared chunks, `most` at most: f(NodeIndex, NodeHeader&) -> void has
  // to remove what was cleared. A chunk all of whose slots were visited isn't cleared any more.
  // Returns how many it visited; some, if there are any.
  template <class F>
  size_t VisitCleared(size_t most, F&& f) {
    size_t visited = 0;
    while (visited < most && HasCleared()) {
      const size_t chunk = current_chunks();
      const size_t used = UsedIn(chunk);
      const size_t stop = next_cleared_ + std::min(used - next_cleared_, most - visited);
      const size_t first = chunk << slab_.chunk_log2();
      ForEachSlot(first + next_cleared_, first + stop, f);
      visited += stop - next_cleared_;
      next_cleared_ = stop;
      if (stop == used) {
        --cleared_chunks_;
        next_cleared_ = 0;
      }
    }
    return visited;
  }

  // Makes the slot's chunk the one to be visited next. Requires: IsCleared(index).
  void BringForward(NodeIndex index);

 private:
  // Chunks that aren't cleared; they come first.
  size_t current_chunks() const { return chunks_.size() - cleared_chunks_; }
  // Slots of a chunk that were handed out.
  size_t UsedIn(size_t chunk) const {
    // The one with the fresh slots is the last in memory.
    return std::min<size_t>(fresh_ - chunks_[chunk], slab_.chunk_slots());
  }
  void SwapChunks(size_t a, size_t b);

  Slab& slab_;
  const uint32_t stripe_;
  NodeIndex free_ = kNoNode;
  std::vector<NodeIndex> chunks_;  // their first slots
  NodeIndex fresh_ = 0;            // the next slot that was never handed out
  NodeIndex fresh_end_ = 0;        // the end of its chunk
  size_t cleared_chunks_ = 0;      // the last ones
  size_t next_cleared_ = 0;        // slots visited of the first of these
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SLAB_H_
