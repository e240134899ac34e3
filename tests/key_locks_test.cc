// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/key_locks.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace larder::internal {
namespace {

// In the same shard as 1, and another lock.
constexpr uint64_t kNeighbour = 1 + 64;

TEST(KeyLocks, AThreadIsToldThatItHoldsALockAlready) {
  KeyLocks locks;
  const KeyLocks::Hold outer(locks, 1);
  EXPECT_TRUE(outer.held());
  {
    const KeyLocks::Hold inner(locks, 1);
    EXPECT_FALSE(inner.held());
  }
  // The inner one hasn't released what it didn't hold.
  const KeyLocks::Hold again(locks, 1);
  EXPECT_FALSE(again.held());
}

TEST(KeyLocks, AThreadMayHoldManyLocks) {
  KeyLocks locks;
  const KeyLocks::Hold one(locks, 1);
  const KeyLocks::Hold neighbour(locks, kNeighbour);
  const KeyLocks::Hold zero(locks, 0);
  EXPECT_TRUE(one.held() && neighbour.held() && zero.held());
}

TEST(KeyLocks, OtherThreadsWaitForALockAndNotForItsNeighbours) {
  KeyLocks locks;
  std::optional<KeyLocks::Hold> hold(std::in_place, locks, 1);
  std::atomic<bool> got_neighbour{false};
  std::atomic<bool> released{false};
  std::thread other([&] {
    {
      const KeyLocks::Hold neighbour(locks, kNeighbour);
      got_neighbour = true;
      got_neighbour.notify_all();
    }
    const KeyLocks::Hold same(locks, 1);
    EXPECT_TRUE(same.held());
    EXPECT_TRUE(released);
  });
  got_neighbour.wait(false);
  released = true;
  hold.reset();
  other.join();
}

TEST(KeyLocks, AnyThreadMayWaitForTheOneThatHoldsALock) {
  KeyLocks locks;
  locks.Await(1);  // nobody
  std::optional<KeyLocks::Hold> hold(std::in_place, locks, 1);
  locks.Await(1);  // itself
  std::atomic<bool> started{false};
  std::atomic<bool> released{false};
  std::thread other([&] {
    locks.Await(kNeighbour);
    started = true;
    started.notify_all();
    locks.Await(1);
    EXPECT_TRUE(released);
  });
  started.wait(false);
  released = true;
  hold.reset();
  other.join();
}

TEST(KeyLocks, OneThreadAtATimeHoldsALock) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  constexpr uint64_t kHashes[] = {1, kNeighbour, 2};
  KeyLocks locks;
  int counts[std::size(kHashes)] = {};  // not atomic: ThreadSanitizer would tell
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const size_t which = (i + t) % std::size(kHashes);
        const KeyLocks::Hold hold(locks, kHashes[which]);
        EXPECT_TRUE(hold.held());
        ++counts[which];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counts[0] + counts[1] + counts[2], kThreads * kRounds);
}

}  // namespace
}  // namespace larder::internal
