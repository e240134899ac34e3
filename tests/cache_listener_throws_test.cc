// SPDX-License-Identifier: Apache-2.0
//
// An operation whose removal listener throws is done all the same, and then throws.

#include <cstdint>
#include <stdexcept>
#include <utility>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;

class ListenerThrowsTest : public CacheFixture {
 protected:
  // A cache of four stripes whose listener throws once, when armed.
  IntCache& MakeFull(uint64_t capacity, absl::Duration ttl = absl::InfiniteDuration()) {
    auto options = OptionsFor<IntCache>(capacity);
    options.stripes = 4;
    options.ttl = ttl;
    options.on_removal = [this](uint64_t, uint64_t, RemovalCause) {
      ++announced_;
      if (std::exchange(armed_, false)) throw std::runtime_error("listener");
    };
    IntCache& cache = Make<IntCache>(options);
    for (uint64_t key = 0; key < capacity; ++key) EXPECT_TRUE(cache.Put(key, key).ok());
    EXPECT_EQ(cache.size(), capacity);
    announced_ = 0;
    armed_ = true;
    return cache;
  }

  uint64_t announced_ = 0;
  bool armed_ = false;
};

TEST_F(ListenerThrowsTest, ClearRemovesAll) {
  IntCache& cache = MakeFull(1000);
  EXPECT_THROW(cache.Clear(), std::runtime_error);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(announced_, 1000u);
}

TEST_F(ListenerThrowsTest, EraseIfErasesAll) {
  IntCache& cache = MakeFull(1000);
  EXPECT_THROW(cache.EraseIf([](uint64_t, uint64_t) { return true; }), std::runtime_error);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(announced_, 1000u);
}

TEST_F(ListenerThrowsTest, SetCapacityEvictsAllThatIsOver) {
  IntCache& cache = MakeFull(1000);
  EXPECT_THROW((void)cache.SetCapacity(10), std::runtime_error);
  EXPECT_LE(cache.weight(), 10u);
  EXPECT_EQ(announced_, 1000u - cache.size());
}

TEST_F(ListenerThrowsTest, AHeavyPutIsStored) {
  IntCache& cache = MakeFull(1000);
  EXPECT_THROW((void)cache.Put(5000, 1, {.weight = 900}), std::runtime_error);
  EXPECT_EQ(cache.Get(5000), 1u);
  EXPECT_LE(cache.weight(), 1000u);
}

TEST_F(ListenerThrowsTest, MaintenanceReclaimsAll) {
  IntCache& cache = MakeFull(1000, absl::Seconds(1));
  clock_.Advance(absl::Hours(1));
  EXPECT_THROW(cache.RunMaintenance(SIZE_MAX), std::runtime_error);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(announced_, 1000u);
}

TEST_F(ListenerThrowsTest, ALoadIsStoredAndItsCallerGetsTheException) {
  IntCache& cache = MakeFull(1000);
  const auto load = [](uint64_t key) -> absl::StatusOr<uint64_t> { return key; };
  EXPECT_THROW((void)cache.GetOrLoad(5000, load), std::runtime_error);
  EXPECT_EQ(cache.Get(5000), 5000u);
}

TEST_F(ListenerThrowsTest, APutIfAbsentThatDeclinesEvictsNothing) {
  IntCache& cache = MakeFull(1000);
  EXPECT_FALSE(cache.PutIfAbsent(5, 6, {.weight = 900}));
  EXPECT_EQ(cache.size(), 1000u);
  EXPECT_EQ(announced_, 0u);
}

}  // namespace
}  // namespace larder::test
