// SPDX-License-Identifier: Apache-2.0
// GetOrLoadAll beside other loads, and within the limits that loads have.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
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
using ::testing::HasSubstr;

class BulkFlightTest : public BulkFixture {};

Result One(uint64_t) { return 1; }

// --- Beside other loads.

TEST_F(BulkFlightTest, ItsOwnKeysLandBeforeItWaitsForOthers) {
  IntCache& cache = Make<IntCache>(Options());
  internal::Event loading;
  internal::Event may_end;
  std::thread other([&] {
    EXPECT_EQ(*cache.GetOrLoad(2,
                               [&](uint64_t) -> Result {
                                 loading.Set();
                                 may_end.Wait();
                                 return 22;
                               }),
              22u);
  });
  loading.Wait();
  std::thread bulk([&] {
    EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes())), ElementsAre("10", "22", "30"));
  });
  EXPECT_TRUE(Eventually([&] { return cache.Contains(1) && cache.Contains(3); }));
  may_end.Set();
  other.join();
  bulk.join();
  EXPECT_THAT(calls_, ElementsAre(Keys{1, 3}));
  EXPECT_EQ(cache.Stats().joined, 1u);
}

TEST_F(BulkFlightTest, OthersWaitForItAndShareItsValues) {
  IntCache& cache = Make<IntCache>(Options());
  std::thread single;
  std::thread bulk;
  const auto loader = [&](const Keys& keys) -> absl::StatusOr<Values> {
    single = std::thread([&] { EXPECT_EQ(Seen(cache.GetOrLoad(1, One)), "10"); });
    bulk = std::thread([&] {
      const auto others = [](const Keys&) -> absl::StatusOr<Values> { return Values{{9, 99}}; };
      EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{2, 9}, others)), ElementsAre("20", "99"));
    });
    // They have missed: what they do next is to wait, or to find what this stores.
    EXPECT_TRUE(Eventually([&] { return cache.Stats().misses >= 5 && cache.Contains(9); }));
    return TenTimes()(keys);
  };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, loader)), ElementsAre("10", "20"));
  single.join();
  bulk.join();
}

TEST_F(BulkFlightTest, OthersWhoWaitForOneThatThrowsGetAnError) {
  IntCache& cache = Make<IntCache>(Options());
  Result joined = absl::UnknownError("");
  const auto loader = [&](const Keys&) -> absl::StatusOr<Values> {
    cache.GetOrLoadAsync(2, One, [&joined](Result result) { joined = std::move(result); });
    throw std::runtime_error("no such luck");
  };
  EXPECT_THROW(cache.GetOrLoadAll(Keys{1, 2}, loader), std::runtime_error);
  executor_.RunAll();
  EXPECT_TRUE(absl::IsInternal(joined.status()));
  EXPECT_THAT(std::string(joined.status().message()), HasSubstr("no such luck"));
}

TEST_F(BulkFlightTest, ALoaderBeginsWhatItNeedsAndTheExecutorHasNotBegun) {
  auto options = Options();
  IntCache& cache = Make<IntCache>(options);
  Result launched = absl::UnknownError("");
  cache.GetOrLoadAsync(5, One, [&launched](Result result) { launched = std::move(result); });
  const Result outer = cache.GetOrLoad(1, [&](uint64_t) -> Result {
    // One call each for what is its own and for what it takes over.
    EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{5, 6}, TenTimes())), ElementsAre("50", "60"));
    return 10;
  });
  EXPECT_EQ(Seen(outer), "10");
  EXPECT_THAT(calls_, ElementsAre(Keys{6}, Keys{5}));
  executor_.RunAll();
  EXPECT_EQ(Seen(launched), "50");
}

// --- Limits.

TEST_F(BulkFlightTest, ForTheLimiterACallIsOneLoad) {
  auto options = Options();
  options.max_concurrent_loads = 2;
  options.max_queued_loads = 0;
  IntCache& cache = Make<IntCache>(options);
  const auto others = [&](const Keys& keys) -> absl::StatusOr<Values> {
    std::thread([&] {
      EXPECT_EQ(*cache.GetOrLoad(7,
                                 [&](uint64_t) -> Result {
                                   std::thread([&] {
                                     EXPECT_EQ(Seen(cache.GetOrLoad(8, One)), "RESOURCE_EXHAUSTED");
                                     EXPECT_THAT(
                                         Seen(cache.GetOrLoadAll(Keys{8, 9}, TenTimes())),
                                         ElementsAre("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"));
                                   }).join();
                                   return 70;
                                 }),
                70u);
    }).join();
    return TenTimes()(keys);
  };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, others)), ElementsAre("10", "20", "30"));
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{8, 9}, TenTimes())), ElementsAre("80", "90"));
}

TEST_F(BulkFlightTest, ForTheCircuitBreakerACallIsOneLoad) {
  auto options = Options();
  options.circuit_breaker = {.failures = 2, .open_for = absl::Seconds(1)};
  IntCache& cache = Make<IntCache>(options);
  status_ = absl::UnknownError("no such luck");
  cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes());
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kClosed);
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("UNKNOWN", "UNKNOWN"));
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kOpen);
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())),
              ElementsAre("UNAVAILABLE", "UNAVAILABLE"));
  EXPECT_EQ(calls_.size(), 2u);
  clock_.Advance(absl::Seconds(1));
  // A probe that never ran, or throws, is over too.
  executor_.Refuse();
  EXPECT_THAT(
      Seen(cache.GetOrLoadAll(Keys{1}, TenTimes(), LoadOptions{.hard_timeout = absl::Seconds(1)})),
      ElementsAre("RESOURCE_EXHAUSTED"));
  EXPECT_THROW(cache.GetOrLoadAll(
                   Keys{1}, [](const Keys&) -> absl::StatusOr<Values> { throw std::string("no"); }),
               std::string);
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kOpen);
  clock_.Advance(absl::Seconds(1));
  status_ = absl::OkStatus();
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "20"));
  EXPECT_EQ(cache.Stats().circuit, CircuitState::kClosed);
}

}  // namespace
}  // namespace larder::test
