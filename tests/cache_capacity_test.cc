// SPDX-License-Identifier: Apache-2.0
// The bound on what a cache holds: by count and by weight, over all stripes, changed at run time,
// and under concurrent writers.
#include <atomic>
#include <cstdint>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using CountedCache = Cache<uint64_t, Counted>;

// The parameter is the number of stripes.
class CacheCapacityTest : public CacheFixture, public ::testing::WithParamInterface<int> {
 protected:
  // Weighs each entry by its value, where `weighed`.
  IntCache& MakeWith(uint64_t capacity, bool weighed = false) {
    auto options = OptionsFor<IntCache>(capacity);
    options.stripes = GetParam();
    if (weighed) options.weigher = [](uint64_t, uint64_t value) { return value; };
    options.on_removal = [this](uint64_t, uint64_t, RemovalCause) { removed_.fetch_add(1); };
    return Make<IntCache>(options);
  }

  std::atomic<uint64_t> removed_{0};
};

INSTANTIATE_TEST_SUITE_P(Stripes, CacheCapacityTest, ::testing::Values(0, 1, 2, 16, 256),
                         ::testing::PrintToStringParamName());

TEST_P(CacheCapacityTest, BoundsTheCount) {
  for (const uint64_t capacity : {1, 2, 3, 7, 100, 5000}) {
    IntCache& cache = MakeWith(capacity);
    for (uint64_t key = 0; key < 3 * capacity; ++key) {
      ASSERT_TRUE(cache.Put(key, key).ok());
      ASSERT_EQ(cache.Get(key), key) << "the newest entry is no victim";
      ASSERT_LE(cache.weight(), capacity);
      ASSERT_EQ(cache.size(), cache.weight());
    }
    EXPECT_EQ(cache.size(), capacity) << "room is made, but not more than needed";
    EXPECT_EQ(cache.Stats().evictions, 2 * capacity);
    EXPECT_LE(cache.Stats().max_overshoot, 1u) << "one writer, one entry";
  }
}

TEST_P(CacheCapacityTest, BoundsTheWeight) {
  IntCache& cache = MakeWith(1000, true);
  std::mt19937_64 random(1);
  for (int i = 0; i < 5000; ++i) {
    const uint64_t weight = random() % 100;
    const uint64_t key = random() % 200;
    ASSERT_TRUE(cache.Put(key, weight).ok());
    ASSERT_LE(cache.weight(), 1000u);
    ASSERT_EQ(cache.Get(key), weight);
  }
  uint64_t sum = 0;
  cache.ForEach([&sum](uint64_t, uint64_t value) { sum += value; });
  EXPECT_EQ(cache.weight(), sum);
}

TEST_P(CacheCapacityTest, AHugeEntryDisplacesOthersOverAllStripes) {
  IntCache& cache = MakeWith(1000, true);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, 1).ok());
  ASSERT_TRUE(cache.Put(5000, 990).ok());
  EXPECT_EQ(cache.Get(5000), 990u);
  EXPECT_LE(cache.weight(), 1000u);
  ASSERT_TRUE(cache.Put(5001, 1000).ok());
  EXPECT_EQ(cache.Get(5001), 1000u);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.weight(), 1000u);
  ASSERT_TRUE(cache.Put(1, 1).ok());
  EXPECT_EQ(cache.Get(1), 1u);
  EXPECT_FALSE(cache.Contains(5001));
  EXPECT_EQ(cache.weight(), 1u);
}

TEST_P(CacheCapacityTest, PerCallWeightsGoBeforeTheWeigher) {
  IntCache& cache = MakeWith(100, true);
  ASSERT_TRUE(cache.Put(1, 1000, {.weight = 7}).ok());
  EXPECT_EQ(cache.weight(), 7u);
  ASSERT_TRUE(cache.PutIfAbsent(2, 1000, {.weight = 8}));
  EXPECT_EQ(cache.weight(), 15u);
  ASSERT_TRUE(
      cache.Compute(1, [](auto) { return std::optional<uint64_t>(1000); }, {.weight = 9}).ok());
  EXPECT_EQ(cache.weight(), 17u);
  ASSERT_TRUE(cache.Put(1, 3).ok());
  EXPECT_EQ(cache.weight(), 11u) << "the weigher's answer again";
}

TEST_P(CacheCapacityTest, AnEntryTooHeavyChangesNothing) {
  IntCache& cache = MakeWith(100, true);
  for (uint64_t key = 0; key < 10; ++key) ASSERT_TRUE(cache.Put(key, 10).ok());
  const auto too_heavy = [](auto) { return std::optional<uint64_t>(101); };
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Put(3, 101)));
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Put(20, UINT64_MAX)));
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Put(4, 1, {.weight = 101})));
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Compute(5, too_heavy)));
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Compute(21, too_heavy)));
  EXPECT_FALSE(cache.PutIfAbsent(22, 101));
  EXPECT_EQ(cache.size(), 10u);
  EXPECT_EQ(cache.weight(), 100u);
  for (uint64_t key = 0; key < 10; ++key) EXPECT_EQ(cache.Get(key), 10u) << key;
  EXPECT_EQ(removed_.load(), 0u);
  EXPECT_EQ(cache.Stats().puts, 10u);
  EXPECT_EQ(cache.Stats().rejected_puts, 6u);
  EXPECT_EQ(cache.Stats().max_overshoot, 0u);
}

TEST_P(CacheCapacityTest, ReplacingCountsTheDifference) {
  IntCache& cache = MakeWith(100, true);
  ASSERT_TRUE(cache.Put(1, 60).ok());
  ASSERT_TRUE(cache.Put(2, 40).ok());
  ASSERT_TRUE(cache.Put(1, 55).ok());
  EXPECT_TRUE(cache.Contains(2)) << "nothing had to go";
  EXPECT_EQ(cache.weight(), 95u);
  ASSERT_TRUE(cache.Put(1, 60).ok());
  EXPECT_TRUE(cache.Contains(2));
  ASSERT_TRUE(cache.Put(1, 61).ok());
  EXPECT_FALSE(cache.Contains(2));
  EXPECT_EQ(cache.weight(), 61u);
}

TEST_P(CacheCapacityTest, WeightlessEntriesTakeNoRoom) {
  IntCache& cache = MakeWith(5, true);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, 0).ok());
  EXPECT_EQ(cache.size(), 1000u);
  EXPECT_EQ(cache.weight(), 0u);
  ASSERT_TRUE(cache.Put(2000, 5).ok());
  EXPECT_EQ(cache.weight(), 5u);
  EXPECT_EQ(cache.Get(2000), 5u);
}

TEST_P(CacheCapacityTest, WeightsMayBeAsLargeAsNumbersGo) {
  IntCache& cache = MakeWith(UINT64_MAX, true);
  ASSERT_TRUE(cache.Put(1, UINT64_MAX).ok());
  EXPECT_EQ(cache.weight(), UINT64_MAX);
  ASSERT_TRUE(cache.Put(2, UINT64_MAX).ok());
  EXPECT_EQ(cache.weight(), UINT64_MAX);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.Get(2), UINT64_MAX);
  ASSERT_TRUE(cache.Put(3, UINT64_MAX - 5).ok());
  ASSERT_TRUE(cache.Put(4, 5).ok());
  EXPECT_EQ(cache.weight(), UINT64_MAX);
  EXPECT_EQ(cache.size(), 2u);
  ASSERT_TRUE(cache.Put(3, UINT64_MAX - 4).ok());
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.weight(), UINT64_MAX - 4);
  ASSERT_TRUE(cache.SetCapacity(1).ok());
  EXPECT_EQ(cache.weight(), 0u);
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Put(1, UINT64_MAX)));
}

TEST_P(CacheCapacityTest, SetCapacityEvictsAtOnceAndGivesRoom) {
  IntCache& cache = MakeWith(1000);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  for (const uint64_t capacity : {999, 500, 10, 1}) {
    ASSERT_TRUE(cache.SetCapacity(capacity).ok());
    EXPECT_EQ(cache.capacity(), capacity);
    EXPECT_EQ(cache.size(), capacity);
    EXPECT_EQ(removed_.load(), 1000 - capacity);
  }
  EXPECT_EQ(cache.Stats().evictions, 999u);
  ASSERT_TRUE(cache.SetCapacity(100'000).ok());
  for (uint64_t key = 0; key < 100'000; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  EXPECT_EQ(cache.size(), 100'000u);
  ASSERT_TRUE(cache.SetCapacity(UINT64_MAX).ok());
  EXPECT_EQ(cache.size(), 100'000u);
}

TEST_P(CacheCapacityTest, AHeavierEntryFitsOnceTheCapacityIsRaised) {
  IntCache& cache = MakeWith(10, true);
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Put(1, 50)));
  ASSERT_TRUE(cache.SetCapacity(50).ok());
  EXPECT_TRUE(cache.Put(1, 50).ok());
  ASSERT_TRUE(cache.SetCapacity(49).ok());
  EXPECT_FALSE(cache.Contains(1));
}

TEST_P(CacheCapacityTest, WritersInFlightOvershootByAtMostAnEntryEach) {
  constexpr int kWriters = 8;
  constexpr uint64_t kHeaviest = 10;
  for (const bool weighed : {false, true}) {
    IntCache& cache = MakeWith(200, weighed);
    const uint64_t most = kWriters * (weighed ? kHeaviest : 1);
    std::atomic<bool> done{false};
    std::thread observer([&] {
      while (!done.load()) {
        EXPECT_LE(cache.weight(), 200 + most);
        std::this_thread::yield();
      }
    });
    RunThreads(kWriters, [&](int thread) {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      for (int i = 0; i < Rounds(5000); ++i) {
        const uint64_t key = random() % 1000;
        const uint64_t weight = 1 + random() % kHeaviest;
        if (random() % 4 == 0) {
          cache.PutIfAbsent(key, weight);
        } else {
          EXPECT_TRUE(cache.Put(key, weight).ok());
        }
      }
    });
    done.store(true);
    observer.join();
    EXPECT_LE(cache.weight(), 200u);
    EXPECT_LE(cache.Stats().max_overshoot, most);
    EXPECT_GE(cache.weight(), 200 - most) << "and evicts little more than it must";
  }
}

TEST_P(CacheCapacityTest, HoldsWhileTheCapacityMoves) {
  IntCache& cache = MakeWith(100);
  RunThreads(4, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (int i = 0; i < Rounds(3000); ++i) {
      if (thread == 0) {
        EXPECT_TRUE(cache.SetCapacity(1 + random() % 200).ok());
      } else {
        EXPECT_TRUE(cache.Put(random() % 1000, 1).ok());
      }
    }
  });
  EXPECT_LE(cache.weight(), cache.capacity());
}

TEST_P(CacheCapacityTest, PinnedEntriesAreEvictedFromTheCacheAllTheSame) {
  auto options = OptionsFor<CountedCache>(10);
  options.stripes = GetParam();
  CountedCache& cache = Make<CountedCache>(options);
  std::vector<CountedCache::Handle> handles;
  for (uint64_t key = 0; key < 100; ++key) {
    ASSERT_TRUE(cache.Put(key, key).ok());
    handles.push_back(cache.Pin(key));
    ASSERT_TRUE(handles.back());
    EXPECT_LE(cache.weight(), 10u);
  }
  EXPECT_EQ(cache.size(), 10u);
  for (uint64_t key = 0; key < 100; ++key) EXPECT_EQ(handles[key]->number(), key);
}

}  // namespace
}  // namespace larder::test
