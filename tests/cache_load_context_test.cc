// SPDX-License-Identifier: Apache-2.0
// What a loader knows and may say: the old value, NotModified, the stop token.
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/load_fixture.h"

namespace larder::test {
namespace {

class CacheLoadContextTest : public LoadFixture {
 protected:
  LoadCache& MakeKeeping() {
    auto options = Options();
    options.stale_if_error = absl::Seconds(20);
    return Make<LoadCache>(options);
  }

  // What the loader was shown, "none" if nothing, as its answer.
  static Value Old(const std::string&, Context& context) {
    return context.old_value() == nullptr ? "none" : "old " + *context.old_value();
  }
  static auto Unmodified(std::optional<absl::Duration> ttl = std::nullopt) {
    return
        [ttl](const std::string&, Context& context) -> Value { return context.NotModified(ttl); };
  }
};

TEST_F(CacheLoadContextTest, TheOldValueIsThereWhereverOneIsKept) {
  LoadCache& cache = MakeKeeping();
  EXPECT_EQ(Text(cache.GetOrLoad("new", Old)), "none");
  for (const std::string key : {"stale", "short", "gone", "erased", "expired"}) {
    ASSERT_TRUE(cache.Put(key, "1").ok());
  }
  ASSERT_TRUE(cache.Erase("erased"));
  EXPECT_EQ(Text(cache.GetOrLoad("erased", Old)), "none");
  ASSERT_TRUE(cache.Expire("expired"));
  EXPECT_EQ(Text(cache.GetOrLoad("expired", Old)), "old 1");
  Advance(absl::Seconds(101));
  EXPECT_EQ(Text(cache.GetOrLoad("stale", Old)), "old 1");
  // Though the call may not be given it.
  EXPECT_EQ(Text(cache.GetOrLoad("short", Old, {.stale_if_error = absl::ZeroDuration()})), "old 1");
  Advance(absl::Seconds(19));
  EXPECT_EQ(Text(cache.GetOrLoad("gone", Old)), "none");
}

TEST_F(CacheLoadContextTest, NotModifiedGivesTheOldValueANewTtl) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Unmodified())), "1, refreshed, 0");
  Advance(absl::Seconds(99));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, memory, 99");
  Advance(absl::Seconds(1));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  const CacheStats stats = cache.Stats();
  EXPECT_EQ(stats.not_modified, 1u);
  EXPECT_EQ(stats.loads, 1u);
  EXPECT_EQ(stats.load_failures, 0u);
  EXPECT_EQ(stats.puts, 1u);
  // It is kept as it was, too.
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Failing())), "1, stale, 100");
}

TEST_F(CacheLoadContextTest, TheTtlIsTheOneGivenOrTheCallsOrTheCaches) {
  LoadCache& cache = MakeKeeping();
  for (const std::string key : {"given", "call", "cache", "infinite"}) {
    ASSERT_TRUE(cache.Put(key, "1").ok());
  }
  Advance(absl::Seconds(101));
  const LoadOptions ten{.ttl = absl::Seconds(10)};
  (void)cache.GetOrLoad("given", Unmodified(absl::Seconds(5)), ten);
  (void)cache.GetOrLoad("call", Unmodified(), ten);
  (void)cache.GetOrLoad("cache", Unmodified());
  (void)cache.GetOrLoad("infinite", Unmodified(absl::InfiniteDuration()), ten);
  std::vector<std::string> left;
  for (const int seconds : {4, 1, 4, 1, 89, 1}) {
    Advance(absl::Seconds(seconds));
    std::string live;
    for (const std::string key : {"given", "call", "cache", "infinite"}) {
      live += cache.Contains(key) ? key.substr(0, 2) : "-";
    }
    left.push_back(live);
  }
  EXPECT_EQ(left, (std::vector<std::string>{"gicacain", "-cacain", "-cacain", "--cain", "--cain",
                                            "---in"}));
}

TEST_F(CacheLoadContextTest, NotModifiedInTheBackground) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1", {.refresh_after = absl::Seconds(50)}).ok());
  for (int i = 0; i < 5; ++i) {
    Advance(absl::Seconds(60));
    EXPECT_EQ(Text(cache.GetOrLoadResult("k", Unmodified(), {.refresh_after = absl::Seconds(50)})),
              "1, memory, 60");
    EXPECT_EQ(executor_.RunAll(), 1u);
  }
  EXPECT_EQ(cache.Stats().not_modified, 5u);
  EXPECT_EQ(cache.Stats().refreshes, 5u);
}

TEST_F(CacheLoadContextTest, WithoutAnOldValueNotModifiedFails) {
  LoadCache& cache = MakeKeeping();
  EXPECT_EQ(Text(cache.GetOrLoad("k", Unmodified())), "FAILED_PRECONDITION");
  EXPECT_EQ(cache.Stats().load_failures, 1u);
}

TEST_F(CacheLoadContextTest, ATtlThatIsntPositiveFails) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Unmodified(absl::ZeroDuration()))), "1, stale, 101");
  EXPECT_EQ(Text(cache.GetOrLoad("k", Unmodified(absl::ZeroDuration()),
                                 {.stale_if_error = absl::ZeroDuration()})),
            "INVALID_ARGUMENT");
}

TEST_F(CacheLoadContextTest, WhatWasWrittenMeanwhileStays) {
  LoadCache& cache = MakeKeeping();
  for (const std::string key : {"put", "erased", "cleared"}) {
    ASSERT_TRUE(cache.Put(key, "1").ok());
  }
  Advance(absl::Seconds(101));
  const auto loader = [&](const std::string& key, Context& context) -> Value {
    if (key == "put") {
      EXPECT_TRUE(cache.Put("put", "2").ok());
    }
    if (key == "erased") {
      EXPECT_FALSE(cache.Erase("erased"));
    }
    if (key == "cleared") cache.Clear();
    EXPECT_EQ(*context.old_value(), "1");
    return context.NotModified();
  };
  for (const std::string key : {"put", "erased"}) {
    EXPECT_EQ(Text(cache.GetOrLoad(key, loader)), "1");
  }
  EXPECT_EQ(cache.Get("put"), "2");
  EXPECT_EQ(cache.Get("erased"), std::nullopt);
  EXPECT_EQ(Text(cache.GetOrLoad("cleared", loader)), "1");
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.Stats().not_modified, 0u);
}

TEST_F(CacheLoadContextTest, ItsIdleTtlTagsAndWeightStay) {
  auto options = Options();
  options.stale_if_error = absl::Seconds(20);
  options.ttl = absl::Seconds(100);
  LoadCache& cache = Make<LoadCache>(options);
  const PutOptions put{.idle_ttl = absl::Seconds(30), .weight = 5, .tags = {"tag"}};
  ASSERT_TRUE(cache.Put("idle", "1", put).ok());
  ASSERT_TRUE(cache.Put("tagged", "1", put).ok());
  Advance(absl::Seconds(31));
  for (const std::string key : {"idle", "tagged"}) {
    EXPECT_EQ(Text(cache.GetOrLoadResult(key, Unmodified())), "1, refreshed, 0");
  }
  EXPECT_EQ(cache.weight(), 10u);
  cache.InvalidateTag("tag");
  EXPECT_FALSE(cache.Contains("tagged"));
  ASSERT_TRUE(cache.Put("idle", "2", {.idle_ttl = absl::Seconds(30)}).ok());
  Advance(absl::Seconds(31));
  EXPECT_EQ(Text(cache.GetOrLoad("idle", Unmodified())), "2");
  // Nobody asks for it meanwhile.
  Advance(absl::Seconds(30));
  EXPECT_FALSE(cache.Contains("idle"));
}

TEST_F(CacheLoadContextTest, AnIdleEntryLivesOnByAccessesUpToItsNewTtl) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1", {.idle_ttl = absl::Seconds(30)}).ok());
  Advance(absl::Seconds(31));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Unmodified())), "1");
  for (int i = 0; i < 4; ++i) {
    Advance(absl::Seconds(24));
    EXPECT_EQ(cache.Get("k"), "1");
  }
  Advance(absl::Seconds(4));
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheLoadContextTest, NothingIsCopied) {
  using WatchedCache = Cache<int, ThrowingCopy>;
  auto options = OptionsFor<WatchedCache>(10);
  options.ttl = absl::Seconds(100);
  options.refresh_after = absl::Seconds(50);
  options.executor = &executor_;
  WatchedCache& cache = Make<WatchedCache>(options);
  ASSERT_TRUE(cache.Put(1, ThrowingCopy(1)).ok());
  Advance(absl::Seconds(50));
  const auto loader = [](int, LoadContext<ThrowingCopy>& context) -> absl::StatusOr<ThrowingCopy> {
    return context.NotModified();
  };
  EXPECT_TRUE(cache.GetOrLoad(1, loader).ok());
  FaultCountdown::Arm(1);
  executor_.RunAll();
  EXPECT_FALSE(FaultCountdown::Disarm());
  EXPECT_EQ(cache.Stats().not_modified, 1u);
}

TEST_F(CacheLoadContextTest, ALoaderThatSaysItAndSomethingElseIsTakenByItsAnswer) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  const auto changes_its_mind = [](const std::string&, Context& context) -> Value {
    (void)context.NotModified();
    return "2";
  };
  EXPECT_EQ(Text(cache.GetOrLoad("k", changes_its_mind)), "2");
  Advance(absl::Seconds(101));
  const auto fails_after_all = [](const std::string&, Context& context) -> Value {
    (void)context.NotModified();
    return absl::UnavailableError("no luck");
  };
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", fails_after_all)), "2, stale, 101");
}

TEST_F(CacheLoadContextTest, TheTokenSaysNothingWhileTheLoadIsWanted) {
  LoadCache& cache = MakeKeeping();
  EXPECT_EQ(Text(cache.GetOrLoad("k",
                                 [](const std::string&, Context& context) -> Value {
                                   EXPECT_TRUE(context.stop_token().stop_possible());
                                   return context.stop_token().stop_requested() ? "stop" : "go";
                                 })),
            "go");
}

TEST_F(CacheLoadContextTest, PastItsTimeABackgroundLoadIsToldToStopAndDropped) {
  auto options = Options();
  options.refresh_after = absl::Seconds(50);
  options.background_timeout = absl::Seconds(1);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(50));
  bool told = false;
  (void)cache.GetOrLoad("k", [&](const std::string&, Context& context) -> Value {
    EXPECT_FALSE(context.stop_token().stop_requested());
    Advance(absl::Seconds(1));
    cache.RunMaintenance(100);
    told = context.stop_token().stop_requested();
    return "late";
  });
  executor_.RunAll();
  EXPECT_TRUE(told);
  EXPECT_EQ(cache.Get("k"), "1");
  EXPECT_EQ(cache.Stats().refresh_failures, 1u);
  EXPECT_EQ(cache.Stats().refreshes, 0u);
}

}  // namespace
}  // namespace larder::test
