// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/limbo.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kNoReader = UINT64_MAX;

class LimboTest : public ::testing::Test {
 protected:
  LimboTest() {
    for (int i = 0; i < 100; ++i) slots_.Allocate();
  }

  NodeChain Chain(std::initializer_list<NodeIndex> nodes, uint64_t weight = 1) {
    NodeChain chain;
    for (const NodeIndex node : nodes) chain.Append(slab_, node, weight);
    return chain;
  }

  void Seal(std::initializer_list<NodeIndex> nodes, uint64_t tag) {
    limbo_.Add(Chain(nodes));
    limbo_.Seal(tag);
  }

  std::vector<NodeIndex> Nodes(const NodeChain& chain) {
    std::vector<NodeIndex> nodes;
    for (NodeIndex node = chain.first; node != kNoNode; node = slab_.At(node)->timer_next) {
      nodes.push_back(node);
    }
    EXPECT_EQ(nodes.size(), chain.count);
    if (!nodes.empty()) {
      EXPECT_EQ(nodes.back(), chain.last);
    }
    return nodes;
  }

  Slab slab_{sizeof(NodeHeader), 4};
  SlotAllocator slots_{&slab_, 0};
  Limbo limbo_{&slab_};
};

TEST_F(LimboTest, AChainKeepsItsOrderCountAndWeight) {
  NodeChain chain = Chain({3, 1, 4}, 10);
  EXPECT_THAT(Nodes(chain), ElementsAre(3, 1, 4));
  EXPECT_EQ(chain.weight, 30u);
  chain.Append(slab_, NodeChain());
  chain.Append(slab_, Chain({5, 9}, 1));
  EXPECT_THAT(Nodes(chain), ElementsAre(3, 1, 4, 5, 9));
  EXPECT_EQ(chain.weight, 32u);
  NodeChain empty;
  EXPECT_TRUE(empty.empty());
  empty.Append(slab_, chain);
  EXPECT_THAT(Nodes(empty), ElementsAre(3, 1, 4, 5, 9));
}

TEST_F(LimboTest, CollectsRemovedNodesUntilTheyAreSealed) {
  EXPECT_TRUE(limbo_.empty());
  limbo_.Add(Chain({1, 2}, 5));
  limbo_.Add(Chain({3}, 7));
  EXPECT_FALSE(limbo_.empty());
  EXPECT_EQ(limbo_.fresh().count, 3u);
  EXPECT_EQ(limbo_.fresh().weight, 17u);
  // Which aren't free, whatever is known of the readers.
  EXPECT_THAT(Nodes(limbo_.TakeFree(kNoReader)), IsEmpty());
  limbo_.Seal(1);
  EXPECT_TRUE(limbo_.fresh().empty());
  EXPECT_FALSE(limbo_.empty());
  EXPECT_THAT(Nodes(limbo_.TakeFree(kNoReader)), ElementsAre(1, 2, 3));
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, ABatchWaitsForItsEpochToBeOver) {
  Seal({1, 2}, 5);
  EXPECT_THAT(Nodes(limbo_.TakeFree(0)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.TakeFree(5)), IsEmpty());
  EXPECT_FALSE(limbo_.empty());
  EXPECT_THAT(Nodes(limbo_.TakeFree(6)), ElementsAre(1, 2));
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, WhatIsFreeCanBeTakenInParts) {
  Seal({1, 2, 3, 4, 5}, 5);
  Seal({6, 7}, 6);
  limbo_.Add(Chain({8}));
  EXPECT_EQ(limbo_.free_count(5), 0u);
  EXPECT_EQ(limbo_.free_count(6), 5u);
  EXPECT_EQ(limbo_.free_count(7), 7u);
  EXPECT_THAT(Nodes(limbo_.TakeFree(7, 0)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.TakeFree(7, 1)), ElementsAre(1));
  EXPECT_THAT(Nodes(limbo_.TakeFree(7, 2)), ElementsAre(2, 3));
  EXPECT_EQ(limbo_.free_count(7), 4u);
  EXPECT_THAT(Nodes(limbo_.TakeFree(7, 3)), ElementsAre(4, 5, 6));
  limbo_.Seal(8);
  EXPECT_EQ(limbo_.free_count(7), 1u);
  EXPECT_THAT(Nodes(limbo_.TakeFree(7, 3)), ElementsAre(7));
  EXPECT_THAT(Nodes(limbo_.TakeFree(9, 1)), ElementsAre(8));
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, TheOlderBatchGoesFirst) {
  Seal({1}, 5);
  EXPECT_FALSE(limbo_.crowded());
  Seal({2}, 8);
  EXPECT_TRUE(limbo_.crowded());
  EXPECT_THAT(Nodes(limbo_.TakeFree(7)), ElementsAre(1));
  EXPECT_FALSE(limbo_.crowded());
  EXPECT_THAT(Nodes(limbo_.TakeFree(8)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.TakeFree(9)), ElementsAre(2));
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, BothBatchesGoWhereBothAreFree) {
  Seal({1}, 5);
  Seal({2}, 6);
  EXPECT_THAT(Nodes(limbo_.TakeFree(7)), ElementsAre(1, 2));
  EXPECT_TRUE(limbo_.empty());
}

// What comes while two batches wait joins the younger, which must then wait for the later epoch.
TEST_F(LimboTest, ABatchSealedTwiceWaitsForTheLaterEpoch) {
  Seal({1}, 4);
  Seal({2}, 5);
  Seal({3}, 6);
  EXPECT_THAT(Nodes(limbo_.TakeFree(6)), ElementsAre(1));
  EXPECT_THAT(Nodes(limbo_.TakeFree(7)), ElementsAre(2, 3));
}

// Each new batch is younger than the oldest reader, for ever; still every batch gets its turn.
TEST_F(LimboTest, AStreamOfNewBatchesDoesNotKeepTheOldOnesWaiting) {
  std::set<NodeIndex> waiting;
  for (uint64_t epoch = 10; epoch < 100; ++epoch) {
    const auto node = static_cast<NodeIndex>(epoch);
    waiting.insert(node);
    Seal({node}, epoch);
    // Readers come and go; the oldest is always one epoch behind.
    for (const NodeIndex freed : Nodes(limbo_.TakeFree(epoch))) {
      EXPECT_EQ(waiting.erase(freed), 1u);
    }
    EXPECT_LE(waiting.size(), 4u);
  }
}

TEST_F(LimboTest, TakeAllTakesWhatIsInAnyState) {
  Seal({1}, 5);
  Seal({2}, 6);
  limbo_.Add(Chain({3}));
  EXPECT_THAT(Nodes(limbo_.TakeAll()), UnorderedElementsAre(1, 2, 3));
  EXPECT_TRUE(limbo_.empty());
}

// Readers, writers and those who look at the readers, each step of which runs when the test says
// so; several looks may be under way, and end in any order.
class Interleaving {
 public:
  Interleaving(const Slab* slab, uint64_t seed) : slab_(*slab), limbo_(slab), random_(seed) {
    for (NodeIndex node = 0; node < 60; ++node) linked_.insert(node);
  }

  void Step() {
    switch (random_() % 6) {
      case 0:
        readers_.push_back({now_, linked_});
        break;
      case 1:
        if (!readers_.empty()) readers_.erase(readers_.begin() + Any(readers_.size()));
        break;
      case 2:
        if (!linked_.empty()) RemoveOne();
        break;
      case 3:
        BeginLook();
        break;
      case 4:
        if (!looks_.empty()) EndLook(Any(looks_.size()));
        break;
      default:
        TakeFree();
    }
  }

  // Whether all that was removed is free once nobody reads.
  bool EndsEmpty() {
    readers_.clear();
    if (!limbo_.fresh().empty()) limbo_.Seal(now_++);
    BeginLook();
    while (!looks_.empty()) EndLook(0);
    TakeFree();
    return limbo_.empty();
  }

 private:
  struct Reader {
    uint64_t epoch;
    std::set<NodeIndex> holds;
  };

  ptrdiff_t Any(size_t size) { return static_cast<ptrdiff_t>(random_() % size); }

  void RemoveOne() {
    NodeChain chain;
    chain.Append(slab_, *linked_.begin(), 1);
    limbo_.Add(chain);
    linked_.erase(linked_.begin());
    if (random_() % 2 == 0) limbo_.Seal(now_++);
  }

  // As Epoch::LookAtReaders, up to where it has seen them; and what it then makes known.
  void BeginLook() {
    uint64_t free_before = now_++;
    for (const Reader& reader : readers_) free_before = std::min(free_before, reader.epoch);
    looks_.push_back(free_before);
  }
  void EndLook(ptrdiff_t which) {
    free_before_ = std::max(free_before_, looks_[static_cast<size_t>(which)]);
    looks_.erase(looks_.begin() + which);
  }

  void TakeFree() {
    const NodeChain free = limbo_.TakeFree(free_before_);
    for (NodeIndex node = free.first; node != kNoNode; node = slab_.At(node)->timer_next) {
      for (const Reader& reader : readers_) ASSERT_FALSE(reader.holds.contains(node)) << node;
    }
  }

  const Slab& slab_;
  Limbo limbo_;
  std::mt19937_64 random_;
  uint64_t now_ = 1;
  uint64_t free_before_ = 0;
  std::set<NodeIndex> linked_;  // a reader that starts now may find these
  std::vector<Reader> readers_;
  std::vector<uint64_t> looks_;
};

TEST_F(LimboTest, NoInterleavingFreesANodeThatAReaderHolds) {
  for (int round = 0; round < Rounds(2'000); ++round) {
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    Interleaving interleaving(&slab_, SeedOfRound(round));
    for (int step = 0; step < 200; ++step) interleaving.Step();
    if (HasFailure()) return;
    EXPECT_TRUE(interleaving.EndsEmpty());
  }
}

}  // namespace
}  // namespace larder::internal
