// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/age_buckets.h"

#include <algorithm>
#include <new>

namespace larder::internal {

void AgeBuckets::Begin(uint32_t first, uint32_t last, size_t most) {
  const size_t wanted = std::max<size_t>(1, most / kBucketNodes);
  int shift = 0;
  while (((last - first) >> shift) >= wanted) ++shift;
  const size_t fresh = ((last - first) >> shift) + 1;

  buckets_.erase(buckets_.begin(), buckets_.begin() + static_cast<ptrdiff_t>(front_));
  front_ = 0;
  open_ = buckets_.size();
  buckets_.reserve(open_ + fresh);
  // Each bucket may have a block that isn't full.
  most_blocks_ = most / kBlockNodes + open_ + fresh;
  blocks_.reserve(most_blocks_);
  for (size_t i = 0; i < fresh; ++i) {
    const uint32_t begin = first + static_cast<uint32_t>(i << shift);
    buckets_.push_back({.first = i == 0 ? gathered_ + 1 : begin, .block = kNone, .count = 0});
  }
  first_ = first;
  last_ = last;
  shift_ = shift;
  gathering_ = true;
}

void AgeBuckets::End() {
  for (size_t i = open_; i < buckets_.size(); ++i) size_ += buckets_[i].count;
  open_ = buckets_.size();
  gathered_ = last_;
  gathering_ = false;
}

void AgeBuckets::Clear() {
  buckets_.clear();
  blocks_.clear();
  front_ = open_ = size_ = 0;
  free_ = kNone;
  gathered_ = last_ = taken_first_ = taken_last_ = 0;
  gathering_ = false;
}

bool AgeBuckets::AddBlock(size_t bucket) {
  while (free_ == kNone && blocks_.size() >= most_blocks_ && GiveUpYoungest()) {
  }
  if (bucket >= buckets_.size()) return false;
  uint32_t block = free_;
  if (block != kNone) {
    free_ = blocks_[block].next;
  } else {
    block = static_cast<uint32_t>(blocks_.size());
    try {
      blocks_.emplace_back();
    } catch (const std::bad_alloc&) {
      Abandon();
      throw;
    }
  }
  blocks_[block].next = buckets_[bucket].block;
  buckets_[bucket].block = block;
  return true;
}

bool AgeBuckets::GiveUpYoungest() {
  if (buckets_.size() <= open_ + kKeptBuckets) return false;
  Release(buckets_.back());
  last_ = buckets_.back().first - 1;
  buckets_.pop_back();
  return true;
}

void AgeBuckets::Release(Bucket& bucket) {
  while (bucket.block != kNone) {
    const uint32_t next = blocks_[bucket.block].next;
    FreeBlock(bucket.block);
    bucket.block = next;
  }
}

void AgeBuckets::Abandon() {
  for (; buckets_.size() > open_; buckets_.pop_back()) Release(buckets_.back());
  last_ = gathered_;
  gathering_ = false;
}

}  // namespace larder::internal
