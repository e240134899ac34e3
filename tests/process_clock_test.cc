// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/process_clock.h"

#include <time.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "larder/clock.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

constexpr int64_t kMilli = 1'000'000;  // ns
constexpr int64_t kSecond = 1'000 * kMilli;

// Over many ticks of the kernel.
constexpr int64_t kManyTicks = 150 * kMilli;

int64_t SystemNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

TEST(ProcessClockTest, IsTheSystemsMonotonicClock) {
  for (int i = 0; i < 10'000; ++i) {
    const int64_t before = SystemNanos();
    const int64_t now = ProcessClock::NowNanos();
    const int64_t after = SystemNanos();
    ASSERT_LE(before, now);
    ASSERT_LE(now, after);
  }
}

TEST(ProcessClockTest, IsWhatClockMonotonicReads) {
  const Clock& clock = Clock::Monotonic();
  EXPECT_EQ(&Clock::Monotonic(), &clock);
  const int64_t before = ProcessClock::NowNanos();
  const int64_t now = clock.NowNanos();
  EXPECT_LE(before, now);
  EXPECT_LE(now, ProcessClock::NowNanos());
}

// Threads hand the time to each other: each reads one that isn't before what the last one read.
TEST(ProcessClockTest, NeverGoesBackInAThreadNorBetweenThreads) {
  const int64_t end = SystemNanos() + kManyTicks;
  std::atomic<int64_t> latest{ProcessClock::NowNanos()};
  std::atomic<bool> went_back{false};
  const auto run = [&] {
    for (int64_t now = 0; now < end;) {
      int64_t seen = latest.load(std::memory_order_acquire);
      now = ProcessClock::NowNanos();
      if (now < seen) went_back.store(true);
      while (seen < now && !latest.compare_exchange_weak(seen, now, std::memory_order_acq_rel)) {
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(run);
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(went_back.load());
}

TEST(ProcessClockTest, ADeadlineLongAgoHasPassedAndOneFarAwayHasNot) {
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  const int64_t now = ProcessClock::NowNanos();
  for (const int64_t deadline : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                                 now - kSecond, now - 1'000 * kSecond}) {
    EXPECT_TRUE(ProcessClock::HasPassed(deadline)) << deadline;
  }
  for (const int64_t deadline : {kEnd, kEnd - 1, now + 1'000'000 * kSecond}) {
    EXPECT_FALSE(ProcessClock::HasPassed(deadline)) << deadline;
  }
}

// Whatever the deadline's place between two ticks.
TEST(ProcessClockTest, NoDeadlineHasPassedBeforeItHas) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const int64_t span = static_cast<int64_t>(random() % 200) * kMilli >> random() % 20;
    const int64_t deadline = ProcessClock::NowNanos() + span;
    if (ProcessClock::HasPassed(deadline)) {
      ASSERT_LE(deadline, ProcessClock::NowNanos());
    }
  }
}

TEST(ProcessClockTest, ADeadlineThatComesIsNoticed) {
  for (int i = 0; i < 20; ++i) {
    const int64_t deadline = ProcessClock::NowNanos() + kMilli;
    while (!ProcessClock::HasPassed(deadline)) {
    }
    EXPECT_LE(deadline, ProcessClock::NowNanos());
  }
}

// To the nanosecond, not only at the kernel's next tick. Not always: ticks may be late by more than
// the clock reckons with, where the whole machine is stopped for a while.
TEST(ProcessClockTest, ADeadlineThatIsNowHasPassed) {
  constexpr int kTimes = 100'000;
  EXPECT_TRUE(test::Eventually([] {
    int passed = 0;
    for (int i = 0; i < kTimes; ++i) {
      passed += ProcessClock::HasPassed(ProcessClock::NowNanos()) ? 1 : 0;
    }
    return passed > kTimes * 9 / 10;
  }));
}

}  // namespace
}  // namespace larder::internal
