// SPDX-License-Identifier: Apache-2.0
//
// AgeBuckets: a queue of nodes that are roughly in the order of their stamps.

#ifndef LARDER_INTERNAL_AGE_BUCKETS_H_
#define LARDER_INTERNAL_AGE_BUCKETS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "larder/internal/node.h"

namespace larder::internal {

// The oldest of a set of nodes, by ranges of stamps. A gathering adds the nodes of the range that
// follows on what was gathered before, in any order; then they are taken, one bucket at a time, the
// oldest bucket first. Within a bucket there is no order: who takes it sorts it. So no step is
// large, however many nodes there are. This is the ladder of a ladder queue (W. T. Tang, R. S. M.
// Goh, I. L.-J. Thng, "Ladder queue: An O(1) priority queue structure for large-scale discrete
// event simulation", 2005), of one rung.
//
// Memory: 4.3 bytes a node, and half a block of 64 for each bucket. A gathering that finds more
// nodes than there is room for gives up the younger end of its range.
//
// Not thread-safe. Knows of nodes and stamps only what it is told.
class AgeBuckets {
 public:
  // Expected nodes in a bucket, within a factor of two. Where the stamps crowd in a part of their
  // range, a bucket may hold them all.
  static constexpr size_t kBucketNodes = 256;

  // Nodes queued, without those of a gathering that goes on.
  size_t size() const { return size_; }
  // The nodes of all stamps up to this one were gathered.
  uint32_t gathered() const { return gathered_; }
  // The stamps of the bucket that was taken last: all that is older was taken before, the rest of
  // what is queued is younger.
  uint32_t taken_first() const { return taken_first_; }
  uint32_t taken_last() const { return taken_last_; }

  // Begins to gather the nodes of stamps > gathered() and <= last, with room for about `most` nodes
  // in all. Few are expected to be below `first`. May throw std::bad_alloc; then nothing has
  // changed. Requires: gathered() < first <= last, and that no gathering goes on.
  void Begin(uint32_t first, uint32_t last, size_t most);
  bool gathering() const { return gathering_; }
  // The end of the range that is being gathered. Moves down where room is short.
  uint32_t last() const { return last_; }
  // A stamp that is too low counts as the lowest; one that is too high is left out. O(1). May throw
  // std::bad_alloc; then the gathering is over, and none of its nodes is queued. Requires: a
  // gathering goes on.
  void Add(NodeIndex node, uint32_t stamp) {
    if (stamp > last_) return;
    const size_t bucket = open_ + ((std::max(stamp, first_) - first_) >> shift_);
    Bucket& to = buckets_[bucket];
    if (to.count % kBlockNodes == 0 && !AddBlock(bucket)) return;
    blocks_[to.block].nodes[to.count++ % kBlockNodes] = node;
  }
  // Ends the gathering: what was added is queued.
  void End();

  // Nodes in the oldest bucket that has any. Requires: size() > 0.
  size_t OldestCount() {
    while (buckets_[front_].count == 0) ++front_;
    return buckets_[front_].count;
  }

  // Takes those: f(NodeIndex) for each. Requires: size() > 0, and f doesn't throw.
  template <class F>
  void TakeOldest(F&& f) {
    size_ -= OldestCount();
    const Bucket bucket = buckets_[front_++];
    taken_first_ = bucket.first;
    taken_last_ = front_ < buckets_.size() ? buckets_[front_].first - 1 : gathered_;
    size_t in_block = (bucket.count - 1) % kBlockNodes + 1;
    for (uint32_t block = bucket.block; block != kNone; in_block = kBlockNodes) {
      for (size_t i = 0; i < in_block; ++i) f(blocks_[block].nodes[i]);
      const uint32_t next = blocks_[block].next;
      FreeBlock(block);
      block = next;
    }
  }

  // As if new, but for its memory.
  void Clear();

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  // So many of the buckets being filled are kept, even if memory grows.
  static constexpr size_t kKeptBuckets = 4;
  static constexpr size_t kBlockNodes = 15;

  struct Block {
    uint32_t next;
    std::array<NodeIndex, kBlockNodes> nodes;
  };
  struct Bucket {
    uint32_t first;  // the lowest stamp of its range
    uint32_t block;  // the last one begun; all before it are full
    uint32_t count;
  };

  // Gives the bucket another block. False where the bucket was given up.
  bool AddBlock(size_t bucket);
  void FreeBlock(uint32_t block) {
    blocks_[block].next = free_;
    free_ = block;
  }
  // Gives up the youngest of the buckets being filled. False where they are too few.
  bool GiveUpYoungest();
  // Frees the blocks of a bucket.
  void Release(Bucket& bucket);
  // Gives up all of the buckets being filled.
  void Abandon();

  std::vector<Bucket> buckets_;  // from front_ on: those queued; from open_ on: being filled
  std::vector<Block> blocks_;
  size_t front_ = 0;
  size_t open_ = 0;
  size_t size_ = 0;
  size_t most_blocks_ = 0;
  uint32_t free_ = kNone;
  uint32_t gathered_ = 0;
  uint32_t first_ = 0;
  uint32_t last_ = 0;
  uint32_t taken_first_ = 0;
  uint32_t taken_last_ = 0;
  int shift_ = 0;
  bool gathering_ = false;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_AGE_BUCKETS_H_
