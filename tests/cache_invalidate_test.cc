// SPDX-License-Identifier: Apache-2.0
// Expire and InvalidateAfter.
#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/removal_cause.h"
#include "tests/support/load_fixture.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CacheInvalidateTest : public LoadFixture {
 protected:
  LoadCache& MakeKeeping(absl::Duration if_error = absl::Seconds(20)) {
    auto options = Options();
    options.stale_if_error = if_error;
    options.on_removal = [this](const std::string&, const std::string& value, RemovalCause cause) {
      removed_.push_back(value + " " + std::string(RemovalCauseName(cause)));
    };
    return Make<LoadCache>(options);
  }
  static void Maintain(LoadCache& cache) {
    while (cache.RunMaintenance(100) > 0) {
    }
  }

  std::vector<std::string> removed_;
};

TEST_F(CacheInvalidateTest, ExpiredNowItIsAFallbackForLoads) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(10));
  EXPECT_TRUE(cache.Expire("k"));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_FALSE(cache.Contains("k"));
  EXPECT_FALSE(cache.Expire("k"));
  EXPECT_TRUE(removed_.empty());
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 10");
  Advance(absl::Seconds(19));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 29");
  Advance(absl::Seconds(2));
  Maintain(cache);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(removed_, std::vector<std::string>{"1 expired"});
}

TEST_F(CacheInvalidateTest, WithoutAWindowItGoes) {
  LoadCache& cache = MakeKeeping(absl::ZeroDuration());
  ASSERT_TRUE(cache.Put("k", "1").ok());
  EXPECT_TRUE(cache.Expire("k"));
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(removed_, std::vector<std::string>{"1 erased"});
  EXPECT_FALSE(cache.Expire("k"));
  EXPECT_FALSE(cache.Expire("never there"));
}

TEST_F(CacheInvalidateTest, WhatNeverExpiresCanBeExpired) {
  // A clock that is ahead of the process's own.
  clock_.SetNanos(std::numeric_limits<int64_t>::max() / 2);
  const auto ticking = Cache<int, int>::Create([] {
                         Cache<int, int>::Options options;
                         options.capacity = 10;
                         options.ttl = absl::Hours(1);
                         return options;
                       }())
                           .value();
  ASSERT_TRUE(ticking->Put(1, 1).ok());
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1", {.ttl = absl::InfiniteDuration()}).ok());
  EXPECT_EQ(cache.Get("k"), "1");
  EXPECT_TRUE(cache.Expire("k"));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 0");
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheInvalidateTest, AnIdleEntryDoesntComeBack) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1", {.idle_ttl = absl::Seconds(10)}).ok());
  EXPECT_EQ(cache.Get("k"), "1");
  EXPECT_TRUE(cache.Expire("k"));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 0");
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheInvalidateTest, ALoadThatRunsIsntStored) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  const auto loader = [&](const std::string&) -> Value {
    (void)cache.Expire("k");
    return "2";
  };
  EXPECT_EQ(Text(cache.GetOrLoad("k", loader)), "2");
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("3"))), "3");
}

TEST_F(CacheInvalidateTest, AnotherAttemptNeedntWaitAfterIt) {
  auto options = Options();
  options.refresh_after = absl::Seconds(50);
  options.stale_if_error = absl::Seconds(20);
  options.retry_after = absl::Seconds(30);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(50));
  (void)cache.GetOrLoad("k", Failing());
  executor_.RunAll();
  EXPECT_TRUE(cache.Expire("k"));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "2");
}

// Of two that end one entry, one has found it.
TEST_F(CacheInvalidateTest, AnEntryEndsOnce) {
  for (const absl::Duration kept : {absl::ZeroDuration(), absl::Seconds(20)}) {
    LoadCache& cache = MakeKeeping(kept);
    for (int round = 0; round < Rounds(300); ++round) {
      removed_.clear();
      ASSERT_TRUE(cache.Put("k", "1").ok());
      std::atomic<int> found{0};
      RunThreads(2, [&](int thread) {
        if (thread == 0 ? cache.Expire("k") : cache.Erase("k")) found.fetch_add(1);
      });
      ASSERT_EQ(found.load(), 1);
    }
    End(cache);
  }
}

TEST_F(CacheInvalidateTest, AfterAWhileWhatIsThereHasExpired) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(10)).ok());
  Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(cache.Get("k"), "1");
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  // Nor is it a fallback.
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "UNAVAILABLE");
  Maintain(cache);
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(CacheInvalidateTest, WhatHasNoEndIsGivenOne) {
  auto options = OptionsFor<LoadCache>(100);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(10)).ok());
  Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(cache.Get("k"), "1");
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheInvalidateTest, WhatEndsSoonerEndsThen) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1", {.ttl = absl::Seconds(5)}).ok());
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(10)).ok());
  Advance(absl::Seconds(5));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
  // Whether anybody has come to clear it away or not.
  Advance(absl::Seconds(5));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "UNAVAILABLE");
  Maintain(cache);
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(CacheInvalidateTest, WhatIsStaleAlreadyIsKeptNoLonger) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  EXPECT_TRUE(cache.Expire("k"));
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(10)).ok());
  Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "UNAVAILABLE");
}

TEST_F(CacheInvalidateTest, WhatIsStoredMeanwhileIsErasedToo) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.InvalidateAfter("put", absl::Seconds(10)).ok());
  ASSERT_TRUE(cache.InvalidateAfter("loaded", absl::Seconds(10)).ok());
  ASSERT_TRUE(cache.Put("idle", "1", {.idle_ttl = absl::Seconds(8)}).ok());
  ASSERT_TRUE(cache.InvalidateAfter("idle", absl::Seconds(10)).ok());
  Advance(absl::Seconds(5));
  ASSERT_TRUE(cache.Put("put", "1").ok());
  (void)cache.GetOrLoad("loaded", Loading("1"));
  EXPECT_EQ(cache.Get("idle"), "1");
  Advance(absl::Seconds(5));
  cache.RunMaintenance(100);
  for (const std::string key : {"put", "loaded", "idle"}) {
    EXPECT_EQ(cache.Get(key), std::nullopt) << key;
  }
  // Once.
  ASSERT_TRUE(cache.Put("put", "2").ok());
  Advance(absl::Seconds(50));
  cache.RunMaintenance(100);
  EXPECT_EQ(cache.Get("put"), "2");
}

TEST_F(CacheInvalidateTest, ALoadThatRunsThenIsntStored) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(10)).ok());
  const auto loader = [&](const std::string&) -> Value {
    Advance(absl::Seconds(10));
    cache.RunMaintenance(100);
    return "1";
  };
  EXPECT_EQ(Text(cache.GetOrLoad("k", loader)), "1");
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheInvalidateTest, TheDelayMayBeNothingOrEndlessButNotNegative) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  const absl::Status negative = cache.InvalidateAfter("k", -absl::Seconds(1));
  EXPECT_EQ(negative.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(negative.message()), AllOf(HasSubstr("delay"), HasSubstr("-1s")));
  EXPECT_TRUE(cache.InvalidateAfter("k", absl::InfiniteDuration()).ok());
  EXPECT_EQ(cache.Get("k"), "1");
  EXPECT_TRUE(cache.InvalidateAfter("k", absl::ZeroDuration()).ok());
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(removed_, std::vector<std::string>{"1 erased"});
}

TEST_F(CacheInvalidateTest, OfSeveralTheFirstCounts) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(10)).ok());
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(5)).ok());
  ASSERT_TRUE(cache.InvalidateAfter("k", absl::Seconds(20)).ok());
  Advance(absl::Seconds(5));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheInvalidateTest, NumbersThatAreOverwrittenInPlaceEndToo) {
  auto& cache = Make<Cache<uint64_t, uint64_t>>(10);
  ASSERT_TRUE(cache.Put(1, 1).ok());
  ASSERT_TRUE(cache.InvalidateAfter(1, absl::Seconds(10)).ok());
  ASSERT_TRUE(cache.Put(1, 2).ok());
  EXPECT_EQ(cache.Get(1), 2u);
  Advance(absl::Seconds(10));
  cache.RunMaintenance(100);
  EXPECT_EQ(cache.Get(1), std::nullopt);
}

}  // namespace
}  // namespace larder::test
