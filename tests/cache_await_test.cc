// SPDX-License-Identifier: Apache-2.0
// GetOrLoadAwait: when a coroutine is suspended, where it goes on, and that it does so once.
#include <atomic>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/thread_pool.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/detached.h"
#include "tests/support/manual_executor.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

using ::testing::HasSubstr;

using IntCache = Cache<uint64_t, uint64_t>;
using Result = absl::StatusOr<uint64_t>;

// A coroutine that starts at once, and is destroyed with its Job.
class Job {
 public:
  struct promise_type {
    Job get_return_object() {
      return Job(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };

  explicit Job(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}
  Job(Job&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Job& operator=(Job&&) = delete;
  ~Job() {
    if (coroutine_) coroutine_.destroy();
  }
  bool done() const { return coroutine_.done(); }

 private:
  std::coroutine_handle<promise_type> coroutine_;
};

// What has become of a coroutine. Written by it, read once `done`.
struct Outcome {
  std::optional<Result> result;
  std::thread::id thread;
  std::atomic<int> resumed{0};
};

template <class Coroutine = Job, class Loader>
Coroutine Await(IntCache& cache, uint64_t key, Loader loader, Outcome& outcome,
                LoadOptions options = {}) {
  Result result = co_await cache.GetOrLoadAwait(key, std::move(loader), options);
  outcome.result = std::move(result);
  outcome.thread = std::this_thread::get_id();
  outcome.resumed.fetch_add(1);
}

// Runs each task inside Execute.
class InlineExecutor final : public Executor {
 public:
  bool Execute(absl::AnyInvocable<void() &&> task) override {
    std::move(task)();
    return true;
  }
};

class AwaitTest : public CacheFixture {
 protected:
  IntCache::Options Options() {
    auto options = OptionsFor<IntCache>(100);
    options.executor = &executor_;
    return options;
  }

  ManualExecutor executor_;
  Outcome outcome_;
};

Result TenTimes(uint64_t key) { return 10 * key; }

TEST_F(AwaitTest, AValueThatIsThereSuspendsNobody) {
  IntCache& cache = Make<IntCache>(Options());
  ASSERT_TRUE(cache.Put(1, 11).ok());
  const Job job = Await(cache, 1, TenTimes, outcome_);
  EXPECT_TRUE(job.done());
  EXPECT_EQ(**outcome_.result, 11u);
  EXPECT_EQ(outcome_.thread, std::this_thread::get_id());
  EXPECT_EQ(executor_.queued(), 0u);
}

TEST_F(AwaitTest, ALoadIsAwaitedOnTheExecutor) {
  IntCache& cache = Make<IntCache>(Options());
  const Job job = Await(cache, 1, TenTimes, outcome_);
  EXPECT_FALSE(job.done());
  EXPECT_EQ(executor_.queued(), 1u);
  std::thread other([&] { executor_.RunAll(); });
  const std::thread::id executors_thread = other.get_id();
  other.join();
  EXPECT_TRUE(job.done());
  EXPECT_EQ(**outcome_.result, 10u);
  EXPECT_EQ(outcome_.thread, executors_thread);
  EXPECT_EQ(cache.Get(1), 10u);
}

TEST_F(AwaitTest, ManyWhoAwaitAKeyShareItsLoad) {
  IntCache& cache = Make<IntCache>(Options());
  std::vector<Outcome> outcomes(10);
  std::vector<Job> jobs;
  for (Outcome& outcome : outcomes) jobs.push_back(Await(cache, 1, TenTimes, outcome));
  executor_.RunAll();
  for (const Job& job : jobs) EXPECT_TRUE(job.done());
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(**outcome.result, 10u);
    EXPECT_EQ(outcome.resumed.load(), 1);
  }
  EXPECT_EQ(cache.Stats().loads, 1u);
}

TEST_F(AwaitTest, ErrorsOfTheLoadReachWhoAwaitsIt) {
  IntCache& cache = Make<IntCache>(Options());
  const auto fails = [](uint64_t) -> Result { return absl::DataLossError("torn"); };
  const Job failed = Await(cache, 1, fails, outcome_);
  executor_.RunAll();
  EXPECT_TRUE(absl::IsDataLoss(outcome_.result->status()));
  const auto throws = [](uint64_t) -> Result { throw std::runtime_error("no such luck"); };
  const Job threw = Await(cache, 1, throws, outcome_);
  executor_.RunAll();
  EXPECT_TRUE(absl::IsInternal(outcome_.result->status()));
  EXPECT_THAT(std::string(outcome_.result->status().message()), HasSubstr("no such luck"));
  const Job invalid = Await(cache, 1, TenTimes, outcome_, {.ttl = absl::ZeroDuration()});
  EXPECT_TRUE(invalid.done());
  EXPECT_TRUE(absl::IsInvalidArgument(outcome_.result->status()));
  EXPECT_EQ(outcome_.resumed.load(), 3);
}

TEST_F(AwaitTest, AsynchronousLoadersMayBeAwaited) {
  IntCache& cache = Make<IntCache>(Options());
  std::optional<AsyncLoad<uint64_t>> pending;
  const auto starts = [&](uint64_t, AsyncLoad<uint64_t> load) { pending.emplace(std::move(load)); };
  const Job job = Await(cache, 1, starts, outcome_);
  executor_.RunAll();
  EXPECT_FALSE(job.done());
  std::thread([&] { pending->Finish(uint64_t{12}); }).join();
  EXPECT_FALSE(job.done()) << "it goes on on the executor";
  executor_.RunAll();
  EXPECT_TRUE(job.done());
  EXPECT_EQ(**outcome_.result, 12u);
}

TEST_F(AwaitTest, WhatEndsBeforeTheCoroutineIsSuspendedDoesNotSuspendIt) {
  InlineExecutor inline_executor;
  auto options = Options();
  options.executor = &inline_executor;
  IntCache& cache = Make<IntCache>(options);
  const Job job = Await(cache, 1, TenTimes, outcome_);
  EXPECT_TRUE(job.done());
  EXPECT_EQ(**outcome_.result, 10u);
  EXPECT_EQ(outcome_.resumed.load(), 1);
}

TEST_F(AwaitTest, WhereTheExecutorRefusesTheCoroutineGoesOnAllTheSame) {
  IntCache& cache = Make<IntCache>(Options());
  executor_.Refuse();
  const Job refused = Await(cache, 1, TenTimes, outcome_);
  EXPECT_TRUE(refused.done());
  EXPECT_TRUE(absl::IsResourceExhausted(outcome_.result->status()));
  executor_.Refuse(false);
  const Job dropped = Await(cache, 1, TenTimes, outcome_);
  EXPECT_FALSE(dropped.done());
  EXPECT_EQ(executor_.Drop(), 1u);
  executor_.RunAll();
  EXPECT_TRUE(dropped.done());
  EXPECT_TRUE(absl::IsResourceExhausted(outcome_.result->status()));
}

TEST_F(AwaitTest, TheCachesEndResumesWhoIsSuspendedWithCancelled) {
  auto cache = IntCache::Create(Options()).value();
  const Job job = Await(*cache, 1, TenTimes, outcome_);
  cache.reset();
  executor_.RunAll();
  EXPECT_TRUE(job.done());
  EXPECT_TRUE(absl::IsCancelled(outcome_.result->status()));
  EXPECT_EQ(outcome_.resumed.load(), 1);
}

TEST_F(AwaitTest, TheEndOfACacheThatAbandonsItsLoadsResumesThemToo) {
  auto options = Options();
  options.loads_at_close = LoadsAtClose::kAbandon;
  auto cache = IntCache::Create(options).value();
  std::optional<AsyncLoad<uint64_t>> pending;
  const auto starts = [&](uint64_t, AsyncLoad<uint64_t> load) { pending.emplace(std::move(load)); };
  const Job job = Await(*cache, 1, starts, outcome_);
  executor_.RunAll();
  ASSERT_TRUE(pending.has_value());
  cache.reset();
  executor_.RunAll();
  EXPECT_TRUE(absl::IsCancelled(outcome_.result->status()));
  pending->Finish(uint64_t{12});
  executor_.RunAll();
  EXPECT_EQ(outcome_.resumed.load(), 1);
}

TEST_F(AwaitTest, ACoroutineMayBeDestroyedWhileItIsSuspended) {
  IntCache& cache = Make<IntCache>(Options());
  { const Job job = Await(cache, 1, TenTimes, outcome_); }
  executor_.RunAll();
  EXPECT_EQ(outcome_.resumed.load(), 0);
  EXPECT_EQ(cache.Get(1), 10u) << "the load went on";
}

TEST_F(AwaitTest, AnAwaiterThatIsNotAwaitedLoadsNothing) {
  IntCache& cache = Make<IntCache>(Options());
  { [[maybe_unused]] auto awaiter = cache.GetOrLoadAwait(1, TenTimes); }
  EXPECT_EQ(executor_.queued(), 0u);
  EXPECT_EQ(cache.Stats().misses, 0u);
}

Job AwaitAll(Cache<std::string, std::string>& cache, std::vector<std::string>& seen) {
  const auto loader = [](const std::string& key) -> absl::StatusOr<std::string> {
    return key + "!";
  };
  // Neither the key nor the loader is there any more when the load runs.
  for (const std::string_view key : {"a", "b", "a"}) {
    auto awaiter = cache.GetOrLoadAwait(std::string(key), std::function(loader));
    seen.push_back(*co_await awaiter);
  }
  seen.push_back(*co_await cache.GetOrLoadAwait(std::string_view("c"), loader));
}

TEST_F(AwaitTest, ACoroutineMayAwaitOneLoadAfterAnother) {
  using Names = Cache<std::string, std::string>;
  auto options = OptionsFor<Names>(100);
  options.executor = &executor_;
  Names& cache = Make<Names>(options);
  std::vector<std::string> seen;
  const Job job = AwaitAll(cache, seen);
  executor_.RunAll();
  EXPECT_TRUE(job.done());
  EXPECT_THAT(seen, ::testing::ElementsAre("a!", "b!", "a!", "c!"));
}

// The callback may come before, while and after the coroutine is suspended.
TEST_F(AwaitTest, NoResultIsMissedAndNoneIsDeliveredTwice) {
  const auto pool = ThreadPool::Create({.threads = 2}).value();
  auto options = Options();
  options.executor = pool.get();
  auto cache = IntCache::Create(options).value();
  const int rounds = Rounds(300);
  for (int round = 0; round < rounds; ++round) {
    const uint64_t key = static_cast<uint64_t>(round);
    Outcome outcomes[3];
    for (Outcome& outcome : outcomes) Await<Detached>(*cache, key, TenTimes, outcome);
    for (Outcome& outcome : outcomes) {
      ASSERT_TRUE(Eventually([&] { return outcome.resumed.load() == 1; }));
      EXPECT_EQ(**outcome.result, 10 * key);
    }
  }
}

}  // namespace
}  // namespace larder::test
