// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/flight.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/internal/node.h"
#include "larder/internal/thread_record.h"
#include "larder/manual_clock.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;

struct TestFlight : FlightBase {
  explicit TestFlight(std::string k, ThreadRecord* leader = nullptr) : key(std::move(k)) {
    EXPECT_TRUE(leader == nullptr || TryBegin(leader));
  }
  const std::string key;
  bool outdated = false;
  std::shared_ptr<TestFlight> next;
};

// As long as it takes.
absl::Status Wait(const FlightBase& flight, ThreadRecord& thread) {
  return flight.Wait(thread, kNever, nullptr);
}

class FlightTableTest : public ::testing::Test {
 protected:
  std::shared_ptr<TestFlight> Add(uint64_t hash, const std::string& key) {
    auto flight = std::make_shared<TestFlight>(key);
    table_.Add(hash, flight);
    return flight;
  }
  std::shared_ptr<TestFlight> Find(uint64_t hash, const std::string& key) const {
    return table_.Find(hash, key, std::equal_to<>());
  }
  void Outdate(uint64_t hash, const std::string& key) {
    table_.Outdate(hash, key, std::equal_to<>());
  }

  FlightTable<TestFlight> table_;
};

TEST_F(FlightTableTest, FindsAFlightByItsKeyUntilItIsRemoved) {
  EXPECT_TRUE(table_.empty());
  EXPECT_EQ(Find(1, "a"), nullptr);
  const auto flight = Add(1, "a");
  EXPECT_FALSE(table_.empty());
  EXPECT_EQ(Find(1, "a"), flight);
  EXPECT_EQ(Find(2, "a"), nullptr);
  EXPECT_EQ(Find(1, "b"), nullptr);
  table_.Remove(1, flight.get());
  EXPECT_EQ(Find(1, "a"), nullptr);
  EXPECT_TRUE(table_.empty());
}

// In each order in which four of them can go.
TEST_F(FlightTableTest, KeysOfOneHashAreKeptApart) {
  std::vector<size_t> order = {0, 1, 2, 3};
  do {
    std::vector<std::shared_ptr<TestFlight>> flights;
    for (const std::string key : {"a", "b", "c", "d"}) flights.push_back(Add(7, key));
    for (size_t gone = 0; gone < order.size(); ++gone) {
      for (size_t i = gone; i < order.size(); ++i) {
        ASSERT_EQ(Find(7, flights[order[i]]->key), flights[order[i]]);
      }
      const auto& flight = flights[order[gone]];
      table_.Remove(7, flight.get());
      EXPECT_EQ(Find(7, flight->key), nullptr);
      EXPECT_EQ(flight.use_count(), 1);
      EXPECT_EQ(flight->next, nullptr);
    }
    EXPECT_TRUE(table_.empty());
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(FlightTableTest, OnlyTheTableMayHoldAFlight) {
  std::weak_ptr<TestFlight> first = Add(7, "a");
  std::weak_ptr<TestFlight> second = Add(7, "b");
  EXPECT_FALSE(first.expired());
  table_.Remove(7, first.lock().get());
  EXPECT_TRUE(first.expired());
  table_.Remove(7, second.lock().get());
  EXPECT_TRUE(second.expired());
}

TEST_F(FlightTableTest, AWriteOutdatesTheFlightOfItsKeyOnly) {
  Outdate(1, "a");
  const auto a = Add(1, "a");
  const auto b = Add(1, "b");
  const auto other = Add(2, "a");
  Outdate(1, "a");
  EXPECT_TRUE(a->outdated);
  EXPECT_FALSE(b->outdated);
  EXPECT_FALSE(other->outdated);
  Outdate(1, "c");
  EXPECT_FALSE(b->outdated);
}

TEST_F(FlightTableTest, OutdateAllReachesEveryFlight) {
  const std::vector<std::shared_ptr<TestFlight>> flights = {Add(1, "a"), Add(1, "b"), Add(1, "c"),
                                                            Add(2, "d"), Add(3, "e")};
  table_.OutdateAll();
  for (const auto& flight : flights) EXPECT_TRUE(flight->outdated) << flight->key;
}

TEST(FlightTest, WhatTheLeaderWroteIsThereForThoseWhoWaited) {
  for (int round = 0; round < Rounds(200); ++round) {
    ThreadRecord& leader = ThreadRecord::Current();
    TestFlight flight("key", &leader);
    int outcome = 0;
    std::vector<std::thread> waiters;
    for (int i = 0; i < 4; ++i) {
      waiters.emplace_back([&] {
        EXPECT_TRUE(Wait(flight, ThreadRecord::Current()).ok());
        EXPECT_TRUE(flight.landed());
        EXPECT_EQ(outcome, 42);
      });
    }
    EXPECT_FALSE(flight.landed());
    outcome = 42;
    flight.Land();
    for (std::thread& waiter : waiters) waiter.join();
    // Who comes late doesn't wait.
    EXPECT_TRUE(Wait(flight, leader).ok());
  }
}

TEST(FlightTest, ALoaderThatWaitsForItsOwnLoadIsTold) {
  ThreadRecord& self = ThreadRecord::Current();
  TestFlight outer("outer", &self);
  TestFlight inner("inner", &self);
  const LeaderScope in_outer(self);
  EXPECT_EQ(Wait(outer, self).code(), absl::StatusCode::kFailedPrecondition);
  const LeaderScope in_inner(self);
  EXPECT_EQ(Wait(outer, self).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Wait(inner, self).code(), absl::StatusCode::kFailedPrecondition);
  // What has landed can be waited for by anyone.
  inner.Land();
  EXPECT_TRUE(Wait(inner, self).ok());
}

TEST(FlightTest, ALoaderMayWaitForALoadOfAThreadThatWaitsForNothing) {
  ThreadRecord& self = ThreadRecord::Current();
  std::latch leads(1);
  std::latch land(1);
  std::unique_ptr<TestFlight> flight;
  std::thread other([&] {
    ThreadRecord& record = ThreadRecord::Current();
    const LeaderScope scope(record);
    flight = std::make_unique<TestFlight>("other", &record);
    leads.count_down();
    land.wait();
    flight->Land();
  });
  leads.wait();
  const LeaderScope scope(self);
  land.count_down();
  EXPECT_TRUE(Wait(*flight, self).ok());
  other.join();
  EXPECT_EQ(self.waiting_for, nullptr);
}

// `threads` threads, each leading one flight, each waiting for the next one's from inside of it;
// where `closed`, the last waits for the first one's. Returns how many were told that it's a cycle.
int WaitInAChain(size_t threads, bool closed) {
  std::vector<std::unique_ptr<TestFlight>> flights(threads);
  std::vector<absl::Status> outcomes(threads);
  std::barrier all_lead(static_cast<ptrdiff_t>(threads));
  std::vector<std::thread> running;
  for (size_t i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      ThreadRecord& self = ThreadRecord::Current();
      flights[i] = std::make_unique<TestFlight>(std::to_string(i), &self);
      {
        const LeaderScope scope(self);
        all_lead.arrive_and_wait();
        if (closed || i + 1 < threads) outcomes[i] = Wait(*flights[(i + 1) % threads], self);
      }
      flights[i]->Land();
      EXPECT_EQ(self.waiting_for, nullptr);
    });
  }
  for (std::thread& thread : running) thread.join();
  int told = 0;
  for (const absl::Status& outcome : outcomes) {
    if (!outcome.ok()) {
      EXPECT_EQ(outcome.code(), absl::StatusCode::kFailedPrecondition);
      ++told;
    }
  }
  return told;
}

TEST(FlightTest, OfTwoLoadsThatWaitForEachOtherOneIsTold) {
  for (int i = 0; i < Rounds(500); ++i) ASSERT_EQ(WaitInAChain(2, /*closed=*/true), 1);
}

TEST(FlightTest, OfThreeLoadsThatWaitInACircleOneIsTold) {
  for (int i = 0; i < Rounds(300); ++i) ASSERT_EQ(WaitInAChain(3, /*closed=*/true), 1);
}

TEST(FlightTest, OfManyLoadsThatWaitInACircleOneIsTold) {
  for (int i = 0; i < Rounds(10); ++i) ASSERT_EQ(WaitInAChain(25, /*closed=*/true), 1);
}

TEST(FlightTest, NobodyIsToldInAChainThatHasAnEnd) {
  for (const size_t threads : {2, 3, 50}) {
    for (int i = 0; i < Rounds(20); ++i) ASSERT_EQ(WaitInAChain(threads, /*closed=*/false), 0);
  }
}

// Several loaders wait for one that waits for another: a tree, no cycle.
TEST(FlightTest, NobodyIsToldWhereManyWaitForOne) {
  constexpr size_t kThreads = 12;
  for (int round = 0; round < Rounds(30); ++round) {
    std::vector<std::unique_ptr<TestFlight>> flights(kThreads);
    std::barrier all_lead(ptrdiff_t{kThreads});
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        ThreadRecord& self = ThreadRecord::Current();
        flights[i] = std::make_unique<TestFlight>(std::to_string(i), &self);
        {
          const LeaderScope scope(self);
          all_lead.arrive_and_wait();
          const absl::Status waited = i == 0 ? absl::OkStatus() : Wait(*flights[(i - 1) / 2], self);
          EXPECT_TRUE(waited.ok()) << waited;
        }
        flights[i]->Land();
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(FlightTest, OneBeginsItAndOneFinishesIt) {
  constexpr int kThreads = 4;
  for (int round = 0; round < Rounds(200); ++round) {
    TestFlight flight("key");
    EXPECT_TRUE(flight.asked_for());
    std::atomic<int> began{0};
    std::atomic<int> finished{0};
    test::RunThreads(kThreads, [&](int) {
      if (flight.TryBegin(&ThreadRecord::Current())) began.fetch_add(1);
    });
    EXPECT_EQ(began.load(), 1);
    EXPECT_FALSE(flight.asked_for());
    test::RunThreads(kThreads, [&](int) {
      bool begun = false;
      if (!flight.TryFinish(&begun)) return;
      finished.fetch_add(1);
      EXPECT_TRUE(begun);
    });
    EXPECT_EQ(finished.load(), 1);
  }
}

TEST(FlightTest, WhatIsFinishedBeforeItHasBegunNeverBegins) {
  TestFlight flight("key");
  bool begun = true;
  EXPECT_TRUE(flight.TryFinish(&begun));
  EXPECT_FALSE(begun);
  EXPECT_FALSE(flight.TryBegin(&ThreadRecord::Current()));
  EXPECT_FALSE(flight.TryRefuse());
  EXPECT_FALSE(flight.landed());
}

TEST(FlightTest, WhatIsRefusedNeverBeginsAndIsForOneToFinish) {
  TestFlight flight("key");
  EXPECT_TRUE(flight.TryRefuse());
  EXPECT_FALSE(flight.TryRefuse());
  EXPECT_FALSE(flight.asked_for());
  EXPECT_FALSE(flight.TryBegin(&ThreadRecord::Current()));
  bool begun = true;
  EXPECT_TRUE(flight.TryFinish(&begun));
  EXPECT_FALSE(begun);
  EXPECT_FALSE(flight.TryFinish());

  TestFlight other("other");
  EXPECT_TRUE(other.TryBegin(&ThreadRecord::Current()));
  EXPECT_FALSE(other.TryRefuse());
}

TEST(FlightTest, AWaitEndsAtItsDeadline) {
  TestFlight flight("key");
  ManualClock clock(1'000);
  ThreadRecord& self = ThreadRecord::Current();
  EXPECT_EQ(flight.Wait(self, 1'000, &clock).code(), absl::StatusCode::kDeadlineExceeded);
  std::atomic<bool> waited{false};
  std::thread waiter([&] {
    EXPECT_EQ(flight.Wait(ThreadRecord::Current(), 2'000, &clock).code(),
              absl::StatusCode::kDeadlineExceeded);
    waited.store(true);
  });
  clock.Advance(absl::Nanoseconds(999));
  EXPECT_FALSE(waited.load());
  clock.Advance(absl::Nanoseconds(1));
  waiter.join();
  {
    const LeaderScope scope(self);
    EXPECT_EQ(flight.Wait(self, 5, &clock).code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(self.waiting_for, nullptr);
  }
  // One that has landed is there whatever the time.
  flight.Land();
  EXPECT_TRUE(flight.Wait(self, 0, &clock).ok());
}

TEST(FlightTest, CallbacksAreCalledOnceWhenItLandsOrNotTaken) {
  TestFlight flight("key");
  int called = 0;
  const auto callback = [&called, &flight] {
    EXPECT_TRUE(flight.landed());
    ++called;
  };
  EXPECT_TRUE(flight.OnLanded(callback));
  EXPECT_TRUE(flight.OnLanded(callback));
  EXPECT_EQ(called, 0);
  flight.Land();
  EXPECT_EQ(called, 2);
  EXPECT_FALSE(flight.OnLanded(callback));
}

// Each is either called or refused, whenever the flight lands.
TEST(FlightTest, NoCallbackIsLostWhereItLandsMeanwhile) {
  for (int round = 0; round < Rounds(300); ++round) {
    TestFlight flight("key");
    std::atomic<int> called{0};
    std::atomic<int> refused{0};
    test::RunThreads(4, [&](int thread) {
      if (thread == 0) return flight.Land();
      if (!flight.OnLanded([&called] { called.fetch_add(1); })) refused.fetch_add(1);
    });
    ASSERT_EQ(called.load() + refused.load(), 3);
  }
}

// --- What else of a load may ask for the key that is being loaded: all callbacks may call the
// cache.

using IntCache = Cache<int, int>;

// Runs `run` in a process of its own, which a hang ends after a while.
#define EXPECT_ENDS(run)      \
  EXPECT_EXIT(                \
      {                       \
        alarm(30);            \
        _exit((run) ? 0 : 1); \
      },                      \
      ::testing::ExitedWithCode(0), "")

class LoadCallbackTest : public ::testing::Test {
 protected:
  LoadCallbackTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // Whether a weigher that asks for the key whose load it weighs is told.
  static bool AskWhileWeighing() {
    IntCache* cache = nullptr;
    absl::Status inner;
    IntCache::Options options;
    options.capacity = 10;
    options.weigher = [&](int key, int) -> uint64_t {
      if (key == 1) inner = cache->GetOrLoad(1, [](int) { return 2; }).status();
      return 1;
    };
    const auto owner = IntCache::Create(options).value();
    cache = owner.get();
    return *cache->GetOrLoad(1, [](int) { return 1; }) == 1 &&
           inner.code() == absl::StatusCode::kFailedPrecondition;
  }

  // The same of a listener: storing 1 evicts 2, whose listener wants 1 anew.
  static bool AskWhileListening() {
    IntCache* cache = nullptr;
    absl::Status inner;
    IntCache::Options options;
    options.capacity = 1;
    options.on_removal = [&](int key, int, RemovalCause) {
      if (key != 2) return;
      cache->Erase(1);
      inner = cache->GetOrLoad(1, [](int) { return 3; }).status();
    };
    const auto owner = IntCache::Create(options).value();
    cache = owner.get();
    return cache->Put(2, 2).ok() && *cache->GetOrLoad(1, [](int) { return 1; }) == 1 &&
           inner.code() == absl::StatusCode::kFailedPrecondition;
  }
};

TEST_F(LoadCallbackTest, AWeigherThatAsksForTheKeyBeingLoadedIsTold) {
  EXPECT_ENDS(AskWhileWeighing());
}

TEST_F(LoadCallbackTest, AListenerThatAsksForTheKeyBeingLoadedIsTold) {
  EXPECT_ENDS(AskWhileListening());
}

}  // namespace
}  // namespace larder::internal
