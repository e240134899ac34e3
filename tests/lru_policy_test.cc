// SPDX-License-Identifier: Apache-2.0
// LruPolicy by itself, against a list.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <latch>
#include <list>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/lru.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"
#include "larder/removal_cause.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

// A stripe of bare nodes under the policy, as the cache's writers use it.
class PolicyStripe {
 public:
  NodeIndex Insert(ThreadRecord& thread = ThreadRecord::Current()) {
    const NodeIndex node = slots_.Allocate();
    slab_.At(node)->timer_prev = NodeHeader::kNoTimer;
    policy_.OnInsert(node, node, thread);
    ++live_;
    return node;
  }

  void Remove(NodeIndex node) {
    policy_.OnRemove(node);
    slab_.At(node)->SetRemoved(RemovalCause::kErased);
    slots_.Free(node);
    --live_;
  }

  void Hit(NodeIndex node, ThreadRecord& thread = ThreadRecord::Current()) {
    if (LruPolicy::OnHit(*slab_.At(node), thread, shared_)) return;
    policy_.Renew(thread);
    EXPECT_TRUE(LruPolicy::OnHit(*slab_.At(node), thread, shared_));
  }

  NodeIndex Victim() { return policy_.Victim(live_); }
  NodeIndex Evict() {
    const NodeIndex victim = Victim();
    Remove(victim);
    return victim;
  }

  bool Holds(NodeIndex node) const { return slab_.At(node)->InCache(); }
  size_t live() const { return live_; }

 private:
  Slab slab_{sizeof(NodeHeader), 6};
  SlotAllocator slots_{&slab_, 0};
  LruPolicy::Shared shared_;
  LruPolicy policy_{&slab_, &slots_, &shared_};
  size_t live_ = 0;
};

// What an exact LRU would do.
class LruList {
 public:
  void Insert(NodeIndex node) { places_[node] = order_.insert(order_.begin(), node); }
  void Hit(NodeIndex node) { order_.splice(order_.begin(), order_, places_.at(node)); }
  void Remove(NodeIndex node) {
    order_.erase(places_.at(node));
    places_.erase(node);
  }
  NodeIndex Oldest() const { return order_.back(); }
  size_t size() const { return order_.size(); }

 private:
  std::list<NodeIndex> order_;  // the most recently used first
  std::unordered_map<NodeIndex, std::list<NodeIndex>::iterator> places_;
};

TEST(LruPolicyTest, AnEmptyStripeHasNoVictim) {
  PolicyStripe stripe;
  EXPECT_EQ(stripe.Victim(), kNoNode);
  const NodeIndex node = stripe.Insert();
  EXPECT_EQ(stripe.Victim(), node);
  EXPECT_EQ(stripe.Victim(), node) << "a victim stays where it is";
  stripe.Remove(node);
  EXPECT_EQ(stripe.Victim(), kNoNode);
}

TEST(LruPolicyTest, EvictsInTheOrderOfInsertionWhereNothingIsHit) {
  for (const size_t size : {1, 2, 255, 256, 257, 5'000}) {
    PolicyStripe stripe;
    std::vector<NodeIndex> nodes;
    for (size_t i = 0; i < size; ++i) nodes.push_back(stripe.Insert());
    for (const NodeIndex node : nodes) ASSERT_EQ(stripe.Evict(), node) << "of " << size;
  }
}

TEST(LruPolicyTest, AHitMakesANodeTheLastVictim) {
  for (const size_t size : {2, 100, 2'000}) {
    PolicyStripe stripe;
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
  PolicyStripe stripe;
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
  PolicyStripe stripe;
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
  PolicyStripe stripe;
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
  for (const size_t size : {10, 1'000}) {
    PolicyStripe stripe;
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

void Fuzz(uint64_t seed, size_t capacity, int steps) {
  std::mt19937_64 random(seed);
  PolicyStripe stripe;
  LruList model;
  std::vector<NodeIndex> live;
  const auto drop = [&](NodeIndex node) {
    model.Remove(node);
    stripe.Remove(node);
    live.erase(std::find(live.begin(), live.end(), node));
  };
  // Mostly hits, mostly writes, or both.
  const size_t writes_in_16 = 1 + seed % 14;
  for (int step = 0; step < steps; ++step) {
    if (live.empty() || random() % 16 < writes_in_16) {
      if (live.size() >= capacity) {
        const NodeIndex victim = stripe.Victim();
        ASSERT_EQ(victim, model.Oldest()) << "at step " << step;
        drop(victim);
      }
      live.push_back(stripe.Insert());
      model.Insert(live.back());
    } else if (random() % 32 == 0) {
      drop(live[random() % live.size()]);
    } else {
      // Some nodes are hit much more often than others.
      const size_t range = 1 + random() % live.size();
      const NodeIndex node = live[random() % range];
      stripe.Hit(node);
      model.Hit(node);
    }
  }
  while (model.size() > 0) {
    const NodeIndex victim = stripe.Victim();
    ASSERT_EQ(victim, model.Oldest());
    drop(victim);
  }
}

TEST(LruPolicyTest, TheOrderIsExactInAStripeThatIsQueuedWhole) {
  for (int round = 0; round < Rounds(60); ++round) {
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    Fuzz(SeedOfRound(round), size_t{1} << (round % 9), 3'000);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(LruPolicyTest, TheOrderIsExactInAStripeOfWhichThePartThatSeemsOldestIsQueued) {
  for (int round = 0; round < Rounds(10); ++round) {
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    Fuzz(SeedOfRound(round), 257 + static_cast<size_t>(round) * 331, 30'000);
    if (::testing::Test::HasFailure()) return;
  }
}

// A thread's clock is shared by all caches it uses.
TEST(LruPolicyTest, TheOrderIsExactInEachOfSeveralStripes) {
  PolicyStripe busy;
  PolicyStripe quiet;
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

// Runs f in another thread, to its end.
template <class F>
void InAnotherThread(F&& f) {
  std::thread([&] { f(ThreadRecord::Current()); }).join();
}

TEST(LruPolicyTest, AHitOfAThreadThatIsNewCountsAsNoOlderThanTheLastFewWrites) {
  PolicyStripe stripe;
  std::vector<NodeIndex> nodes;
  for (int i = 0; i < 2'000; ++i) nodes.push_back(stripe.Insert());
  InAnotherThread([&](ThreadRecord& other) {
    // As if it had never used a cache; its record may be that of a thread that had.
    other.recency = 0;
    stripe.Hit(nodes[0], other);
    stripe.Hit(nodes[1], other);
  });
  // Behind by at most what a stripe's writers do before they publish their clock.
  for (int i = 0; i < 1'900; ++i) {
    const NodeIndex victim = stripe.Evict();
    ASSERT_NE(victim, nodes[0]) << i;
    ASSERT_NE(victim, nodes[1]) << i;
  }
}

// A thread that lags takes over the time of what it hits; its next hit is then the latest.
TEST(LruPolicyTest, AThreadCatchesUpWithWhatItMeets) {
  PolicyStripe stripe;
  std::vector<NodeIndex> nodes;
  for (int i = 0; i < 40; ++i) nodes.push_back(stripe.Insert());
  InAnotherThread([&](ThreadRecord& other) {
    other.recency = 0;
    stripe.Hit(nodes.back(), other);
    stripe.Hit(nodes[0], other);
  });
  for (int i = 1; i < 40; ++i) EXPECT_EQ(stripe.Evict(), nodes[static_cast<size_t>(i)]);
  EXPECT_EQ(stripe.Evict(), nodes[0]);
}

// One thread only reads, far more often than another one writes, and stops. What it read long ago
// must not outlive what is written since.
TEST(LruPolicyTest, WhatAnotherThreadHitOftenButLongAgoIsEvictedInTime) {
  constexpr size_t kNodes = 1'000;
  PolicyStripe stripe;
  std::vector<NodeIndex> old;
  ThreadRecord& writer = ThreadRecord::Current();
  writer.recency = 0;
  for (size_t i = 0; i < kNodes; ++i) old.push_back(stripe.Insert(writer));
  InAnotherThread([&](ThreadRecord& reader) {
    for (int i = 0; i < 100; ++i) {
      for (const NodeIndex node : old) stripe.Hit(node, reader);
    }
  });
  // Exact LRU needs kNodes writes to evict them all.
  std::vector<bool> evicted(10 * kNodes);
  size_t gone = 0;
  for (size_t i = 0; i < 2 * kNodes; ++i) {
    const NodeIndex victim = stripe.Evict();
    // Slots are reused: only the first node in each of these was an old one.
    if (victim < kNodes && !evicted[victim]) {
      evicted[victim] = true;
      ++gone;
    }
    stripe.Insert(writer);
  }
  EXPECT_EQ(gone, kNodes);
}

// Nodes are hit all the time by others, so that none is as it was when it was queued: there is a
// victim still, each time.
TEST(LruPolicyTest, ThereIsAVictimWhileAllNodesAreBeingHit) {
  for (const size_t size : {1, 3, 20, 400}) {
    PolicyStripe stripe;
    std::vector<NodeIndex> nodes;
    for (size_t i = 0; i < size; ++i) nodes.push_back(stripe.Insert());
    std::atomic<bool> done{false};
    std::latch hitting(2);
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        ThreadRecord& self = ThreadRecord::Current();
        hitting.count_down();
        while (!done.load(std::memory_order_relaxed)) {
          for (const NodeIndex node : nodes) stripe.Hit(node, self);
        }
      });
    }
    hitting.wait();
    for (int i = 0; i < Rounds(20'000 / static_cast<int>(size) + 100); ++i) {
      const NodeIndex victim = stripe.Victim();
      ASSERT_NE(victim, kNoNode);
      ASSERT_TRUE(stripe.Holds(victim));
    }
    done.store(true);
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace larder::internal
