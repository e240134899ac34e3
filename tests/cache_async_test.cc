// SPDX-License-Identifier: Apache-2.0
// GetOrLoadAsync: callbacks called exactly once, loads finished later, and caches that end
// meanwhile.
#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/async_load.h"
#include "larder/cache.h"
#include "larder/thread_pool.h"
#include "tests/support/load_fixture.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

class CacheAsyncTest : public LoadFixture {
 protected:
  using Load = AsyncLoad<std::string>;

  // Takes an answer, once.
  class Answer {
   public:
    auto Callback() {
      return [this](Result result) {
        ++calls_;
        text_ = Text(result);
      };
    }
    int calls() const { return calls_; }
    std::string text() const {
      EXPECT_EQ(calls_, 1);
      return text_;
    }

   private:
    int calls_ = 0;
    std::string text_;
  };

  // Keeps its load for later.
  auto Keeping(std::optional<Load>& kept) {
    return [&kept](const std::string&, Load load) { kept.emplace(std::move(load)); };
  }
};

TEST_F(CacheAsyncTest, WhatIsThereIsAnsweredInTheCall) {
  LoadCache& cache = Make<LoadCache>(Options());
  ASSERT_TRUE(cache.Put("k", "1").ok());
  Answer answer;
  cache.GetOrLoadAsync("k", Loading("2"), answer.Callback());
  EXPECT_EQ(answer.text().substr(0, 9), "1, memory");
  EXPECT_EQ(executor_.queued(), 0u);
  Answer invalid;
  cache.GetOrLoadAsync("none", Loading("2"), invalid.Callback(), {.ttl = absl::ZeroDuration()});
  EXPECT_EQ(invalid.text(), "INVALID_ARGUMENT");
}

TEST_F(CacheAsyncTest, ALoadRunsOnTheExecutorAndSoDoesTheCallback) {
  LoadCache& cache = Make<LoadCache>(Options());
  Answer answer;
  cache.GetOrLoadAsync("k", Loading("1"), answer.Callback());
  EXPECT_EQ(loads_, 0);
  EXPECT_TRUE(executor_.RunOne());
  EXPECT_EQ(loads_, 1);
  EXPECT_EQ(cache.Get("k"), "1");
  EXPECT_EQ(answer.calls(), 0);
  EXPECT_TRUE(executor_.RunOne());
  EXPECT_EQ(answer.text(), "1, loaded, 0");
}

TEST_F(CacheAsyncTest, ACallbackMayTakeAValueAlone) {
  LoadCache& cache = Make<LoadCache>(Options());
  std::string value;
  // Both movable only.
  cache.GetOrLoadAsync(
      "k",
      [owned = std::make_unique<std::string>("1")](const std::string&) -> Value { return *owned; },
      [&value, owned = std::make_unique<int>(1)](Value result) { value = Text(result); });
  executor_.RunAll();
  EXPECT_EQ(value, "1");
}

TEST_F(CacheAsyncTest, AnAsynchronousLoadIsFinishedByWhoeverHasIt) {
  LoadCache& cache = Make<LoadCache>(Options());
  std::optional<Load> load;
  Answer first;
  Answer second;
  cache.GetOrLoadAsync("k", Keeping(load), first.Callback());
  cache.GetOrLoadAsync("k", Loading("2"), second.Callback());
  executor_.RunAll();
  EXPECT_EQ(first.calls() + second.calls(), 0);
  EXPECT_EQ(load->old_value(), nullptr);
  std::thread([&] { load->Finish("1"); }).join();
  EXPECT_EQ(cache.Get("k"), "1");
  executor_.RunAll();
  EXPECT_EQ(first.text(), "1, loaded, 0");
  EXPECT_EQ(second.text(), "1, joined, 0");
  // Only the first counts.
  load->Finish("3");
  load->FinishNotModified();
  EXPECT_EQ(cache.Get("k"), "1");
}

TEST_F(CacheAsyncTest, ItMayBeFinishedWithAnything) {
  LoadCache& cache = Make<LoadCache>(Options());
  const auto finish = [&](const std::string& key, auto finisher) {
    std::optional<Load> load;
    Answer answer;
    cache.GetOrLoadAsync(key, Keeping(load), answer.Callback());
    executor_.RunAll();
    finisher(*load);
    executor_.RunAll();
    return answer.text();
  };
  EXPECT_EQ(finish("1", [](Load& load) { load.Finish(std::string("1")); }), "1, loaded, 0");
  EXPECT_EQ(finish("2", [](Load& load) { load.Finish(Value("1")); }), "1, loaded, 0");
  EXPECT_EQ(finish("3", [](Load& load) { load.Finish(Loaded<std::string>{.value = "1"}); }),
            "1, loaded, 0");
  EXPECT_EQ(finish("4", [](Load& load) { load.Finish(LoadedValue(absl::AbortedError("no"))); }),
            "ABORTED");
  EXPECT_EQ(finish("5", [](Load& load) { load.Finish(absl::NotFoundError("no")); }), "NOT_FOUND");
  EXPECT_EQ(finish("6", [](Load& load) { load.FinishNotModified(); }), "FAILED_PRECONDITION");
  EXPECT_EQ(finish("7", [](Load& load) { const Load dropped = std::move(load); }), "CANCELLED");
}

TEST_F(CacheAsyncTest, ALoadThatIsDroppedLeavesTheWayFree) {
  LoadCache& cache = Make<LoadCache>(Options());
  std::optional<Load> load;
  Answer answer;
  cache.GetOrLoadAsync("k", Keeping(load), answer.Callback());
  executor_.RunAll();
  load.reset();
  executor_.RunAll();
  EXPECT_EQ(answer.text(), "CANCELLED");
  EXPECT_EQ(cache.Stats().load_failures, 1u);
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("1"))), "1");
}

TEST_F(CacheAsyncTest, LoadersThatThrowFail) {
  LoadCache& cache = Make<LoadCache>(Options());
  Answer plain;
  Answer asynchronous;
  cache.GetOrLoadAsync(
      "1", [](const std::string&) -> Value { throw std::runtime_error("no luck"); },
      plain.Callback());
  cache.GetOrLoadAsync(
      "2", [](const std::string&, Load) { throw std::runtime_error("no luck"); },
      asynchronous.Callback());
  executor_.RunAll();
  EXPECT_EQ(plain.text(), "INTERNAL");
  EXPECT_EQ(asynchronous.text(), "CANCELLED");
  EXPECT_EQ(cache.Stats().load_failures, 2u);
}

TEST_F(CacheAsyncTest, AnExecutorThatRefusesOrDropsFailsTheLoad) {
  LoadCache& cache = Make<LoadCache>(Options());
  executor_.Refuse();
  Answer refused;
  cache.GetOrLoadAsync("k", Loading("1"), refused.Callback());
  EXPECT_EQ(refused.text(), "RESOURCE_EXHAUSTED");
  executor_.Refuse(false);
  Answer dropped;
  cache.GetOrLoadAsync("k", Loading("1"), dropped.Callback());
  executor_.Drop();
  executor_.RunAll();
  EXPECT_EQ(dropped.text(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(loads_, 0);
}

TEST_F(CacheAsyncTest, ARefusedCallbackIsCalledWhereTheLoadEnds) {
  LoadCache& cache = Make<LoadCache>(Options());
  std::optional<Load> load;
  Answer answer;
  cache.GetOrLoadAsync("k", Keeping(load), answer.Callback());
  executor_.RunAll();
  executor_.Refuse();
  load->Finish("1");
  EXPECT_EQ(answer.text(), "1, loaded, 0");
}

TEST_F(CacheAsyncTest, CallbacksMayCallTheCache) {
  LoadCache& cache = Make<LoadCache>(Options());
  int steps = 0;
  std::function<void(Value)> next = [&](Value value) {
    EXPECT_EQ(Text(value), "1");
    if (++steps == 10) return;
    const std::string key = std::to_string(steps);
    EXPECT_EQ(Text(cache.GetOrLoad("in " + key, Loading("2"))), "2");
    cache.GetOrLoadAsync(key, Loading("1"), next);
  };
  cache.GetOrLoadAsync("0", Loading("1"), next);
  executor_.RunAll();
  EXPECT_EQ(steps, 10);
}

TEST_F(CacheAsyncTest, WhoJoinsAnOutdatedLoadGetsALaterOne) {
  LoadCache& cache = Make<LoadCache>(Options());
  Answer before;
  Answer after;
  cache.GetOrLoadAsync("k", Loading("1"), before.Callback());
  EXPECT_FALSE(cache.Erase("k"));
  cache.GetOrLoadAsync("k", Loading("2"), after.Callback());
  executor_.RunAll();
  EXPECT_EQ(before.text(), "1, loaded, 0");
  EXPECT_EQ(after.text(), "2, loaded, 0");
  EXPECT_EQ(cache.Get("k"), "2");
}

// --- Copies that throw.

TEST_F(CacheAsyncTest, CopiesThatThrowLeaveNoLoadBehind) {
  using WatchedCache = Cache<int, ThrowingCopy>;
  auto options = OptionsFor<WatchedCache>(10);
  options.executor = &executor_;
  options.ttl = absl::Seconds(100);
  options.stale_while_revalidate = absl::Seconds(100);
  WatchedCache& cache = Make<WatchedCache>(options);
  const auto loader = [](int) -> absl::StatusOr<ThrowingCopy> { return ThrowingCopy(2); };
  for (int64_t n = 1;; ++n) {
    ASSERT_TRUE(cache.Put(1, ThrowingCopy(1)).ok());
    Advance(absl::Seconds(101));
    int calls = 0;
    bool threw = false;
    FaultCountdown::Arm(n);
    try {
      cache.GetOrLoadAsync(1, loader, [&](absl::StatusOr<ThrowingCopy>) { ++calls; });
    } catch (const InjectedFault&) {
      threw = true;
    }
    executor_.RunAll();
    const bool fault = FaultCountdown::Disarm();
    EXPECT_EQ(calls, threw ? 0 : 1);
    EXPECT_EQ((*cache.GetOrLoad(1, loader)).number(), 2u);
    ASSERT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants();
    if (!fault) break;
  }
}

TEST_F(CacheAsyncTest, LoadersWhoseCopiesThrowLeaveNoLoadBehind) {
  struct Loader {
    Value operator()(const std::string&) const { return "2"; }
    ThrowingCopy copied;
  };
  LoadCache& cache = Make<LoadCache>(Options());
  const Loader loader{ThrowingCopy(1)};
  for (int64_t n = 1;; ++n) {
    int calls = 0;
    bool threw = false;
    FaultCountdown::Arm(n);
    try {
      cache.GetOrLoadAsync("k", loader, [&](Value) { ++calls; });
    } catch (const InjectedFault&) {
      threw = true;
    }
    executor_.RunAll();
    const bool fault = FaultCountdown::Disarm();
    EXPECT_EQ(calls, threw ? 0 : 1);
    EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("3"))), threw ? "3" : "2");
    cache.Erase("k");
    if (!fault) break;
  }
  // In the background, of a call that has a value already.
  ASSERT_TRUE(cache.Put("k", "1", {.refresh_after = absl::Seconds(50)}).ok());
  Advance(absl::Seconds(50));
  FaultCountdown::Arm(1);
  try {
    EXPECT_EQ(Text(cache.GetOrLoad("k", loader)), "1");
  } catch (const InjectedFault&) {
  }
  EXPECT_TRUE(FaultCountdown::Disarm());
  EXPECT_EQ(cache.Get("k"), "1");
  Advance(absl::Seconds(50));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Loading("3"))), "3");
}

// --- The end of the cache.

class CacheCloseTest : public CacheAsyncTest {};

TEST_F(CacheCloseTest, WhatHasntBegunIsDroppedAndItsCallbackTold) {
  for (const LoadsAtClose at_close : {LoadsAtClose::kWait, LoadsAtClose::kAbandon}) {
    auto options = Options();
    options.loads_at_close = at_close;
    auto cache = LoadCache::Create(options).value();
    Answer answer;
    cache->GetOrLoadAsync("k", Loading("1"), answer.Callback());
    cache.reset();
    executor_.RunAll();
    EXPECT_EQ(answer.text(), "CANCELLED");
    EXPECT_EQ(loads_, 0);
  }
}

TEST_F(CacheCloseTest, ItWaitsForLoadsThatRunAndTellsThemToStop) {
  const auto pool = ThreadPool::Create({.threads = 1}).value();
  auto options = Options();
  options.executor = pool.get();
  options.clock = nullptr;
  auto cache = LoadCache::Create(options).value();
  std::latch begun(1);
  std::latch called(1);
  std::atomic<bool> returned{false};
  cache->GetOrLoadAsync(
      "k",
      [&](const std::string&, Context& context) -> Value {
        begun.count_down();
        EXPECT_TRUE(Eventually([&] { return context.stop_token().stop_requested(); }));
        returned.store(true);
        return "1";
      },
      [&](Value) { called.count_down(); });
  begun.wait();
  cache.reset();
  EXPECT_TRUE(returned.load());
  called.wait();
}

TEST_F(CacheCloseTest, ItWaitsForAsynchronousLoadsToBeFinished) {
  auto cache = LoadCache::Create(Options()).value();
  std::optional<Load> load;
  Answer answer;
  cache->GetOrLoadAsync("k", Keeping(load), answer.Callback());
  executor_.RunAll();
  std::thread finisher([&] {
    EXPECT_TRUE(Eventually([&] { return load->stop_token().stop_requested(); }));
    load->Finish("1");
  });
  cache.reset();
  finisher.join();
  executor_.RunAll();
  EXPECT_EQ(answer.text(), "1, loaded, 0");
}

TEST_F(CacheCloseTest, AnAbandonedLoadMayEndLater) {
  auto options = Options();
  options.loads_at_close = LoadsAtClose::kAbandon;
  auto cache = LoadCache::Create(options).value();
  ASSERT_TRUE(cache->Put("k", "1", {.refresh_after = absl::Seconds(50)}).ok());
  Advance(absl::Seconds(50));
  std::optional<Load> refresh;
  std::optional<Load> load;
  Answer old;
  Answer answer;
  cache->GetOrLoadAsync("k", Keeping(refresh), old.Callback());
  cache->GetOrLoadAsync("other", Keeping(load), answer.Callback());
  executor_.RunAll();
  EXPECT_EQ(old.text(), "1, memory, 50");
  cache.reset();
  executor_.RunAll();
  EXPECT_EQ(answer.text(), "CANCELLED");
  EXPECT_TRUE(load->stop_token().stop_requested());
  // The old value is there until the load is over.
  EXPECT_EQ(*refresh->old_value(), "1");
  refresh->FinishNotModified();
  load->Finish("2");
}

// When a load ends after the cache, others may wait for its slot still; the executor may be gone.
TEST_F(CacheCloseTest, WhatWasDroppedInTheQueueDoesntGoToTheExecutor) {
  auto options = Options();
  options.loads_at_close = LoadsAtClose::kAbandon;
  options.max_concurrent_loads = 1;
  auto cache = LoadCache::Create(options).value();
  std::optional<Load> load;
  Answer answers[3];
  cache->GetOrLoadAsync("k", Keeping(load), answers[0].Callback());
  executor_.RunAll();
  cache->GetOrLoadAsync("next", Loading("1"), answers[1].Callback());
  cache->GetOrLoadAsync("last", Loading("1"), answers[2].Callback());
  cache.reset();
  executor_.RunAll();
  for (const Answer& answer : answers) EXPECT_EQ(answer.text(), "CANCELLED");
  load->Finish("2");
  EXPECT_EQ(executor_.queued(), 0u);
  EXPECT_EQ(loads_, 0);
}

}  // namespace
}  // namespace larder::test
