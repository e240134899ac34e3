// SPDX-License-Identifier: Apache-2.0
#include "larder/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/event.h"
#include "tests/support/rounds.h"
#include "tests/support/thread_pools.h"
#include "tests/support/threads.h"

namespace larder {
namespace {

using internal::Event;
using test::Blocker;
using test::Eventually;
using test::MakePool;
using test::Rounds;
using test::RunThreads;

TEST(ThreadPoolTest, OptionsAreChecked) {
  const auto error = [](ThreadPoolOptions options) {
    const absl::Status status = ThreadPool::Create(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(error({.threads = 0}), "threads must be within 1..4096, is 0");
  EXPECT_EQ(error({.threads = -3}), "threads must be within 1..4096, is -3");
  EXPECT_EQ(error({.threads = 4097}), "threads must be within 1..4096, is 4097");
  EXPECT_EQ(error({.idle_time = absl::ZeroDuration()}), "idle_time must be positive, is 0");
  EXPECT_EQ(error({.idle_time = -absl::Seconds(2)}), "idle_time must be positive, is -2s");
  EXPECT_TRUE(ThreadPoolOptions{}.Validate().ok());
  EXPECT_TRUE(ThreadPoolOptions{.idle_time = absl::InfiniteDuration()}.Validate().ok());
}

TEST(ThreadPoolTest, RunsEachTaskOnce) {
  std::vector<std::atomic<int>> runs(2000);
  auto pool = MakePool({.threads = 4, .queue_capacity = runs.size()});
  RunThreads(4, [&](int thread) {
    for (size_t i = 0; i < 500; ++i) {
      std::atomic<int>& run = runs[static_cast<size_t>(thread) * 500 + i];
      EXPECT_TRUE(pool->Execute([&run] { run.fetch_add(1); }));
    }
  });
  pool.reset();
  for (const std::atomic<int>& run : runs) EXPECT_EQ(run.load(), 1);
}

TEST(ThreadPoolTest, ThreadsStartAsTasksCome) {
  auto pool = MakePool({.threads = 3, .idle_time = absl::InfiniteDuration()});
  EXPECT_EQ(pool->threads(), 0);
  Blocker blocker(*pool, 1);
  EXPECT_EQ(pool->threads(), 1);
  EXPECT_TRUE(blocker.Block());
  EXPECT_EQ(pool->threads(), 2);
  EXPECT_TRUE(blocker.Block());
  EXPECT_TRUE(blocker.Block());
  EXPECT_EQ(pool->threads(), 3);
  EXPECT_EQ(pool->queued(), 1u);
}

TEST(ThreadPoolTest, RefusesAndDestroysWhatItHasNoPlaceFor) {
  auto pool = MakePool({.threads = 2, .queue_capacity = 3});
  std::atomic<int> ran{0};
  {
    const Blocker blocker(*pool, 2);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool->Execute([&] { ran.fetch_add(1); }));
    auto token = std::make_shared<int>();
    EXPECT_FALSE(pool->Execute([token] { ADD_FAILURE() << "was refused"; }));
    EXPECT_EQ(token.use_count(), 1);
    EXPECT_EQ(pool->queued(), 3u);
  }
  EXPECT_TRUE(Eventually([&] { return ran.load() == 3; }));
  EXPECT_TRUE(pool->Execute([&] { ran.fetch_add(1); }));
  pool.reset();
  EXPECT_EQ(ran.load(), 4);
}

TEST(ThreadPoolTest, WithoutAQueueATaskNeedsAThread) {
  auto pool = MakePool({.threads = 2, .queue_capacity = 0});
  {
    Blocker blocker(*pool, 2);
    EXPECT_FALSE(blocker.Block());
  }
  std::atomic<bool> ran{false};
  EXPECT_TRUE(Eventually([&] { return pool->Execute([&] { ran = true; }); }));
  EXPECT_TRUE(Eventually([&] { return ran.load(); }));
}

TEST(ThreadPoolTest, StartsTasksInTheirOrder) {
  std::vector<int> order;
  auto pool = MakePool({.threads = 1});
  {
    const Blocker blocker(*pool, 1);
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool->Execute([&order, i] { order.push_back(i); }));
  }
  pool.reset();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ThreadPoolTest, ATaskIsDestroyedOnceItRan) {
  auto pool = MakePool({.threads = 1, .idle_time = absl::InfiniteDuration()});
  auto token = std::make_shared<int>();
  EXPECT_TRUE(pool->Execute([token] {}));
  EXPECT_TRUE(Eventually([&] { return token.use_count() == 1; }));
}

TEST(ThreadPoolTest, IdleThreadsEndAndComeBack) {
  auto pool = MakePool({.threads = 4, .idle_time = absl::Milliseconds(1)});
  for (int round = 0; round < 3; ++round) {
    {
      const Blocker blocker(*pool, 4);
      EXPECT_EQ(pool->threads(), 4);
    }
    EXPECT_TRUE(Eventually([&] { return pool->threads() == 0; }));
  }
}

// Were they given tasks in turn, a task now and then would keep all of them.
TEST(ThreadPoolTest, MoreThreadsThanThereIsWorkForEndThoughThereIsSome) {
  constexpr int kThreads = 8;
  auto pool = MakePool({.threads = kThreads, .idle_time = absl::Milliseconds(50)});
  { const Blocker blocker(*pool, kThreads); }
  EXPECT_TRUE(Eventually([&] {
    Event ran;
    EXPECT_TRUE(pool->Execute([&] { ran.Set(); }));
    ran.Wait();
    return pool->threads() <= kThreads / 2;
  }));
}

TEST(ThreadPoolTest, TheDestructorRunsWhatWasAcceptedAndRefusesMore) {
  auto pool = MakePool({.threads = 2, .queue_capacity = std::numeric_limits<size_t>::max()});
  std::atomic<int> accepted{0};
  std::atomic<int> ran{0};
  std::atomic<bool> started{false};
  ThreadPool& ends = *pool;
  EXPECT_TRUE(pool->Execute([&] {
    started = true;
    // Until the destructor has begun: nothing else refuses.
    while (ends.Execute([&] { ran.fetch_add(1); })) {
      accepted.fetch_add(1);
      std::this_thread::yield();
    }
  }));
  EXPECT_TRUE(Eventually([&] { return started.load(); }));
  pool.reset();
  EXPECT_EQ(ran.load(), accepted.load());
}

// Sees the end of the threads that have it.
struct Witness {
  explicit Witness(std::atomic<int>& ended) : ended_(ended) {}
  ~Witness() { ended_.fetch_add(1); }
  std::atomic<int>& ended_;
};

TEST(ThreadPoolTest, TheDestructorJoinsItsThreads) {
  std::atomic<int> ended{0};
  auto pool = MakePool({.threads = 4, .idle_time = absl::InfiniteDuration()});
  {
    Event go;
    std::atomic<int> waiting{0};
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(pool->Execute([&] {
        thread_local const Witness witness(ended);
        waiting.fetch_add(1);
        go.Wait();
        waiting.fetch_sub(1);
      }));
    }
    EXPECT_TRUE(Eventually([&] { return waiting.load() == 4; }));
    go.Set();
    EXPECT_TRUE(Eventually([&] { return waiting.load() == 0; }));
  }
  EXPECT_EQ(ended.load(), 0);
  pool.reset();
  EXPECT_EQ(ended.load(), 4);
}

TEST(ThreadPoolTest, TasksMayHandInTasks) {
  auto pool = MakePool({.threads = 1, .queue_capacity = 1});
  std::atomic<int> left{1000};
  Event done;
  struct Next {
    ThreadPool& pool;
    std::atomic<int>& left;
    Event& done;
    void operator()() && {
      if (left.fetch_sub(1) == 1) return done.Set();
      EXPECT_TRUE(pool.Execute(Next{*this}));
    }
  };
  EXPECT_TRUE(pool->Execute(Next{*pool, left, done}));
  done.Wait();
}

// Threads that are about to end for having been idle, and tasks that come just then.
TEST(ThreadPoolTest, LosesNoTaskToAThreadThatEnds) {
  for (int round = 0; round < Rounds(3); ++round) {
    std::atomic<int> accepted{0};
    std::atomic<int> ran{0};
    auto pool = MakePool({.threads = 3, .queue_capacity = 2, .idle_time = absl::Microseconds(20)});
    RunThreads(3, [&](int) {
      for (int i = 0; i < 2000; ++i) {
        if (pool->Execute([&] { ran.fetch_add(1); })) accepted.fetch_add(1);
        if (i % 3 == 0) std::this_thread::yield();
      }
    });
    pool.reset();
    EXPECT_EQ(ran.load(), accepted.load());
    EXPECT_GT(ran.load(), 0);
  }
}

TEST(ThreadPoolTest, EndsWhileItsThreadsDo) {
  for (int round = 0; round < Rounds(200); ++round) {
    std::atomic<int> ran{0};
    auto pool = MakePool({.threads = 3, .idle_time = absl::Microseconds(1)});
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool->Execute([&] { ran.fetch_add(1); }));
    pool.reset();
    EXPECT_EQ(ran.load(), 3);
  }
}

TEST(ThreadPoolTest, ItsThreadsLeaveTheProcessesSignalsToOthers) {
  auto pool = MakePool({.threads = 1});
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  sigset_t blocked;
  EXPECT_TRUE(pool->Execute([&] { pthread_sigmask(SIG_SETMASK, nullptr, &blocked); }));
  pool.reset();
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGALRM, SIGPIPE}) {
    EXPECT_EQ(sigismember(&blocked, signal), 1) << signal;
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    EXPECT_EQ(sigismember(&blocked, signal), 0) << signal;
  }
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
}

// Meanwhile no thread can be started: none has room for its stack.
class NoThreads {
 public:
  NoThreads() {
    EXPECT_EQ(pthread_getattr_default_np(&before_), 0);
    pthread_attr_t huge;
    EXPECT_EQ(pthread_getattr_default_np(&huge), 0);
    EXPECT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 50), 0);
    EXPECT_EQ(pthread_setattr_default_np(&huge), 0);
    pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    EXPECT_EQ(pthread_setattr_default_np(&before_), 0);
    pthread_attr_destroy(&before_);
  }

 private:
  pthread_attr_t before_;
};

TEST(ThreadPoolTest, RefusesWhereNoThreadCanBeStarted) {
  auto pool = MakePool({.threads = 2});
  {
    const NoThreads no_threads;
    auto token = std::make_shared<int>();
    EXPECT_FALSE(pool->Execute([token] { ADD_FAILURE() << "was refused"; }));
    EXPECT_EQ(token.use_count(), 1);
    EXPECT_EQ(pool->threads(), 0);
    EXPECT_EQ(pool->queued(), 0u);
  }
  std::atomic<bool> ran{false};
  EXPECT_TRUE(pool->Execute([&] { ran = true; }));
  pool.reset();
  EXPECT_TRUE(ran.load());
}

TEST(ThreadPoolTest, GoesOnWithTheThreadsThatItHas) {
  auto pool = MakePool({.threads = 3});
  std::atomic<int> ran{0};
  {
    Blocker blocker(*pool, 1);
    const NoThreads no_threads;
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(pool->Execute([&] { ran.fetch_add(1); }));
    EXPECT_EQ(pool->threads(), 1);
    EXPECT_EQ(pool->queued(), 5u);
    blocker.LetGo();
    EXPECT_TRUE(Eventually([&] { return ran.load() == 5; }));
  }
}

}  // namespace
}  // namespace larder
