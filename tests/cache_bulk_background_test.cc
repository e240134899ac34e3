// SPDX-License-Identifier: Apache-2.0
// GetOrLoadAll away from its caller: refreshes, deadlines, the end of the cache.
#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/internal/event.h"
#include "tests/support/bulk_fixture.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

class BulkBackgroundTest : public BulkFixture {};

// --- Refreshes.

TEST_F(BulkBackgroundTest, EntriesThatAreDueAreRefreshedByOneCall) {
  IntCache& cache = Make<IntCache>(Refreshing());
  cache.GetOrLoadAll(Keys{1, 2}, TenTimes());
  clock_.Advance(absl::Seconds(4));
  cache.GetOrLoadAll(Keys{3}, TenTimes());
  clock_.Advance(absl::Seconds(1));
  factor_ = 100;
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3, 1}, TenTimes())),
              ElementsAre("10", "20", "30", "10"));
  EXPECT_EQ(calls_.size(), 2u) << "nothing is loaded before the executor runs";
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_THAT(calls_.back(), ElementsAre(1, 2));
  EXPECT_THAT(cache.GetAll(Keys{1, 2, 3}),
              ElementsAre(Optional(100u), Optional(200u), Optional(30u)));
  EXPECT_EQ(cache.Stats().refreshes, 2u);
}

TEST_F(BulkBackgroundTest, ExpiredEntriesAreReturnedWhileOneCallReplacesThem) {
  auto options = Options();
  options.ttl = absl::Seconds(10);
  options.stale_while_revalidate = absl::Seconds(10);
  IntCache& cache = Make<IntCache>(options);
  cache.GetOrLoadAll(Keys{1, 2}, TenTimes());
  clock_.Advance(absl::Seconds(10));
  factor_ = 100;
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes())), ElementsAre("10", "20", "300"));
  EXPECT_THAT(calls_.back(), ElementsAre(3)) << "who waits isn't kept waiting for the others";
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_THAT(calls_.back(), ElementsAre(1, 2));
  EXPECT_THAT(cache.GetAll(Keys{1, 2}), ElementsAre(Optional(100u), Optional(200u)));
}

TEST_F(BulkBackgroundTest, WhatTheLoaderThrowsForOthersIsNothingToARefresh) {
  IntCache& cache = Make<IntCache>(Refreshing());
  cache.GetOrLoadAll(Keys{1}, TenTimes());
  clock_.Advance(absl::Seconds(5));
  factor_ = 100;
  auto loader = [loader = TenTimes()](const Keys& keys) mutable {
    if (keys[0] == 2) throw std::runtime_error("no");
    return loader(keys);
  };
  EXPECT_THROW(cache.GetOrLoadAll(Keys{1, 2}, loader), std::runtime_error);
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_THAT(cache.Get(1), Optional(100u));
  EXPECT_EQ(cache.Stats().refresh_failures, 0u);
}

TEST_F(BulkBackgroundTest, ARefreshThatIsRefusedOrFailsIsTriedAgainLater) {
  IntCache& cache = Make<IntCache>(Refreshing());
  cache.GetOrLoadAll(Keys{1, 2}, TenTimes());
  clock_.Advance(absl::Seconds(5));
  executor_.Refuse();
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "20"));
  EXPECT_EQ(cache.Stats().refresh_failures, 2u);
  executor_.Refuse(false);
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "20"));
  EXPECT_EQ(executor_.Drop(), 1u);
  EXPECT_EQ(cache.Stats().refresh_failures, 4u);
  clock_.Advance(absl::Seconds(1));
  factor_ = 100;
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "20"));
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_THAT(cache.GetAll(Keys{1, 2}), ElementsAre(Optional(100u), Optional(200u)));
}

TEST_F(BulkBackgroundTest, ALoaderThatCannotBeCopiedRefreshesNothing) {
  IntCache& cache = Make<IntCache>(Refreshing());
  cache.GetOrLoadAll(Keys{1}, TenTimes());
  clock_.Advance(absl::Seconds(5));
  const auto only_one = [this, owned = std::make_unique<int>()](const Keys& keys) {
    return TenTimes()(keys);
  };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, only_one)), ElementsAre("10", "20"));
  EXPECT_EQ(executor_.queued(), 0u);
  EXPECT_EQ(cache.Stats().refresh_failures, 1u);
}

TEST_F(BulkBackgroundTest, ALoaderWhoseCopyThrowsLeavesNoFlight) {
  struct Loader {
    explicit Loader(int) {}
    Loader(const Loader&) { throw std::runtime_error("no copies"); }
    absl::StatusOr<Values> operator()(const Keys&) const { return Values{{1, 1}, {2, 2}}; }
  };
  IntCache& cache = Make<IntCache>(Refreshing());
  cache.GetOrLoadAll(Keys{1}, TenTimes());
  clock_.Advance(absl::Seconds(5));
  const Loader loader(0);
  EXPECT_THROW(cache.GetOrLoadAll(Keys{1, 2}, loader), std::runtime_error);
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "20"));
}

TEST_F(BulkBackgroundTest, ABackgroundCallIsToldToStopOnceNobodyWantsAnyOfItsKeys) {
  auto options = Refreshing();
  options.background_timeout = absl::Seconds(2);
  options.circuit_breaker.failures = 1;
  IntCache& cache = Make<IntCache>(options);
  cache.GetOrLoadAll(Keys{1, 2}, TenTimes());
  clock_.Advance(absl::Seconds(5));
  bool stopped_before = true;
  bool stopped_after = false;
  const auto slow = [&](const Keys& keys, std::stop_token stop) -> absl::StatusOr<Values> {
    clock_.Advance(absl::Seconds(1));
    cache.RunMaintenance(100);
    stopped_before = stop.stop_requested();
    clock_.Advance(absl::Seconds(1));
    cache.RunMaintenance(100);
    stopped_after = stop.stop_requested();
    EXPECT_EQ(cache.Stats().circuit, CircuitState::kOpen) << "that counts as a failure";
    factor_ = 100;
    return TenTimes()(keys);
  };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, slow)), ElementsAre("10", "20"));
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_FALSE(stopped_before);
  EXPECT_TRUE(stopped_after);
  EXPECT_THAT(cache.GetAll(Keys{1, 2}), ElementsAre(Optional(10u), Optional(20u)));
  EXPECT_EQ(cache.Stats().refresh_failures, 2u);
}

// --- Deadlines.

TEST_F(BulkBackgroundTest, PastTheHardTimeoutTheCallGivesUpAndTheLoadGoesOn) {
  IntCache& cache = Make<IntCache>(Options());
  ASSERT_TRUE(cache.Put(2, 22).ok());
  std::thread caller([&] {
    EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes(),
                                        LoadOptions{.hard_timeout = absl::Seconds(1)})),
                ElementsAre("DEADLINE_EXCEEDED", "22", "DEADLINE_EXCEEDED"));
  });
  EXPECT_TRUE(Eventually([&] { return executor_.queued() == 1; }));
  clock_.Advance(absl::Seconds(1));
  caller.join();
  EXPECT_EQ(cache.Stats().timeouts, 2u);
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_THAT(calls_, ElementsAre(Keys{1, 3}));
  EXPECT_THAT(cache.GetAll(Keys{1, 3}), ElementsAre(Optional(10u), Optional(30u)));
}

TEST_F(BulkBackgroundTest, WhatNobodyWaitsForIsAbandonedWhereThatIsAskedFor) {
  IntCache& cache = Make<IntCache>(Options());
  std::thread caller([&] {
    EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes(),
                                        LoadOptions{.hard_timeout = absl::Seconds(1),
                                                    .after_timeout = AfterTimeout::kAbandon})),
                ElementsAre("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"));
  });
  EXPECT_TRUE(Eventually([&] { return executor_.queued() == 1; }));
  clock_.Advance(absl::Seconds(1));
  caller.join();
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_TRUE(calls_.empty());
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(BulkBackgroundTest, PastTheSoftTimeoutStaleValuesAreReturned) {
  auto options = Options();
  options.ttl = absl::Seconds(10);
  options.stale_if_error = absl::Seconds(10);
  IntCache& cache = Make<IntCache>(options);
  cache.GetOrLoadAll(Keys{1}, TenTimes());
  clock_.Advance(absl::Seconds(10));
  factor_ = 100;
  std::thread caller([&] {
    EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes(),
                                        LoadOptions{.soft_timeout = absl::Seconds(1),
                                                    .hard_timeout = absl::Seconds(2)})),
                ElementsAre("10", "DEADLINE_EXCEEDED"));
  });
  EXPECT_TRUE(Eventually([&] { return executor_.queued() == 1; }));
  clock_.Advance(absl::Seconds(2));
  caller.join();
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_THAT(cache.GetAll(Keys{1, 2}), ElementsAre(Optional(100u), Optional(200u)));
}

// The executor has no thread but the one that asks.
TEST_F(BulkBackgroundTest, ALoaderWaitsForTheExecutorWithADeadlineOnly) {
  auto options = Options();
  options.ttl = absl::Seconds(10);
  options.stale_if_error = absl::Seconds(10);
  IntCache& cache = Make<IntCache>(options);
  cache.GetOrLoadAll(Keys{1}, TenTimes());
  clock_.Advance(absl::Seconds(10));
  factor_ = 100;
  const auto outer = [&](uint64_t) -> Result {
    EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes(),
                                        LoadOptions{.soft_timeout = absl::Seconds(1)})),
                ElementsAre("10", "200"));
    return 50;
  };
  cache.GetOrLoadAsync(5, outer, [](const Result&) {});
  std::thread executor([&] { EXPECT_TRUE(executor_.RunOne()); });
  EXPECT_TRUE(Eventually([&] { return executor_.queued() == 1 && cache.Contains(2); }));
  clock_.Advance(absl::Seconds(1));
  executor.join();
  executor_.RunAll();
  EXPECT_THAT(cache.GetAll(Keys{1, 5}), ElementsAre(Optional(100u), Optional(50u)));
}

TEST_F(BulkBackgroundTest, WithinTheDeadlineTheExecutorsOutcomeIsReturned) {
  IntCache& cache = Make<IntCache>(Options());
  std::thread caller([&] {
    EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 1}, TenTimes(),
                                        LoadOptions{.hard_timeout = absl::Seconds(1)})),
                ElementsAre("10", "20", "10"));
  });
  EXPECT_TRUE(Eventually([&] { return executor_.queued() == 1; }));
  EXPECT_TRUE(executor_.RunOne());
  caller.join();
  EXPECT_THAT(calls_, ElementsAre(Keys{1, 2}));
  executor_.Refuse();
  EXPECT_THAT(
      Seen(cache.GetOrLoadAll(Keys{3}, TenTimes(), LoadOptions{.hard_timeout = absl::Seconds(1)})),
      ElementsAre("RESOURCE_EXHAUSTED"));
}

// --- The end.

TEST_F(BulkBackgroundTest, ACallThatHasNotBegunByTheCachesEndNeverDoes) {
  auto owned = IntCache::Create(Refreshing()).value();
  IntCache& cache = *owned;
  cache.GetOrLoadAll(Keys{1, 2}, TenTimes());
  clock_.Advance(absl::Seconds(5));
  cache.GetOrLoadAll(Keys{1, 2}, TenTimes());
  owned.reset();
  EXPECT_EQ(executor_.RunAll(), 1u);
  EXPECT_EQ(calls_.size(), 1u);
}

TEST_F(BulkBackgroundTest, TheCachesEndStopsACallAndWaitsForIt) {
  auto owned = IntCache::Create(Refreshing()).value();
  IntCache& cache = *owned;
  cache.GetOrLoadAll(Keys{1, 2}, TenTimes());
  clock_.Advance(absl::Seconds(5));
  internal::Event running;
  std::atomic<bool> stopped{false};
  const auto until_stopped = [&](const Keys&, std::stop_token stop) -> absl::StatusOr<Values> {
    running.Set();
    EXPECT_TRUE(Eventually([&] { return stop.stop_requested(); }));
    stopped.store(true);
    return Values();
  };
  cache.GetOrLoadAll(Keys{1, 2}, until_stopped);
  std::thread executor([&] { executor_.RunAll(); });
  running.Wait();
  owned.reset();
  EXPECT_TRUE(stopped.load());
  executor.join();
}

}  // namespace
}  // namespace larder::test
