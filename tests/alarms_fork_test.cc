// SPDX-License-Identifier: Apache-2.0
//
// Alarms after fork(): the child has them, but not the thread that runs them.

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <thread>

#include "absl/base/config.h"
#include "gtest/gtest.h"
#include "larder/internal/alarms.h"
#include "larder/internal/event.h"
#include "larder/internal/process_clock.h"
#include "larder/manual_clock.h"
#include "tests/support/child.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using test::Rounds;
using test::RunInChild;

constexpr size_t kAll = std::numeric_limits<size_t>::max();
constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kHour = 3'600'000 * kMillisecond;

int64_t Now() { return ProcessClock::NowNanos(); }

TEST(AlarmsForkTest, AChildWaitsForNoTaskOfItsParentsThread) {
  Event running;
  Event go;
  std::optional<Alarms> alarms(nullptr);
  alarms->Set(0, [&] {
    running.Set();
    go.Wait();
  });
  alarms->Set(Now() + kHour, [] { ADD_FAILURE(); });
  running.Wait();
  RunInChild([&] {
    CHILD_CHECK(!alarms->empty());
    alarms.reset();
  });
  go.Set();
}

TEST(AlarmsForkTest, AlarmsByHandGoOnInAChild) {
  ManualClock clock(1000);
  Alarms alarms(&clock);
  bool ran = false;
  alarms.Set(2000, [&] { ran = true; });
  RunInChild([&] {
    CHILD_CHECK(alarms.RunDue(kAll) == 0);
    clock.SetNanos(2000);
    CHILD_CHECK(alarms.RunDue(kAll) == 1);
    CHILD_CHECK(ran);
  });
  EXPECT_FALSE(ran);
}

TEST(AlarmsForkTest, ATaskMayFork) {
  Alarms alarms(nullptr);
  Event forked;
  alarms.Set(0, [&] {
    RunInChild([&] {
      alarms.Set(0, [] {});
      CHILD_CHECK(alarms.RunDue(kAll) == 1);
    });
    forked.Set();
  });
  forked.Wait();
}

// ThreadSanitizer doesn't let a child of a process with several threads start any.
#if !defined(ABSL_HAVE_THREAD_SANITIZER)

TEST(AlarmsForkTest, AlarmsOfTheParentRunInAChildAfterSetOrRunDue) {
  const pid_t parent = getpid();
  for (const bool by_set : {true, false}) {
    Alarms alarms(nullptr);
    Event waits;
    Event go;
    alarms.Set(0, [&] {
      waits.Set();
      go.Wait();
    });
    waits.Wait();
    // Behind that one, due in parent and child, but in the child there is nothing before it.
    Event ran;
    alarms.Set(1, [&] { ran.Set(); });
    RunInChild([&] {
      CHILD_CHECK(getpid() != parent);
      if (by_set) {
        alarms.Set(Now() + kHour, [] {});
      } else {
        alarms.RunDue(0);
      }
      ran.Wait();
      Event also_ran;
      alarms.Set(Now() + kMillisecond, [&] { also_ran.Set(); });
      also_ran.Wait();
    });
    EXPECT_FALSE(ran.IsSet());
    go.Set();
    ran.Wait();
  }
}

// AddressSanitizer's allocator doesn't look after forks: a lock that another thread holds at that
// moment stays locked in the child.
#if !defined(ABSL_HAVE_ADDRESS_SANITIZER)

// Whatever the parent's threads are doing to alarms at that moment.
TEST(AlarmsForkTest, AForkMayComeAtAnyTime) {
  Alarms alarms(nullptr);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop.load()) {
      Alarms own(nullptr);
      own.Set(0, [] {});
      alarms.Cancel(alarms.Set(Now() + 1000, [] {}));
      alarms.Set(Now() + 1000, [] {});
      alarms.RunDue(1);
    }
  });
  for (int round = 0; round < Rounds(30); ++round) {
    RunInChild([&] {
      Event ran;
      alarms.Set(Now() + 1000, [&] { ran.Set(); });
      ran.Wait();
    });
  }
  stop = true;
  busy.join();
}

#endif  // ABSL_HAVE_ADDRESS_SANITIZER
#endif  // ABSL_HAVE_THREAD_SANITIZER

}  // namespace
}  // namespace larder::internal
