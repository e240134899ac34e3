// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/load_limiter.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/clock.h"
#include "larder/internal/node.h"
#include "larder/manual_clock.h"
#include "tests/support/allocations.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using ::larder::test::Allocations;
using ::larder::test::Eventually;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Answer = LoadLimiter::Answer;
using Callback = LoadLimiter::Callback;
using Ticket = LoadLimiter::Ticket;

constexpr Ticket kUnset = UINT64_MAX;

// Callbacks that write down their names.
class LoadLimiterTest : public ::testing::Test {
 protected:
  Answer Ask(LoadLimiter& limiter, int name) {
    ticket_ = kUnset;
    return limiter.Acquire([this, name] { granted_.push_back(name); }, &ticket_);
  }

  static void Expect(const LoadLimiter& limiter, int running, size_t queued, uint64_t refused) {
    const LoadLimiter::Stats stats = limiter.stats();
    EXPECT_EQ(stats.running, running);
    EXPECT_EQ(stats.queued, queued);
    EXPECT_EQ(stats.refused, refused);
  }

  static void WaitUntilQueued(const LoadLimiter& limiter, size_t queued) {
    ASSERT_TRUE(Eventually([&] { return limiter.stats().queued == queued; }));
  }

  std::vector<int> granted_;
  Ticket ticket_ = kUnset;
};

TEST_F(LoadLimiterTest, GrantsWhatIsFreeAtOnce) {
  LoadLimiter limiter(3, 10);
  Expect(limiter, 0, 0, 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Ask(limiter, i), Answer::kGranted);
    EXPECT_EQ(ticket_, kUnset);
  }
  Expect(limiter, 3, 0, 0);
  for (int i = 0; i < 3; ++i) limiter.Release();
  Expect(limiter, 0, 0, 0);
  EXPECT_THAT(granted_, IsEmpty()) << "who is granted a slot by the answer isn't called";
}

TEST_F(LoadLimiterTest, TryAcquireTakesOnlyWhatIsFree) {
  LoadLimiter limiter(1, 10);
  EXPECT_TRUE(limiter.TryAcquire());
  EXPECT_FALSE(limiter.TryAcquire());
  Expect(limiter, 1, 0, 0);
  EXPECT_EQ(Ask(limiter, 1), Answer::kQueued);
  limiter.Release();
  EXPECT_FALSE(limiter.TryAcquire()) << "nobody comes in between";
  limiter.Release();
  EXPECT_TRUE(limiter.TryAcquire());
}

TEST_F(LoadLimiterTest, GrantsSlotsInTheOrderOfTheQueue) {
  LoadLimiter limiter(2, 10);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Ask(limiter, i), Answer::kGranted);
  for (int i = 2; i < 6; ++i) {
    EXPECT_EQ(Ask(limiter, i), Answer::kQueued);
    EXPECT_NE(ticket_, kUnset);
  }
  Expect(limiter, 2, 4, 0);
  limiter.Release();
  EXPECT_THAT(granted_, ElementsAre(2));
  Expect(limiter, 2, 3, 0);
  EXPECT_EQ(Ask(limiter, 6), Answer::kQueued) << "nobody comes in between";
  for (int i = 0; i < 4; ++i) limiter.Release();
  EXPECT_THAT(granted_, ElementsAre(2, 3, 4, 5, 6));
  Expect(limiter, 2, 0, 0);
  for (int i = 0; i < 2; ++i) limiter.Release();
  Expect(limiter, 0, 0, 0);
  EXPECT_EQ(Ask(limiter, 7), Answer::kGranted);
}

TEST_F(LoadLimiterTest, RefusesWhatTheQueueHasNoRoomFor) {
  LoadLimiter limiter(1, 2);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  EXPECT_EQ(Ask(limiter, 1), Answer::kQueued);
  EXPECT_EQ(Ask(limiter, 2), Answer::kQueued);
  EXPECT_EQ(Ask(limiter, 3), Answer::kRefused);
  EXPECT_EQ(ticket_, kUnset);
  const absl::Status status = limiter.Wait(kNever, nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status, limiter.RefusedError());
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 more"));
  Expect(limiter, 1, 2, 2);
  limiter.Release();
  EXPECT_EQ(Ask(limiter, 4), Answer::kQueued);
  for (int i = 0; i < 3; ++i) limiter.Release();
  EXPECT_THAT(granted_, ElementsAre(1, 2, 4));
  Expect(limiter, 0, 0, 2);
}

TEST_F(LoadLimiterTest, WithoutAQueueNobodyWaits) {
  LoadLimiter limiter(1, 0);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  EXPECT_EQ(Ask(limiter, 1), Answer::kRefused);
  limiter.Release();
  EXPECT_TRUE(limiter.Wait(0, nullptr).ok());
  Expect(limiter, 1, 0, 1);
}

TEST_F(LoadLimiterTest, ACallbackThatIsNotQueuedStaysTheCallers) {
  LoadLimiter limiter(1, 0);
  int calls = 0;
  Callback callback = [&calls] { ++calls; };
  EXPECT_EQ(limiter.Acquire(std::move(callback), &ticket_), Answer::kGranted);
  EXPECT_EQ(limiter.Acquire(std::move(callback), &ticket_), Answer::kRefused);
  std::move(callback)();
  EXPECT_EQ(calls, 1);
}

TEST_F(LoadLimiterTest, ACancelledCallbackNeitherRunsNorTakesASlot) {
  LoadLimiter limiter(1, 3);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  std::vector<Ticket> tickets;
  for (int i = 1; i < 4; ++i) {
    EXPECT_EQ(Ask(limiter, i), Answer::kQueued);
    tickets.push_back(ticket_);
  }
  EXPECT_TRUE(limiter.Cancel(tickets[1]));
  EXPECT_FALSE(limiter.Cancel(tickets[1]));
  Expect(limiter, 1, 2, 0);
  EXPECT_EQ(Ask(limiter, 4), Answer::kQueued) << "its place is free";
  limiter.Release();
  EXPECT_FALSE(limiter.Cancel(tickets[0])) << "it has been granted";
  limiter.Release();
  limiter.Release();
  EXPECT_THAT(granted_, ElementsAre(1, 3, 4));
  limiter.Release();
  Expect(limiter, 0, 0, 0);
  EXPECT_FALSE(limiter.Cancel(kUnset));
}

TEST_F(LoadLimiterTest, CallbacksMayCallTheLimiter) {
  LoadLimiter limiter(1, 10);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  const auto ask_again = [&] {
    Expect(limiter, 1, 1, 0);
    EXPECT_EQ(Ask(limiter, 3), Answer::kQueued);
    EXPECT_TRUE(limiter.Cancel(ticket_));
    EXPECT_EQ(Ask(limiter, 4), Answer::kQueued);
    granted_.push_back(1);
  };
  EXPECT_EQ(limiter.Acquire(ask_again, &ticket_), Answer::kQueued);
  EXPECT_EQ(Ask(limiter, 2), Answer::kQueued);
  for (int i = 0; i < 3; ++i) limiter.Release();
  EXPECT_THAT(granted_, ElementsAre(1, 2, 4));
}

// Calls something when it is destroyed.
class AtEnd {
 public:
  explicit AtEnd(std::function<void()> work) : work_(std::move(work)) {}
  AtEnd(AtEnd&& other) noexcept : work_(std::exchange(other.work_, nullptr)) {}
  ~AtEnd() {
    if (work_) work_();
  }

 private:
  std::function<void()> work_;
};

TEST_F(LoadLimiterTest, CallbacksMayCallTheLimiterWhenTheyAreDestroyed) {
  LoadLimiter limiter(1, 10);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  std::vector<size_t> queued;
  const auto look = [&] { queued.push_back(limiter.stats().queued); };
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(limiter.Acquire([end = AtEnd(look)] {}, &ticket_), Answer::kQueued);
  }
  EXPECT_TRUE(limiter.Cancel(ticket_));
  limiter.Release();
  EXPECT_THAT(queued, ElementsAre(1, 0));
}

TEST_F(LoadLimiterTest, ItsEndDestroysCallbacksWithoutRunningThem) {
  const auto alive = std::make_shared<int>(0);
  {
    LoadLimiter limiter(1, 10);
    EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(limiter.Acquire([this, alive] { granted_.push_back(1); }, &ticket_),
                Answer::kQueued);
    }
    EXPECT_EQ(alive.use_count(), 6);
  }
  EXPECT_EQ(alive.use_count(), 1);
  EXPECT_THAT(granted_, IsEmpty());
}

// Loads that run where they are granted, as on an executor that runs everything at once.
class LoadsAtOnce {
 public:
  explicit LoadsAtOnce(LoadLimiter* limiter) : limiter_(limiter) {}

  void Add(int name) {
    Ticket ticket;
    EXPECT_EQ(limiter_->Acquire([this, name] { Load(name); }, &ticket), Answer::kQueued);
  }

  const std::vector<int>& order() const { return order_; }
  int deepest() const { return deepest_; }

 private:
  void Load(int name) {
    deepest_ = std::max(deepest_, ++depth_);
    order_.push_back(name);
    limiter_->Release();
    --depth_;
  }

  LoadLimiter* const limiter_;
  std::vector<int> order_;
  int depth_ = 0;
  int deepest_ = 0;
};

TEST_F(LoadLimiterTest, ALongQueueOfLoadsThatRunAtOnceNeedsNoDeepStack) {
  constexpr int kLoads = 100'000;
  LoadLimiter limiter(1, kLoads);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  LoadsAtOnce loads(&limiter);
  for (int i = 0; i < kLoads; ++i) loads.Add(i);
  limiter.Release();
  EXPECT_EQ(loads.order().size(), size_t{kLoads});
  EXPECT_TRUE(std::is_sorted(loads.order().begin(), loads.order().end()));
  EXPECT_LE(loads.deepest(), 20);
  Expect(limiter, 0, 0, 0);
}

TEST_F(LoadLimiterTest, CallbacksThatReleaseManySlotsKeepTheOrder) {
  constexpr int kSlots = 200;
  LoadLimiter limiter(kSlots, 100);
  for (int i = 0; i < kSlots; ++i) EXPECT_TRUE(limiter.TryAcquire());
  for (int i = 0; i < 60; ++i) {
    const auto release_three = [&, i] {
      granted_.push_back(i);
      for (int n = 0; n < 3; ++n) limiter.Release();
    };
    EXPECT_EQ(limiter.Acquire(release_three, &ticket_), Answer::kQueued);
  }
  limiter.Release();
  EXPECT_EQ(granted_.size(), 60u);
  EXPECT_TRUE(std::is_sorted(granted_.begin(), granted_.end()));
  Expect(limiter, kSlots - 1 - 2 * 60, 0, 0);
}

// At the first depths a slot is handed on at once: whoever released it may wait for that load.
TEST_F(LoadLimiterTest, ACallbackInsideAnotherRunsBeforeReleaseReturns) {
  LoadLimiter limiter(1, 10);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  const auto release = [&] {
    granted_.push_back(1);
    limiter.Release();
    granted_.push_back(3);
  };
  EXPECT_EQ(limiter.Acquire(release, &ticket_), Answer::kQueued);
  EXPECT_EQ(Ask(limiter, 2), Answer::kQueued);
  limiter.Release();
  EXPECT_THAT(granted_, ElementsAre(1, 2, 3));
}

TEST_F(LoadLimiterTest, WhereMemoryRunsOutNothingHasChanged) {
  LoadLimiter limiter(1, 10);
  const ManualClock clock;
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  Callback callback = [this] { granted_.push_back(1); };
  Allocations::FailAfter(0);
  EXPECT_THROW((void)limiter.Acquire(std::move(callback), &ticket_), std::bad_alloc);
  int failed = 0;
  for (bool none_failed = false; !none_failed; ++failed) {
    Allocations::FailAfter(failed);
    try {
      EXPECT_EQ(limiter.Wait(0, &clock).code(), absl::StatusCode::kDeadlineExceeded);
    } catch (const std::bad_alloc&) {
    }
    none_failed = Allocations::Disarm();
    Expect(limiter, 1, 0, 0);
  }
  EXPECT_GE(failed, 3) << "an event and a place in the queue";
  Expect(limiter, 1, 0, 0);
  EXPECT_EQ(limiter.Acquire(std::move(callback), &ticket_), Answer::kQueued);
  EXPECT_EQ(Ask(limiter, 2), Answer::kQueued);
  Allocations::FailAfter(0);
  EXPECT_TRUE(limiter.Cancel(ticket_));
  EXPECT_TRUE(Allocations::Disarm()) << "a cancellation needs no memory";
  granted_.reserve(1);
  Allocations::FailAfter(0);
  limiter.Release();
  EXPECT_TRUE(Allocations::Disarm()) << "nor does a release";
  EXPECT_THAT(granted_, ElementsAre(1));
}

TEST_F(LoadLimiterTest, AFreeSlotIsTakenEvenPastTheDeadline) {
  LoadLimiter limiter(1, 10);
  const ManualClock clock(100);
  EXPECT_TRUE(limiter.Wait(50, &clock).ok());
  Expect(limiter, 1, 0, 0);
}

TEST_F(LoadLimiterTest, WaitingEndsByItsDeadline) {
  LoadLimiter limiter(1, 10);
  const ManualClock clock(100);
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  EXPECT_EQ(limiter.Wait(100, &clock).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(limiter.Wait(Clock::Monotonic().NowNanos(), nullptr).code(),
            absl::StatusCode::kDeadlineExceeded);
  Expect(limiter, 1, 0, 0);
}

TEST_F(LoadLimiterTest, WaitingEndsWhenTheClockMovesToTheDeadline) {
  LoadLimiter limiter(1, 10);
  ManualClock clock;
  EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
  absl::Status status;
  std::thread waiter([&] { status = limiter.Wait(1'000, &clock); });
  WaitUntilQueued(limiter, 1);
  clock.Advance(absl::Nanoseconds(1'000));
  waiter.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 loads"));
  limiter.Release();
  Expect(limiter, 0, 0, 0);
}

TEST_F(LoadLimiterTest, ThreadsAndCallbacksStandInOneQueue) {
  for (const bool forever : {true, false}) {
    LoadLimiter limiter(1, 10);
    const ManualClock clock;
    EXPECT_EQ(Ask(limiter, 0), Answer::kGranted);
    EXPECT_EQ(Ask(limiter, 1), Answer::kQueued);
    absl::Status status;
    std::thread waiter([&] {
      status = limiter.Wait(forever ? kNever : 1, &clock);
      granted_.push_back(2);
      limiter.Release();
    });
    WaitUntilQueued(limiter, 2);
    EXPECT_EQ(Ask(limiter, 3), Answer::kQueued);
    limiter.Release();
    EXPECT_THAT(granted_, ElementsAre(1));
    limiter.Release();
    waiter.join();
    EXPECT_TRUE(status.ok());
    EXPECT_THAT(granted_, ElementsAre(1, 2, 3));
    granted_.clear();
    limiter.Release();
    Expect(limiter, 0, 0, 0);
  }
}

}  // namespace
}  // namespace larder::internal
