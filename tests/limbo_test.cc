// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/limbo.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/internal/epoch.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"
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

TEST_F(LimboTest, CollectsRemovedNodesUntilTheyAreTaken) {
  EXPECT_TRUE(limbo_.empty());
  limbo_.Add(Chain({1, 2}, 5));
  limbo_.Add(Chain({3}, 7));
  EXPECT_FALSE(limbo_.empty());
  EXPECT_EQ(limbo_.fresh().count, 3u);
  EXPECT_EQ(limbo_.fresh().weight, 17u);
  EXPECT_THAT(Nodes(limbo_.TakeFresh()), ElementsAre(1, 2, 3));
  EXPECT_TRUE(limbo_.fresh().empty());
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, ABatchThatNoReaderHoldsIsFreeAtOnce) {
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({1, 2}), 5, kNoReader)), UnorderedElementsAre(1, 2));
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({3}), 5, 6)), ElementsAre(3));
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, ABatchWaitsForReadersOfItsEpochAndOlder) {
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({1}), 5, 5)), IsEmpty());
  EXPECT_FALSE(limbo_.empty());
  EXPECT_THAT(Nodes(limbo_.Settle(NodeChain(), 6, 5)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.Settle(NodeChain(), 7, 6)), ElementsAre(1));
  EXPECT_TRUE(limbo_.empty());
}

// The reader that holds up the second batch doesn't hold up the first.
TEST_F(LimboTest, TheOlderBatchGoesFirst) {
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({1}), 5, 4)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({2}), 8, 4)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.Settle(NodeChain(), 8, 7)), ElementsAre(1));
  EXPECT_THAT(Nodes(limbo_.Settle(NodeChain(), 9, 8)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.Settle(NodeChain(), 10, kNoReader)), ElementsAre(2));
  EXPECT_TRUE(limbo_.empty());
}

// Each new batch is younger than the oldest reader, for ever; still every batch gets its turn.
TEST_F(LimboTest, AStreamOfNewBatchesDoesNotKeepTheOldOnesWaiting) {
  std::set<NodeIndex> waiting;
  for (uint64_t epoch = 10; epoch < 100; ++epoch) {
    const auto node = static_cast<NodeIndex>(epoch);
    waiting.insert(node);
    // Readers come and go; the oldest is always one epoch behind.
    for (const NodeIndex freed : Nodes(limbo_.Settle(Chain({node}), epoch, epoch))) {
      EXPECT_EQ(waiting.erase(freed), 1u);
    }
    EXPECT_LE(waiting.size(), 4u);
  }
}

TEST_F(LimboTest, NothingIsFreeWhereNothingIsKnownOfReaders) {
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({1}), 5, 0)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({2}), 6, 0)), IsEmpty());
  std::vector<NodeIndex> free = Nodes(limbo_.Settle(NodeChain(), 7, kNoReader));
  EXPECT_THAT(free, UnorderedElementsAre(1, 2));
}

TEST_F(LimboTest, TakeAllTakesWhatIsInAnyState) {
  limbo_.Settle(Chain({1}), 5, 4);
  limbo_.Settle(Chain({2}), 6, 4);
  limbo_.Add(Chain({3}));
  EXPECT_THAT(Nodes(limbo_.TakeAll()), UnorderedElementsAre(1, 2, 3));
  EXPECT_TRUE(limbo_.empty());
}

// Two threads reclaim at once. The one that looked at the readers first settles last: its look says
// nothing of the readers that started since, which may hold the other's nodes.
TEST_F(LimboTest, ALookAtTheReadersFreesNothingThatWasRemovedAfterIt) {
  ThreadRecord& self = ThreadRecord::Current();
  const uint64_t slow_tag = Epoch::Advance();
  const uint64_t slow_look = Epoch::OldestReader();
  std::optional<EpochGuard> reader(self);      // finds node 2 ...
  const uint64_t fast_tag = Epoch::Advance();  // ... which is removed now
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({2}), fast_tag, Epoch::OldestReader())), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({1}), slow_tag, slow_look)),
              ::testing::Not(::testing::Contains(2)));
  reader.reset();
  const uint64_t tag = Epoch::Advance();
  EXPECT_THAT(Nodes(limbo_.Settle(NodeChain(), tag, Epoch::OldestReader())),
              ::testing::Contains(2));
}

// The same, where the older batch is still waiting: the younger then holds nodes of both threads,
// and must wait for the later epoch.
TEST_F(LimboTest, ABatchOfSeveralReclaimersWaitsForTheLatestOfTheirEpochs) {
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({1}), 4, 4)), IsEmpty());
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({2}), 6, 4)), IsEmpty());
  // The reader of epoch 4 has left, one of epoch 6 holds node 2.
  EXPECT_THAT(Nodes(limbo_.Settle(Chain({3}), 5, 6)), ElementsAre(1));
  EXPECT_THAT(Nodes(limbo_.Settle(NodeChain(), 7, 7)), UnorderedElementsAre(2, 3));
}

// Readers and reclaimers, each step of which runs when the test says so.
class Interleaving {
 public:
  Interleaving(const Slab* slab, uint64_t seed) : slab_(*slab), limbo_(slab), random_(seed) {
    for (NodeIndex node = 0; node < 60; ++node) linked_.insert(node);
  }

  void Step() {
    switch (random_() % 5) {
      case 0:
        readers_.push_back({now_, linked_});
        break;
      case 1:
        if (!readers_.empty()) readers_.erase(readers_.begin() + Any(readers_.size()));
        break;
      case 2:
        if (!linked_.empty()) RemoveOne();
        break;
      default:
        if (!reclaimers_.empty()) GoOnReclaiming(Any(reclaimers_.size()));
    }
  }

  // Whether all that was removed is free once nobody reads and all reclaimers have come to an end.
  bool EndsEmpty() {
    readers_.clear();
    while (!reclaimers_.empty()) GoOnReclaiming(0);
    limbo_.Settle(limbo_.TakeFresh(), now_, kNoReader);
    return limbo_.empty();
  }

 private:
  struct Reader {
    uint64_t epoch;
    std::set<NodeIndex> holds;
  };
  struct Reclaimer {
    NodeChain batch;
    uint64_t tag;
    std::optional<uint64_t> look;
  };

  ptrdiff_t Any(size_t size) { return static_cast<ptrdiff_t>(random_() % size); }

  void RemoveOne() {
    NodeChain chain;
    chain.Append(slab_, *linked_.begin(), 1);
    limbo_.Add(chain);
    linked_.erase(linked_.begin());
    if (random_() % 2 == 0) reclaimers_.push_back({limbo_.TakeFresh(), now_++, std::nullopt});
  }

  // A look at the readers, as Epoch::OldestReader; and, later, what it allows.
  void GoOnReclaiming(ptrdiff_t which) {
    Reclaimer& reclaimer = reclaimers_[static_cast<size_t>(which)];
    if (!reclaimer.look.has_value()) {
      // Readers that start from now on aren't older than now.
      reclaimer.look = now_;
      for (const Reader& reader : readers_) {
        reclaimer.look = std::min(*reclaimer.look, reader.epoch);
      }
      return;
    }
    const NodeChain free = limbo_.Settle(reclaimer.batch, reclaimer.tag, *reclaimer.look);
    for (NodeIndex node = free.first; node != kNoNode; node = slab_.At(node)->timer_next) {
      for (const Reader& reader : readers_) ASSERT_FALSE(reader.holds.contains(node)) << node;
    }
    reclaimers_.erase(reclaimers_.begin() + which);
  }

  const Slab& slab_;
  Limbo limbo_;
  std::mt19937_64 random_;
  uint64_t now_ = 1;
  std::set<NodeIndex> linked_;  // a reader that starts now may find these
  std::vector<Reader> readers_;
  std::vector<Reclaimer> reclaimers_;
};

TEST_F(LimboTest, NoInterleavingOfReclaimersFreesANodeThatAReaderHolds) {
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
