// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/maintenance_thread.h"

#include <atomic>
#include <latch>
#include <limits>
#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace larder::internal {
namespace {

TEST(MaintenanceThreadTest, WorksAgainAndAgain) {
  std::latch five(5);
  std::atomic<int> calls{0};
  const MaintenanceThread thread(absl::Milliseconds(1), [&] {
    if (calls.fetch_add(1) < 5) five.count_down();
  });
  five.wait();
  EXPECT_GE(calls.load(), 5);
}

TEST(MaintenanceThreadTest, TheShortestIntervalWorks) {
  std::latch once(1);
  std::atomic<bool> called{false};
  const MaintenanceThread thread(absl::Nanoseconds(1) / 4, [&] {
    if (!called.exchange(true)) once.count_down();
  });
  once.wait();
}

TEST(MaintenanceThreadTest, WorksInAThreadOfItsOwn) {
  std::latch once(1);
  std::atomic<bool> called{false};
  std::thread::id id;
  const MaintenanceThread thread(absl::Milliseconds(1), [&] {
    if (called.exchange(true)) return;
    id = std::this_thread::get_id();
    once.count_down();
  });
  once.wait();
  EXPECT_NE(id, std::this_thread::get_id());
}

// Would last for hours, were the interval waited for.
TEST(MaintenanceThreadTest, EndsWithoutWaitingForTheInterval) {
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> calls{0};
    {
      const MaintenanceThread thread(absl::Hours(10), [&] { calls.fetch_add(1); });
    }
    EXPECT_EQ(calls.load(), 0) << "worked before the first interval was over";
  }
}

TEST(MaintenanceThreadTest, ItsEndWaitsForACallThatIsRunning) {
  std::latch running(1);
  std::latch go_on(1);
  std::atomic<bool> finished{false};
  std::atomic<bool> called{false};
  auto thread = std::make_unique<MaintenanceThread>(absl::Milliseconds(1), [&] {
    if (called.exchange(true)) return;
    running.count_down();
    go_on.wait();
    for (int i = 0; i < 100; ++i) std::this_thread::yield();
    finished.store(true);
  });
  running.wait();
  go_on.count_down();
  thread.reset();
  EXPECT_TRUE(finished.load());
}

TEST(MaintenanceThreadTest, DoesNotWorkAfterItsEnd) {
  std::atomic<bool> ended{false};
  std::atomic<bool> late{false};
  for (int i = 0; i < 20; ++i) {
    ended.store(false);
    std::latch once(1);
    std::atomic<bool> called{false};
    auto thread = std::make_unique<MaintenanceThread>(absl::Microseconds(10), [&] {
      if (ended.load()) late.store(true);
      if (!called.exchange(true)) once.count_down();
    });
    once.wait();
    thread.reset();
    ended.store(true);
  }
  EXPECT_FALSE(late.load());
}

// An interval past the end of time, though not infinite, comes to an end as little as that.
TEST(MaintenanceThreadTest, AnIntervalOfAgesIsNoneAtAll) {
  std::atomic<int> calls{0};
  const MaintenanceThread ages(absl::Seconds(std::numeric_limits<int64_t>::max()),
                               [&] { calls.fetch_add(1); });
  std::latch ten(10);
  std::atomic<int> others{0};
  const MaintenanceThread other(absl::Milliseconds(1), [&] {
    if (others.fetch_add(1) < 10) ten.count_down();
  });
  ten.wait();
  EXPECT_EQ(calls.load(), 0);
}

}  // namespace
}  // namespace larder::internal
