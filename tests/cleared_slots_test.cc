// SPDX-License-Identifier: Apache-2.0
//
// What a SlotAllocator knows of slots whose entries were cleared.

#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/removal_cause.h"

namespace larder::internal {
namespace {

constexpr int kChunkLog2 = 4;
constexpr size_t kChunkSlots = 16;

class ClearedSlotsTest : public ::testing::Test {
 protected:
  // A slot for an entry, as a cache takes it: what was cleared in its chunk is removed first.
  NodeIndex Insert() {
    const NodeIndex index = slots_.Allocate();
    if (slots_.IsCleared(index)) {
      slots_.BringForward(index);
      Visit(kChunkSlots);
    }
    EXPECT_FALSE(slots_.IsCleared(index));
    EXPECT_TRUE(current_.insert(index).second);
    EXPECT_FALSE(cleared_.contains(index));
    slab_.At(index)->timer_prev = NodeHeader::kNoTimer;
    return index;
  }
  void Clear() {
    slots_.Clear();
    cleared_.merge(current_);
    current_.clear();
  }
  size_t Visit(size_t most) {
    std::vector<NodeIndex> removed;
    const size_t visited = slots_.VisitCleared(most, [&](NodeIndex index, NodeHeader& node) {
      if (!node.InCache()) return;
      EXPECT_EQ(cleared_.erase(index), 1u);
      node.SetRemoved(RemovalCause::kCleared);
      removed.push_back(index);
    });
    EXPECT_LE(visited, most);
    EXPECT_EQ(visited == 0, most == 0 || (visited == 0 && !slots_.HasCleared()));
    for (const NodeIndex index : removed) slots_.Free(index);
    return visited;
  }
  void Erase(NodeIndex index) {
    current_.erase(index);
    slots_.Free(index);
  }
  void ExpectSound() {
    std::set<NodeIndex> found;
    slots_.ForEachSlot([&](NodeIndex index, const NodeHeader& node) {
      if (node.InCache()) found.insert(index);
    });
    EXPECT_EQ(found, current_);
    slots_.ForEachSlotAndCleared([&](NodeIndex index, const NodeHeader& node) {
      if (node.InCache()) found.insert(index);
    });
    EXPECT_EQ(found.size(), current_.size() + cleared_.size());
    for (const NodeIndex index : cleared_) EXPECT_TRUE(slots_.IsCleared(index));
    for (const NodeIndex index : current_) EXPECT_FALSE(slots_.IsCleared(index));
  }

  Slab slab_{sizeof(NodeHeader), kChunkLog2};
  SlotAllocator slots_{&slab_, 0};
  std::set<NodeIndex> current_;
  std::set<NodeIndex> cleared_;
};

TEST_F(ClearedSlotsTest, NothingIsClearedAtFirst) {
  slots_.Clear();
  EXPECT_FALSE(slots_.HasCleared());
  Insert();
  EXPECT_FALSE(slots_.HasCleared());
  EXPECT_EQ(Visit(SIZE_MAX), 0u);
}

TEST_F(ClearedSlotsTest, EachIsVisitedOnce) {
  for (size_t i = 0; i < 5 * kChunkSlots + 3; ++i) Insert();
  Clear();
  EXPECT_EQ(slots_.slots_used(), 0u);
  size_t visited = 0;
  for (size_t most = 1; slots_.HasCleared(); most = most % 37 + 1) {
    visited += Visit(most);
    ExpectSound();
  }
  EXPECT_EQ(visited, 5 * kChunkSlots + 3);
  EXPECT_TRUE(cleared_.empty());
  EXPECT_EQ(slots_.slots_used(), 5 * kChunkSlots + 3);
}

TEST_F(ClearedSlotsTest, TheRestOfAClearedChunkIsHandedOutWithoutWhatWasCleared) {
  for (size_t i = 0; i < kChunkSlots + 3; ++i) Insert();
  Clear();
  Insert();
  EXPECT_LE(cleared_.size(), kChunkSlots);
  ExpectSound();
  for (size_t i = 0; i < 3 * kChunkSlots; ++i) Insert();
  ExpectSound();
}

TEST_F(ClearedSlotsTest, NumbersStayWhileChunksJoin) {
  for (size_t i = 0; i < 6 * kChunkSlots; ++i) Insert();
  Clear();
  std::vector<NodeIndex> numbers;
  while (slots_.HasCleared()) {
    Visit(5);
    for (size_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(slots_.SlotNumber(i), numbers[i]);
    for (size_t i = numbers.size(); i < slots_.slots_used(); ++i) {
      numbers.push_back(slots_.SlotNumber(i));
    }
    Insert();
  }
  EXPECT_GE(numbers.size(), 5 * kChunkSlots);
}

TEST_F(ClearedSlotsTest, AnyOrderOfCallsIsSound) {
  for (int round = 0; round < 30; ++round) {
    std::mt19937_64 random(static_cast<uint64_t>(round));
    for (int step = 0; step < 1'000; ++step) {
      switch (random() % 8) {
        case 0:
        case 1:
        case 2:
        case 3:
          Insert();
          break;
        case 4:
        case 5:
          if (!current_.empty()) {
            auto at = current_.lower_bound(static_cast<NodeIndex>(random() % 500));
            Erase(at == current_.end() ? *current_.begin() : *at);
          }
          break;
        case 6:
          Visit(random() % 20);
          break;
        case 7:
          if (random() % 30 == 0) Clear();
          break;
      }
      if (step % 16 == 0) ExpectSound();
    }
  }
}

}  // namespace
}  // namespace larder::internal
