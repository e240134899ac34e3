// SPDX-License-Identifier: Apache-2.0
//
// Slab: where all nodes of a cache live; SlotAllocator: one stripe's share of it.

#ifndef LARDER_INTERNAL_SLAB_H_
#define LARDER_INTERNAL_SLAB_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "larder/internal/mutex.h"
#include "larder/internal/node.h"
#include "larder/internal/pages.h"

namespace larder::internal {

// Maps node indices to memory. Grows by chunks of equal, power-of-two numbers of slots, each given
// to one stripe for good; a slot never moves, so readers may hold on to addresses. Chunks are cut
// from regions that grow with the cache: a small cache takes little, a large one gets huge pages.
class Slab {
 public:
  // `node_size`: bytes a node, a multiple of its alignment, >= sizeof(NodeHeader).
  // `chunk_log2`: slots per chunk, 4..16.
  Slab(size_t node_size, int chunk_log2);
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // False where the address space for the directory wasn't to be had.
  bool ok() const { return directory_ != nullptr; }

  NodeHeader* At(NodeIndex index) const {
    char* chunk = directory_[index >> chunk_log2_].slots.load(std::memory_order_acquire);
    return reinterpret_cast<NodeHeader*>(chunk + (index & chunk_mask_) * node_size_);
  }

  // `At` for callers that know the node's size, which spares a load and a multiplication.
  template <class NodeType>
  NodeType* At(NodeIndex index) const {
    char* chunk = directory_[index >> chunk_log2_].slots.load(std::memory_order_acquire);
    return reinterpret_cast<NodeType*>(chunk + (index & chunk_mask_) * sizeof(NodeType));
  }

  // The node's extra. Requires: it has one.
  NodeExtra* Extra(NodeIndex index) const {
    return directory_[index >> chunk_log2_].extras.load(std::memory_order_acquire) +
           (index & chunk_mask_);
  }

  // Makes room for extras of the chunk that `index` is in. False where memory is out.
  // Requires: the lock of the stripe that owns the chunk.
  bool EnsureExtra(NodeIndex index);

  // A new chunk's first index, its slots zeroed; kNoNode where memory or indices are out.
  // Thread-safe.
  NodeIndex AllocateChunk(uint32_t owner);

  // The stripe that `index` belongs to.
  uint32_t OwnerOf(NodeIndex index) const { return directory_[index >> chunk_log2_].owner; }

  size_t chunk_slots() const { return chunk_mask_ + 1; }
  size_t node_size() const { return node_size_; }

 private:
  struct Chunk {
    std::atomic<char*> slots;
    std::atomic<NodeExtra*> extras;
    uint32_t owner;
  };

  // Room for a chunk's bytes, from the current region or a new, larger one.
  char* Carve(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t node_size_;
  const int chunk_log2_;
  const size_t chunk_mask_;
  const size_t max_chunks_;
  Pages directory_pages_;
  Chunk* const directory_;

  Mutex mutex_;
  size_t chunks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Pages> regions_ ABSL_GUARDED_BY(mutex_);
  size_t region_used_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Hands out the slots of one stripe. Everything here belongs to the stripe's lock.
class SlotAllocator {
 public:
  SlotAllocator(Slab* slab, uint32_t stripe) : slab_(*slab), stripe_(stripe) {}

  // A slot that isn't in the cache; kNoNode where memory or indices are out. O(1).
  NodeIndex Allocate();

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
  NodeIndex SlotNumber(size_t i) const {
    return chunks_[i / slab_.chunk_slots()] + static_cast<NodeIndex>(i % slab_.chunk_slots());
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
