// SPDX-License-Identifier: Apache-2.0
// Compute: an atomic change of one key's value.
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

using ::testing::ElementsAre;
using IntCache = Cache<uint64_t, uint64_t>;
using CountedCache = Cache<uint64_t, Counted>;
using Number = std::optional<uint64_t>;

class CacheComputeTest : public CacheFixture {};

Number Increment(Number old) { return old.value_or(0) + 1; }

TEST_F(CacheComputeTest, StoresWhatTheFunctionMakesOfWhatIsThere) {
  IntCache& cache = Make<IntCache>(10);
  EXPECT_TRUE(cache.Compute(1, Increment).ok());
  EXPECT_EQ(cache.Get(1), 1u);
  EXPECT_TRUE(cache.Compute(1, Increment).ok());
  EXPECT_EQ(cache.Get(1), 2u);
  EXPECT_EQ(cache.size(), 1u);
}

TEST_F(CacheComputeTest, NulloptErasesOrLeavesNothing) {
  IntCache& cache = Make<IntCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  const auto none = [](Number) { return Number(); };
  EXPECT_TRUE(cache.Compute(1, none).ok());
  EXPECT_FALSE(cache.Contains(1));
  EXPECT_TRUE(cache.Compute(1, none).ok());
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.Stats().erased, 1u);
}

TEST_F(CacheComputeTest, TheFunctionMayBeMoveOnlyAndMutable) {
  IntCache& cache = Make<IntCache>(10);
  auto counting = [count = std::make_unique<uint64_t>(0)](Number) mutable {
    return Number(++*count);
  };
  EXPECT_TRUE(cache.Compute(1, counting).ok());
  EXPECT_TRUE(cache.Compute(2, counting).ok());
  EXPECT_EQ(cache.Get(2), 2u);
}

TEST_F(CacheComputeTest, TheFunctionMayCallTheCache) {
  auto options = OptionsFor<IntCache>(10);
  options.stripes = 1;
  IntCache& cache = Make<IntCache>(options);
  EXPECT_TRUE(cache
                  .Compute(1,
                           [&](Number) {
                             EXPECT_TRUE(cache.Put(2, 20).ok());
                             EXPECT_TRUE(cache.Compute(3, Increment).ok());
                             return cache.Get(2);
                           })
                  .ok());
  EXPECT_EQ(cache.Get(1), 20u);
  EXPECT_EQ(cache.Get(3), 1u);
}

TEST_F(CacheComputeTest, RunsAgainWhereAnotherWriterGotInBetween) {
  IntCache& cache = Make<IntCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  std::vector<Number> seen;
  const auto interfere = [&](Number old) -> Number {
    seen.push_back(old);
    if (seen.size() == 1) {
      EXPECT_TRUE(cache.Put(1, 20).ok());
    }
    if (seen.size() == 2) {
      EXPECT_TRUE(cache.Erase(1));
    }
    if (seen.size() == 3) {
      EXPECT_TRUE(cache.PutIfAbsent(1, 30));
    }
    return old.value_or(0) + 1;
  };
  EXPECT_TRUE(cache.Compute(1, interfere).ok());
  EXPECT_THAT(seen, ElementsAre(10u, 20u, std::nullopt, 30u));
  EXPECT_EQ(cache.Get(1), 31u);
}

TEST_F(CacheComputeTest, ErasingRunsAgainToo) {
  IntCache& cache = Make<IntCache>(10);
  std::vector<Number> seen;
  EXPECT_TRUE(cache
                  .Compute(1,
                           [&](Number old) -> Number {
                             seen.push_back(old);
                             if (seen.size() == 1) {
                               EXPECT_TRUE(cache.Put(1, 20).ok());
                             }
                             return std::nullopt;
                           })
                  .ok());
  EXPECT_THAT(seen, ElementsAre(std::nullopt, 20u));
  EXPECT_FALSE(cache.Contains(1));
}

TEST_F(CacheComputeTest, RunsAgainWhereTheValueWasInvalidatedInBetween) {
  IntCache& cache = Make<IntCache>(10);
  for (const bool erases : {false, true}) {
    ASSERT_TRUE(cache.Put(1, 10, {.tags = {"tag"}}).ok());
    std::vector<Number> seen;
    const auto interfere = [&](Number old) -> Number {
      seen.push_back(old);
      if (seen.size() == 1) cache.InvalidateTag("tag");
      return old.has_value() && erases ? std::nullopt : Number(old.value_or(0) + 1);
    };
    EXPECT_TRUE(cache.Compute(1, interfere).ok());
    EXPECT_THAT(seen, ElementsAre(10u, std::nullopt));
    EXPECT_EQ(cache.Get(1), 1u);
  }
}

TEST_F(CacheComputeTest, RunsAgainWhereTheValueExpiredInBetween) {
  auto options = OptionsFor<IntCache>(10);
  options.stale_if_error = absl::Hours(1);
  IntCache& cache = Make<IntCache>(options);
  for (const bool erases : {false, true}) {
    ASSERT_TRUE(cache.Put(1, 10).ok());
    std::vector<Number> seen;
    const auto interfere = [&](Number old) -> Number {
      seen.push_back(old);
      if (seen.size() == 1) {
        EXPECT_TRUE(cache.Expire(1));
      }
      return old.has_value() && erases ? std::nullopt : Number(old.value_or(0) + 1);
    };
    EXPECT_TRUE(cache.Compute(1, interfere).ok());
    EXPECT_THAT(seen, ElementsAre(10u, std::nullopt));
    EXPECT_EQ(cache.Get(1), 1u);
  }
}

TEST_F(CacheComputeTest, AnEqualValueInBetweenIsAnotherWriteAllTheSame) {
  CountedCache& cache = Make<CountedCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  int calls = 0;
  EXPECT_TRUE(cache
                  .Compute(1,
                           [&](std::optional<Counted> old) {
                             if (++calls == 1) {
                               EXPECT_TRUE(cache.Erase(1));
                               while (cache.RunMaintenance(100) != 0) {
                               }
                               EXPECT_TRUE(cache.Put(1, 10).ok());
                             }
                             return old;
                           })
                  .ok());
  EXPECT_EQ(calls, 2);
}

TEST_F(CacheComputeTest, ChangesOfOtherKeysDoNotMakeItRunAgain) {
  auto options = OptionsFor<IntCache>(1 << 16);
  options.stripes = 1;
  IntCache& cache = Make<IntCache>(options);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  int calls = 0;
  EXPECT_TRUE(cache
                  .Compute(1,
                           [&](Number old) {
                             ++calls;
                             for (uint64_t key = 2; key < 10'000; ++key) {
                               EXPECT_TRUE(cache.Put(key, key).ok());
                             }
                             return old;
                           })
                  .ok());
  EXPECT_EQ(calls, 1);
}

TEST_F(CacheComputeTest, IncrementsByManyThreadsAddUp) {
  constexpr int kThreads = 8;
  constexpr uint64_t kKeys = 3;
  for (const int stripes : {1, 8}) {
    auto options = OptionsFor<CountedCache>(100);
    options.stripes = stripes;
    CountedCache& cache = Make<CountedCache>(options);
    const int increments = Rounds(3000);
    RunThreads(kThreads, [&](int) {
      for (int i = 0; i < increments; ++i) {
        const uint64_t key = static_cast<uint64_t>(i) % kKeys;
        EXPECT_TRUE(cache
                        .Compute(key,
                                 [](std::optional<Counted> old) -> std::optional<Counted> {
                                   return Counted(old.has_value() ? old->number() + 1 : 1);
                                 })
                        .ok());
      }
    });
    uint64_t sum = 0;
    for (uint64_t key = 0; key < kKeys; ++key) sum += cache.Get(key)->number();
    EXPECT_EQ(sum, static_cast<uint64_t>(kThreads) * static_cast<uint64_t>(increments));
  }
}

// Tokens move between the database of a test and one entry; none may be lost or doubled, though
// entries come and go.
TEST_F(CacheComputeTest, ErasingAndStoringByManyThreadsLosesNothing) {
  IntCache& cache = Make<IntCache>(100);
  std::atomic<uint64_t> taken{0};
  std::atomic<uint64_t> put{0};
  RunThreads(6, [&](int thread) {
    for (int i = 0; i < Rounds(3000); ++i) {
      uint64_t held = 0;
      if (thread % 2 == 0) {
        EXPECT_TRUE(cache.Compute(1, Increment).ok());
        put.fetch_add(1);
      } else {
        EXPECT_TRUE(cache
                        .Compute(1,
                                 [&held](Number old) {
                                   held = old.value_or(0);
                                   return Number();
                                 })
                        .ok());
        taken.fetch_add(held);
      }
    }
  });
  EXPECT_EQ(taken.load() + cache.Get(1).value_or(0), put.load());
}

TEST_F(CacheComputeTest, PutIfAbsentHasOneWinner) {
  IntCache& cache = Make<IntCache>(100);
  for (int round = 0; round < Rounds(200); ++round) {
    std::atomic<int> winners{0};
    std::atomic<uint64_t> winner{0};
    RunThreads(4, [&](int thread) {
      if (cache.PutIfAbsent(1, static_cast<uint64_t>(thread))) {
        winners.fetch_add(1);
        winner.store(static_cast<uint64_t>(thread));
      }
    });
    EXPECT_EQ(winners.load(), 1);
    EXPECT_EQ(cache.Get(1), winner.load());
    EXPECT_TRUE(cache.Erase(1));
  }
}

TEST_F(CacheComputeTest, EraseHasOneWinner) {
  IntCache& cache = Make<IntCache>(100);
  for (int round = 0; round < Rounds(200); ++round) {
    ASSERT_TRUE(cache.Put(1, 10).ok());
    std::atomic<int> winners{0};
    RunThreads(4, [&](int thread) {
      const bool won = thread % 2 == 0
                           ? cache.Erase(1)
                           : cache.EraseIf([](uint64_t key, uint64_t) { return key == 1; }) == 1;
      if (won) winners.fetch_add(1);
    });
    EXPECT_EQ(winners.load(), 1);
  }
}

}  // namespace
}  // namespace larder::test
