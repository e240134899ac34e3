// SPDX-License-Identifier: Apache-2.0
// Entries that are loaded anew before they expire: refresh_after, early_refresh,
// background_timeout.
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/refresh_after.h"
#include "tests/support/load_fixture.h"

namespace larder::test {
namespace {

class CacheRefreshTest : public LoadFixture {
 protected:
  LoadCache& MakeRefreshing(RefreshAfter after = absl::Seconds(50)) {
    auto options = Options();
    options.refresh_after = after;
    return Make<LoadCache>(options);
  }
};

TEST_F(CacheRefreshTest, AHitPastTheTimeReturnsAtOnceAndStartsOneLoad) {
  LoadCache& cache = MakeRefreshing();
  ASSERT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "1");
  Advance(absl::Seconds(50) - absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "1");
  EXPECT_EQ(executor_.queued(), 0u);
  Advance(absl::Nanoseconds(1));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "1");
  EXPECT_EQ(executor_.queued(), 1u);
  EXPECT_EQ(loads_, 1);
  executor_.RunAll();
  EXPECT_EQ(loads_, 2);
  EXPECT_EQ(cache.Get("k"), "2");
  // The new value's time starts anew.
  Advance(absl::Seconds(99));
  EXPECT_EQ(cache.Get("k"), "2");
  EXPECT_EQ(cache.Stats().refreshes, 1u);
}

TEST_F(CacheRefreshTest, OnlyLoadsRefresh) {
  LoadCache& cache = MakeRefreshing();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(60));
  EXPECT_EQ(cache.Get("k"), "1");
  EXPECT_TRUE(cache.Pin("k"));
  EXPECT_TRUE(cache.Visit("k", [](const std::string&) {}));
  EXPECT_EQ(executor_.queued(), 0u);
  // What was put is refreshed as well as what was loaded.
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "1, memory, 60");
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("3"))), "2, memory, 0");
}

TEST_F(CacheRefreshTest, AShareIsOneOfTheEntrysOwnTtl) {
  LoadCache& cache = MakeRefreshing(RefreshAfter::Share(0.8));
  const LoadOptions short_ttl{.ttl = absl::Seconds(10)};
  (void)cache.GetOrLoad("short", Loading("1"), short_ttl);
  (void)cache.GetOrLoad("long", Loading("1"));
  (void)cache.GetOrLoad("forever", Loading("1"), {.ttl = absl::InfiniteDuration()});
  Advance(absl::Seconds(7));
  (void)cache.GetOrLoad("short", Loading("2"), short_ttl);
  EXPECT_EQ(executor_.queued(), 0u);
  Advance(absl::Seconds(1));
  for (const std::string key : {"short", "long", "forever"}) {
    (void)cache.GetOrLoad(key, Loading("2"), short_ttl);
  }
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_EQ(cache.Get("short"), "2");
  EXPECT_EQ(cache.Get("long"), "1");
  Advance(absl::Hours(10'000));
  (void)cache.GetOrLoad("forever", Loading("2"));
  EXPECT_EQ(executor_.queued(), 0u);
}

TEST_F(CacheRefreshTest, EachEntryMayHaveItsOwnTime) {
  LoadCache& cache = MakeRefreshing();
  ASSERT_TRUE(cache.Put("put", "1", {.refresh_after = absl::Seconds(10)}).ok());
  (void)cache.GetOrLoad("options", Loading("1"), {.refresh_after = absl::Seconds(10)});
  (void)cache.GetOrLoad("loaded",
                        [](const std::string&) -> LoadedValue {
                          return Loaded<std::string>{.value = "1",
                                                     .refresh_after = absl::Seconds(10)};
                        },
                        {.refresh_after = absl::Seconds(90)});
  (void)cache.GetOrLoad("never", Loading("1"), {.refresh_after = RefreshAfter::Never()});
  (void)cache.GetOrLoad("default", Loading("1"));
  Advance(absl::Seconds(10));
  for (const std::string key : {"put", "options", "loaded", "never", "default"}) {
    (void)cache.GetOrLoad(key, Loading("2"));
  }
  EXPECT_EQ(executor_.RunAll(), 3u);
  Advance(absl::Seconds(50));
  for (const std::string key : {"never", "default"}) (void)cache.GetOrLoad(key, Loading("2"));
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_EQ(cache.Get("never"), "1");
  EXPECT_EQ(cache.Get("default"), "2");
}

TEST_F(CacheRefreshTest, ARefreshThatTakesLongerThanItsIntervalLands) {
  LoadCache& cache = MakeRefreshing(absl::Seconds(1));
  (void)cache.GetOrLoad("k", Loading("1"));
  Advance(absl::Seconds(2));
  (void)cache.GetOrLoad("k", Loading("2"));
  for (int i = 0; i < 10; ++i) {
    Advance(absl::Seconds(5));
    EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("3"))), "1");
  }
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_EQ(cache.Get("k"), "2");
}

TEST_F(CacheRefreshTest, AfterAFailureTheNextAttemptWaits) {
  auto options = Options();
  options.refresh_after = absl::Seconds(50);
  options.retry_after = absl::Seconds(5);
  LoadCache& cache = Make<LoadCache>(options);
  (void)cache.GetOrLoad("k", Loading("1"));
  Advance(absl::Seconds(50));
  (void)cache.GetOrLoad("k", Failing());
  executor_.RunAll();
  EXPECT_EQ(cache.Stats().refresh_failures, 1u);
  Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
  EXPECT_EQ(executor_.queued(), 0u);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "1");
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_EQ(cache.Get("k"), "2");
}

TEST_F(CacheRefreshTest, WithAnInfiniteRetryAfterThereIsNoOther) {
  auto options = Options();
  options.refresh_after = absl::Seconds(50);
  options.retry_after = absl::InfiniteDuration();
  LoadCache& cache = Make<LoadCache>(options);
  (void)cache.GetOrLoad("k", Loading("1"));
  Advance(absl::Seconds(50));
  (void)cache.GetOrLoad("k", Failing());
  executor_.RunAll();
  Advance(absl::Seconds(49));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
  EXPECT_EQ(executor_.queued(), 0u);
  Advance(absl::Seconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "2");
}

TEST_F(CacheRefreshTest, WhatWasWrittenMeanwhileStays) {
  LoadCache& cache = MakeRefreshing();
  (void)cache.GetOrLoad("put", Loading("1"));
  (void)cache.GetOrLoad("erased", Loading("1"));
  Advance(absl::Seconds(50));
  (void)cache.GetOrLoad("put", Loading("2"));
  (void)cache.GetOrLoad("erased", Loading("2"));
  ASSERT_TRUE(cache.Put("put", "3").ok());
  EXPECT_TRUE(cache.Erase("erased"));
  EXPECT_EQ(executor_.RunAll(), 2u);
  EXPECT_EQ(cache.Get("put"), "3");
  EXPECT_EQ(cache.Get("erased"), std::nullopt);
}

TEST_F(CacheRefreshTest, NotFoundEndsTheEntry) {
  LoadCache& cache = MakeRefreshing();
  (void)cache.GetOrLoad("k", Loading("1"));
  Advance(absl::Seconds(50));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing(absl::NotFoundError("gone")))), "1");
  executor_.RunAll();
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(cache.Stats().refreshes, 1u);
}

TEST_F(CacheRefreshTest, ItsTimeIsItsOwnWhoeverWaits) {
  auto options = Options();
  options.refresh_after = absl::Seconds(90);
  options.background_timeout = absl::Seconds(30);
  LoadCache& cache = Make<LoadCache>(options);
  (void)cache.GetOrLoad("k", Loading("1"));
  Advance(absl::Seconds(90));
  (void)cache.GetOrLoad("k", Loading("2"));
  // It has expired, and this one joins the refresh.
  Advance(absl::Seconds(20));
  Value joined;
  cache.GetOrLoadAsync("k", Loading("3"), [&](Value value) { joined = std::move(value); });
  Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  cache.RunMaintenance(10);
  EXPECT_EQ(cache.Stats().joined, 0u);
  Advance(absl::Nanoseconds(1));
  cache.RunMaintenance(10);
  EXPECT_EQ(cache.Stats().joined, 1u);
  EXPECT_EQ(cache.Stats().refresh_failures, 1u);
  executor_.RunAll();
  EXPECT_EQ(Text(joined), "DEADLINE_EXCEEDED");
  EXPECT_EQ(loads_, 1);
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheRefreshTest, CallersWhoGiveUpDontEndIt) {
  auto options = Options();
  options.refresh_after = absl::Seconds(90);
  options.after_timeout = AfterTimeout::kAbandon;
  options.hard_timeout = absl::Seconds(1);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(90));
  (void)cache.GetOrLoad("k", Loading("2"));
  Advance(absl::Seconds(20));
  Value joined;
  cache.GetOrLoadAsync("k", Loading("3"), [&](Value value) { joined = std::move(value); });
  Advance(absl::Seconds(1));
  cache.RunMaintenance(10);
  executor_.RunAll();
  EXPECT_EQ(Text(joined), "DEADLINE_EXCEEDED");
  EXPECT_EQ(cache.Get("k"), "2");
}

TEST_F(CacheRefreshTest, RefusedByTheExecutorItHasFailed) {
  LoadCache& cache = MakeRefreshing();
  (void)cache.GetOrLoad("k", Loading("1"));
  Advance(absl::Seconds(50));
  executor_.Refuse();
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "1");
  EXPECT_EQ(cache.Stats().refresh_failures, 1u);
  executor_.Refuse(false);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "1");
  EXPECT_EQ(executor_.queued(), 0u);
  Advance(absl::Seconds(1));
  (void)cache.GetOrLoad("k", Loading("2"));
  executor_.RunAll();
  EXPECT_EQ(cache.Get("k"), "2");
}

TEST_F(CacheRefreshTest, EarlyRefreshGrowsLikelierTowardsTheExpiry) {
  auto options = Options();
  options.early_refresh = 1;
  LoadCache& cache = Make<LoadCache>(options);
  const auto slow = [this](const std::string&) -> Value {
    Advance(absl::Seconds(1));
    return "1";
  };
  int early = 0;
  constexpr int kKeys = 50;
  for (int i = 0; i < kKeys; ++i) {
    const std::string key = std::to_string(i);
    (void)cache.GetOrLoad(key, slow);
    // Beyond its reach, 36.74 times the load's second.
    Advance(absl::Seconds(63));
    (void)cache.GetOrLoad(key, slow);
    ASSERT_EQ(executor_.queued(), 0u);
    // With a probability of exp(-1/8) at each of some hits.
    Advance(absl::Seconds(100 - 63) - absl::Milliseconds(125));
    for (int hit = 0; hit < 20; ++hit) EXPECT_EQ(Text(cache.GetOrLoad(key, Loading("2"))), "1");
    ASSERT_LE(executor_.queued(), 1u);
    early += static_cast<int>(executor_.RunAll());
  }
  EXPECT_EQ(early, kKeys);
}

TEST_F(CacheRefreshTest, WhatWasPutIsntRefreshedEarly) {
  auto options = Options();
  options.early_refresh = 1'000;
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(100) - absl::Nanoseconds(1));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("2"))), "1");
  EXPECT_EQ(executor_.queued(), 0u);
}

}  // namespace
}  // namespace larder::test
