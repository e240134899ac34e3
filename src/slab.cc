// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/slab.h"

#include <algorithm>
#include <utility>

#include "absl/base/config.h"

namespace larder::internal {
namespace {

// ThreadSanitizer leaves little of the address space to the program.
#if defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr size_t kMostBytes = size_t{8} << 30;
#else
constexpr size_t kMostBytes = size_t{4} << 40;
#endif

}  // namespace

Slab::Slab(size_t node_size, int chunk_log2, size_t most_nodes, size_t prefix, size_t likely_nodes)
    : stride_(prefix + node_size), chunk_log2_(chunk_log2) {
  // Nodes, what is beside them, and what is known of chunks share what there is of address space.
  const size_t chunk_bytes =
      ((stride_ + sizeof(NodeExtra) + sizeof(NodeTerms) + sizeof(uint64_t)) << chunk_log2) +
      sizeof(Chunk);
  const size_t wanted = std::min<size_t>(most_nodes, kMaxNodes) >> chunk_log2;
  const size_t most = std::min(kMostBytes / chunk_bytes, std::max<size_t>(1, wanted));
  // What is rounded up.
  constexpr size_t kRounding = size_t{5} << 21;
  node_memory_ = Reservation::Reserve(chunk_bytes + kRounding,
                                      std::max<size_t>(1, most) * chunk_bytes + kRounding);
  if (node_memory_.data() == nullptr) return;
  most_chunks_ = std::min<size_t>(size_t{kMaxNodes} >> chunk_log2,
                                  (node_memory_.bytes() - kRounding) / chunk_bytes);
  owned_ = node_memory_.SplitTail(most_chunks_ * sizeof(Chunk));
  terms_ = node_memory_.SplitTail((most_chunks_ * sizeof(NodeTerms)) << chunk_log2);
  validated_ = node_memory_.SplitTail((most_chunks_ * sizeof(uint64_t)) << chunk_log2);
  extras_ = node_memory_.SplitTail((most_chunks_ * sizeof(NodeExtra)) << chunk_log2);
  if (likely_nodes != 0) node_memory_.ExpectEnd(std::min(likely_nodes, most_nodes) * stride_);
  nodes_ = node_memory_.data() + prefix;
}

NodeIndex Slab::AllocateChunk(uint32_t owner) {
  MutexLock lock(&mutex_);
  if (chunks_ == most_chunks_) return kNoNode;
  if (!node_memory_.Commit(((chunks_ + 1) * stride_) << chunk_log2_) ||
      !owned_.Commit((chunks_ + 1) * sizeof(Chunk))) {
    return kNoNode;
  }
  const auto first = static_cast<NodeIndex>(chunks_++ << chunk_log2_);
  ChunkOf(first).owner = owner;
  return first;
}

bool Slab::EnsureExtra(NodeIndex index) {
  return index < extras_end_.load(std::memory_order_acquire) ||
         Ensure(extras_, sizeof(NodeExtra), extras_end_);
}

bool Slab::EnsureTerms(NodeIndex index) {
  return index < terms_end_.load(std::memory_order_acquire) ||
         Ensure(terms_, sizeof(NodeTerms), terms_end_);
}

bool Slab::EnsureValidated(NodeIndex index) {
  return index < validated_end_.load(std::memory_order_acquire) ||
         Ensure(validated_, sizeof(uint64_t), validated_end_);
}

bool Slab::Ensure(Reservation& side, size_t size, std::atomic<size_t>& end) {
  MutexLock lock(&mutex_);
  const size_t nodes = chunks_ << chunk_log2_;
  if (!side.Commit(nodes * size)) return false;
  end.store(nodes, std::memory_order_release);
  return true;
}

NodeIndex SlotAllocator::AllocateFresh() {
  if (fresh_ == fresh_end_) {
    // Grow the vector first: it may throw, and a chunk must not be lost.
    if (chunks_.size() == chunks_.capacity()) chunks_.reserve(2 * chunks_.size() + 1);
    const NodeIndex first = slab_.AllocateChunk(stripe_);
    if (first == kNoNode) return kNoNode;
    chunks_.push_back(first);
    SwapChunks(chunks_.size() - 1, current_chunks() - 1);
    next_cleared_ = 0;  // another one is next
    fresh_ = first;
    fresh_end_ = static_cast<NodeIndex>(first + slab_.chunk_slots());
  }
  const NodeIndex index = fresh_++;
  slab_.At(index)->timer_prev = NodeHeader::kFree;
  return index;
}

void SlotAllocator::BringForward(NodeIndex index) {
  SwapChunks(slab_.ChunkNumberOf(index), current_chunks());
  // What was visited of the one that was next is visited again.
  next_cleared_ = 0;
}

void SlotAllocator::SwapChunks(size_t a, size_t b) {
  std::swap(chunks_[a], chunks_[b]);
  for (const size_t chunk : {a, b}) {
    slab_.ChunkNumberOf(chunks_[chunk]) = static_cast<uint32_t>(chunk);
  }
}

}  // namespace larder::internal
