// SPDX-License-Identifier: Apache-2.0
// How long callers wait for a load: soft_timeout, hard_timeout, and what becomes of the load.
#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/load_fixture.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

class CacheTimeoutTest : public LoadFixture {
 protected:
  // Keeps values for an hour past their ttl.
  LoadCache& MakeKeeping(AfterTimeout after = AfterTimeout::kGoOn) {
    auto options = Options();
    options.stale_if_error = absl::Hours(1);
    options.after_timeout = after;
    return Make<LoadCache>(options);
  }

  // A call in a thread of its own, from when it has missed.
  class Caller {
   public:
    template <class Loader>
    Caller(LoadCache& cache, Loader loader, LoadOptions options) {
      const uint64_t misses = cache.Stats().misses;
      thread_ = std::thread([this, &cache, loader, options] {
        text_ = Text(cache.GetOrLoadResult("k", loader, options));
        done_.store(true);
      });
      EXPECT_TRUE(Eventually([&] { return cache.Stats().misses > misses; }));
    }
    bool done() const { return done_.load(); }
    std::string Result() {
      thread_.join();
      return text_;
    }

   private:
    std::string text_;
    std::atomic<bool> done_{false};
    std::thread thread_;
  };

  void AwaitLaunch() {
    ASSERT_TRUE(Eventually([&] { return executor_.queued() > 0; }));
  }
};

LoadOptions Hard(int seconds) { return {.hard_timeout = absl::Seconds(seconds)}; }
LoadOptions Soft(int seconds) { return {.soft_timeout = absl::Seconds(seconds)}; }

TEST_F(CacheTimeoutTest, WithoutTimeoutsTheCallersThreadLoads) {
  LoadCache& cache = MakeKeeping();
  const auto me = std::this_thread::get_id();
  EXPECT_EQ(Text(cache.GetOrLoad("k",
                                 [me](const std::string&) -> Value {
                                   return std::this_thread::get_id() == me ? "mine" : "other";
                                 })),
            "mine");
  EXPECT_EQ(executor_.queued(), 0u);
}

TEST_F(CacheTimeoutTest, ASoftTimeoutWithoutAFallbackIsNone) {
  LoadCache& cache = MakeKeeping();
  const auto slow = [this](const std::string&) -> Value {
    Advance(absl::Seconds(10));
    return "1";
  };
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", slow, Soft(1))), "1, loaded, 0");
  EXPECT_EQ(cache.Stats().timeouts, 0u);
}

TEST_F(CacheTimeoutTest, PastASoftTimeoutTheStaleValueIsReturnedAndTheLoadLandsLater) {
  for (const AfterTimeout after : {AfterTimeout::kGoOn, AfterTimeout::kAbandon}) {
    LoadCache& cache = MakeKeeping(after);
    ASSERT_TRUE(cache.Put("k", "1").ok());
    Advance(absl::Seconds(101));
    Caller caller(cache, Loading("2"), {.soft_timeout = absl::Seconds(1)});
    AwaitLaunch();
    Advance(absl::Seconds(1));
    EXPECT_EQ(caller.Result(), "1, stale, 102");
    // Who comes now joins the same load.
    Caller joiner(cache, Loading("3"), Soft(1));
    Advance(absl::Seconds(1));
    EXPECT_EQ(joiner.Result(), "1, stale, 103");
    EXPECT_EQ(executor_.RunAll(), 1u);
    EXPECT_EQ(cache.Get("k"), "2");
    EXPECT_EQ(cache.Stats().timeouts, 2u);
    EXPECT_EQ(cache.Stats().stale, 2u);
    EXPECT_EQ(cache.Stats().joined, 0u);
  }
}

TEST_F(CacheTimeoutTest, PastAHardTimeoutTheCallerGivesUpAndTheLoadLandsLater) {
  LoadCache& cache = MakeKeeping();
  Caller caller(cache, Loading("1"), Hard(1));
  AwaitLaunch();
  Advance(absl::Seconds(1) - absl::Nanoseconds(1));
  EXPECT_FALSE(caller.done());
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(caller.Result(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  executor_.RunAll();
  EXPECT_EQ(cache.Get("k"), "1");
  EXPECT_EQ(cache.Stats().timeouts, 1u);
}

TEST_F(CacheTimeoutTest, PastAHardTimeoutTheStaleValueIsBetterThanNothing) {
  LoadCache& cache = MakeKeeping();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  Caller caller(cache, Loading("2"), Hard(1));
  AwaitLaunch();
  Advance(absl::Seconds(1));
  EXPECT_EQ(caller.Result(), "1, stale, 102");
}

TEST_F(CacheTimeoutTest, WhoJoinsHasADeadlineOfHisOwn) {
  LoadCache& cache = MakeKeeping();
  Caller first(cache, Loading("1"), Hard(10));
  AwaitLaunch();
  Caller second(cache, Loading("2"), Hard(1));
  Caller third(cache, Loading("3"), Hard(100));
  Advance(absl::Seconds(5));
  EXPECT_EQ(second.Result(), "DEADLINE_EXCEEDED");
  EXPECT_FALSE(first.done());
  EXPECT_FALSE(third.done());
  Caller fourth(cache, Loading("4"), Hard(10));
  Advance(absl::Seconds(5));
  EXPECT_EQ(first.Result(), "DEADLINE_EXCEEDED");
  EXPECT_FALSE(third.done());
  EXPECT_FALSE(fourth.done());
  EXPECT_EQ(executor_.RunAll(), 1u);
  // From the load, or, having come too late for that, from memory.
  EXPECT_EQ(third.Result().substr(0, 2), "1,");
  EXPECT_EQ(fourth.Result().substr(0, 2), "1,");
  EXPECT_EQ(loads_, 1);
}

TEST_F(CacheTimeoutTest, AnAbandonedLoadThatHasntBegunNeverDoes) {
  LoadCache& cache = MakeKeeping(AfterTimeout::kAbandon);
  Caller caller(cache, Loading("1"), Hard(1));
  AwaitLaunch();
  Advance(absl::Seconds(1));
  EXPECT_EQ(caller.Result(), "DEADLINE_EXCEEDED");
  executor_.RunAll();
  EXPECT_EQ(loads_, 0);
  EXPECT_EQ(cache.Get("k"), std::nullopt);
}

TEST_F(CacheTimeoutTest, AnAbandonedLoadIsToldToStopAndDropped) {
  LoadCache& cache = MakeKeeping(AfterTimeout::kAbandon);
  std::latch begun(1);
  std::latch go_on(1);
  std::atomic<bool> told{false};
  const auto loader = [&](const std::string&, Context& context) -> Value {
    EXPECT_FALSE(context.stop_token().stop_requested());
    begun.count_down();
    go_on.wait();
    told.store(context.stop_token().stop_requested());
    return "late";
  };
  Caller caller(cache, loader, Hard(1));
  AwaitLaunch();
  std::thread runner([&] { executor_.RunAll(); });
  begun.wait();
  Advance(absl::Seconds(1));
  EXPECT_EQ(caller.Result(), "DEADLINE_EXCEEDED");
  // The next one starts anew, though the other hasn't ended.
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("new"))), "new, loaded, 0");
  ASSERT_TRUE(cache.Erase("k"));
  go_on.count_down();
  runner.join();
  EXPECT_TRUE(told.load());
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_EQ(cache.Stats().loads, 2u);
}

TEST_F(CacheTimeoutTest, ALoadIsAbandonedByTheLastWhoWaits) {
  LoadCache& cache = MakeKeeping(AfterTimeout::kAbandon);
  Value first;
  Value second;
  cache.GetOrLoadAsync(
      "k", Loading("1"), [&](Value value) { first = std::move(value); }, Hard(1));
  cache.GetOrLoadAsync(
      "k", Loading("2"), [&](Value value) { second = std::move(value); }, Hard(2));
  Advance(absl::Seconds(1));
  cache.RunMaintenance(100);
  // The load is still in the queue, before the first one's answer.
  EXPECT_EQ(executor_.queued(), 2u);
  Advance(absl::Seconds(1));
  cache.RunMaintenance(100);
  executor_.RunAll();
  EXPECT_EQ(Text(first), "DEADLINE_EXCEEDED");
  EXPECT_EQ(Text(second), "DEADLINE_EXCEEDED");
  EXPECT_EQ(loads_, 0);
}

TEST_F(CacheTimeoutTest, ALoadThatWasPromisedToLandIsntAbandoned) {
  LoadCache& cache = MakeKeeping(AfterTimeout::kAbandon);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  Value first;
  Value second;
  cache.GetOrLoadAsync(
      "k", Loading("2"), [&](Value value) { first = std::move(value); }, Soft(1));
  cache.GetOrLoadAsync("k", Loading("3"), [&](Value value) { second = std::move(value); },
                       {.stale_if_error = absl::ZeroDuration(), .hard_timeout = absl::Seconds(2)});
  Advance(absl::Seconds(2));
  cache.RunMaintenance(100);
  executor_.RunAll();
  EXPECT_EQ(Text(first), "1");
  EXPECT_EQ(Text(second), "DEADLINE_EXCEEDED");
  EXPECT_EQ(cache.Get("k"), "2");
}

TEST_F(CacheTimeoutTest, AfterAnAbandonedLoadTheStaleValueIsReturnedForAWhile) {
  LoadCache& cache = MakeKeeping(AfterTimeout::kAbandon);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  Caller caller(cache, Loading("2"), Hard(1));
  AwaitLaunch();
  Advance(absl::Seconds(1));
  EXPECT_EQ(caller.Result(), "1, stale, 102");
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("3"))), "1, stale, 102");
  Advance(absl::Seconds(1));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("3"))), "3, refreshed, 0");
}

TEST_F(CacheTimeoutTest, AnExecutorThatRunsTheLoadAtOnceMakesAllWait) {
  struct Inline final : Executor {
    bool Execute(absl::AnyInvocable<void() &&> task) override {
      std::move(task)();
      return true;
    }
  } at_once;
  auto options = Options();
  options.executor = &at_once;
  LoadCache& cache = Make<LoadCache>(options);
  const auto slow = [this](const std::string&) -> Value {
    Advance(absl::Seconds(10));
    return "1";
  };
  EXPECT_EQ(Text(cache.GetOrLoad("k", slow, Hard(1))), "1");
  End(cache);
}

// Many who wait, each with a time of its own.
TEST_F(CacheTimeoutTest, ManyDeadlinesPassInTheirOrder) {
  LoadCache& cache = MakeKeeping();
  std::vector<std::unique_ptr<Caller>> callers;
  for (int i = 1; i <= 8; ++i) {
    callers.push_back(std::make_unique<Caller>(cache, Loading("1"), Hard(i)));
  }
  AwaitLaunch();
  for (int i = 1; i <= 8; ++i) {
    for (int later = i; later <= 8; ++later) {
      EXPECT_FALSE(callers[static_cast<size_t>(later - 1)]->done());
    }
    Advance(absl::Seconds(1));
    EXPECT_EQ(callers[static_cast<size_t>(i - 1)]->Result(), "DEADLINE_EXCEEDED");
  }
  EXPECT_EQ(cache.Stats().timeouts, 8u);
}

}  // namespace
}  // namespace larder::test
