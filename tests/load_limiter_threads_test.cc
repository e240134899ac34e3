// SPDX-License-Identifier: Apache-2.0
//
// The load limiter under threads that load, wait, cancel and give up at random.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/clock.h"
#include "larder/internal/load_limiter.h"
#include "larder/internal/mutex.h"
#include "larder/internal/node.h"
#include "larder/manual_clock.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using ::larder::test::Eventually;
using ::larder::test::Rounds;
using ::larder::test::RunThreads;
using ::larder::test::SeedOfRound;
using Answer = LoadLimiter::Answer;
using Ticket = LoadLimiter::Ticket;

constexpr int kLoaders = 4;

// A load that leaves a callback; what happened to it.
struct Load {
  Ticket ticket = UINT64_MAX;
  std::atomic<int> granted{0};
  std::atomic<bool> cancelled{false};
};

// Threads that ask for slots in either way and cancel some, and one that runs what callbacks are
// granted and moves the clock on.
class Crowd {
 public:
  Crowd(int slots, size_t room, uint64_t seed)
      : slots_(slots), room_(room), seed_(seed), limiter_(slots, room) {}

  void Run() {
    std::thread runner([this] { RunGranted(); });
    RunThreads(kLoaders, [this](int i) { Work(seed_ * kLoaders + static_cast<uint64_t>(i)); });
    done_.store(true);
    runner.join();
  }

  void Check() {
    EXPECT_FALSE(too_many_.load());
    EXPECT_FALSE(out_of_order_.load());
    EXPECT_FALSE(early_.load());
    const LoadLimiter::Stats stats = limiter_.stats();
    EXPECT_EQ(stats.running, 0) << "a slot was lost, or granted twice";
    EXPECT_EQ(stats.queued, 0u);
    EXPECT_EQ(stats.refused, refused_.load());
    MutexLock lock(&mutex_);
    for (const std::shared_ptr<Load>& load : loads_) {
      EXPECT_EQ(load->granted.load(), load->cancelled.load() ? 0 : 1);
    }
  }

  uint64_t timeouts() const { return timeouts_.load(); }
  uint64_t refused() const { return refused_.load(); }

 private:
  void Work(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::shared_ptr<Load>> mine;
    for (int i = 0; i < 200; ++i) {
      const uint64_t choice = random() % 8;
      if (choice < 4) {
        AskByCallback(mine);
      } else if (choice < 6) {
        const auto patience = static_cast<int64_t>(random() % 8);
        Wait(random() % 4 == 0 ? kNever : clock_.NowNanos() + patience);
      } else if (!mine.empty()) {
        Load& load = *mine[mine.size() - 1 - random() % std::min<size_t>(mine.size(), 4)];
        if (limiter_.Cancel(load.ticket)) load.cancelled.store(true);
      }
    }
    MutexLock lock(&mutex_);
    loads_.insert(loads_.end(), mine.begin(), mine.end());
  }

  void AskByCallback(std::vector<std::shared_ptr<Load>>& mine) {
    auto load = std::make_shared<Load>();
    const Answer answer = limiter_.Acquire([this, load] { Granted(load); }, &load->ticket);
    if (answer == Answer::kRefused) {
      refused_.fetch_add(1);
      return;
    }
    if (answer == Answer::kGranted) {
      load->granted.fetch_add(1);
      UseSlot();
    }
    mine.push_back(std::move(load));
  }

  void Wait(int64_t deadline) {
    const absl::Status status = limiter_.Wait(deadline, &clock_);
    if (status.ok()) {
      UseSlot();
    } else if (absl::IsResourceExhausted(status)) {
      refused_.fetch_add(1);
    } else {
      timeouts_.fetch_add(1);
      if (!absl::IsDeadlineExceeded(status) || clock_.NowNanos() < deadline) early_.store(true);
    }
  }

  // Runs on whoever's thread released the slot.
  void Granted(std::shared_ptr<Load> load) {
    load->granted.fetch_add(1);
    // With one slot, the next grant comes after this: the order of the queue is to be seen.
    const uint64_t after = load->ticket + 1;
    if (slots_ == 1 && last_granted_.exchange(after) >= after) out_of_order_.store(true);
    MutexLock lock(&mutex_);
    runnable_.push_back(std::move(load));
  }

  void RunGranted() {
    for (bool last = false; !last;) {
      last = done_.load() && limiter_.stats().running == 0;
      if (Take() != nullptr) UseSlot();
      if (limiter_.stats().queued > room_) too_many_.store(true);
      clock_.Advance(absl::Nanoseconds(1));
      std::this_thread::yield();
    }
  }

  std::shared_ptr<Load> Take() {
    MutexLock lock(&mutex_);
    if (runnable_.empty()) return nullptr;
    std::shared_ptr<Load> load = std::move(runnable_.front());
    runnable_.pop_front();
    return load;
  }

  void UseSlot() {
    if (running_.fetch_add(1) >= slots_) too_many_.store(true);
    std::this_thread::yield();
    running_.fetch_sub(1);
    limiter_.Release();
  }

  const int slots_;
  const size_t room_;
  const uint64_t seed_;
  LoadLimiter limiter_;
  ManualClock clock_;
  std::atomic<bool> done_{false};
  std::atomic<int> running_{0};
  std::atomic<uint64_t> refused_{0};
  std::atomic<uint64_t> timeouts_{0};
  std::atomic<uint64_t> last_granted_{0};
  std::atomic<bool> too_many_{false};
  std::atomic<bool> out_of_order_{false};
  std::atomic<bool> early_{false};
  Mutex mutex_;
  std::deque<std::shared_ptr<Load>> runnable_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Load>> loads_ ABSL_GUARDED_BY(mutex_);  // all that weren't refused
};

TEST(LoadLimiterThreadsTest, NoSlotIsLostOrGivenTwice) {
  uint64_t timeouts = 0;
  uint64_t refused = 0;
  for (int round = 0; round < Rounds(6); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(seed);
    Crowd crowd(/*slots=*/1 + round % 3, /*room=*/round % 2 == 0 ? 1'000 : 3, seed);
    crowd.Run();
    crowd.Check();
    timeouts += crowd.timeouts();
    refused += crowd.refused();
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(timeouts, 0u) << "the test doesn't reach what it is for";
  EXPECT_GT(refused, 0u);
}

// Its time has come once somebody waits and another is about to release; it tells that one when it
// says so.
class CallingClock final : public Clock {
 public:
  explicit CallingClock(const LoadLimiter* limiter) : limiter_(limiter) {}

  int64_t NowNanos() const override {
    if (limiter_->stats().queued == 0) return 0;
    EXPECT_TRUE(Eventually([this] { return ready_.load(); }));
    called_.store(true);
    return 1;
  }

  bool WaitForCall() {
    ready_.store(true);
    return Eventually([this] { return called_.load(); });
  }

 private:
  const LoadLimiter* const limiter_;
  std::atomic<bool> ready_{false};
  mutable std::atomic<bool> called_{false};
};

// A slot that is released at the very moment at which the only one who waits gives up.
TEST(LoadLimiterThreadsTest, ASlotGrantedWhileItsWaiterGivesUpIsKept) {
  for (int round = 0; round < Rounds(1'000); ++round) {
    LoadLimiter limiter(1, 1);
    ASSERT_TRUE(limiter.TryAcquire());
    CallingClock clock(&limiter);
    std::thread releases([&] {
      EXPECT_TRUE(clock.WaitForCall());
      limiter.Release();
    });
    const absl::Status status = limiter.Wait(1, &clock);
    releases.join();
    ASSERT_EQ(limiter.stats().running, status.ok() ? 1 : 0) << status;
    ASSERT_EQ(limiter.stats().queued, 0u);
  }
}

// Either the callback runs, or the cancellation succeeds.
TEST(LoadLimiterThreadsTest, ACallbackIsEitherRunOrCancelled) {
  for (int round = 0; round < Rounds(200); ++round) {
    LoadLimiter limiter(1, 1);
    Ticket ticket;
    std::atomic<int> calls{0};
    ASSERT_EQ(limiter.Acquire([] {}, &ticket), Answer::kGranted);
    ASSERT_EQ(limiter.Acquire([&] { calls.fetch_add(1); }, &ticket), Answer::kQueued);
    bool cancelled = false;
    RunThreads(2, [&](int thread) {
      if (thread == 0) {
        limiter.Release();
      } else {
        cancelled = limiter.Cancel(ticket);
      }
    });
    ASSERT_EQ(calls.load(), cancelled ? 0 : 1);
    ASSERT_EQ(limiter.stats().running, cancelled ? 0 : 1);
  }
}

}  // namespace
}  // namespace larder::internal
