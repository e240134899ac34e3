// SPDX-License-Identifier: Apache-2.0
// Values returned past their expiry: stale_while_revalidate, stale_if_error, retry_after.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/removal_cause.h"
#include "tests/support/load_fixture.h"

namespace larder::test {
namespace {

class CacheStaleTest : public LoadFixture {
 protected:
  LoadCache& MakeStale(absl::Duration revalidate, absl::Duration if_error) {
    auto options = Options();
    options.stale_while_revalidate = revalidate;
    options.stale_if_error = if_error;
    options.retry_after = absl::Seconds(5);
    return Make<LoadCache>(options);
  }
};

constexpr absl::Duration kNoTime = absl::ZeroDuration();

TEST_F(CacheStaleTest, WhileRevalidatingTheOldValueIsReturnedAtOnce) {
  LoadCache& cache = MakeStale(absl::Seconds(10), kNoTime);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(100));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "1, stale, 100");
  }
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("3"))), "2, memory, 0");
  EXPECT_EQ(cache.Stats().stale, 3u);
  EXPECT_EQ(cache.Stats().misses, 3u);
  EXPECT_EQ(cache.Stats().refreshes, 1u);
}

TEST_F(CacheStaleTest, AWindowEndsToTheNanosecond) {
  LoadCache& cache = MakeStale(absl::Seconds(10), absl::Seconds(20));
  for (const std::string key : {"a", "b", "c", "d"}) ASSERT_TRUE(cache.Put(key, "1").ok());
  Advance(absl::Seconds(110) - absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoadResult("a", Loading("2"))), "1, stale, 109");
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoadResult("b", Loading("2"))), "2, refreshed, 0");
  Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoadResult("c", Failing())), "1, stale, 119");
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoadResult("c", Failing())), "UNAVAILABLE");
  EXPECT_EQ(Text(cache.GetOrLoadResult("d", Loading("2"))), "2, loaded, 0");
}

TEST_F(CacheStaleTest, WithoutAWindowNothingIsStaleEvenWhereTimeGoesBack) {
  LoadCache& cache = MakeStale(kNoTime, kNoTime);
  ASSERT_TRUE(cache.Put("k", "1", {.tags = {"tag"}}).ok());
  Advance(absl::Seconds(101));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  clock_.SetNanos(clock_.NowNanos() - absl::ToInt64Nanoseconds(absl::Seconds(2)));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "2");
}

TEST_F(CacheStaleTest, NobodyElseSeesWhatIsStale) {
  LoadCache& cache = MakeStale(absl::Seconds(10), kNoTime);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(105));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_FALSE(cache.Pin("k"));
  EXPECT_FALSE(cache.Visit("k", [](const std::string&) {}));
  EXPECT_FALSE(cache.Contains("k"));
  int seen = 0;
  cache.ForEach([&](const std::string&, const std::string&) { ++seen; });
  EXPECT_EQ(seen, 0);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_TRUE(cache.PutIfAbsent("k", "2"));
  EXPECT_EQ(cache.Get("k"), "2");
  Advance(absl::Seconds(105));
  EXPECT_TRUE(cache
                  .Compute("k",
                           [](std::optional<std::string> old) -> std::optional<std::string> {
                             EXPECT_EQ(old, std::nullopt);
                             return "3";
                           })
                  .ok());
  EXPECT_EQ(cache.Get("k"), "3");
  Advance(absl::Seconds(105));
  EXPECT_FALSE(cache.Erase("k"));
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "UNAVAILABLE");
}

TEST_F(CacheStaleTest, WhatIsKeptLeavesWhenItsWindowIsOver) {
  auto options = Options();
  options.stale_while_revalidate = absl::Seconds(10);
  std::vector<RemovalCause> causes;
  options.on_removal = [&](const std::string&, const std::string&, RemovalCause cause) {
    causes.push_back(cause);
  };
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(109));
  while (cache.RunMaintenance(100) > 0) {
  }
  EXPECT_EQ(cache.size(), 1u);
  Advance(absl::Seconds(2));
  while (cache.RunMaintenance(100) > 0) {
  }
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(causes, std::vector<RemovalCause>{RemovalCause::kExpired});
}

TEST_F(CacheStaleTest, AfterAFailureTheNextAttemptWaits) {
  LoadCache& cache = MakeStale(kNoTime, absl::Seconds(100));
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 101");
  EXPECT_EQ(loads_, 1);
  Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 105");
  }
  EXPECT_EQ(loads_, 1);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 106");
  EXPECT_EQ(loads_, 2);
  Advance(absl::Seconds(5));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "2, refreshed, 0");
  EXPECT_EQ(cache.Stats().stale, 5u);
}

TEST_F(CacheStaleTest, ThoseWhoMayNotHaveItDontWait) {
  LoadCache& cache = MakeStale(kNoTime, absl::Seconds(100));
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"), {.stale_if_error = kNoTime})), "2");
}

TEST_F(CacheStaleTest, APutEndsTheWaitForTheNextAttempt) {
  LoadCache& cache = MakeStale(kNoTime, absl::Seconds(100));
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
  ASSERT_TRUE(cache.Put("k", "2", {.ttl = absl::Seconds(1)}).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("3"))), "3");
}

TEST_F(CacheStaleTest, WithoutATimeToWaitEachCallTries) {
  LoadCache& cache = MakeStale(kNoTime, absl::Seconds(100));
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Text(cache.GetOrLoad("k", Failing(), {.retry_after = kNoTime})), "1");
  }
  EXPECT_EQ(loads_, 3);
}

TEST_F(CacheStaleTest, AFailureBeforeTheExpiryHoldsAfterIt) {
  auto options = Options();
  options.refresh_after = absl::Seconds(99);
  options.stale_if_error = absl::Seconds(10);
  options.retry_after = absl::Seconds(5);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(99));
  (void)cache.GetOrLoad("k", Failing());
  executor_.RunAll();
  Advance(absl::Seconds(3));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "1, stale, 102");
  EXPECT_EQ(loads_, 1);
  Advance(absl::Seconds(2));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "2, refreshed, 0");
}

TEST_F(CacheStaleTest, NotFoundIsAnAnswerAndEndsIt) {
  LoadCache& cache = MakeStale(absl::Seconds(10), absl::Seconds(20));
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(115));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing(absl::NotFoundError("gone")))), "NOT_FOUND");
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "UNAVAILABLE");
}

TEST_F(CacheStaleTest, ExceptionsReachTheCallerWhoRanTheLoader) {
  LoadCache& cache = MakeStale(kNoTime, absl::Seconds(20));
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  EXPECT_THROW(
      (void)cache.GetOrLoad("k", [](const std::string&) -> Value { throw InjectedFault(); }),
      InjectedFault);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "1");
  EXPECT_EQ(loads_, 0);
}

TEST_F(CacheStaleTest, AnEntryIsKeptForAsLongAsTheCallThatStoredItSaid) {
  auto options = Options();
  LoadCache& cache = Make<LoadCache>(options);
  const LoadOptions longer{.stale_if_error = absl::Seconds(50)};
  (void)cache.GetOrLoad("kept", Loading("1"), {.stale_if_error = absl::Seconds(10)});
  (void)cache.GetOrLoad("not", Loading("1"));
  Advance(absl::Seconds(105));
  EXPECT_EQ(Text(cache.GetOrLoad("kept", Failing(), longer)), "1");
  EXPECT_EQ(Text(cache.GetOrLoad("not", Failing(), longer)), "UNAVAILABLE");
  // Nor is it given to those who don't ask for it.
  EXPECT_EQ(Text(cache.GetOrLoad("kept", Failing())), "UNAVAILABLE");
  Advance(absl::Seconds(5));
  EXPECT_EQ(Text(cache.GetOrLoad("kept", Failing(), longer)), "UNAVAILABLE");
}

TEST_F(CacheStaleTest, InfiniteWindowsAreInfinite) {
  LoadCache& cache = MakeStale(kNoTime, absl::InfiniteDuration());
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Hours(24 * 365 * 100));
  while (cache.RunMaintenance(100) > 0) {
  }
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
}

TEST_F(CacheStaleTest, IdleEntriesAreKeptFromTheEndOfTheirIdleness) {
  auto options = Options();
  options.ttl = absl::InfiniteDuration();
  options.idle_ttl = absl::Seconds(10);
  options.stale_if_error = absl::Seconds(20);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  for (int i = 0; i < 5; ++i) {
    Advance(absl::Seconds(9));
    EXPECT_EQ(cache.Get("k"), "1");
    cache.RunMaintenance(100);
  }
  Advance(absl::Seconds(29));
  cache.RunMaintenance(100);
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 74");
  Advance(absl::Seconds(1));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "UNAVAILABLE");
}

TEST_F(CacheStaleTest, WhatIsStaleMayBeEvicted) {
  auto options = Options();
  options.capacity = 2;
  options.stripes = 1;
  options.stale_if_error = absl::Hours(1);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("1", "1").ok());
  Advance(absl::Seconds(101));
  ASSERT_TRUE(cache.Put("2", "2").ok());
  ASSERT_TRUE(cache.Put("3", "3").ok());
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(Text(cache.GetOrLoad("1", Failing())), "UNAVAILABLE");
}

}  // namespace
}  // namespace larder::test
