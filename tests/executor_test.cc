// SPDX-License-Identifier: Apache-2.0
#include "larder/executor.h"

#include <atomic>
#include <set>
#include <thread>

#include "absl/base/config.h"
#include "gtest/gtest.h"
#include "larder/internal/event.h"
#include "tests/support/child.h"
#include "tests/support/threads.h"

namespace larder {
namespace {

using internal::Event;

TEST(ExecutorTest, TheDefaultOneIsOneForAll) {
  std::atomic<Executor*> executors[4];
  test::RunThreads(4, [&](int thread) { executors[thread] = &Executor::Default(); });
  for (const std::atomic<Executor*>& executor : executors) {
    EXPECT_EQ(executor.load(), &Executor::Default());
  }
}

TEST(ExecutorTest, TheDefaultOneRunsTasksInOtherThreads) {
  for (int i = 0; i < 100; ++i) {
    std::thread::id runner;
    Event ran;
    EXPECT_TRUE(Executor::Default().Execute([&] {
      runner = std::this_thread::get_id();
      ran.Set();
    }));
    ran.Wait();
    EXPECT_NE(runner, std::this_thread::get_id());
  }
}

TEST(ExecutorTest, TheDefaultOneRunsSixteenTasksAtATimeAndLetsAThousandWait) {
  std::atomic<int> running{0};
  std::atomic<int> ran{0};
  Event go;
  for (int i = 0; i < 16; ++i) {
    EXPECT_TRUE(Executor::Default().Execute([&] {
      running.fetch_add(1);
      go.Wait();
      ran.fetch_add(1);
    }));
  }
  EXPECT_TRUE(test::Eventually([&] { return running.load() == 16; }));
  for (int i = 0; i < 1024; ++i) {
    EXPECT_TRUE(Executor::Default().Execute([&] { ran.fetch_add(1); })) << i;
  }
  EXPECT_FALSE(Executor::Default().Execute([&] { ran.fetch_add(1); }));
  go.Set();
  EXPECT_TRUE(test::Eventually([&] { return ran.load() == 16 + 1024; }));
}

// ThreadSanitizer doesn't let a child of a process with several threads start any.
#if !defined(ABSL_HAVE_THREAD_SANITIZER)

TEST(ExecutorTest, AChildHasADefaultOne) {
  Event go;
  Event blocked;
  Event over;
  EXPECT_TRUE(Executor::Default().Execute([&] {
    blocked.Set();
    go.Wait();
    over.Set();
  }));
  blocked.Wait();
  test::RunInChild([&] {
    Event ran;
    CHILD_CHECK(Executor::Default().Execute([&] { ran.Set(); }));
    ran.Wait();
  });
  go.Set();
  Event ran;
  EXPECT_TRUE(Executor::Default().Execute([&] { ran.Set(); }));
  ran.Wait();
  over.Wait();
}

#endif  // ABSL_HAVE_THREAD_SANITIZER

// Executors are for users to write too; one that runs tasks at once is allowed.
class Inline final : public Executor {
 public:
  bool Execute(absl::AnyInvocable<void() &&> task) override {
    std::move(task)();
    return true;
  }
};

TEST(ExecutorTest, OneMayRunATaskAtOnce) {
  Inline executor;
  bool ran = false;
  EXPECT_TRUE(executor.Execute([&] { ran = true; }));
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace larder
