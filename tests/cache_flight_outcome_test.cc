// SPDX-License-Identifier: Apache-2.0
// What GetOrLoad stores: loads that are overtaken by a change of their key, and what a loader may
// say about its value.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/manual_executor.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using Result = absl::StatusOr<uint64_t>;
using LoadedResult = absl::StatusOr<Loaded<uint64_t>>;

constexpr absl::Duration kTtl = absl::Seconds(10);
constexpr absl::Duration kInstant = absl::Nanoseconds(1);

class LoadOutcomeTest : public CacheFixture {
 protected:
  IntCache& MakeOneStripe(uint64_t capacity = 100) {
    auto options = OptionsFor<IntCache>(capacity);
    options.stripes = 1;
    return Make<IntCache>(options);
  }
};

// --- Loads that are overtaken.

// A change of key 1, which isn't there, while it is loaded.
struct Overtaking {
  const char* name;
  void (*run)(IntCache& cache);
  std::optional<uint64_t> leaves;  // what key 1 has afterwards
};

const Overtaking kOvertaking[] = {
    {"Put", [](IntCache& cache) { ASSERT_TRUE(cache.Put(1, 11).ok()); }, 11},
    {"PutIfAbsent", [](IntCache& cache) { ASSERT_TRUE(cache.PutIfAbsent(1, 11)); }, 11},
    {"Compute",
     [](IntCache& cache) {
       ASSERT_TRUE(cache.Compute(1, [](auto) { return std::optional<uint64_t>(11); }).ok());
     },
     11},
    {"Erase", [](IntCache& cache) { ASSERT_FALSE(cache.Erase(1)); }, std::nullopt},
    {"PutAndErase",
     [](IntCache& cache) {
       ASSERT_TRUE(cache.Put(1, 11).ok());
       ASSERT_TRUE(cache.Erase(1));
     },
     std::nullopt},
    {"EraseIf",
     [](IntCache& cache) { cache.EraseIf([](uint64_t key, uint64_t) { return key == 1; }); },
     std::nullopt},
    {"Clear", [](IntCache& cache) { cache.Clear(); }, std::nullopt},
};

class OvertakenLoadTest : public LoadOutcomeTest,
                          public ::testing::WithParamInterface<Overtaking> {};

TEST_P(OvertakenLoadTest, IsReturnedButNotStored) {
  IntCache& cache = MakeOneStripe();
  const Result result = cache.GetOrLoad(1, [&](uint64_t) -> Result {
    GetParam().run(cache);
    return 10;
  });
  EXPECT_EQ(*result, 10u);
  EXPECT_EQ(cache.Get(1), GetParam().leaves);
  EXPECT_EQ(cache.Stats().loads, 1u);
  EXPECT_EQ(cache.Stats().load_failures, 0u);
}

TEST_P(OvertakenLoadTest, IsNotStoredWhereAnotherThreadOvertakesIt) {
  IntCache& cache = MakeOneStripe();
  const Result result = cache.GetOrLoad(1, [&](uint64_t) -> Result {
    std::thread([&] { GetParam().run(cache); }).join();
    return 10;
  });
  EXPECT_EQ(*result, 10u);
  EXPECT_EQ(cache.Get(1), GetParam().leaves);
}

TEST_P(OvertakenLoadTest, GivesItsErrorAllTheSame) {
  IntCache& cache = MakeOneStripe();
  const Result result = cache.GetOrLoad(1, [&](uint64_t) -> Result {
    GetParam().run(cache);
    return absl::UnavailableError("no such luck");
  });
  EXPECT_TRUE(absl::IsUnavailable(result.status()));
  EXPECT_EQ(cache.Get(1), GetParam().leaves);
}

TEST_P(OvertakenLoadTest, WhoAsksLaterGetsANewerLoad) {
  if (GetParam().leaves.has_value()) return;  // nobody loads then
  for (int round = 0; round < Rounds(10); ++round) {
    IntCache& cache = MakeOneStripe();
    std::atomic<bool> asking{false};
    std::thread later;
    const Result first = cache.GetOrLoad(1, [&](uint64_t) -> Result {
      GetParam().run(cache);
      later = std::thread([&] {
        asking.store(true);
        EXPECT_EQ(*cache.GetOrLoad(1, [](uint64_t) -> Result { return 20; }), 20u);
      });
      EXPECT_TRUE(Eventually([&] { return asking.load(); }));
      for (int i = 0; i < 100; ++i) std::this_thread::yield();
      return 10;
    });
    later.join();
    EXPECT_EQ(*first, 10u);
    EXPECT_EQ(cache.Get(1), 20u) << "the newer one is stored";
  }
}

INSTANTIATE_TEST_SUITE_P(Each, OvertakenLoadTest, ::testing::ValuesIn(kOvertaking),
                         [](const auto& info) { return info.param.name; });

TEST_F(LoadOutcomeTest, ChangesOfOtherKeysDoNotMatter) {
  IntCache& cache = MakeOneStripe();
  ASSERT_TRUE(cache.Put(3, 30).ok());
  EXPECT_EQ(*cache.GetOrLoad(1,
                             [&](uint64_t) -> Result {
                               EXPECT_TRUE(cache.Put(2, 20).ok());
                               EXPECT_TRUE(cache.Erase(3));
                               return 10;
                             }),
            10u);
  EXPECT_EQ(cache.Get(1), 10u);
}

TEST_F(LoadOutcomeTest, ALoadIsOvertakenWhereItsKeyExpiredBefore) {
  IntCache& cache = MakeOneStripe();
  ASSERT_TRUE(cache.Put(1, 5, {.ttl = kTtl}).ok());
  clock_.Advance(kTtl);
  EXPECT_EQ(*cache.GetOrLoad(1,
                             [&](uint64_t) -> Result {
                               EXPECT_FALSE(cache.Erase(1));
                               return 10;
                             }),
            10u);
  EXPECT_EQ(cache.Get(1), std::nullopt);
}

// The order that matters to users: change the database, then erase; whoever asks after the Erase
// returned must not get what was read before the change.
TEST_F(LoadOutcomeTest, NothingOlderThanTheLastEraseIsEverSeen) {
  for (const int stripes : {1, 8}) {
    auto options = OptionsFor<IntCache>(4);
    options.stripes = stripes;
    IntCache& cache = Make<IntCache>(options);
    constexpr uint64_t kKeys = 3;
    std::atomic<uint64_t> database[kKeys] = {};
    std::atomic<uint64_t> erased[kKeys] = {};
    std::atomic<int> loading[kKeys] = {};
    RunThreads(5, [&](int thread) {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      for (int i = 0; i < Rounds(4000); ++i) {
        const uint64_t key = thread < 1 ? random() % kKeys : random() % (kKeys + 1) % kKeys;
        if (thread == 0) {  // the one writer
          const uint64_t version = database[key].fetch_add(1) + 1;
          if (random() % 2 == 0) {
            cache.Erase(key);
          } else if (random() % 16 == 0) {
            cache.Clear();
          } else {
            EXPECT_TRUE(cache.Put(key, version).ok());
          }
          erased[key].store(version);
          std::this_thread::yield();
          continue;
        }
        const uint64_t oldest = erased[key].load();
        const Result got = cache.GetOrLoad(key, [&](uint64_t) -> Result {
          EXPECT_EQ(loading[key].fetch_add(1), 0) << "one load per key at a time";
          const uint64_t version = database[key].load();
          if (random() % 2 == 0) std::this_thread::yield();
          loading[key].fetch_sub(1);
          return version;
        });
        ASSERT_TRUE(got.ok()) << got.status();
        EXPECT_GE(*got, oldest);
      }
    });
  }
}

TEST_F(LoadOutcomeTest, EachCallerGetsItsValueWhateverIsEvicted) {
  IntCache& cache = MakeOneStripe(1);
  RunThreads(4, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (int i = 0; i < Rounds(3000); ++i) {
      const uint64_t key = random() % 5;
      const Result result = cache.GetOrLoad(key, [](uint64_t k) -> Result { return k * 10; });
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(*result, key * 10);
    }
  });
  EXPECT_EQ(cache.size(), 1u);
}

// --- What a loader says about its value.

TEST_F(LoadOutcomeTest, LoadedTtlsGoBeforeTheCallsAndThoseBeforeTheCaches) {
  auto options = OptionsFor<IntCache>(100);
  options.ttl = 100 * kTtl;
  IntCache& cache = Make<IntCache>(options);
  const auto plain = [](uint64_t) -> Result { return 1; };
  const auto with_ttl = [](uint64_t) -> LoadedResult {
    return Loaded<uint64_t>{.value = 1, .ttl = kTtl};
  };
  const auto with_idle_ttl = [](uint64_t) -> LoadedResult {
    return Loaded<uint64_t>{.value = 1, .idle_ttl = kTtl};
  };
  const auto forever = [](uint64_t) -> LoadedResult {
    return Loaded<uint64_t>{.value = 1, .ttl = absl::InfiniteDuration()};
  };
  ASSERT_TRUE(cache.GetOrLoad(1, with_ttl, {.ttl = 5 * kTtl}).ok());
  ASSERT_TRUE(cache.GetOrLoad(2, with_idle_ttl, {.ttl = 5 * kTtl}).ok());
  ASSERT_TRUE(cache.GetOrLoad(3, plain, {.ttl = kTtl}).ok());
  ASSERT_TRUE(cache.GetOrLoad(4, plain, {.idle_ttl = kTtl}).ok());
  ASSERT_TRUE(cache.GetOrLoad(5, plain).ok());
  ASSERT_TRUE(cache.GetOrLoad(6, forever, {.ttl = kTtl}).ok());
  clock_.Advance(kTtl - kInstant);
  for (uint64_t key = 1; key <= 6; ++key) EXPECT_TRUE(cache.Contains(key)) << key;
  clock_.Advance(kInstant);
  for (uint64_t key = 1; key <= 4; ++key) EXPECT_FALSE(cache.Contains(key)) << key;
  EXPECT_TRUE(cache.Contains(5));
  clock_.Advance(100 * kTtl);
  EXPECT_FALSE(cache.Contains(5));
  EXPECT_TRUE(cache.Contains(6));
}

TEST_F(LoadOutcomeTest, ALoaderSaysWhereItHadAValueFrom) {
  auto options = OptionsFor<IntCache>(100);
  options.ttl = kTtl;
  options.stale_if_error = 10 * kTtl;
  IntCache& cache = Make<IntCache>(options);
  const auto source_of = [&](uint64_t key, LoadedFrom from) {
    const auto result = cache.GetOrLoadResult(key, [from](uint64_t) -> LoadedResult {
      return Loaded<uint64_t>{.value = 1, .from = from};
    });
    EXPECT_EQ(result->age == absl::InfiniteDuration(), result->source == LoadSource::kStale);
    return LoadSourceName(result->source);
  };
  EXPECT_EQ(source_of(1, LoadedFrom::kSource), "loaded");
  EXPECT_EQ(source_of(2, LoadedFrom::kRemote), "remote");
  EXPECT_EQ(source_of(3, LoadedFrom::kStale), "stale");
  EXPECT_EQ(cache.Stats().stale, 1u);
  // It was the load that had it from there.
  for (uint64_t key = 1; key <= 3; ++key) EXPECT_EQ(source_of(key, LoadedFrom::kStale), "memory");
  // It says more than that something was replaced.
  clock_.Advance(kTtl);
  EXPECT_EQ(source_of(1, LoadedFrom::kSource), "refreshed");
  EXPECT_EQ(source_of(2, LoadedFrom::kRemote), "remote");
  EXPECT_EQ(source_of(3, LoadedFrom::kStale), "stale");
}

TEST_F(LoadOutcomeTest, WhoJoinsALoadIsToldThatItsValueIsStale) {
  ManualExecutor executor;
  auto options = OptionsFor<IntCache>(100);
  options.executor = &executor;
  IntCache& cache = Make<IntCache>(options);
  const std::pair<LoadedFrom, const char*> cases[] = {{LoadedFrom::kRemote, "remote, joined, "},
                                                      {LoadedFrom::kStale, "stale, stale, "}};
  for (uint64_t key = 0; key < std::size(cases); ++key) {
    std::string told;
    for (int caller = 0; caller < 2; ++caller) {
      cache.GetOrLoadAsync(
          key,
          [&](uint64_t) -> LoadedResult {
            return Loaded<uint64_t>{.value = 1, .from = cases[key].first};
          },
          [&](absl::StatusOr<LoadResult<uint64_t>> result) {
            told += std::string(LoadSourceName(result.value().source)) + ", ";
          });
    }
    executor.RunAll();
    EXPECT_EQ(told, cases[key].second);
  }
  EXPECT_EQ(cache.Stats().stale, 2u);
}

TEST_F(LoadOutcomeTest, ALoadedLimitCutsWhateverTtlThereIs) {
  auto options = OptionsFor<IntCache>(100);
  options.ttl = 100 * kTtl;
  IntCache& cache = Make<IntCache>(options);
  const auto limited = [](std::optional<absl::Duration> ttl, absl::Duration limit) {
    return [=](uint64_t) -> LoadedResult {
      return Loaded<uint64_t>{.value = 1, .ttl = ttl, .ttl_limit = limit};
    };
  };
  ASSERT_TRUE(cache.GetOrLoad(1, limited(std::nullopt, kTtl)).ok());
  ASSERT_TRUE(cache.GetOrLoad(2, limited(5 * kTtl, kTtl)).ok());
  ASSERT_TRUE(cache.GetOrLoad(3, limited(std::nullopt, kTtl), {.ttl = 5 * kTtl}).ok());
  ASSERT_TRUE(cache.GetOrLoad(4, limited(kTtl, absl::InfiniteDuration())).ok());
  ASSERT_TRUE(cache.GetOrLoad(5, limited(std::nullopt, absl::InfiniteDuration())).ok());
  EXPECT_EQ(cache.GetOrLoad(6, limited(std::nullopt, absl::ZeroDuration())).status().code(),
            absl::StatusCode::kInvalidArgument);
  clock_.Advance(kTtl - kInstant);
  for (uint64_t key = 1; key <= 5; ++key) EXPECT_TRUE(cache.Contains(key)) << key;
  clock_.Advance(kInstant);
  for (uint64_t key = 1; key <= 4; ++key) EXPECT_FALSE(cache.Contains(key)) << key;
  EXPECT_TRUE(cache.Contains(5));
  clock_.Advance(100 * kTtl);
  EXPECT_FALSE(cache.Contains(5));
}

TEST_F(LoadOutcomeTest, ATtlRunsFromTheEndOfTheLoad) {
  IntCache& cache = MakeOneStripe();
  ASSERT_TRUE(cache
                  .GetOrLoad(1,
                             [&](uint64_t) -> Result {
                               clock_.Advance(5 * kTtl);
                               return 1;
                             },
                             {.ttl = kTtl})
                  .ok());
  EXPECT_TRUE(cache.Contains(1));
  clock_.Advance(kTtl - kInstant);
  EXPECT_TRUE(cache.Contains(1));
  clock_.Advance(kInstant);
  EXPECT_FALSE(cache.Contains(1));
}

TEST_F(LoadOutcomeTest, LoadedWeightsGoBeforeTheCallsAndThoseBeforeTheWeigher) {
  auto options = OptionsFor<IntCache>(100);
  options.weigher = [](uint64_t, uint64_t value) { return value; };
  IntCache& cache = Make<IntCache>(options);
  const auto plain = [](uint64_t) -> Result { return 30; };
  const auto weighed = [](uint64_t) -> LoadedResult {
    return Loaded<uint64_t>{.value = 30, .weight = 1};
  };
  ASSERT_TRUE(cache.GetOrLoad(1, weighed, {.weight = 5}).ok());
  EXPECT_EQ(cache.weight(), 1u);
  ASSERT_TRUE(cache.GetOrLoad(2, plain, {.weight = 5}).ok());
  EXPECT_EQ(cache.weight(), 6u);
  ASSERT_TRUE(cache.GetOrLoad(3, plain).ok());
  EXPECT_EQ(cache.weight(), 36u);
}

TEST_F(LoadOutcomeTest, WhatIsTooHeavyIsReturnedButNotStored) {
  IntCache& cache = MakeOneStripe(10);
  ASSERT_TRUE(cache.Put(2, 20).ok());
  EXPECT_EQ(
      *cache.GetOrLoad(
          1, [](uint64_t) -> LoadedResult { return Loaded<uint64_t>{.value = 10, .weight = 11}; }),
      10u);
  EXPECT_EQ(*cache.GetOrLoad(1, [](uint64_t) -> Result { return 11; }, {.weight = UINT64_MAX}),
            11u);
  EXPECT_FALSE(cache.Contains(1));
  EXPECT_TRUE(cache.Contains(2));
  EXPECT_EQ(cache.weight(), 1u);
  EXPECT_EQ(cache.Stats().rejected_puts, 2u);
  EXPECT_EQ(cache.Stats().load_failures, 0u);
}

TEST_F(LoadOutcomeTest, ALoadersBadTtlIsAnError) {
  IntCache& cache = MakeOneStripe();
  const auto bad_ttl = [](uint64_t) -> LoadedResult {
    return Loaded<uint64_t>{.value = 10, .ttl = absl::Seconds(-4)};
  };
  const auto bad_idle_ttl = [](uint64_t) -> LoadedResult {
    return Loaded<uint64_t>{.value = 10, .idle_ttl = absl::ZeroDuration()};
  };
  const absl::Status status = cache.GetOrLoad(1, bad_ttl).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(status.message().find("-4s"), status.message().npos) << status;
  EXPECT_TRUE(absl::IsInvalidArgument(cache.GetOrLoad(1, bad_idle_ttl).status()));
  EXPECT_FALSE(cache.Contains(1));
  EXPECT_EQ(*cache.GetOrLoad(1, [](uint64_t) -> Result { return 10; }), 10u);
}

TEST_F(LoadOutcomeTest, UnstoredValuesAreDestroyed) {
  using CacheT = Cache<uint64_t, Counted>;
  CacheT& cache = Make<CacheT>(10);
  for (int i = 0; i < 100; ++i) {
    const auto result = cache.GetOrLoad(1, [&](uint64_t) -> absl::StatusOr<Counted> {
      cache.Erase(1);
      return Counted(10);
    });
    ASSERT_EQ(result->number(), 10u);
  }
  while (cache.RunMaintenance(100) != 0) {
  }
  EXPECT_EQ(Counted::Live(), 0);
}

}  // namespace
}  // namespace larder::test
