// SPDX-License-Identifier: Apache-2.0
//
// A thread pool after fork(): the child's starts anew.

#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>

#include "absl/base/config.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/event.h"
#include "larder/thread_pool.h"
#include "tests/support/child.h"
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
using test::RunInChild;

TEST(ThreadPoolForkTest, AChildHasNeitherThreadsNorTasksOfItsParent) {
  auto pool = MakePool({.threads = 2});
  std::atomic<int> ran{0};
  {
    const Blocker blocker(*pool, 2);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool->Execute([&] { ran.fetch_add(1); }));
    RunInChild([&] {
      CHILD_CHECK(pool->threads() == 0);
      CHILD_CHECK(pool->queued() == 0);
      pool.reset();  // waits for nobody
      CHILD_CHECK(ran.load() == 0);
    });
    EXPECT_EQ(pool->threads(), 2);
    EXPECT_EQ(pool->queued(), 3u);
  }
  pool.reset();
  EXPECT_EQ(ran.load(), 3);
}

TEST(ThreadPoolForkTest, AChildOfAPoolWithIdleThreadsHasNone) {
  auto pool = MakePool({.threads = 2, .idle_time = absl::InfiniteDuration()});
  for (int i = 0; i < 20; ++i) {
    Event ran;
    EXPECT_TRUE(pool->Execute([&] { ran.Set(); }));
    ran.Wait();
  }
  RunInChild([&] {
    CHILD_CHECK(pool->threads() == 0);
    pool.reset();
  });
}

TEST(ThreadPoolForkTest, ATaskMayFork) {
  auto pool = MakePool({.threads = 2});
  EXPECT_TRUE(pool->Execute(
      [&forking = *pool] { RunInChild([&] { CHILD_CHECK(forking.threads() == 1); }); }));
  pool.reset();
}

// ThreadSanitizer doesn't let a child of a process with several threads start any.
#if !defined(ABSL_HAVE_THREAD_SANITIZER)

TEST(ThreadPoolForkTest, AChildsPoolStartsAnew) {
  auto pool = MakePool({.threads = 2, .queue_capacity = 4});
  auto token = std::make_shared<int>();
  {
    const Blocker blocker(*pool, 2);
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(pool->Execute([token, parent = getpid()] { EXPECT_EQ(getpid(), parent); }));
    }
    RunInChild([&] {
      CHILD_CHECK(token.use_count() == 5);
      for (int round = 0; round < 20; ++round) {
        Event ran;
        CHILD_CHECK(pool->Execute([&] { ran.Set(); }));
        CHILD_CHECK(token.use_count() == 1);
        ran.Wait();
      }
      CHILD_CHECK(pool->threads() >= 1);
      {
        // A child of the child, with what both have lost.
        const Blocker of_child(*pool, 2);
        CHILD_CHECK(pool->Execute([token] {}));
        CHILD_CHECK(test::Child([&] {
          CHILD_CHECK(token.use_count() == 2);
          Event ran;
          CHILD_CHECK(pool->Execute([&] { ran.Set(); }));
          ran.Wait();
          CHILD_CHECK(token.use_count() == 1);
          pool.reset();
        }));
      }
      pool.reset();
    });
  }
  pool.reset();
  EXPECT_EQ(token.use_count(), 1);
}

TEST(ThreadPoolForkTest, ATaskThatForksHasAPoolInTheChild) {
  auto pool = MakePool({.threads = 2});
  Event forked;
  EXPECT_TRUE(pool->Execute([&] {
    RunInChild([&] {
      std::atomic<int> ran{0};
      for (int i = 0; i < 5; ++i) CHILD_CHECK(pool->Execute([&] { ran.fetch_add(1); }));
      CHILD_CHECK(Eventually([&] { return ran.load() == 5; }));
      CHILD_CHECK(pool->threads() == 2);
    });
    forked.Set();
  }));
  forked.Wait();
  pool.reset();
}

// AddressSanitizer's allocator doesn't look after forks: a lock that another thread holds at that
// moment stays locked in the child.
#if !defined(ABSL_HAVE_ADDRESS_SANITIZER)

// Whatever the parent's threads are doing to their pools at that moment.
TEST(ThreadPoolForkTest, AForkMayComeAtAnyTime) {
  auto pool = MakePool({.threads = 3, .queue_capacity = 5, .idle_time = absl::Microseconds(20)});
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop.load()) {
      const auto own = MakePool({.threads = 1});
      own->Execute([] {});
      pool->Execute([] {});
    }
  });
  for (int round = 0; round < Rounds(30); ++round) {
    RunInChild([&] {
      Event ran;
      CHILD_CHECK(pool->Execute([&] { ran.Set(); }));
      ran.Wait();
      pool.reset();
    });
  }
  stop = true;
  busy.join();
}

#endif  // ABSL_HAVE_ADDRESS_SANITIZER
#endif  // ABSL_HAVE_THREAD_SANITIZER

}  // namespace
}  // namespace larder
