// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/slab.h"

#include <algorithm>

#include "absl/base/config.h"

namespace larder::internal {
namespace {

// ThreadSanitizer leaves little of the address space to the program.
#if defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr size_t kMostBytes = size_t{8} << 30;
#else
constexpr size_t kMostBytes = size_t{4} << 40;
#endif

// Address space of that size, if there was some for what comes before it.
Reservation Column(bool wanted, size_t bytes) {
  return wanted ? Reservation::Reserve(bytes, bytes) : Reservation();
}

}  // namespace

Slab::Slab(size_t node_size, int chunk_log2, size_t most_nodes, size_t prefix)
    : stride_(prefix + node_size),
      node_memory_(Reservation::Reserve(
          stride_ << chunk_log2,
          std::max(stride_ << chunk_log2,
                   std::min(kMostBytes, std::min<size_t>(most_nodes, kMaxNodes) * stride_)))),
      nodes_(node_memory_.data() == nullptr ? nullptr : node_memory_.data() + prefix),
      chunk_log2_(chunk_log2),
      most_chunks_(std::min<size_t>(kMaxNodes, node_memory_.bytes() / stride_) >> chunk_log2),
      extras_(Column(nodes_ != nullptr, (most_chunks_ * sizeof(NodeExtra)) << chunk_log2)),
      owners_(Column(extras_.data() != nullptr, most_chunks_ * sizeof(uint32_t))) {}

NodeIndex Slab::AllocateChunk(uint32_t owner) {
  MutexLock lock(&mutex_);
  if (chunks_ == most_chunks_) return kNoNode;
  if (!node_memory_.Commit(((chunks_ + 1) * stride_) << chunk_log2_) ||
      !owners_.Commit((chunks_ + 1) * sizeof(uint32_t))) {
    return kNoNode;
  }
  reinterpret_cast<uint32_t*>(owners_.data())[chunks_] = owner;
  return static_cast<NodeIndex>(chunks_++ << chunk_log2_);
}

bool Slab::EnsureExtra(NodeIndex index) {
  if (index < extras_end_.load(std::memory_order_acquire)) return true;
  MutexLock lock(&mutex_);
  const size_t end = chunks_ << chunk_log2_;
  if (!extras_.Commit(end * sizeof(NodeExtra))) return false;
  extras_end_.store(end, std::memory_order_release);
  return true;
}

NodeIndex SlotAllocator::AllocateFresh() {
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
