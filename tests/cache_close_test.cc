// SPDX-License-Identifier: Apache-2.0
// A cache is destroyed while loads of it run, wait for a slot, wait for a thread, or are about to
// time out, on real threads: it returns, every callback is called once, and nothing of it is
// touched afterwards. What is touched too late is for the sanitizers to find.
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
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
#include "larder/internal/mutex.h"
#include "larder/thread_pool.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

using TextCache = Cache<uint64_t, std::string>;
using Text = absl::StatusOr<std::string>;

constexpr int kCalls = 12;
constexpr uint64_t kKeys = 3;
// Runs of each test; all of them together are a thousand.
constexpr int kRuns = 200;

// Threads that finish asynchronous loads, as a database's client does.
class Database {
 public:
  explicit Database(int threads) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, i] { Work(static_cast<uint64_t>(i)); });
    }
  }
  ~Database() {
    {
      internal::MutexLock lock(&mutex_);
      ending_ = true;
      changed_.NotifyAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }

  void Ask(AsyncLoad<std::string> load) {
    internal::MutexLock lock(&mutex_);
    loads_.push_back(std::move(load));
    changed_.NotifyAll();
  }

  // Whether no load waits to be finished; the last ones may be about to be.
  bool idle() const {
    internal::MutexLock lock(&mutex_);
    return loads_.empty();
  }

 private:
  std::optional<AsyncLoad<std::string>> Next() {
    internal::MutexLock lock(&mutex_);
    while (loads_.empty() && !ending_) changed_.Wait(&mutex_);
    if (loads_.empty()) return std::nullopt;
    AsyncLoad<std::string> load = std::move(loads_.front());
    loads_.pop_front();
    return load;
  }

  void Work(uint64_t seed) {
    std::mt19937_64 random(seed);
    while (std::optional<AsyncLoad<std::string>> load = Next()) {
      if (random() % 4 == 0) std::this_thread::yield();
      Answer(*std::move(load), random() % 8);
    }
  }

  static void Answer(AsyncLoad<std::string> load, uint64_t how) {
    if (how == 0) return;  // dropped
    if (how == 1) return load.Finish(absl::UnavailableError("down"));
    if (how == 2) return load.Finish(absl::NotFoundError("none"));
    if (how == 3 && load.old_value() != nullptr) return load.FinishNotModified();
    const size_t length = load.stop_token().stop_requested() ? 40 : 80;
    const size_t old = load.old_value() != nullptr ? load.old_value()->size() : 0;
    load.Finish(std::string(length + old % 2, 'v'));
  }

  mutable internal::Mutex mutex_;
  internal::CondVar changed_;
  std::deque<AsyncLoad<std::string>> loads_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// What a run's loaders and callbacks refer to: it outlives the cache.
struct Calls {
  std::array<std::atomic<int>, kCalls> answers{};
  std::atomic<int> loading{0};  // loaders that are running on threads of the executor

  bool AllAnswered() const {
    for (const std::atomic<int>& count : answers) {
      if (count.load(std::memory_order_acquire) == 0) return false;
    }
    return true;
  }
};

class CacheCloseTest : public ::testing::Test {
 protected:
  CacheCloseTest() : pool_(ThreadPool::Create({.threads = 3, .queue_capacity = 16}).value()) {}

  static TextCache::Options RandomOptions(std::mt19937_64& random) {
    TextCache::Options options;
    options.capacity = 64;
    options.stripes = 2;
    options.retry_after = absl::ZeroDuration();
    options.max_concurrent_loads = static_cast<int>(random() % 3);
    if (random() % 2 == 0) options.max_queued_loads = 2;
    if (random() % 4 == 0) options.circuit_breaker.failures = 2;
    options.circuit_breaker.open_for = absl::Microseconds(1);
    if (random() % 4 == 0) options.maintenance_interval = absl::Microseconds(50);
    return options;
  }

  static LoadOptions RandomLoad(std::mt19937_64& random) {
    const auto some = [&random] { return absl::Microseconds(1 + random() % 60); };
    LoadOptions options;
    if (random() % 2 == 0) options.ttl = some();
    if (random() % 2 == 0) options.refresh_after = absl::Nanoseconds(1);
    if (random() % 2 == 0) options.stale_while_revalidate = absl::Seconds(1);
    if (random() % 2 == 0) options.stale_if_error = absl::Seconds(1);
    if (random() % 3 == 0) options.soft_timeout = some();
    if (random() % 3 == 0) options.hard_timeout = some();
    if (random() % 2 == 0) options.after_timeout = AfterTimeout::kAbandon;
    if (random() % 3 == 0) options.background_timeout = some();
    if (random() % 3 == 0) options.negative_ttl = some();
    if (random() % 4 == 0) options.tags = {"tag"};
    return options;
  }

  void Ask(TextCache& cache, const std::shared_ptr<Calls>& calls, size_t number,
           std::mt19937_64& random) {
    const auto answered = [calls, number](Text) {
      calls->answers[number].fetch_add(1, std::memory_order_acq_rel);
    };
    const uint64_t key = random() % kKeys;
    if (random() % 2 == 0) {
      // A thread of the executor may call it when the cache, which abandons it, is gone, and all
      // else.
      const auto ask = [database = std::weak_ptr(database_)](uint64_t,
                                                             AsyncLoad<std::string> load) {
        if (const auto there = database.lock()) there->Ask(std::move(load));
      };
      return cache.GetOrLoadAsync(key, ask, answered, RandomLoad(random));
    }
    const auto load = [calls, pause = random() % 16](uint64_t,
                                                     LoadContext<std::string>& context) -> Text {
      calls->loading.fetch_add(1);
      for (uint64_t i = 0; i < pause && !context.stop_token().stop_requested(); ++i) {
        std::this_thread::yield();
      }
      calls->loading.fetch_sub(1);
      if (pause == 1) return absl::UnavailableError("down");
      return std::string(60, 'l');
    };
    cache.GetOrLoadAsync(key, load, answered, RandomLoad(random));
  }

  static void Disturb(TextCache& cache, std::mt19937_64& random) {
    const uint64_t key = random() % kKeys;
    switch (random() % 8) {
      case 0:
        ASSERT_TRUE(cache.Put(key, std::string(50, 'p')).ok());
        break;
      case 1:
        cache.Erase(key);
        break;
      case 2:
        cache.InvalidateTag("tag");
        break;
      case 3:
        ASSERT_TRUE(cache.InvalidateAfter(key, absl::Microseconds(random() % 40)).ok());
        break;
      case 4:
        cache.Expire(key);
        break;
      case 5:
        cache.Clear();
        break;
      default:
        break;
    }
  }

  void Run(uint64_t seed, LoadsAtClose at_close, Executor* executor) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    TextCache::Options options = RandomOptions(random);
    options.loads_at_close = at_close;
    options.executor = executor;
    auto cache = TextCache::Create(options).value();
    const auto calls = std::make_shared<Calls>();
    for (size_t i = 0; i < kCalls; ++i) {
      Ask(*cache, calls, i, random);
      if (random() % 2 == 0) Disturb(*cache, random);
      if (random() % 4 == 0) std::this_thread::yield();
    }
    for (uint64_t i = random() % 8; i > 0; --i) std::this_thread::yield();
    std::optional<TextCache::Handle> pinned;
    if (random() % 4 == 0) pinned.emplace(cache->Pin(random() % kKeys));
    cache.reset();
    if (at_close == LoadsAtClose::kWait) {
      EXPECT_EQ(calls->loading, 0) << "loaders run on";
      EXPECT_TRUE(database_->idle()) << "asynchronous loads haven't been finished";
    }
    ASSERT_TRUE(Eventually([&] { return calls->AllAnswered(); })) << "a callback is lost";
    Check(*calls);
    past_.push_back(calls);
    if (past_.size() > 50) past_.pop_front();
  }

  // Late callbacks of earlier runs have had time to come.
  void TearDown() override {
    ASSERT_TRUE(Eventually([&] { return database_->idle(); }));
    for (const auto& calls : past_) Check(*calls);
  }

  static void Check(const Calls& calls) {
    for (size_t i = 0; i < kCalls; ++i) ASSERT_EQ(calls.answers[i], 1) << "call " << i;
  }

  void RunAll(LoadsAtClose at_close, Executor* executor) {
    for (int round = 0; round < Rounds(kRuns) && !HasFatalFailure(); ++round) {
      Run(SeedOfRound(round), at_close, executor);
    }
  }

  // In this order: what the pool's tasks hold is finished by the database.
  const std::shared_ptr<Database> database_ = std::make_shared<Database>(2);
  const std::unique_ptr<ThreadPool> pool_;
  std::deque<std::shared_ptr<Calls>> past_;
};

TEST_F(CacheCloseTest, WaitsForLoadsOnAPool) { RunAll(LoadsAtClose::kWait, pool_.get()); }

TEST_F(CacheCloseTest, AbandonsLoadsOnAPool) { RunAll(LoadsAtClose::kAbandon, pool_.get()); }

TEST_F(CacheCloseTest, WaitsForLoadsOnTheDefaultExecutor) { RunAll(LoadsAtClose::kWait, nullptr); }

TEST_F(CacheCloseTest, AbandonsLoadsOnTheDefaultExecutor) {
  RunAll(LoadsAtClose::kAbandon, nullptr);
}

// An executor that is at its end refuses what comes, and so does one that is full.
TEST_F(CacheCloseTest, AbandonsLoadsThatFindNoThread) {
  const auto full = ThreadPool::Create({.threads = 1, .queue_capacity = 0}).value();
  RunAll(LoadsAtClose::kAbandon, full.get());
}

}  // namespace
}  // namespace larder::test
