// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/stats_counters.h"

#include <cstddef>
#include <cstdint>
#include <latch>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/thread_record.h"
#include "larder/removal_cause.h"
#include "larder/stats.h"

namespace larder::internal {
namespace {

CacheStats Sum(const StatsCounters& counters) {
  CacheStats stats;
  counters.Sum(stats);
  return stats;
}

TEST(StatsCountersTest, StartsFromNothing) {
  const StatsCounters counters;
  const CacheStats stats = Sum(counters);
  EXPECT_EQ(stats.hits, 0u);
  EXPECT_EQ(stats.cleared, 0u);
  EXPECT_EQ(stats.load_time, absl::ZeroDuration());
  EXPECT_EQ(stats.hit_ratio(), 0);
}

TEST(StatsCountersTest, EachCounterIsItsOwn) {
  StatsCounters counters;
  const ThreadRecord& self = ThreadRecord::Current();
  counters.Add(self, Counter::kHits);
  counters.Add(self, Counter::kMisses, 2);
  counters.Add(self, Counter::kPuts, 3);
  counters.Add(self, Counter::kRejectedPuts, 4);
  counters.Add(self, Counter::kLoads, 5);
  counters.Add(self, Counter::kLoadFailures, 6);
  counters.Add(self, Counter::kLoadNanos, 7'000);
  counters.Add(self, Counter::kJoined, 8);
  uint64_t amount = 10;
  for (const RemovalCause cause :
       {RemovalCause::kErased, RemovalCause::kReplaced, RemovalCause::kEvicted,
        RemovalCause::kExpired, RemovalCause::kCleared}) {
    for (uint64_t i = 0; i < amount; ++i) counters.AddRemoval(self, cause);
    ++amount;
  }
  const CacheStats stats = Sum(counters);
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 2u);
  EXPECT_EQ(stats.puts, 3u);
  EXPECT_EQ(stats.rejected_puts, 4u);
  EXPECT_EQ(stats.loads, 5u);
  EXPECT_EQ(stats.load_failures, 6u);
  EXPECT_EQ(stats.load_time, absl::Microseconds(7));
  EXPECT_EQ(stats.joined, 8u);
  EXPECT_EQ(stats.erased, 10u);
  EXPECT_EQ(stats.replaced, 11u);
  EXPECT_EQ(stats.evictions, 12u);
  EXPECT_EQ(stats.expirations, 13u);
  EXPECT_EQ(stats.cleared, 14u);
  EXPECT_DOUBLE_EQ(stats.hit_ratio(), 1.0 / 3);
}

TEST(StatsCountersTest, CachesCountApart) {
  StatsCounters first;
  StatsCounters second;
  first.Add(ThreadRecord::Current(), Counter::kHits);
  EXPECT_EQ(Sum(first).hits, 1u);
  EXPECT_EQ(Sum(second).hits, 0u);
}

TEST(StatsCountersTest, WhatAThreadCountedStaysWhenItEnds) {
  StatsCounters counters;
  for (int i = 0; i < 200; ++i) {
    std::thread([&] { counters.Add(ThreadRecord::Current(), Counter::kHits); }).join();
  }
  EXPECT_EQ(Sum(counters).hits, 200u);
}

// More threads than have cells of their own, all alive together and counting at once.
TEST(StatsCountersTest, SumsAreExactOverAnyNumberOfThreads) {
  constexpr size_t kThreads = 100;
  constexpr uint64_t kEach = 200'000;
  StatsCounters counters;
  std::latch all_registered(kThreads);
  std::latch all_counted(kThreads);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      const ThreadRecord& self = ThreadRecord::Current();
      all_registered.arrive_and_wait();
      for (uint64_t i = 0; i < kEach; ++i) {
        counters.Add(self, Counter::kHits);
        counters.Add(self, Counter::kMisses, 3);
        counters.AddRemoval(self, RemovalCause::kCleared);
      }
      all_counted.count_down();
    });
  }
  // Sums taken meanwhile only grow.
  uint64_t before = 0;
  while (!all_counted.try_wait()) {
    const uint64_t hits = Sum(counters).hits;
    EXPECT_GE(hits, before);
    before = hits;
  }
  for (std::thread& thread : threads) thread.join();
  const CacheStats stats = Sum(counters);
  EXPECT_EQ(stats.hits, kThreads * kEach);
  EXPECT_EQ(stats.misses, 3 * kThreads * kEach);
  EXPECT_EQ(stats.cleared, kThreads * kEach);
}

}  // namespace
}  // namespace larder::internal
