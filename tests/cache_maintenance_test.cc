// SPDX-License-Identifier: Apache-2.0
// RunMaintenance and the background thread: that all work is done, and no call does more than its
// budget, whatever there is to do.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using CountedCache = Cache<uint64_t, Counted>;
using enum RemovalCause;

constexpr absl::Duration kTtl = absl::Seconds(10);

class CacheMaintenanceTest : public CacheFixture {
 protected:
  // A cache full of entries that have just become due, all at one instant.
  template <class CacheT>
  CacheT& MakeDue(uint64_t entries, int stripes, uint64_t weight = 1,
                  decltype(CacheT::Options::on_removal) listener = nullptr) {
    auto options = this->template OptionsFor<CacheT>(2 * entries * weight);
    options.ttl = kTtl;
    options.stripes = stripes;
    options.on_removal = std::move(listener);
    CacheT& cache = Make<CacheT>(options);
    for (uint64_t key = 0; key < entries; ++key) {
      EXPECT_TRUE(cache.Put(key, key, {.weight = weight}).ok());
    }
    clock_.Advance(kTtl + absl::Hours(1));
    return cache;
  }

  // Works until there is nothing left to do.
  template <class CacheT>
  static void Maintain(CacheT& cache, size_t budget = 1000) {
    while (cache.RunMaintenance(budget) != 0) {
    }
  }

  // Values that have left the cache and are there still.
  static int64_t Undestroyed(const CountedCache& cache) {
    return Counted::Live() - static_cast<int64_t>(cache.size());
  }
};

TEST_F(CacheMaintenanceTest, KeepsToItsBudget) {
  constexpr size_t kEntries = 20'000;
  for (const int stripes : {1, 64}) {
    for (const size_t budget : {size_t{50}, size_t{5'000}}) {
      IntCache& cache = MakeDue<IntCache>(kEntries, stripes);
      size_t worked = 0;
      for (;;) {
        const uint64_t before = cache.size();
        const size_t now = cache.RunMaintenance(budget);
        if (now == 0) break;
        worked += now;
        ASSERT_LE(now, budget);
        ASSERT_LE(before - cache.size(), now);
      }
      EXPECT_GE(worked, kEntries);
      EXPECT_EQ(cache.size(), 0u);
      EXPECT_EQ(cache.weight(), 0u);
      EXPECT_EQ(cache.Stats().expirations, kEntries);
      End(cache);
    }
  }
}

TEST_F(CacheMaintenanceTest, DestructionsCountInTheBudget) {
  constexpr uint64_t kEntries = 30'000;
  constexpr size_t kBudget = 256;
  for (const int stripes : {1, 16}) {
    CountedCache& cache = MakeDue<CountedCache>(kEntries, stripes);
    for (;;) {
      const int64_t live = Counted::Live();
      const uint64_t size = cache.size();
      const size_t now = cache.RunMaintenance(kBudget);
      if (now == 0) break;
      ASSERT_LE(now, kBudget);
      const uint64_t removed = size - cache.size();
      ASSERT_LE(removed + static_cast<uint64_t>(live - Counted::Live()), now);
    }
    EXPECT_EQ(Counted::Live(), 0);
    EXPECT_EQ(cache.size(), 0u);
    End(cache);
  }
}

TEST_F(CacheMaintenanceTest, WhatABurstRemovesIsDestroyedWhileItLasts) {
  constexpr uint64_t kEntries = 50'000;
  for (const int stripes : {1, 16}) {
    for (const size_t budget : {size_t{200}, SIZE_MAX}) {
      int64_t most = 0;
      const CountedCache* burst = nullptr;
      CountedCache& cache =
          MakeDue<CountedCache>(kEntries, stripes, 1, [&](uint64_t, const Counted&, RemovalCause) {
            most = std::max(most, Undestroyed(*burst));
          });
      burst = &cache;
      Maintain(cache, budget);
      EXPECT_LE(most, 12'000);
      EXPECT_EQ(Counted::Live(), 0);
      End(cache);
    }
  }
}

TEST_F(CacheMaintenanceTest, HeavyValuesAreDestroyedSooner) {
  constexpr uint64_t kEntries = 2'000;
  CountedCache& cache = MakeDue<CountedCache>(kEntries, 4, 1'000'000);
  int64_t most = 0;
  do {
    most = std::max(most, Undestroyed(cache));
  } while (cache.RunMaintenance(16) != 0);
  // Of the capacity, twice the entries, 1/32 is 125.
  EXPECT_LE(most, 500);
  EXPECT_EQ(Counted::Live(), 0);
}

TEST_F(CacheMaintenanceTest, ABudgetOfOneGetsEverythingDone) {
  constexpr uint64_t kEntries = 5'000;
  CountedCache& cache = MakeDue<CountedCache>(kEntries, 4);
  uint64_t calls = 0;
  for (; cache.RunMaintenance(1) != 0; ++calls) ASSERT_LE(calls, 8 * kEntries);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(Counted::Live(), 0);
}

TEST_F(CacheMaintenanceTest, ABudgetOfNothingDoesNothing) {
  CountedCache& cache = MakeDue<CountedCache>(100, 1);
  EXPECT_EQ(cache.RunMaintenance(0), 0u);
  EXPECT_EQ(cache.size(), 100u);
}

TEST_F(CacheMaintenanceTest, AWriterDestroysFewOfWhatABurstLeft) {
  constexpr uint64_t kEntries = 20'000;
  CountedCache& cache = MakeDue<CountedCache>(kEntries, 1);
  // Until much has been removed, and little of it destroyed.
  while (Undestroyed(cache) < 1'000) ASSERT_NE(cache.RunMaintenance(256), 0u);
  int64_t most = 0;
  for (uint64_t put = 0; put < kEntries / 2; ++put) {
    const int64_t before = Counted::Live();
    ASSERT_TRUE(cache.Put(kEntries + put % 100, put).ok());
    most = std::max(most, before - Counted::Live());
  }
  EXPECT_LE(most, 300);
  EXPECT_LE(Undestroyed(cache), 300);
}

TEST_F(CacheMaintenanceTest, PinnedValuesDoNotEndTheWorkEarly) {
  constexpr uint64_t kEntries = 1'000;
  auto options = OptionsFor<CountedCache>(kEntries);
  options.stripes = 1;
  CountedCache& cache = Make<CountedCache>(options);
  std::vector<CountedCache::Handle> pins;
  for (uint64_t key = 0; key < kEntries; ++key) {
    ASSERT_TRUE(cache.Put(key, key, {.ttl = kTtl}).ok());
    if (key < kEntries / 2) pins.push_back(cache.Pin(key));
  }
  clock_.Advance(kTtl + absl::Hours(1));
  Maintain(cache);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(pins.size()));
  pins.clear();
  EXPECT_EQ(Counted::Live(), 0);
}

TEST_F(CacheMaintenanceTest, TheBackgroundThreadReclaimsAnIdleCache) {
  auto options = OptionsFor<IntCache>(1 << 20);
  options.ttl = kTtl;
  options.maintenance_interval = absl::Milliseconds(1);
  std::atomic<uint64_t> expired{0};
  options.on_removal = [&expired](uint64_t, uint64_t, RemovalCause cause) {
    if (cause == kExpired) expired.fetch_add(1);
  };
  IntCache& cache = Make<IntCache>(options);
  for (uint64_t key = 0; key < 5000; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  EXPECT_EQ(cache.size(), 5000u);
  clock_.Advance(kTtl + absl::Hours(1));
  EXPECT_TRUE(Eventually([&] { return cache.size() == 0 && expired.load() == 5000; }));
  End(cache);
}

TEST_F(CacheMaintenanceTest, TheBackgroundThreadWorksInRealTime) {
  auto options = OptionsFor<IntCache>(1 << 20);
  options.clock = nullptr;
  options.ttl = absl::Milliseconds(2);
  options.idle_ttl = absl::Milliseconds(1);
  options.maintenance_interval = absl::Milliseconds(1);
  IntCache& cache = Make<IntCache>(options);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  EXPECT_TRUE(Eventually([&] { return cache.size() == 0; }));
  End(cache);
}

}  // namespace
}  // namespace larder::test
