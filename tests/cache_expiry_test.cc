// SPDX-License-Identifier: Apache-2.0
// When entries expire, to the nanosecond; that no operation knows an expired entry; and that
// expired entries are reclaimed without being touched.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/lru_model.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using IntCache = Cache<uint64_t, uint64_t>;
using Removal = LruModel::Removal;
using enum RemovalCause;

constexpr absl::Duration kTtl = absl::Seconds(10);
constexpr absl::Duration kInstant = absl::Nanoseconds(1);
constexpr absl::Duration kYear = absl::Hours(24 * 365);

class CacheExpiryTest : public CacheFixture {
 protected:
  IntCache& MakeWith(absl::Duration ttl, absl::Duration idle_ttl = absl::InfiniteDuration(),
                     int stripes = 0) {
    auto options = OptionsFor<IntCache>(1 << 20);
    options.ttl = ttl;
    options.idle_ttl = idle_ttl;
    options.stripes = stripes;
    options.on_removal = [this](uint64_t key, uint64_t value, RemovalCause cause) {
      removed_.push_back({key, value, cause});
    };
    return Make<IntCache>(options);
  }

  // Works until there is nothing left to do; fails if that never comes.
  void Maintain(IntCache& cache, size_t budget = 1000) {
    for (int calls = 0; cache.RunMaintenance(budget) != 0; ++calls) ASSERT_LT(calls, 1'000'000);
  }

  size_t CountLive(IntCache& cache, uint64_t keys) {
    size_t live = 0;
    for (uint64_t key = 0; key < keys; ++key) live += cache.Contains(key) ? 1 : 0;
    return live;
  }

  std::vector<Removal> removed_;
};

TEST_F(CacheExpiryTest, ATtlRunsFromTheWriteToTheNanosecond) {
  IntCache& cache = MakeWith(kTtl);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  clock_.Advance(kTtl - kInstant);
  EXPECT_EQ(cache.Get(1), 10u) << "the hit doesn't prolong it";
  clock_.Advance(kInstant);
  EXPECT_EQ(cache.Get(1), std::nullopt);
}

TEST_F(CacheExpiryTest, AnIdleTtlRunsFromTheLastAccessToTheNanosecond) {
  IntCache& cache = MakeWith(absl::InfiniteDuration(), kTtl);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  const std::vector<std::function<bool()>> hits = {
      [&] { return cache.Get(1).has_value(); },
      [&] { return cache.Visit(1, [](uint64_t) {}); },
      [&] { return static_cast<bool>(cache.Pin(1)); },
      [&] {
        return cache.GetOrLoad(1, [](uint64_t) { return absl::StatusOr<uint64_t>(0); }).value() ==
               10;
      },
      [&] { return cache.Put(1, 10).ok(); },
  };
  for (const auto& hit : hits) {
    clock_.Advance(kTtl - kInstant);
    EXPECT_TRUE(cache.Contains(1));
    EXPECT_TRUE(hit());
  }
  clock_.Advance(kTtl - kInstant);
  EXPECT_TRUE(cache.Contains(1)) << "is no access";
  EXPECT_FALSE(cache.PutIfAbsent(1, 11)) << "neither is this";
  clock_.Advance(kInstant);
  EXPECT_FALSE(cache.Contains(1));
}

TEST_F(CacheExpiryTest, OfBothWhicheverRunsOutFirst) {
  IntCache& cache = MakeWith(kTtl, kTtl / 4);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  ASSERT_TRUE(cache.Put(2, 20).ok());
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(kTtl / 5);
    EXPECT_EQ(cache.Get(1).has_value(), i < 4) << i;
  }
  EXPECT_FALSE(cache.Contains(1)) << "kept busy until its ttl ran out";
  EXPECT_FALSE(cache.Contains(2)) << "left idle";
  ASSERT_TRUE(cache.Put(2, 21).ok());
  clock_.Advance(kTtl / 4 - kInstant);
  EXPECT_TRUE(cache.Contains(2));
  clock_.Advance(kInstant);
  EXPECT_FALSE(cache.Contains(2));
}

TEST_F(CacheExpiryTest, EntriesMayHaveTheirOwnTtls) {
  IntCache& cache = MakeWith(kTtl, kTtl / 2);
  const absl::Duration forever = absl::InfiniteDuration();
  ASSERT_TRUE(cache.Put(1, 1, {.ttl = kTtl / 10}).ok());
  ASSERT_TRUE(cache.Put(2, 2, {.ttl = kTtl * 10, .idle_ttl = forever}).ok());
  ASSERT_TRUE(cache.Put(3, 3, {.ttl = forever, .idle_ttl = forever}).ok());
  ASSERT_TRUE(cache.PutIfAbsent(4, 4, {.idle_ttl = kTtl / 20}));
  ASSERT_TRUE(cache
                  .Compute(5, [](auto) { return std::optional<uint64_t>(5); },
                           {.ttl = forever, .idle_ttl = kTtl * 20})
                  .ok());
  ASSERT_TRUE(cache.Put(6, 6).ok());
  const std::vector<std::pair<uint64_t, absl::Duration>> lives = {
      {4, kTtl / 20}, {1, kTtl / 10}, {6, kTtl / 2}, {2, kTtl * 10}, {5, kTtl * 20}};
  for (const auto& [first_to_go, life] : lives) {
    for (const absl::Duration now : {life - kInstant, life}) {
      clock_.SetNanos(absl::ToInt64Nanoseconds(now));
      for (const auto& [key, length] : lives) {
        EXPECT_EQ(cache.Contains(key), now < length) << key << " after " << now;
      }
    }
  }
  clock_.Advance(100 * kYear);
  Maintain(cache);
  EXPECT_TRUE(cache.Contains(3));
  EXPECT_EQ(cache.size(), 1u);
}

TEST_F(CacheExpiryTest, AWriteStartsAnew) {
  IntCache& cache = MakeWith(kTtl);
  ASSERT_TRUE(cache.Put(1, 10, {.ttl = kTtl * 2}).ok());
  clock_.Advance(kTtl - kInstant);
  ASSERT_TRUE(cache.Put(1, 11).ok());
  clock_.Advance(kTtl - kInstant);
  EXPECT_EQ(cache.Get(1), 11u);
  ASSERT_TRUE(cache.Compute(1, [](auto old) { return old; }).ok());
  clock_.Advance(kTtl - kInstant);
  EXPECT_EQ(cache.Get(1), 11u);
  clock_.Advance(kInstant);
  EXPECT_EQ(cache.Get(1), std::nullopt);
  ASSERT_TRUE(cache.Put(1, 12, {.ttl = absl::InfiniteDuration()}).ok());
  clock_.Advance(kYear);
  Maintain(cache);
  EXPECT_EQ(cache.Get(1), 12u);
}

TEST_F(CacheExpiryTest, NoOperationKnowsAnExpiredEntry) {
  IntCache& cache = MakeWith(kTtl);
  for (uint64_t key = 0; key < 10; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  IntCache::Handle pinned = cache.Pin(9);
  clock_.Advance(kTtl);
  EXPECT_EQ(cache.Get(0), std::nullopt);
  EXPECT_FALSE(cache.Pin(0));
  EXPECT_FALSE(cache.Visit(0, [](uint64_t) { ADD_FAILURE(); }));
  EXPECT_FALSE(cache.Contains(0));
  EXPECT_FALSE(cache.Erase(1));
  cache.ForEach([](uint64_t key, uint64_t) { ADD_FAILURE() << key; });
  EXPECT_EQ(cache.EraseIf([](uint64_t, uint64_t) { return true; }), 0u);
  EXPECT_EQ(*cache.GetOrLoad(2, [](uint64_t) { return absl::StatusOr<uint64_t>(22); }), 22u);
  EXPECT_TRUE(cache.PutIfAbsent(3, 33));
  EXPECT_TRUE(cache
                  .Compute(4,
                           [](std::optional<uint64_t> old) {
                             EXPECT_EQ(old, std::nullopt);
                             return std::optional<uint64_t>(44);
                           })
                  .ok());
  EXPECT_EQ(cache.Stats().hits, 1u) << "the Pin";
  EXPECT_EQ(cache.Get(2), 22u);
  EXPECT_EQ(cache.Get(3), 33u);
  EXPECT_EQ(cache.Get(4), 44u);
  EXPECT_EQ(*pinned, 9u) << "a handle holds on past expiry";
  Maintain(cache);
}

TEST_F(CacheExpiryTest, ExpiredEntriesAreReportedAsExpiredWhateverRemovesThem) {
  IntCache& cache = MakeWith(kTtl);
  for (uint64_t key = 0; key < 6; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  clock_.Advance(kTtl);
  ASSERT_TRUE(cache.Put(0, 100).ok());
  EXPECT_FALSE(cache.Erase(1));
  ASSERT_TRUE(cache.PutIfAbsent(2, 102));
  ASSERT_TRUE(cache.Compute(3, [](auto) { return std::optional<uint64_t>(103); }).ok());
  ASSERT_TRUE(cache.Compute(4, [](auto old) { return old; }).ok());
  cache.Clear();
  Maintain(cache);
  std::sort(removed_.begin(), removed_.end());
  EXPECT_THAT(
      removed_,
      ElementsAre(Removal{0, 0, kExpired}, Removal{0, 100, kCleared}, Removal{1, 1, kExpired},
                  Removal{2, 2, kExpired}, Removal{2, 102, kCleared}, Removal{3, 3, kExpired},
                  Removal{3, 103, kCleared}, Removal{4, 4, kExpired}, Removal{5, 5, kExpired}));
  EXPECT_EQ(cache.Stats().expirations, 6u);
}

TEST_F(CacheExpiryTest, JitterShortensEachTtlByUpToItsShare) {
  auto options = OptionsFor<IntCache>(1 << 20);
  options.ttl = kTtl;
  options.ttl_jitter = 0.5;
  IntCache& cache = Make<IntCache>(options);
  constexpr uint64_t kKeys = 4000;  // a half of them with a ttl of their own, twice as long
  for (uint64_t key = 0; key < kKeys; ++key) {
    PutOptions own;
    if (key >= kKeys / 2) own.ttl = 2 * kTtl;
    ASSERT_TRUE(cache.Put(key, key, own).ok());
  }
  for (const absl::Duration ttl : {kTtl, 2 * kTtl}) {
    const uint64_t others = ttl == kTtl ? kKeys / 2 : 0;
    const auto live_at = [&](absl::Duration now) {
      clock_.SetNanos(absl::ToInt64Nanoseconds(now));
      return CountLive(cache, kKeys) - others;
    };
    EXPECT_EQ(live_at(ttl * 0.5 - kInstant), kKeys / 2) << "none may go by more than its share";
    // Of 2000, 200 in each tenth, give or take 13 (a standard deviation).
    for (int tenth = 1; tenth < 10; ++tenth) {
      EXPECT_NEAR(static_cast<double>(live_at(ttl * (0.5 + tenth * 0.05))), 200.0 * (10 - tenth),
                  150.0);
    }
    EXPECT_EQ(live_at(ttl), 0u) << "none may go late";
  }
}

TEST_F(CacheExpiryTest, JitterLeavesIdleTtlsAndInfiniteOnes) {
  auto options = OptionsFor<IntCache>(1000);
  options.idle_ttl = kTtl;
  options.ttl_jitter = 1;
  IntCache& cache = Make<IntCache>(options);
  for (uint64_t key = 0; key < 100; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  clock_.Advance(kTtl - kInstant);
  EXPECT_EQ(CountLive(cache, 100), 100u);
  clock_.Advance(kInstant);
  EXPECT_EQ(CountLive(cache, 100), 0u);
}

// --- Time that misbehaves.

TEST_F(CacheExpiryTest, AnyStartOfTheClockWillDo) {
  const int64_t ttl = absl::ToInt64Nanoseconds(kTtl);
  for (const int64_t start : {int64_t{0}, -ttl, -ttl - 1, -ttl + 1, int64_t{-1}, INT64_MIN / 2,
                              INT64_MAX / 2, INT64_MAX - 3 * ttl}) {
    SCOPED_TRACE(start);
    clock_.SetNanos(start);
    IntCache& cache = MakeWith(kTtl);
    ASSERT_TRUE(cache.Put(1, 10).ok());
    ASSERT_TRUE(cache.Put(2, 20, {.ttl = 100'000 * kYear}).ok());
    clock_.SetNanos(start + ttl - 1);
    Maintain(cache);
    EXPECT_TRUE(cache.Contains(1));
    clock_.SetNanos(start + ttl);
    EXPECT_FALSE(cache.Contains(1));
    clock_.SetNanos(start + 2 * ttl);
    Maintain(cache);
    EXPECT_TRUE(cache.Contains(2)) << "a deadline past the end of the clock is never reached";
    EXPECT_EQ(cache.size(), 1u);
    End(cache);
  }
}

TEST_F(CacheExpiryTest, LeapsOfYears) {
  IntCache& cache = MakeWith(kTtl);
  for (uint64_t round = 0; round < 50; ++round) {
    ASSERT_TRUE(cache.Put(1, round).ok());
    ASSERT_TRUE(cache.Put(2, round, {.ttl = 3 * kYear + kTtl}).ok());
    clock_.Advance(kTtl - kInstant);
    ASSERT_EQ(cache.Get(1), round);
    clock_.Advance(3 * kYear);
    ASSERT_FALSE(cache.Contains(1));
    ASSERT_EQ(cache.Get(2), round);
    Maintain(cache);
    ASSERT_EQ(cache.size(), 1u);
    clock_.Advance(kInstant);
    ASSERT_FALSE(cache.Contains(2));
  }
}

TEST_F(CacheExpiryTest, DeadlinesYearsAheadAreReachedInSmallSteps) {
  IntCache& cache = MakeWith(40 * kYear);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  for (int step = 0; step < 1000; ++step) {
    ASSERT_TRUE(cache.Contains(1)) << step;
    clock_.Advance(40 * kYear / 1000);
    Maintain(cache);
  }
  EXPECT_FALSE(cache.Contains(1));
  clock_.Advance(absl::Hours(24));
  Maintain(cache);
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(CacheExpiryTest, NothingExpiresWhileTimeStandsStill) {
  IntCache& cache = MakeWith(kInstant, kInstant);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  Maintain(cache);
  EXPECT_EQ(CountLive(cache, 1000), 1000u);
  EXPECT_THAT(removed_, IsEmpty());
}

TEST_F(CacheExpiryTest, KeepsToAnOracleWithRandomTimes) {
  for (int round = 0; round < Rounds(4); ++round) {
    SCOPED_TRACE(SeedOfRound(round));
    std::mt19937_64 random(SeedOfRound(round));
    clock_.SetNanos(static_cast<int64_t>(random() >> 3));
    IntCache& cache = MakeWith(absl::InfiniteDuration());
    std::map<uint64_t, int64_t> deadlines;
    for (int step = 0; step < 3000; ++step) {
      const uint64_t key = random() % 200;
      // Of any magnitude, from 1 ns to a few days.
      const int64_t ttl = static_cast<int64_t>(1 + (random() >> (14 + random() % 48)));
      ASSERT_TRUE(cache.Put(key, key, {.ttl = absl::Nanoseconds(ttl)}).ok());
      deadlines[key] = clock_.NowNanos() + ttl;
      if (random() % 4 == 0) clock_.Advance(absl::Nanoseconds(random() >> (16 + random() % 48)));
      if (random() % 8 == 0) cache.RunMaintenance(random() % 16);
      const uint64_t asked = random() % 200;
      ASSERT_EQ(cache.Contains(asked),
                deadlines.contains(asked) && deadlines[asked] > clock_.NowNanos());
    }
    for (const auto& [key, deadline] : deadlines) {
      ASSERT_EQ(cache.Contains(key), deadline > clock_.NowNanos());
    }
    clock_.Advance(absl::Hours(24 * 365));
    Maintain(cache);
    ASSERT_EQ(cache.size(), 0u);
    End(cache);
  }
}

// --- Reclamation.

TEST_F(CacheExpiryTest, WritersReclaimWhatExpired) {
  for (const int stripes : {1, 16}) {
    IntCache& cache = MakeWith(absl::InfiniteDuration(), absl::InfiniteDuration(), stripes);
    for (uint64_t key = 0; key < 10'000; ++key) {
      ASSERT_TRUE(cache.Put(key, key, {.ttl = kTtl}).ok());
    }
    clock_.Advance(kTtl + absl::Hours(1));
    for (uint64_t put = 0; put < 100'000 && cache.size() > 256; ++put) {
      ASSERT_TRUE(cache.Put(20'000 + put % 256, put).ok());
    }
    EXPECT_LE(cache.size(), 256u);
    EXPECT_EQ(cache.Stats().expirations, 10'000u);
  }
}

}  // namespace
}  // namespace larder::test
