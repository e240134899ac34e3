// SPDX-License-Identifier: Apache-2.0
// LruPolicy where several threads stamp nodes.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/lru.h"
#include "larder/internal/node.h"
#include "larder/internal/thread_record.h"
#include "tests/support/lru_stripe.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;

// Runs f in another thread, to its end.
template <class F>
void InAnotherThread(F&& f) {
  std::thread([&] { f(ThreadRecord::Current()); }).join();
}

TEST(LruPolicyThreadsTest, AHitOfAThreadThatIsNewCountsAsNoOlderThanTheLastFewWrites) {
  LruStripe stripe;
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
TEST(LruPolicyThreadsTest, AThreadCatchesUpWithWhatItMeets) {
  LruStripe stripe;
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
TEST(LruPolicyThreadsTest, WhatAnotherThreadHitOftenButLongAgoIsEvictedInTime) {
  constexpr size_t kNodes = 1'000;
  LruStripe stripe;
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

// A thread that is stopped within a hit, and goes on much later, leaves a stamp that is older than
// all that is queued.
TEST(LruPolicyThreadsTest, WhatWasStampedLateIsEvictedInTime) {
  constexpr size_t kNodes = 3'000;
  LruStripe stripe;
  std::vector<NodeIndex> nodes;
  for (size_t i = 0; i < kNodes; ++i) nodes.push_back(stripe.Insert());
  const uint32_t stamp = stripe.StampOf(nodes[10]);
  NodeIndex victim;
  for (size_t i = 0; i < kNodes / 2; ++i) stripe.InsertEvicting(&victim);
  const NodeIndex late = nodes[kNodes - 1];
  stripe.StampLate(late, stamp);
  bool evicted = false;
  for (size_t i = 0; i < 2 * kNodes && !evicted; ++i) {
    stripe.InsertEvicting(&victim);
    evicted = victim == late;
  }
  EXPECT_TRUE(evicted);
}

// All of them; none is left that the queue could know of.
TEST(LruPolicyThreadsTest, NodesThatWereAllStampedLateAreVictimsStill) {
  LruStripe stripe;
  std::vector<NodeIndex> nodes;
  for (size_t i = 0; i < 1'000; ++i) nodes.push_back(stripe.Insert());
  for (size_t i = 0; i < 500; ++i) stripe.Evict();
  for (size_t i = 500; i < 1'000; ++i) stripe.StampLate(nodes[i], static_cast<uint32_t>(i - 499));
  for (size_t i = 500; i < 1'000; ++i) {
    const NodeIndex victim = stripe.Evict();
    ASSERT_NE(victim, kNoNode);
    ASSERT_FALSE(stripe.Holds(victim));
  }
  EXPECT_EQ(stripe.live(), 0u);
  EXPECT_EQ(stripe.Victim(), kNoNode);
}

// Nodes are hit all the time by others, so that none is as it was when it was queued: there is a
// victim still, each time.
TEST(LruPolicyThreadsTest, ThereIsAVictimWhileAllNodesAreBeingHit) {
  for (const size_t size : {1, 3, 20, 400}) {
    LruStripe stripe;
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
