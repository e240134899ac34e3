// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/mutex.h"

#include <cstdint>
#include <latch>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;

struct Guarded {
  Mutex mutex;
  uint64_t count ABSL_GUARDED_BY(mutex) = 0;
};

TEST(MutexTest, OneThreadAtATime) {
  constexpr int kThreads = 4;
  const int each = Rounds(50'000);
  Guarded guarded;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        const MutexLock lock(&guarded.mutex);
        ++guarded.count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const MutexLock lock(&guarded.mutex);
  EXPECT_EQ(guarded.count, uint64_t{kThreads} * static_cast<uint64_t>(each));
}

// Held for so long that others stop spinning, and some of them sleep.
TEST(MutexTest, WaitingLongEndsToo) {
  constexpr int kThreads = 8;
  Guarded guarded;
  for (int round = 0; round < Rounds(100); ++round) {
    std::latch running(kThreads);
    std::vector<std::thread> threads;
    {
      const MutexLock lock(&guarded.mutex);
      for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&] {
          running.count_down();
          const MutexLock inner(&guarded.mutex);
          ++guarded.count;
        });
      }
      running.wait();
      for (int i = 0; i < 100; ++i) std::this_thread::yield();
      EXPECT_EQ(guarded.count, static_cast<uint64_t>(round) * kThreads);
    }
    for (std::thread& thread : threads) thread.join();
  }
}

// Whether it was free. In another thread, since a thread must not try for a lock that it holds.
bool IsFree(Mutex& mutex) {
  bool locked = false;
  std::thread([&] {
    if (mutex.try_lock()) {
      locked = true;
      mutex.unlock();
    }
  }).join();
  return locked;
}

TEST(MutexTest, TryLockTakesAFreeLockOnly) {
  Mutex mutex;
  EXPECT_TRUE(IsFree(mutex));
  {
    const MutexLock lock(&mutex);
    EXPECT_FALSE(IsFree(mutex));
  }
  if (mutex.try_lock()) {
    EXPECT_FALSE(IsFree(mutex));
    mutex.unlock();
  } else {
    ADD_FAILURE() << "couldn't lock a free lock";
  }
  EXPECT_TRUE(IsFree(mutex));
}

TEST(MutexTest, IsOneByte) { EXPECT_EQ(sizeof(Mutex), 1u); }

TEST(CondVarTest, AWaitEndsWithATimeoutWhereNobodyNotifies) {
  Mutex mutex;
  CondVar changed;
  const MutexLock lock(&mutex);
  // Wakeups may be spurious: a wait that ends with none is expected soon.
  while (changed.WaitFor(&mutex, absl::Milliseconds(1))) {
  }
  while (changed.WaitFor(&mutex, absl::ZeroDuration())) {
  }
  while (changed.WaitFor(&mutex, -absl::Hours(1))) {
  }
  while (changed.WaitFor(&mutex, -absl::InfiniteDuration())) {
  }
}

// Whoever takes a turn gives the next one; with timeouts that never come to pass.
TEST(CondVarTest, ANotificationWakesWhoWaits) {
  const auto turns = static_cast<uint64_t>(Rounds(5'000));
  Guarded turn;
  CondVar changed;
  const auto play = [&](uint64_t mine, absl::Duration timeout) {
    const MutexLock lock(&turn.mutex);
    while (turn.count < turns) {
      if (turn.count % 2 == mine) {
        ++turn.count;
        changed.NotifyOne();
      } else if (timeout == absl::ZeroDuration()) {
        changed.Wait(&turn.mutex);
      } else {
        changed.WaitFor(&turn.mutex, timeout);
      }
    }
    changed.NotifyAll();
  };
  std::thread other([&] { play(1, absl::InfiniteDuration()); });
  play(0, absl::ZeroDuration());
  other.join();
  const MutexLock lock(&turn.mutex);
  EXPECT_EQ(turn.count, turns);
}

TEST(CondVarTest, NotifyAllWakesAll) {
  constexpr int kThreads = 6;
  Guarded go;
  CondVar changed;
  std::latch waiting(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      const MutexLock lock(&go.mutex);
      waiting.count_down();
      while (go.count == 0) changed.Wait(&go.mutex);
    });
  }
  waiting.wait();
  {
    // The last one has let go of the lock, so it waits.
    const MutexLock lock(&go.mutex);
    go.count = 1;
  }
  changed.NotifyAll();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace larder::internal
