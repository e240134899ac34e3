// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/slab.h"

#include <algorithm>
#include <new>
#include <utility>

namespace larder::internal {
namespace {

constexpr size_t kSmallestRegion = size_t{64} << 10;
constexpr size_t kLargestRegion = size_t{32} << 20;
// The directory is address space only, until its chunks exist.
constexpr size_t kMostChunks = size_t{1} << 20;
constexpr size_t kLine = 64;

size_t RoundUpToLine(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

}  // namespace

Slab::Slab(size_t node_size, int chunk_log2)
    : node_size_(node_size),
      chunk_log2_(chunk_log2),
      chunk_mask_((size_t{1} << chunk_log2) - 1),
      max_chunks_(std::min(kMostChunks, size_t{kMaxNodes} >> chunk_log2)),
      directory_pages_(Pages::Allocate(max_chunks_ * sizeof(Chunk))),
      directory_(static_cast<Chunk*>(directory_pages_.data())) {}

char* Slab::Carve(size_t bytes) {
  bytes = RoundUpToLine(bytes);
  if (regions_.empty() || region_used_ + bytes > regions_.back().bytes()) {
    const size_t grown = regions_.empty() ? kSmallestRegion : regions_.back().bytes() * 2;
    Pages region = Pages::Allocate(std::max(bytes, std::min(grown, kLargestRegion)));
    if (region.data() == nullptr) return nullptr;
    regions_.push_back(std::move(region));
    region_used_ = 0;
  }
  char* carved = static_cast<char*>(regions_.back().data()) + region_used_;
  region_used_ += bytes;
  return carved;
}

NodeIndex Slab::AllocateChunk(uint32_t owner) {
  MutexLock lock(&mutex_);
  if (chunks_ == max_chunks_) return kNoNode;
  char* slots = Carve(node_size_ << chunk_log2_);
  if (slots == nullptr) return kNoNode;
  Chunk& chunk = directory_[chunks_];
  chunk.owner = owner;
  chunk.slots.store(slots, std::memory_order_release);
  return static_cast<NodeIndex>(chunks_++ << chunk_log2_);
}

bool Slab::EnsureExtra(NodeIndex index) {
  Chunk& chunk = directory_[index >> chunk_log2_];
  if (chunk.extras.load(std::memory_order_relaxed) != nullptr) return true;
  MutexLock lock(&mutex_);
  char* extras = Carve(sizeof(NodeExtra) << chunk_log2_);
  if (extras == nullptr) return false;
  chunk.extras.store(reinterpret_cast<NodeExtra*>(extras), std::memory_order_release);
  return true;
}

NodeIndex SlotAllocator::Allocate() {
  if (free_ != kNoNode) {
    const NodeIndex index = free_;
    free_ = slab_.At(index)->timer_next;
    return index;
  }
  if (slots_used_ == chunks_.size() * slab_.chunk_slots()) {
    // Grow the vector first: it may throw, and a chunk must not be lost.
    if (chunks_.size() == chunks_.capacity()) chunks_.reserve(2 * chunks_.size() + 1);
    const NodeIndex first = slab_.AllocateChunk(stripe_);
    if (first == kNoNode) return kNoNode;
    chunks_.push_back(first);
  }
  const NodeIndex index = SlotNumber(slots_used_++);
  slab_.At(index)->timer_prev = NodeHeader::kFree;
  return index;
}

}  // namespace larder::internal
