// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/lru.h"

#include <algorithm>
#include <array>
#include <new>
#include <span>
#include <vector>

#include "larder/internal/radix_sort.h"

namespace larder::internal {
namespace {

// In a stripe of so few slots, queueing all costs less than sampling.
constexpr size_t kSmall = 256;
constexpr size_t kLeastSamples = 16;
constexpr size_t kMostSamples = 128;
constexpr int kMostWalks = 3;

}  // namespace

NodeIndex LruPolicy::Victim(size_t live) {
  if (live == 0) return kNoNode;
  // Other threads' hits may outdate a whole queue before it is used; that must not go on for ever.
  for (int walks = 0; walks < kMostWalks;) {
    if (const NodeIndex node = NextSorted(); node != kNoNode) return node;
    if (queue_.size() == 0) {
      Walk(SIZE_MAX);
      ++walks;
    } else if (!SortBucket()) {
      break;
    }
  }
  return FindOldest();
}

NodeIndex LruPolicy::NextSorted() {
  for (; !sorted_.empty(); sorted_.pop_back()) {
    const Candidate& oldest = sorted_.back();
    const NodeHeader* node = slab_.At(oldest.node);
    if (node->InCache() && node->policy.load(std::memory_order_relaxed) == oldest.stamp) {
      return oldest.node;
    }
  }
  return kNoNode;
}

bool LruPolicy::SortBucket() {
  const size_t queued = queue_.size();
  const size_t taken = queue_.OldestCount();
  // A bucket of the usual size needs no memory but the stack's.
  std::array<Candidate, 2 * AgeBuckets::kBucketNodes> usual_scratch;
  std::vector<Candidate> long_scratch;
  try {
    sorted_.reserve(taken);
    if (taken > usual_scratch.size()) long_scratch.resize(taken);
  } catch (const std::bad_alloc&) {
    return false;
  }
  uint32_t lowest = UINT32_MAX;
  queue_.TakeOldest([&](NodeIndex index) {
    const NodeHeader* node = slab_.At(index);
    const uint32_t stamp = node->policy.load(std::memory_order_relaxed);
    if (!node->InCache() || stamp > queue_.taken_last()) return;
    sorted_.push_back({stamp, index});
    lowest = std::min(lowest, stamp);
  });
  const uint32_t last = queue_.taken_last();
  const std::span<Candidate> scratch =
      long_scratch.empty() ? std::span<Candidate>(usual_scratch) : std::span(long_scratch);
  RadixSort<Candidate>(sorted_, scratch, last - std::min(lowest, last),
                       [last](const Candidate& candidate) { return last - candidate.stamp; });
  // The last bucket is taken when the walk is over.
  const size_t left = queue_.gathering() ? end_slot_ - next_slot_ : slots_.slots_used();
  Walk(left * taken / queued + 1);
  return true;
}

void LruPolicy::Walk(size_t slots) {
  try {
    if (!queue_.gathering() && !BeginWalk()) return;
    WalkSlots(next_slot_ + std::min(slots, end_slot_ - next_slot_));
  } catch (const std::bad_alloc&) {
    // Evicting is no time to fail for want of memory; FindOldest needs none.
  }
}

bool LruPolicy::BeginWalk() {
  const size_t slots = slots_.slots_used();
  if (queue_.size() * kShare >= slots || queue_.gathered() == kMostStamp) return false;
  const Range range = NextRange();
  queue_.Begin(range.first, range.last, std::max(kSmall, slots / kShare));
  next_slot_ = 0;
  end_slot_ = slots;
  newest_ = 0;
  // Whatever is stamped from now on is younger than what is gathered.
  clock_ = std::max(clock_, base_ + range.last);
  Publish();
  return true;
}

LruPolicy::Range LruPolicy::NextRange() {
  const uint32_t gathered = queue_.gathered();
  const uint32_t first = gathered + 1;
  const uint32_t now = std::max(static_cast<uint32_t>(clock_ - base_), first);
  const size_t slots = slots_.slots_used();
  if (slots <= kSmall) return {first, now};
  std::array<uint32_t, kMostSamples> younger;
  size_t youngers = 0;
  size_t samples = 0;
  for (size_t i = std::clamp(slots / 32, kLeastSamples, kMostSamples); i > 0; --i) {
    random_ = random_ * 0x5851f42d4c957f2d + 0x14057b7ef767814f;  // Knuth's MMIX generator
    const NodeHeader* node = slab_.At(slots_.SlotNumber((random_ >> 32) % slots));
    if (!node->InCache()) continue;
    ++samples;
    const uint32_t stamp = node->policy.load(std::memory_order_relaxed);
    if (stamp > gathered) younger[youngers++] = stamp;
  }
  // Rather more than there is room for: what is too much is given up again.
  const size_t share = samples * 5 / (4 * kShare);
  if (share >= youngers) return {first, now};
  const auto end = younger.begin() + youngers;
  std::nth_element(younger.begin(), younger.begin() + share, end);
  const uint32_t last = younger[share];
  // The clock may have leapt, while its threads were busy elsewhere.
  const uint32_t lowest = *std::min_element(younger.begin(), younger.begin() + share + 1);
  const uint32_t margin = (last - lowest) / 4;
  return {lowest - first > margin ? lowest - margin : first, last};
}

void LruPolicy::WalkSlots(size_t end) {
  const uint32_t first = queue_.gathered() + 1;
  const uint32_t width = queue_.last() - first;
  // What others stamped late may be older than what was taken, or than all that was gathered.
  const uint32_t lost = queue_.size() == 0 && sorted_.empty() ? first : queue_.taken_first();
  uint32_t newest = newest_;
  slots_.ForEachSlot(next_slot_, end, [&](NodeIndex index, const NodeHeader& node) {
    if (!node.InCache()) return;
    const uint32_t stamp = node.policy.load(std::memory_order_relaxed);
    newest = std::max(newest, stamp);
    if (stamp - first <= width || stamp < lost) queue_.Add(index, stamp);
  });
  newest_ = newest;
  slots_walked_ += end - next_slot_;
  next_slot_ = end;
  if (next_slot_ == end_slot_) {
    queue_.End();
    // Readers that never write get ahead of those who do; what is inserted from now on is younger.
    clock_ = std::max(clock_, base_ + newest_);
    Publish();
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
  Clear();
  base_ = clock_ - rank;
  Publish();
  // After the clock: who sees this base sees a clock that isn't before it.
  shared_.base.store(base_, std::memory_order_release);
}

NodeIndex LruPolicy::FindOldest() const {
  NodeIndex oldest = kNoNode;
  uint32_t lowest = UINT32_MAX;
  slots_.ForEachSlot([&](NodeIndex index, const NodeHeader& node) {
    const uint32_t stamp = node.policy.load(std::memory_order_relaxed);
    if (!node.InCache() || (stamp >= lowest && oldest != kNoNode)) return;
    lowest = stamp;
    oldest = index;
  });
  return oldest;
}

}  // namespace larder::internal
