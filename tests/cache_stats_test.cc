// SPDX-License-Identifier: Apache-2.0
// Each counter of CacheStats.
#include "larder/stats.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using Result = absl::StatusOr<uint64_t>;

class CacheStatsTest : public CacheFixture {
 protected:
  IntCache& cache_ = Make<IntCache>(10);
};

TEST_F(CacheStatsTest, AreZeroAtFirst) {
  const CacheStats stats = cache_.Stats();
  EXPECT_EQ(stats.hits + stats.misses + stats.puts + stats.rejected_puts, 0u);
  EXPECT_EQ(stats.loads + stats.load_failures + stats.joined, 0u);
  EXPECT_EQ(stats.load_time, absl::ZeroDuration());
  EXPECT_EQ(stats.evictions + stats.expirations + stats.erased + stats.replaced + stats.cleared,
            0u);
  EXPECT_EQ(stats.size + stats.weight + stats.max_overshoot, 0u);
  EXPECT_EQ(stats.hit_ratio(), 0);
}

TEST_F(CacheStatsTest, CountHitsAndMisses) {
  ASSERT_TRUE(cache_.Put(1, 10).ok());
  const auto nothing = [](uint64_t) {};
  const auto load = [](uint64_t) -> Result { return 30; };
  cache_.Get(1);
  EXPECT_EQ(cache_.Stats().hits, 1u);
  cache_.Pin(1);
  EXPECT_EQ(cache_.Stats().hits, 2u);
  cache_.Visit(1, nothing);
  EXPECT_EQ(cache_.Stats().hits, 3u);
  EXPECT_TRUE(cache_.GetOrLoad(1, load).ok());
  EXPECT_EQ(cache_.Stats().hits, 4u);
  EXPECT_EQ(cache_.Stats().misses, 0u);
  cache_.Get(2);
  EXPECT_EQ(cache_.Stats().misses, 1u);
  cache_.Pin(2);
  EXPECT_EQ(cache_.Stats().misses, 2u);
  cache_.Visit(2, nothing);
  EXPECT_EQ(cache_.Stats().misses, 3u);
  EXPECT_TRUE(cache_.GetOrLoad(3, load).ok());
  EXPECT_EQ(cache_.Stats().misses, 4u);
  EXPECT_EQ(cache_.Stats().hits, 4u);
  EXPECT_DOUBLE_EQ(cache_.Stats().hit_ratio(), 0.5);
}

TEST_F(CacheStatsTest, DoNotCountAsLookupsWhatLooksNothingUp) {
  ASSERT_TRUE(cache_.Put(1, 10).ok());
  cache_.Contains(1);
  cache_.Contains(2);
  cache_.PutIfAbsent(1, 11);
  cache_.PutIfAbsent(3, 30);
  ASSERT_TRUE(cache_.Compute(1, [](auto old) { return old; }).ok());
  cache_.Erase(1);
  cache_.Erase(1);
  cache_.ForEach([](uint64_t, uint64_t) {});
  cache_.EraseIf([](uint64_t, uint64_t) { return true; });
  EXPECT_EQ(cache_.Stats().hits, 0u);
  EXPECT_EQ(cache_.Stats().misses, 0u);
}

TEST_F(CacheStatsTest, AnExpiredEntryIsAMiss) {
  ASSERT_TRUE(cache_.Put(1, 10, {.ttl = absl::Seconds(1)}).ok());
  clock_.Advance(absl::Seconds(1));
  cache_.Get(1);
  EXPECT_EQ(cache_.Stats().hits, 0u);
  EXPECT_EQ(cache_.Stats().misses, 1u);
}

TEST_F(CacheStatsTest, CountPuts) {
  ASSERT_TRUE(cache_.Put(1, 10).ok());
  ASSERT_TRUE(cache_.Put(1, 11).ok());
  EXPECT_EQ(cache_.Stats().puts, 2u);
  EXPECT_TRUE(cache_.PutIfAbsent(2, 20));
  EXPECT_FALSE(cache_.PutIfAbsent(2, 20));
  EXPECT_EQ(cache_.Stats().puts, 3u);
  ASSERT_TRUE(cache_.Compute(3, [](auto) { return std::optional<uint64_t>(3); }).ok());
  ASSERT_TRUE(cache_.Compute(3, [](auto) { return std::optional<uint64_t>(); }).ok());
  EXPECT_EQ(cache_.Stats().puts, 4u);
  ASSERT_TRUE(cache_.GetOrLoad(4, [](uint64_t) -> Result { return 40; }).ok());
  EXPECT_EQ(cache_.Stats().puts, 5u);
  EXPECT_EQ(cache_.Stats().replaced, 1u);
  EXPECT_EQ(cache_.Stats().erased, 1u);
}

TEST_F(CacheStatsTest, CountRejectedPuts) {
  EXPECT_FALSE(cache_.Put(1, 10, {.weight = 11}).ok());
  EXPECT_EQ(cache_.Stats().rejected_puts, 1u);
  EXPECT_FALSE(cache_.PutIfAbsent(1, 10, {.weight = 11}));
  EXPECT_EQ(cache_.Stats().rejected_puts, 2u);
  EXPECT_FALSE(
      cache_.Compute(1, [](auto) { return std::optional<uint64_t>(3); }, {.weight = 11}).ok());
  EXPECT_EQ(cache_.Stats().rejected_puts, 3u);
  EXPECT_EQ(cache_.Stats().puts, 0u);
}

TEST_F(CacheStatsTest, CountRemovalsByCause) {
  for (uint64_t key = 0; key < 13; ++key) ASSERT_TRUE(cache_.Put(key, key).ok());
  EXPECT_EQ(cache_.Stats().evictions, 3u);
  ASSERT_TRUE(cache_.SetCapacity(6).ok());
  EXPECT_EQ(cache_.Stats().evictions, 7u);
  ASSERT_TRUE(cache_.Put(12, 99).ok());
  EXPECT_EQ(cache_.Stats().replaced, 1u);
  EXPECT_TRUE(cache_.Erase(12));
  EXPECT_FALSE(cache_.Erase(12));
  EXPECT_EQ(cache_.Stats().erased, 1u);
  EXPECT_EQ(cache_.EraseIf([](uint64_t key, uint64_t) { return key >= 10; }), 2u);
  EXPECT_EQ(cache_.Stats().erased, 3u);
  ASSERT_TRUE(cache_.Put(20, 20, {.ttl = absl::Seconds(1)}).ok());
  clock_.Advance(absl::Hours(1));
  while (cache_.RunMaintenance(100) != 0) {
  }
  EXPECT_EQ(cache_.Stats().expirations, 1u);
  cache_.Clear();
  EXPECT_EQ(cache_.Stats().cleared, 3u);
  EXPECT_EQ(cache_.Stats().evictions, 7u);
}

TEST_F(CacheStatsTest, CountLoads) {
  const auto good = [](uint64_t) -> Result { return 1; };
  const auto bad = [](uint64_t) -> Result { return absl::UnavailableError("no"); };
  const auto throwing = [](uint64_t) -> Result { throw std::runtime_error("no"); };
  EXPECT_TRUE(cache_.GetOrLoad(1, good).ok());
  EXPECT_TRUE(cache_.GetOrLoad(1, good).ok());
  EXPECT_EQ(cache_.Stats().loads, 1u);
  EXPECT_FALSE(cache_.GetOrLoad(2, bad).ok());
  EXPECT_FALSE(cache_.GetOrLoad(2, bad).ok());
  EXPECT_EQ(cache_.Stats().loads, 3u);
  EXPECT_EQ(cache_.Stats().load_failures, 2u);
  EXPECT_THROW(cache_.GetOrLoad(2, throwing).IgnoreError(), std::runtime_error);
  EXPECT_EQ(cache_.Stats().loads, 4u);
  EXPECT_EQ(cache_.Stats().load_failures, 3u);
  EXPECT_EQ(cache_.Stats().joined, 0u);
}

TEST_F(CacheStatsTest, SumLoadTime) {
  const auto slow = [this](uint64_t key) -> Result {
    clock_.Advance(absl::Milliseconds(100));
    if (key == 2) return absl::UnavailableError("no");
    return 1;
  };
  EXPECT_TRUE(cache_.GetOrLoad(1, slow).ok());
  EXPECT_EQ(cache_.Stats().load_time, absl::Milliseconds(100));
  EXPECT_FALSE(cache_.GetOrLoad(2, slow).ok());
  EXPECT_TRUE(cache_.GetOrLoad(1, slow).ok());
  EXPECT_EQ(cache_.Stats().load_time, absl::Milliseconds(200)) << "failures included";
}

TEST_F(CacheStatsTest, CountWhoJoinedALoad) {
  constexpr int kAskers = 8;
  uint64_t asked = 0;
  // Who comes late hits what was loaded; until somebody didn't.
  for (uint64_t key = 0; cache_.Stats().joined == 0; ++key) {
    ASSERT_LT(key, 10'000u);
    std::atomic<int> asking{0};
    RunThreads(kAskers, [&](int) {
      asking.fetch_add(1);
      EXPECT_TRUE(cache_
                      .GetOrLoad(key,
                                 [&](uint64_t) -> Result {
                                   EXPECT_TRUE(
                                       Eventually([&] { return asking.load() == kAskers; }));
                                   for (int i = 0; i < 200; ++i) std::this_thread::yield();
                                   return 1;
                                 })
                      .ok());
    });
    asked += kAskers;
    const CacheStats stats = cache_.Stats();
    EXPECT_EQ(stats.loads, key + 1);
    EXPECT_EQ(stats.hits + stats.misses, asked);
    // Whoever missed led a load, joined one, or found the entry at a second look.
    EXPECT_LE(stats.loads + stats.joined, stats.misses);
  }
}

TEST_F(CacheStatsTest, KnowSizeAndWeight) {
  ASSERT_TRUE(cache_.Put(1, 10, {.weight = 4}).ok());
  ASSERT_TRUE(cache_.Put(2, 20).ok());
  EXPECT_EQ(cache_.Stats().size, 2u);
  EXPECT_EQ(cache_.Stats().weight, 5u);
  EXPECT_EQ(cache_.size(), 2u);
  EXPECT_EQ(cache_.weight(), 5u);
  ASSERT_TRUE(cache_.Put(1, 10, {.ttl = absl::Seconds(1)}).ok());
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(cache_.Stats().size, 2u) << "what expired and isn't reclaimed counts";
  EXPECT_EQ(cache_.Stats().weight, 2u);
  cache_.Clear();
  EXPECT_EQ(cache_.Stats().size, 0u);
  EXPECT_EQ(cache_.Stats().weight, 0u);
}

TEST_F(CacheStatsTest, AreExactAfterManyThreads) {
  constexpr uint64_t kEach = 2000;
  IntCache& cache = Make<IntCache>(1 << 20);
  for (int wave = 0; wave < 5; ++wave) {  // the threads of each wave end
    RunThreads(8, [&](int thread) {
      for (uint64_t i = 0; i < kEach; ++i) {
        const uint64_t key = static_cast<uint64_t>(thread) * kEach + i;
        EXPECT_TRUE(cache.Put(key, i).ok());
        EXPECT_TRUE(cache.Get(key).has_value());
        EXPECT_FALSE(cache.Get(key + (1 << 24)).has_value());
      }
    });
  }
  const CacheStats stats = cache.Stats();
  EXPECT_EQ(stats.puts, 5 * 8 * kEach);
  EXPECT_EQ(stats.hits, 5 * 8 * kEach);
  EXPECT_EQ(stats.misses, 5 * 8 * kEach);
  EXPECT_EQ(stats.replaced, 4 * 8 * kEach);
  EXPECT_EQ(stats.size, 8 * kEach);
}

}  // namespace
}  // namespace larder::test
