// SPDX-License-Identifier: Apache-2.0
//
// Alarms on the process's clock, and the thread that runs them.

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/alarms.h"
#include "larder/internal/event.h"
#include "larder/internal/node.h"
#include "larder/internal/process_clock.h"
#include "larder/manual_clock.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using test::Eventually;
using test::Rounds;
using test::RunThreads;

constexpr size_t kAllDue = std::numeric_limits<size_t>::max();
constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kHour = 3'600'000 * kMillisecond;

int64_t Now() { return ProcessClock::NowNanos(); }

bool IsThreadOfProcess(pid_t thread) {
  return std::filesystem::exists("/proc/self/task/" + std::to_string(thread));
}

TEST(AlarmsThreadTest, ItRunsWhatIsDueAndNotEarly) {
  Alarms alarms(nullptr);
  for (const int64_t after : {5 * kMillisecond, int64_t{0}, -kHour, kMillisecond}) {
    Event ran;
    std::thread::id runner;
    int64_t time = 0;
    const int64_t deadline = Now() + after;
    alarms.Set(deadline, [&] {
      runner = std::this_thread::get_id();
      time = Now();
      ran.Set();
    });
    ran.Wait();
    EXPECT_GE(time, deadline);
    EXPECT_NE(runner, std::this_thread::get_id());
  }
  EXPECT_TRUE(alarms.empty());
}

TEST(AlarmsThreadTest, TheMonotonicClockIsTheProcesss) {
  Alarms alarms(&Clock::Monotonic());
  Event ran;
  alarms.Set(Now(), [&] { ran.Set(); });
  ran.Wait();
}

TEST(AlarmsThreadTest, DeadlinesAtBothEndsOfTime) {
  Alarms alarms(nullptr);
  alarms.Set(kNever, [] { ADD_FAILURE() << "never"; });
  alarms.Set(kNever - 1, [] { ADD_FAILURE() << "in 292 years"; });
  Event ran;
  alarms.Set(std::numeric_limits<int64_t>::min(), [&] { ran.Set(); });
  ran.Wait();
  EXPECT_FALSE(alarms.empty());
}

TEST(AlarmsThreadTest, AnEarlierOneWakesIt) {
  Alarms alarms(nullptr);
  alarms.Set(kNever - 1, [] { ADD_FAILURE(); });
  alarms.Set(Now() + kHour, [] { ADD_FAILURE(); });
  for (int i = 0; i < Rounds(300); ++i) {
    Event ran;
    alarms.Set(Now() + 1000 * (i % 100), [&] { ran.Set(); });
    ran.Wait();
  }
}

TEST(AlarmsThreadTest, ManyShareIt) {
  std::vector<std::unique_ptr<Alarms>> all;
  std::vector<std::thread::id> runners(20);
  std::atomic<int> ran{0};
  for (std::thread::id& runner : runners) {
    all.push_back(std::make_unique<Alarms>(nullptr));
    all.back()->Set(Now() + kMillisecond, [&] {
      runner = std::this_thread::get_id();
      ran.fetch_add(1);
    });
  }
  EXPECT_TRUE(Eventually([&] { return ran.load() == 20; }));
  for (const std::thread::id& runner : runners) EXPECT_EQ(runner, runners[0]);
}

TEST(AlarmsThreadTest, ItRunsTasksInTheOrderOfTheirDeadlines) {
  Alarms alarms(nullptr);
  Event go;
  Event waits;
  alarms.Set(Now(), [&] {
    waits.Set();
    go.Wait();
  });
  waits.Wait();
  // Behind it, all are due.
  std::vector<int64_t> order;
  Event last;
  for (const int64_t deadline : {30, 10, 20, 40}) {
    alarms.Set(deadline, [&, deadline] { order.push_back(deadline); });
  }
  alarms.Set(50, [&] { last.Set(); });
  go.Set();
  last.Wait();
  EXPECT_EQ(order, (std::vector<int64_t>{10, 20, 30, 40}));
}

TEST(AlarmsThreadTest, OthersMayRunWhatIsDueToo) {
  Event go;
  Event waits;
  Alarms alarms(nullptr);
  alarms.Set(Now(), [&] {
    waits.Set();
    go.Wait();
  });
  waits.Wait();
  bool ran = false;
  alarms.Set(Now(), [&] { ran = true; });
  EXPECT_EQ(alarms.RunDue(kAllDue), 1u);
  EXPECT_TRUE(ran);
  go.Set();
}

TEST(AlarmsThreadTest, ItLeavesOtherClocksAlone) {
  const ManualClock clock(Now());
  Alarms by_hand(&clock);
  bool ran = false;
  by_hand.Set(0, [&] { ran = true; });
  Alarms alarms(nullptr);
  Event also_ran;
  alarms.Set(Now(), [&] { also_ran.Set(); });
  also_ran.Wait();
  EXPECT_FALSE(ran);
  EXPECT_EQ(by_hand.RunDue(kAllDue), 1u);
}

TEST(AlarmsThreadTest, ItEndsWithTheLastOfThemAndStartsAgain) {
  for (int round = 0; round < Rounds(20); ++round) {
    std::optional<Alarms> first(nullptr);
    std::optional<Alarms> second(nullptr);
    pid_t thread = 0;
    Event ran;
    first->Set(0, [&] {
      thread = gettid();
      ran.Set();
    });
    ran.Wait();
    Event ran_too;
    second->Set(0, [&] {
      EXPECT_EQ(gettid(), thread);
      ran_too.Set();
    });
    ran_too.Wait();
    second->Set(Now() + kHour, [] { ADD_FAILURE(); });
    first.reset();
    EXPECT_TRUE(IsThreadOfProcess(thread));
    for (int i = 0; i < 200; ++i) std::this_thread::yield();  // as a rule it sleeps by now
    second.reset();
    EXPECT_TRUE(Eventually([&] { return !IsThreadOfProcess(thread); }));
  }
}

// --- Ends.

TEST(AlarmsThreadTest, TheDestructorWaitsForATaskThatIsRunning) {
  for (int round = 0; round < Rounds(100); ++round) {
    std::optional<Alarms> alarms(nullptr);
    Event running;
    std::atomic<bool> ended{false};
    auto token = std::make_shared<int>();
    alarms->Set(0, [&running, &ended, token] {
      running.Set();
      for (int i = 0; i < 50; ++i) std::this_thread::yield();
      ended = true;
    });
    alarms->Set(Now() + kHour, [token] { ADD_FAILURE(); });
    running.Wait();
    alarms.reset();
    EXPECT_TRUE(ended.load());
    EXPECT_EQ(token.use_count(), 1);
  }
}

TEST(AlarmsThreadTest, WhatATaskSetsWhileTheAlarmsEndIsDestroyed) {
  for (int round = 0; round < Rounds(100); ++round) {
    std::optional<Alarms> alarms(nullptr);
    Event running;
    auto token = std::make_shared<int>();
    alarms->Set(0, [&running, &set = *alarms, token] {
      running.Set();
      for (int i = 0; i < 20; ++i) {
        const Alarms::Id id = set.Set(Now() + kHour, [token] { ADD_FAILURE(); });
        std::this_thread::yield();
        if (i % 2 == 0) set.Cancel(id);
        set.RunDue(1);
      }
    });
    running.Wait();
    alarms.reset();
    EXPECT_EQ(token.use_count(), 1);
  }
}

TEST(AlarmsThreadTest, ATaskMayDestroyItsAlarms) {
  auto alarms = std::make_unique<Alarms>(nullptr);
  Event set;
  Event destroyed;
  alarms->Set(Now(), [&] {
    set.Wait();
    alarms->Set(0, [] { ADD_FAILURE() << "was left"; });
    alarms.reset();
    destroyed.Set();
  });
  set.Set();
  destroyed.Wait();
  Alarms others(nullptr);
  Event ran;
  others.Set(0, [&] { ran.Set(); });
  ran.Wait();
}

// The task that the thread runs is that of others.
TEST(AlarmsThreadTest, ATaskMayDestroyOtherAlarms) {
  Alarms alarms(nullptr);
  auto others = std::make_unique<Alarms>(nullptr);
  others->Set(Now() + kHour, [] { ADD_FAILURE(); });
  Event destroyed;
  alarms.Set(0, [&] {
    others.reset();
    destroyed.Set();
  });
  destroyed.Wait();
}

// A task inside of a task: the outer one is still running when the inner one, during which the end
// began, has ended.
TEST(AlarmsThreadTest, TheDestructorWaitsForTheOutermostTask) {
  for (int round = 0; round < Rounds(20); ++round) {
    std::optional<Alarms> alarms(nullptr);
    Event inner_runs;
    std::atomic<bool> ended{false};
    alarms->Set(0, [&, &nests = *alarms] {
      nests.Set(0, [&] {
        inner_runs.Set();
        for (int i = 0; i < 200; ++i) std::this_thread::yield();
      });
      EXPECT_EQ(nests.RunDue(1), 1u);
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
      ended = true;
    });
    inner_runs.Wait();
    alarms.reset();
    EXPECT_TRUE(ended.load());
  }
}

TEST(AlarmsThreadTest, EachRunsOnceOrIsCancelledOrLeft) {
  constexpr size_t kThreads = 3;
  constexpr size_t kEach = 1000;
  struct Count {
    explicit Count(std::atomic<int>& ended) : ended_(ended) {}
    ~Count() { ended_.fetch_add(1); }
    std::atomic<int>& ended_;
  };
  for (int round = 0; round < Rounds(3); ++round) {
    std::vector<std::atomic<int>> ran(kThreads * kEach);
    std::vector<std::atomic<int>> cancelled(kThreads * kEach);
    std::vector<std::atomic<int>> destroyed(kThreads * kEach);
    RunThreads(kThreads, [&](int thread) {
      std::minstd_rand random(static_cast<uint32_t>(thread + 1));
      Alarms alarms(nullptr);
      std::vector<std::pair<size_t, Alarms::Id>> mine;
      for (size_t i = 0; i < kEach; ++i) {
        const size_t which = static_cast<size_t>(thread) * kEach + i;
        auto count = std::make_unique<Count>(destroyed[which]);
        const int64_t deadline = Now() + static_cast<int64_t>(random() % 100'000);
        mine.emplace_back(which, alarms.Set(deadline, [&ran, which, count = std::move(count)] {
          ran[which].fetch_add(1);
        }));
        const auto& [other, id] = mine[random() % mine.size()];
        if (alarms.Cancel(id)) cancelled[other].fetch_add(1);
        if (random() % 8 == 0) alarms.RunDue(2);
      }
    });
    for (size_t i = 0; i < kThreads * kEach; ++i) {
      EXPECT_EQ(destroyed[i].load(), 1);
      EXPECT_LE(ran[i].load() + cancelled[i].load(), 1);
    }
  }
}

}  // namespace
}  // namespace larder::internal
