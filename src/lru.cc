// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/lru.h"

#include <new>

namespace larder::internal {
namespace {

// In a stripe this small, sorting all costs less than sampling.
constexpr size_t kSmall = 256;
constexpr size_t kSamples = 64;

}  // namespace

NodeIndex LruPolicy::Victim(size_t live) {
  if (live == 0) return kNoNode;
  // Other threads' hits may outdate a whole queue before it is used; that must not go on for ever.
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (const NodeIndex node = NextQueued(); node != kNoNode) return node;
    try {
      FillQueue(live);
    } catch (const std::bad_alloc&) {
      break;  // evicting is no time to fail for want of memory
    }
  }
  const NodeIndex node = NextQueued();
  return node != kNoNode ? node : AnyNode();
}

NodeIndex LruPolicy::NextQueued() {
  while (!queue_.empty()) {
    const Candidate& oldest = queue_.back();
    const NodeHeader* node = slab_.At(oldest.node);
    if (node->InCache() && node->policy.load(std::memory_order_relaxed) == oldest.stamp) {
      return oldest.node;
    }
    queue_.pop_back();
  }
  return kNoNode;
}

uint32_t LruPolicy::QueueThreshold(size_t live) {
  if (live <= kSmall) return UINT32_MAX;
  std::vector<uint32_t> stamps;
  for (size_t i = 0; i < 4 * kSamples && stamps.size() < kSamples; ++i) {
    random_ = random_ * 0x5851f42d4c957f2d + 0x14057b7ef767814f;  // Knuth's MMIX generator
    const NodeHeader* node = slab_.At(slots_.SlotNumber((random_ >> 32) % slots_.slots_used()));
    if (node->InCache()) stamps.push_back(node->policy.load(std::memory_order_relaxed));
  }
  if (stamps.size() < kShare) return UINT32_MAX;
  const auto share = stamps.begin() + static_cast<ptrdiff_t>(stamps.size() / kShare);
  std::nth_element(stamps.begin(), share, stamps.end());
  return *share;
}

void LruPolicy::FillQueue(size_t live) {
  const uint32_t threshold = QueueThreshold(live);
  uint32_t newest = 0;
  queue_.clear();
  slots_.ForEachSlot([&](NodeIndex index, const NodeHeader& node) {
    if (!node.InCache()) return;
    const uint32_t stamp = node.policy.load(std::memory_order_relaxed);
    newest = std::max(newest, stamp);
    if (stamp <= threshold) queue_.push_back({stamp, index});
  });
  // Readers that never write get ahead of those who do; what is inserted from now on is younger.
  clock_ = std::max(clock_, base_ + newest);
  Publish();
  std::sort(queue_.begin(), queue_.end(),
            [](const Candidate& a, const Candidate& b) { return a.stamp > b.stamp; });
  // The rest may well be younger than what other threads do until its turn comes.
  const size_t share = std::max<size_t>(1, live / kShare);
  if (queue_.size() > 2 * share) {
    queue_.erase(queue_.begin(), queue_.end() - static_cast<ptrdiff_t>(share));
  }
}

void LruPolicy::Renew(ThreadRecord& thread) {
  clock_ = std::max(clock_, thread.recency);
  std::vector<Candidate> nodes;
  try {
    slots_.ForEachSlot([&](NodeIndex index, const NodeHeader& node) {
      if (node.InCache()) nodes.push_back({node.policy.load(std::memory_order_relaxed), index});
    });
    std::sort(nodes.begin(), nodes.end(),
              [](const Candidate& a, const Candidate& b) { return a.stamp < b.stamp; });
  } catch (const std::bad_alloc&) {
    nodes.clear();  // they keep their stamps, which are now younger than they should be
  }
  uint32_t rank = 0;
  for (const Candidate& candidate : nodes) {
    slab_.At(candidate.node)->policy.store(++rank, std::memory_order_relaxed);
  }
  queue_.clear();
  base_ = clock_ - rank;
  Publish();
  // After the clock: who sees this base sees a clock that isn't before it.
  shared_.base.store(base_, std::memory_order_release);
}

NodeIndex LruPolicy::AnyNode() const {
  for (size_t i = 0; i < slots_.slots_used(); ++i) {
    const NodeIndex index = slots_.SlotNumber(i);
    if (slab_.At(index)->InCache()) return index;
  }
  return kNoNode;
}

}  // namespace larder::internal
