// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/clock_ticker.h"

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "absl/base/config.h"
#include "gtest/gtest.h"
#include "larder/internal/process_clock.h"

namespace larder::internal {
namespace {

// Waits for the ticker's thread, not for time.
int64_t FirstHorizon() {
  int64_t horizon = ClockTicker::kNone;
  while ((horizon = ClockTicker::Horizon().load()) == ClockTicker::kNone) std::this_thread::yield();
  return horizon;
}

void WaitForItsEnd() {
  while (ClockTicker::Running()) std::this_thread::yield();
}

TEST(ClockTickerTest, ThereIsNoHorizonBeforeAnyStarts) {
  const ClockTicker ticker;
  EXPECT_FALSE(ClockTicker::Running());
  EXPECT_EQ(ClockTicker::Horizon().load(), ClockTicker::kNone);
}

TEST(ClockTickerTest, TheHorizonIsAheadOfTheClock) {
  {
    ClockTicker ticker;
    const int64_t before = ProcessClock::NowNanos();
    ticker.Start();
    EXPECT_TRUE(ClockTicker::Running());
    EXPECT_GT(FirstHorizon(), before);
  }
  WaitForItsEnd();
}

TEST(ClockTickerTest, TheHorizonMoves) {
  {
    ClockTicker ticker;
    ticker.Start();
    const int64_t first = FirstHorizon();
    while (ClockTicker::Horizon().load() == first) std::this_thread::yield();
    EXPECT_GT(ClockTicker::Horizon().load(), first);
  }
  WaitForItsEnd();
}

TEST(ClockTickerTest, ItEndsWithTheLastTicker) {
  auto first = std::make_unique<ClockTicker>();
  auto second = std::make_unique<ClockTicker>();
  first->Start();
  first->Start();
  second->Start();
  first.reset();
  EXPECT_TRUE(ClockTicker::Running());
  FirstHorizon();
  second.reset();
  WaitForItsEnd();
  EXPECT_EQ(ClockTicker::Horizon().load(), ClockTicker::kNone);
}

TEST(ClockTickerTest, ManyStartAndEndAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 200; ++i) {
        ClockTicker ticker;
        ticker.Start();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  WaitForItsEnd();
}

TEST(ClockTickerTest, AForkedChildHasNoHorizonUntilItStartsItsOwn) {
  ClockTicker ticker;
  ticker.Start();
  FirstHorizon();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    bool good = !ClockTicker::Running() && ClockTicker::Horizon().load() == ClockTicker::kNone;
#if !defined(ABSL_HAVE_THREAD_SANITIZER)  // which starts no threads in such a child
    ticker.Start();
    good = good && ClockTicker::Running() && FirstHorizon() != ClockTicker::kNone;
#endif
    _exit(good ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace larder::internal
