// SPDX-License-Identifier: Apache-2.0
// How many loads may run: max_concurrent_loads, its queue, loads inside of loads, and the circuit
// breaker.
#include <atomic>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/circuit_state.h"
#include "larder/thread_pool.h"
#include "tests/support/load_fixture.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

class CacheLoadLimitsTest : public LoadFixture {
 protected:
  LoadCache& MakeLimited(int concurrent, int queued = 1024) {
    auto options = Options();
    options.max_concurrent_loads = concurrent;
    options.max_queued_loads = queued;
    return Make<LoadCache>(options);
  }

  // Starts a load that ends when its AsyncLoad does.
  AsyncLoad<std::string> Hold(LoadCache& cache, const std::string& key) {
    std::optional<AsyncLoad<std::string>> held;
    cache.GetOrLoadAsync(
        key,
        [&](const std::string&, AsyncLoad<std::string> load) { held.emplace(std::move(load)); },
        [](Value) {});
    executor_.RunAll();
    return *std::move(held);
  }
};

TEST_F(CacheLoadLimitsTest, NoMoreThanTheLimitRunAtOnce) {
  LoadCache& cache = MakeLimited(2);
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  RunThreads(6, [&](int thread) {
    for (int i = 0; i < 50; ++i) {
      const auto loader = [&](const std::string&) -> Value {
        const int now = running.fetch_add(1) + 1;
        int seen = most.load();
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::yield();
        running.fetch_sub(1);
        return "1";
      };
      EXPECT_EQ(Text(cache.GetOrLoad(absl::StrCat(thread, "/", i % 20), loader)), "1");
    }
  });
  EXPECT_LE(most.load(), 2);
  EXPECT_EQ(cache.Stats().queued_loads, 0u);
}

TEST_F(CacheLoadLimitsTest, OthersWaitInTheirOrder) {
  LoadCache& cache = MakeLimited(1);
  auto held = Hold(cache, "held");
  std::vector<std::string> begun;
  for (const std::string key : {"a", "b", "c"}) {
    cache.GetOrLoadAsync(
        key,
        [&](const std::string& loaded) -> Value {
          begun.push_back(loaded);
          return "1";
        },
        [](Value) {});
  }
  EXPECT_EQ(executor_.queued(), 0u);
  EXPECT_EQ(cache.Stats().queued_loads, 3u);
  held.Finish("1");
  executor_.RunAll();
  EXPECT_EQ(begun, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(cache.Stats().queued_loads, 0u);
}

TEST_F(CacheLoadLimitsTest, PastTheQueueTheyAreRefused) {
  LoadCache& cache = MakeLimited(1, 1);
  auto held = Hold(cache, "held");
  Value queued;
  cache.GetOrLoadAsync("a", Loading("1"), [&](Value value) { queued = std::move(value); });
  EXPECT_EQ(Text(cache.GetOrLoad("b", Loading("1"))), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(Text(cache.GetOrLoad("b", Loading("1"), {.hard_timeout = absl::Seconds(1)})),
            "RESOURCE_EXHAUSTED");
  EXPECT_EQ(cache.Stats().refused_loads, 2u);
  EXPECT_EQ(loads_, 0);
  // It is no load for who finds a value, or joins one.
  ASSERT_TRUE(cache.Put("there", "1").ok());
  EXPECT_EQ(Text(cache.GetOrLoad("there", Loading("2"))), "1");
  Value joined;
  cache.GetOrLoadAsync("a", Loading("2"), [&](Value value) { joined = std::move(value); });
  held.Finish("1");
  executor_.RunAll();
  EXPECT_EQ(Text(queued), "1");
  EXPECT_EQ(Text(joined), "1");
}

TEST_F(CacheLoadLimitsTest, WhoHasAnOldValueGetsItWhereTheLoadIsRefused) {
  auto options = Options();
  options.max_concurrent_loads = 1;
  options.max_queued_loads = 0;
  options.stale_if_error = absl::Hours(1);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Advance(absl::Seconds(101));
  auto held = Hold(cache, "held");
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "1, stale, 101");
  held.Finish("1");
}

TEST_F(CacheLoadLimitsTest, TimeInTheQueueCounts) {
  LoadCache& cache = MakeLimited(1);
  auto held = Hold(cache, "held");
  for (const AfterTimeout after : {AfterTimeout::kAbandon, AfterTimeout::kGoOn}) {
    Value value;
    cache.GetOrLoadAsync("k", Loading("1"), [&](Value answer) { value = std::move(answer); },
                         {.hard_timeout = absl::Seconds(1), .after_timeout = after});
    Advance(absl::Seconds(1));
    cache.RunMaintenance(100);
    executor_.RunAll();
    EXPECT_EQ(Text(value), "DEADLINE_EXCEEDED");
  }
  held.Finish("1");
  executor_.RunAll();
  // One was given up, the other went on.
  EXPECT_EQ(loads_, 1);
  EXPECT_EQ(cache.Get("k"), "1");
}

// As deep as you like, with a limit of one.
TEST_F(CacheLoadLimitsTest, LoadsInsideOfLoadsNeedNoSlot) {
  LoadCache& cache = MakeLimited(1);
  const std::function<Value(const std::string&)> load = [&](const std::string& key) -> Value {
    if (key == "0") return "end";
    return cache.GetOrLoad(std::to_string(std::stoi(key) - 1), load);
  };
  EXPECT_EQ(Text(cache.GetOrLoad("20", load)), "end");
}

TEST_F(CacheLoadLimitsTest, LoadsThatAsynchronousLoadersAskForNeedNoSlot) {
  LoadCache& cache = MakeLimited(1);
  std::string blocking;
  std::string result;
  cache.GetOrLoadAsync(
      "outer",
      [&](const std::string&, AsyncLoad<std::string> load) {
        blocking = Text(cache.GetOrLoad("first", Loading("1")));
        cache.GetOrLoadAsync("second", Loading("2"),
                             [load = std::make_shared<AsyncLoad<std::string>>(std::move(load))](
                                 Value value) { load->Finish(std::move(value)); });
      },
      [&](Value value) { result = Text(value); });
  executor_.RunAll();
  EXPECT_EQ(blocking, "1");
  EXPECT_EQ(result, "2");
}

// One thread's loader waits for a load of another's, which waits for the slot that the first has.
TEST_F(CacheLoadLimitsTest, ALoadThatAnotherNeedsDoesntWaitForThatOnesSlot) {
  LoadCache& cache = MakeLimited(1);
  std::latch outer_runs(1);
  std::thread inner([&] {
    outer_runs.wait();
    EXPECT_EQ(Text(cache.GetOrLoad("inner", Loading("1"))), "1");
  });
  const auto outer = [&](const std::string&) -> Value {
    outer_runs.count_down();
    // The other thread's load is in the queue, or on its way there.
    EXPECT_TRUE(Eventually([&] { return cache.Stats().queued_loads == 1; }));
    return cache.GetOrLoad("inner", [](const std::string&) -> Value { return "1"; });
  };
  EXPECT_EQ(Text(cache.GetOrLoad("outer", outer)), "1");
  inner.join();
}

// The same where the other one waits for the pool's only thread.
TEST_F(CacheLoadLimitsTest, ALoadThatAnotherNeedsDoesntWaitForThatOnesThread) {
  const auto pool = ThreadPool::Create({.threads = 1}).value();
  auto options = Options();
  options.executor = pool.get();
  LoadCache& cache = Make<LoadCache>(options);
  std::latch outer_runs(1);
  std::latch queued(1);
  std::latch done(2);
  const auto outer = [&](const std::string&) -> Value {
    outer_runs.count_down();
    queued.wait();
    return cache.GetOrLoad("inner", [](const std::string&) -> Value { return "1"; });
  };
  cache.GetOrLoadAsync("outer", outer, [&](Value value) {
    EXPECT_EQ(Text(value), "1");
    done.count_down();
  });
  outer_runs.wait();
  cache.GetOrLoadAsync(
      "inner", [](const std::string&) -> Value { return "1"; },
      [&](Value value) {
        EXPECT_EQ(Text(value), "1");
        done.count_down();
      });
  queued.count_down();
  done.wait();
  End(cache);
}

// --- The circuit breaker.

class CacheBreakerTest : public LoadFixture {
 protected:
  LoadCache& MakeBreaking() {
    auto options = Options();
    options.circuit_breaker = {.failures = 3, .open_for = absl::Seconds(5)};
    options.stale_if_error = absl::Hours(1);
    options.retry_after = absl::ZeroDuration();
    return Make<LoadCache>(options);
  }

  void Break(LoadCache& cache) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(cache.Stats().circuit, CircuitState::kClosed);
      EXPECT_EQ(Text(cache.GetOrLoad("failing", Failing(absl::InternalError("no")))), "INTERNAL");
    }
    EXPECT_EQ(cache.Stats().circuit, CircuitState::kOpen);
  }
};

TEST_F(CacheBreakerTest, AfterTooManyFailuresNoLoadRunsForAWhile) {
  LoadCache& cache = MakeBreaking();
  Break(cache);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "UNAVAILABLE");
  EXPECT_EQ(loads_, 3);
  EXPECT_EQ(cache.Stats().circuit_opens, 1u);
  Advance(absl::Seconds(5));
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kHalfOpen);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "1");
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kClosed);
}

TEST_F(CacheBreakerTest, AProbeThatFailsOpensItAgain) {
  LoadCache& cache = MakeBreaking();
  Break(cache);
  Advance(absl::Seconds(5));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing(absl::InternalError("no")))), "INTERNAL");
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kOpen);
  EXPECT_EQ(cache.Stats().circuit_opens, 2u);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "UNAVAILABLE");
}

TEST_F(CacheBreakerTest, OneProbeRunsAtATime) {
  LoadCache& cache = MakeBreaking();
  Break(cache);
  Advance(absl::Seconds(5));
  Value probe;
  cache.GetOrLoadAsync("probe", Loading("1"), [&](Value value) { probe = std::move(value); });
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "UNAVAILABLE");
  executor_.RunAll();
  EXPECT_EQ(Text(probe), "1");
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "1");
}

TEST_F(CacheBreakerTest, AProbeThatNeverRanGivesItsPlaceToAnother) {
  LoadCache& cache = MakeBreaking();
  Break(cache);
  Advance(absl::Seconds(5));
  executor_.Refuse();
  Value probe;
  cache.GetOrLoadAsync("probe", Loading("1"), [&](Value value) { probe = std::move(value); });
  EXPECT_EQ(Text(probe), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kHalfOpen);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "1");
}

TEST_F(CacheBreakerTest, NotFoundAndNotModifiedAreNoFailures) {
  LoadCache& cache = MakeBreaking();
  ASSERT_TRUE(cache.Put("k", "1").ok());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Text(cache.GetOrLoad("none", Failing(absl::NotFoundError("none")))), "NOT_FOUND");
    Advance(absl::Seconds(101));
    EXPECT_EQ(Text(cache.GetOrLoad("k",
                                   [](const std::string&, Context& context) -> Value {
                                     return context.NotModified();
                                   })),
              "1");
  }
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kClosed);
}

TEST_F(CacheBreakerTest, OldValuesAreReturnedMeanwhile) {
  LoadCache& cache = MakeBreaking();
  ASSERT_TRUE(cache.Put("k", "1", {.ttl = absl::Seconds(1)}).ok());
  Advance(absl::Seconds(2));
  Break(cache);
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "1, stale, 2");
  Advance(absl::Seconds(5));
  EXPECT_EQ(Text(cache.GetOrLoadResult("k", Loading("2"))), "2, refreshed, 0");
}

}  // namespace
}  // namespace larder::test
