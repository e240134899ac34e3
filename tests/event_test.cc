// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/event.h"

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/process_clock.h"
#include "larder/manual_clock.h"
#include "tests/support/child.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using test::Eventually;
using test::Rounds;
using test::RunThreads;
using test::SeedOfRound;

static_assert(sizeof(Event) == 4);

constexpr int64_t kInThePast = std::numeric_limits<int64_t>::min();

// A clock that is set by hand and knows how often it was read.
class CountingClock final : public Clock {
 public:
  int64_t NowNanos() const override {
    reads_.fetch_add(1);
    return now_.load();
  }
  int64_t reads() const { return reads_.load(); }
  void Set(int64_t now) { now_.store(now); }

 private:
  mutable std::atomic<int64_t> reads_{0};
  std::atomic<int64_t> now_{0};
};

TEST(EventTest, IsNotSetAtFirst) {
  const Event event;
  const ManualClock clock;
  EXPECT_FALSE(event.IsSet());
  EXPECT_FALSE(event.WaitUntil(0, nullptr));
  EXPECT_FALSE(event.WaitUntil(kInThePast, nullptr));
  EXPECT_FALSE(event.WaitUntil(0, &clock));
  EXPECT_FALSE(event.WaitUntil(kInThePast, &clock));
}

TEST(EventTest, StaysSet) {
  Event event;
  event.Set();
  const ManualClock clock;
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(event.IsSet());
    event.Wait();
    EXPECT_TRUE(event.WaitUntil(kInThePast, nullptr));
    EXPECT_TRUE(event.WaitUntil(kNever, nullptr));
    EXPECT_TRUE(event.WaitUntil(kInThePast, &clock));
    EXPECT_TRUE(event.WaitUntil(kNever, &clock));
    event.Set();
  }
}

TEST(EventTest, WakesAllThatWaitHoweverTheyDo) {
  for (int round = 0; round < Rounds(200); ++round) {
    Event event;
    const ManualClock clock;
    int written = 0;  // not atomic: the event orders it
    RunThreads(8, [&](int thread) {
      const int64_t now = ProcessClock::NowNanos();
      constexpr int64_t kHour = 3'600'000'000'000;
      switch (thread) {
        case 0:
          written = 7;
          event.Set();
          break;
        case 1:
          EXPECT_TRUE(event.WaitUntil(now + kHour, nullptr));
          break;
        case 2:
          EXPECT_TRUE(event.WaitUntil(kNever, nullptr));
          break;
        case 3:
          EXPECT_TRUE(event.WaitUntil(kNever - 1, nullptr));
          break;
        case 4:
          EXPECT_TRUE(event.WaitUntil(kHour, &clock));
          break;
        case 5:
          EXPECT_TRUE(event.WaitUntil(now + kHour, &Clock::Monotonic()));
          break;
        case 6:
          while (!event.IsSet()) std::this_thread::yield();
          break;
        default:
          event.Wait();
      }
      EXPECT_EQ(written, 7);
    });
  }
}

// A deadline in the middle of the others' wait must not take their wake-up along.
TEST(EventTest, OneThatGivesUpLeavesTheOthersWaiting) {
  Event event;
  std::atomic<int> gave_up{0};
  std::atomic<int> woken{0};
  std::thread setter([&] {
    EXPECT_TRUE(Eventually([&] { return gave_up.load() == 4; }));
    EXPECT_EQ(woken.load(), 0);
    event.Set();
  });
  RunThreads(8, [&](int thread) {
    if (thread % 2 == 0) {
      event.Wait();
      woken.fetch_add(1);
    } else {
      const int64_t deadline = ProcessClock::NowNanos() + 2'000'000 * thread;
      EXPECT_FALSE(event.WaitUntil(deadline, nullptr));
      EXPECT_GE(ProcessClock::NowNanos(), deadline);
      gave_up.fetch_add(1);
    }
  });
  setter.join();
  EXPECT_EQ(woken.load(), 4);
}

TEST(EventTest, WaitsOnAClockOfTheUsersUntilThatClockIsThere) {
  constexpr int64_t kDeadline = 1000;
  const Event event;
  CountingClock clock;
  std::thread waiter([&] {
    EXPECT_FALSE(event.WaitUntil(kDeadline, &clock));
    EXPECT_GE(clock.NowNanos(), kDeadline);
  });
  EXPECT_TRUE(Eventually([&] { return clock.reads() >= 3; }));
  clock.Set(kDeadline - 1);
  const int64_t reads = clock.reads();
  EXPECT_TRUE(Eventually([&] { return clock.reads() >= reads + 3; }));
  clock.Set(kDeadline);
  waiter.join();
}

TEST(EventTest, ReadsNoOtherClockWhereItNeedsNone) {
  CountingClock clock;
  clock.Set(kNever);
  for (int round = 0; round < Rounds(50); ++round) {
    Event event;
    std::thread setter([&] {
      for (int i = 0; i < 20; ++i) std::this_thread::yield();
      event.Set();
    });
    EXPECT_TRUE(event.WaitUntil(kNever, &clock));
    EXPECT_TRUE(event.WaitUntil(5, &clock));
    setter.join();
  }
  EXPECT_EQ(clock.reads(), 0);
}

// Deadlines that come just when the event does: whichever is first, nobody sleeps on.
TEST(EventTest, DeadlinesMayComeTogetherWithTheEvent) {
  for (int round = 0; round < Rounds(300); ++round) {
    SCOPED_TRACE(SeedOfRound(round));
    std::minstd_rand random(static_cast<uint32_t>(SeedOfRound(round)));
    const int64_t delay = random() % 100'000;
    Event event;
    int written = 0;
    RunThreads(3, [&](int thread) {
      if (thread == 0) {
        const int64_t start = ProcessClock::NowNanos();
        while (ProcessClock::NowNanos() < start + 50'000) std::this_thread::yield();
        written = 7;
        event.Set();
      } else {
        const int64_t deadline = ProcessClock::NowNanos() + delay;
        if (event.WaitUntil(deadline, nullptr)) {
          EXPECT_EQ(written, 7);
        } else {
          EXPECT_GE(ProcessClock::NowNanos(), deadline);
        }
      }
    });
    EXPECT_TRUE(event.IsSet());
  }
}

// AddressSanitizer, or ThreadSanitizer, knows if Set looks at what isn't there any more.
TEST(EventTest, WhoSeesItSetMayDestroyIt) {
  for (int round = 0; round < Rounds(500); ++round) {
    auto event = std::make_unique<Event>();
    Event* const seen = event.get();
    std::thread setter([seen] { seen->Set(); });
    if (round % 2 == 0) {
      event->Wait();
    } else {
      while (!event->IsSet()) std::this_thread::yield();
    }
    event.reset();
    setter.join();
  }
}

TEST(EventTest, WorksInAForkedChildWhateverSleptOnIt) {
  Event event;
  const CountingClock clock;
  std::vector<std::thread> waiters;
  waiters.emplace_back([&] { event.Wait(); });
  waiters.emplace_back([&] { EXPECT_TRUE(event.WaitUntil(1, &clock)); });
  EXPECT_TRUE(Eventually([&] { return clock.reads() >= 3; }));
  test::RunInChild([&] {
    CHILD_CHECK(!event.IsSet());
    CHILD_CHECK(!event.WaitUntil(ProcessClock::NowNanos() + 1'000'000, nullptr));
    event.Set();
    CHILD_CHECK(event.IsSet());
    event.Wait();
  });
  EXPECT_FALSE(event.IsSet());
  event.Set();
  for (std::thread& waiter : waiters) waiter.join();
}

}  // namespace
}  // namespace larder::internal
