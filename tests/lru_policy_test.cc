// SPDX-License-Identifier: Apache-2.0
// LruPolicy by itself, against a list.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/lru.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"
#include "larder/removal_cause.h"
#include "tests/support/lru_stripe.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

TEST(LruPolicyTest, AnEmptyStripeHasNoVictim) {
  LruStripe stripe;
  EXPECT_EQ(stripe.Victim(), kNoNode);
  const NodeIndex node = stripe.Insert();
  EXPECT_EQ(stripe.Victim(), node);
  EXPECT_EQ(stripe.Victim(), node) << "a victim stays where it is";
  stripe.Remove(node);
  EXPECT_EQ(stripe.Victim(), kNoNode);
}

TEST(LruPolicyTest, EvictsInTheOrderOfInsertionWhereNothingIsHit) {
  for (const size_t size : {1, 2, 255, 256, 257, 5'000}) {
    LruStripe stripe;
    std::vector<NodeIndex> nodes;
    for (size_t i = 0; i < size; ++i) nodes.push_back(stripe.Insert());
    for (const NodeIndex node : nodes) ASSERT_EQ(stripe.Evict(), node) << "of " << size;
  }
}

TEST(LruPolicyTest, AHitMakesANodeTheLastVictim) {
  for (const size_t size : {2, 100, 2'000}) {
    LruStripe stripe;
    const NodeIndex hit = stripe.Insert();
    std::vector<NodeIndex> others;
    for (size_t i = 1; i < size; ++i) others.push_back(stripe.Insert());
    // Also where it is queued already.
    EXPECT_EQ(stripe.Victim(), hit);
    stripe.Hit(hit);
    for (const NodeIndex node : others) ASSERT_EQ(stripe.Evict(), node);
    EXPECT_EQ(stripe.Evict(), hit);
  }
}

TEST(LruPolicyTest, HitsInARowOnOneNodeAreOne) {
  LruStripe stripe;
  const NodeIndex first = stripe.Insert();
  const NodeIndex second = stripe.Insert();
  for (int i = 0; i < 1'000; ++i) stripe.Hit(first);
  stripe.Hit(second);
  EXPECT_EQ(stripe.Evict(), first);
  EXPECT_EQ(stripe.Evict(), second);
}

// A node has 32 bits for its stamp; the clock passes that many accesses again and again.
TEST(LruPolicyTest, StaysExactPastFourBillionAccesses) {
  ThreadRecord& self = ThreadRecord::Current();
  LruStripe stripe;
  LruList list;
  std::vector<NodeIndex> nodes;
  const auto insert = [&] {
    nodes.push_back(stripe.Insert());
    list.Insert(nodes.back());
  };
  for (int i = 0; i < 1'000; ++i) insert();
  std::mt19937_64 random(1);
  for (int round = 0; round < 6; ++round) {
    // As after that many hits of other nodes by this thread, elsewhere.
    self.recency += (uint64_t{1} << 32) - 500 + random() % 1'000;
    for (int i = 0; i < 300; ++i) {
      const NodeIndex node = nodes[random() % nodes.size()];
      if (!stripe.Holds(node)) continue;
      if (random() % 2 == 0) {
        stripe.Hit(node);
        list.Hit(node);
      } else {
        const NodeIndex oldest = list.Oldest();
        list.Remove(oldest);
        ASSERT_EQ(stripe.Evict(), oldest) << "in round " << round;
        std::erase(nodes, oldest);
        insert();
      }
    }
  }
  while (list.size() > 0) {
    const NodeIndex oldest = list.Oldest();
    list.Remove(oldest);
    ASSERT_EQ(stripe.Evict(), oldest);
  }
}

// A slot that is reused for a new node isn't taken for the old one, which was queued as a victim.
TEST(LruPolicyTest, AQueuedNodesSuccessorInItsSlotIsNoVictim) {
  LruStripe stripe;
  std::vector<NodeIndex> nodes;
  for (int i = 0; i < 100; ++i) nodes.push_back(stripe.Insert());
  EXPECT_EQ(stripe.Victim(), nodes[0]);
  stripe.Remove(nodes[0]);
  stripe.Remove(nodes[1]);
  EXPECT_EQ(stripe.Insert(), nodes[1]);
  for (size_t i = 2; i < nodes.size(); ++i) ASSERT_EQ(stripe.Evict(), nodes[i]);
  EXPECT_EQ(stripe.Evict(), nodes[1]);
}

// Each node that is queued is hit before its turn, so that every queue comes to nothing.
TEST(LruPolicyTest, AQueueThatHitsHaveOutdatedIsFilledAnew) {
  for (const size_t size : {10, 1'000, 5'000}) {
    LruStripe stripe;
    std::vector<NodeIndex> nodes;
    for (size_t i = 0; i < size; ++i) nodes.push_back(stripe.Insert());
    std::mt19937_64 random(1);
    for (int round = 0; round < 20; ++round) {
      stripe.Victim();
      std::shuffle(nodes.begin(), nodes.end(), random);
      for (const NodeIndex node : nodes) stripe.Hit(node);
      ASSERT_EQ(stripe.Victim(), nodes[0]);
    }
  }
}

// Random operations on a stripe and on the list.
class Fuzzer {
 public:
  Fuzzer(uint64_t seed, size_t capacity)
      : random_(seed), most_(capacity), capacity_(capacity), writes_in_16_(1 + seed % 14) {}

  void Run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE(::testing::Message() << "at step " << step);
      Step();
    }
    while (list_.size() > 0 && !::testing::Test::HasFailure()) Evict();
  }

 private:
  void Step() {
    if (live_.empty() || random_() % 16 < writes_in_16_) return Put();
    const uint64_t choice = random_() % 4'096;
    if (choice < 100) return Erase();
    if (choice < 200) return Replace();
    if (choice == 200) return SetCapacity();
    if (choice == 201) return HitAll();
    // The thread was busy elsewhere.
    if (choice == 202) ThreadRecord::Current().recency += random_() % 10'000'000;
    // Some nodes are hit much more often than others.
    const size_t range = 1 + random_() % live_.size();
    Hit(live_[random_() % range]);
  }

  void Put() {
    NodeIndex node;
    if (live_.size() >= capacity_) {
      const NodeIndex oldest = list_.Oldest();
      NodeIndex victim;
      node = stripe_.InsertEvicting(&victim);
      ASSERT_EQ(victim, oldest);
      Forget(victim);
    } else {
      node = stripe_.Insert();
    }
    live_.push_back(node);
    list_.Insert(node);
  }
  void Erase() {
    const NodeIndex node = live_[random_() % live_.size()];
    stripe_.Remove(node);
    Forget(node);
  }
  void Replace() {
    const size_t place = random_() % live_.size();
    const NodeIndex node = stripe_.Replace(live_[place]);
    list_.Remove(live_[place]);
    list_.Insert(node);
    live_[place] = node;
  }
  void Hit(NodeIndex node) {
    stripe_.Hit(node);
    list_.Hit(node);
  }
  void HitAll() {
    std::shuffle(live_.begin(), live_.end(), random_);
    for (const NodeIndex node : live_) Hit(node);
  }
  void SetCapacity() {
    capacity_ = most_ - random_() % most_;
    while (live_.size() > capacity_ && !::testing::Test::HasFailure()) Evict();
  }
  void Evict() {
    const NodeIndex victim = stripe_.Evict();
    ASSERT_EQ(victim, list_.Oldest());
    Forget(victim);
  }
  void Forget(NodeIndex node) {
    list_.Remove(node);
    live_.erase(std::find(live_.begin(), live_.end(), node));
  }

  std::mt19937_64 random_;
  const size_t most_;
  size_t capacity_;
  const size_t writes_in_16_;  // mostly hits, mostly writes, or both
  LruStripe stripe_;
  LruList list_;
  std::vector<NodeIndex> live_;
};

TEST(LruPolicyTest, TheOrderIsExactInAStripeThatIsQueuedWhole) {
  for (int round = 0; round < Rounds(30); ++round) {
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    Fuzzer(SeedOfRound(round), size_t{1} << (round % 9)).Run(3'000);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(LruPolicyTest, TheOrderIsExactInAStripeOfWhichThePartThatSeemsOldestIsQueued) {
  for (int round = 0; round < Rounds(8); ++round) {
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    Fuzzer(SeedOfRound(round), 257 + static_cast<size_t>(round) * 631 % 4'750).Run(30'000);
    if (::testing::Test::HasFailure()) return;
  }
}

// Hits some, evicts some: every order that a stripe can be in while it is being walked.
TEST(LruPolicyTest, TheOrderIsExactWhenAllIsHitDuringAWalk) {
  constexpr size_t kNodes = 6'000;
  std::mt19937_64 random(1);
  LruStripe stripe;
  LruList list;
  std::vector<NodeIndex> nodes;
  for (size_t i = 0; i < kNodes; ++i) {
    nodes.push_back(stripe.Insert());
    list.Insert(nodes.back());
  }
  for (size_t round = 0; round < 40; ++round) {
    for (size_t i = 0; i < round * 37; ++i) {
      const NodeIndex oldest = list.Oldest();
      NodeIndex victim;
      const NodeIndex node = stripe.InsertEvicting(&victim);
      ASSERT_EQ(victim, oldest);
      list.Remove(victim);
      list.Insert(node);
      *std::find(nodes.begin(), nodes.end(), victim) = node;
    }
    std::shuffle(nodes.begin(), nodes.end(), random);
    for (const NodeIndex node : nodes) {
      stripe.Hit(node);
      list.Hit(node);
    }
  }
}

TEST(LruPolicyTest, TheOrderIsExactWhereMemoryIsShort) {
  for (const int64_t after : {0, 1, 2, 3}) {
    LruStripe stripe;
    LruList list;
    for (size_t i = 0; i < 3'000; ++i) {
      // In turns: what was begun with memory goes on without.
      stripe.FailAllocationsAfter(i / 300 % 2 == 0 ? after : -1);
      NodeIndex node;
      if (i < 1'000) {
        node = stripe.Insert();
      } else {
        const NodeIndex oldest = list.Oldest();
        NodeIndex victim;
        node = stripe.InsertEvicting(&victim);
        ASSERT_EQ(victim, oldest) << "at step " << i;
        list.Remove(victim);
      }
      list.Insert(node);
      if (i % 3 == 0) {
        const NodeIndex hit = list.Oldest();
        stripe.Hit(hit);
        list.Hit(hit);
      }
    }
  }
}

// The most slots that one insertion looked at, with what it evicted.
class WalkMeter {
 public:
  explicit WalkMeter(const LruStripe& stripe) : stripe_(stripe) {}
  template <class F>
  void Measure(F&& f) {
    const uint64_t before = stripe_.slots_walked();
    f();
    most_ = std::max(most_, stripe_.slots_walked() - before);
  }
  uint64_t most() const { return most_; }

 private:
  const LruStripe& stripe_;
  uint64_t most_ = 0;
};

TEST(LruPolicyTest, NoInsertionLooksAtMoreThanASmallPartOfALargeStripe) {
  for (const size_t size : {20'000, 33'000, 40'000, 64'000}) {
    std::mt19937_64 random(size);
    LruStripe stripe;
    std::vector<NodeIndex> nodes;
    WalkMeter growing(stripe);
    for (size_t i = 0; i < size; ++i) {
      growing.Measure([&] { nodes.push_back(stripe.Insert()); });
      if (i % 2 == 0) stripe.Hit(nodes[random() % nodes.size()]);
    }
    EXPECT_LE(growing.most(), 512u) << "of " << size;
    WalkMeter evicting(stripe);
    const uint64_t before = stripe.slots_walked();
    for (size_t i = 0; i < 2 * size; ++i) {
      NodeIndex victim;
      evicting.Measure([&] { nodes[random() % size] = stripe.InsertEvicting(&victim); });
      const NodeIndex hit = nodes[random() % size];
      if (stripe.Holds(hit)) stripe.Hit(hit);
    }
    // Also by the first evictions, when what was queued dates from the stripe's growth.
    EXPECT_LE(evicting.most(), stripe.slots() / 4) << "of " << size;
    EXPECT_LE(stripe.slots_walked() - before, 2 * size * 16) << "of " << size;
  }
}

// A thread's clock is shared by all caches it uses.
TEST(LruPolicyTest, TheOrderIsExactInEachOfSeveralStripes) {
  LruStripe busy;
  LruStripe quiet;
  const NodeIndex often = busy.Insert();
  const NodeIndex first = quiet.Insert();
  const NodeIndex second = quiet.Insert();
  for (int i = 0; i < 1'000; ++i) {
    busy.Hit(often);
    busy.Insert();
  }
  quiet.Hit(first);
  EXPECT_EQ(quiet.Victim(), second);
  for (int i = 0; i < 1'000; ++i) busy.Hit(often);
  quiet.Hit(second);
  EXPECT_EQ(quiet.Victim(), first);
}

}  // namespace
}  // namespace larder::internal
