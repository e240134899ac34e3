// SPDX-License-Identifier: Apache-2.0
//
// Clear looks at no entry, and what it leaves is gone by and by: for each policy, with one stripe
// and several, with and without a ttl.

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <type_traits>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/policy.h"
#include "tests/support/clear_fixture.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

// What a put may destroy: two chunks of slots, twice, and some more.
constexpr int64_t kMostDestroyed = 1'536;
// Removed nodes of a stripe that wait for their readers, and the part of a chunk that isn't used.
constexpr size_t kSlack = 1'024;

TYPED_TEST_SUITE(CacheClearTest, ClearKinds);

// --- What Clear does itself.

TYPED_TEST(CacheClearTest, LooksAtNoEntry) {
  constexpr uint64_t kEntries = 20'000;
  constexpr uintptr_t kPage = 4096;
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(kEntries, options);
    this->Fill(cache, 0, kEntries);
    // S3Fifo lets an entry into its queue with the stripe's next change.
    for (uint64_t key = 0; key < 500; ++key) EXPECT_TRUE(cache.Erase(key));
    this->WorkOff(cache);
    uintptr_t begin = UINTPTR_MAX;
    uintptr_t end = 0;
    for (uint64_t key = 500; key < kEntries; ++key) {
      cache.Visit(key, [&](const typename TypeParam::Value& value) {
        begin = std::min(begin, reinterpret_cast<uintptr_t>(&value));
        end = std::max(end, reinterpret_cast<uintptr_t>(&value));
      });
    }
    begin = (begin + kPage - 1) / kPage * kPage;
    end = end / kPage * kPage;
    ASSERT_GT(end, begin + kEntries * sizeof(typename TypeParam::Value));
    // Whoever reads or writes an entry now dies.
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_NONE), 0);
    cache.Clear();
    const uint64_t size = cache.size();
    const uint64_t weight = cache.weight();
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(size, 0u);
    EXPECT_EQ(weight, 0u);
    EXPECT_EQ(this->Found(cache, 0, kEntries), 0u);
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, SubtractsAllAtOnce) {
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(100'000, options);
    uint64_t weight = 0;
    for (uint64_t key = 0; key < 3'000; ++key) {
      ASSERT_TRUE(cache.Put(key, key, {.weight = key % 7}).ok());
      weight += key % 7;
    }
    EXPECT_EQ(cache.weight(), weight);
    cache.Clear();
    EXPECT_EQ(cache.size(), 0u);
    EXPECT_EQ(cache.weight(), 0u);
    EXPECT_EQ(cache.Stats().cleared, 3'000u);
    this->ExpectSound(cache);
    size_t walked = 0;
    cache.ForEach([&](uint64_t, const auto&) { ++walked; });
    EXPECT_EQ(walked, 0u);
    // What is left counts for nothing a second time.
    cache.Clear();
    this->Fill(cache, 0, 100);
    this->WorkOff(cache);
    EXPECT_EQ(cache.Stats().cleared, 3'000u);
    EXPECT_EQ(cache.size(), 100u);
    EXPECT_EQ(cache.weight(), 100u);
    this->End(cache);
  });
}

// --- What is left of the entries.

TYPED_TEST(CacheClearTest, LaterPutsDestroyWhatWasCleared) {
  if (!std::is_same_v<typename TypeParam::Value, Counted>) return;
  constexpr int64_t kEntries = 10'000;
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(kEntries, options);
    this->Fill(cache, 0, kEntries);
    const int64_t full = Counted::Live();
    EXPECT_EQ(full, static_cast<int64_t>(cache.size()));
    cache.Clear();
    EXPECT_EQ(Counted::Live(), full);
    int64_t live = full;
    int64_t most_live = full;
    for (int64_t put = 0; put < kEntries; ++put) {
      ASSERT_TRUE(cache.Put(static_cast<uint64_t>(put), static_cast<uint64_t>(put)).ok());
      ASSERT_LE(live - Counted::Live(), kMostDestroyed);
      live = Counted::Live();
      most_live = std::max(most_live, live);
      if (put % 1'000 == 0) this->ExpectSound(cache);
    }
    // All are gone long before as many have been put again.
    EXPECT_LE(most_live, full + static_cast<int64_t>(kSlack));
    EXPECT_LE(live, static_cast<int64_t>(cache.size() + kSlack * 2));
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, MaintenanceDestroysTheRestWithinItsBudget) {
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(5'000, options);
    this->Fill(cache, 0, 5'000);
    cache.Clear();
    this->Fill(cache, 0, 10);
    const size_t budgets[] = {1, 7, 100, 1'000};
    size_t worked = 1;
    for (size_t i = 0; worked > 0; ++i) {
      const size_t budget = budgets[i % std::size(budgets)];
      worked = cache.RunMaintenance(budget);
      ASSERT_LE(worked, budget);
      if (i % 16 == 0) this->ExpectSound(cache);
    }
    EXPECT_EQ(cache.size(), 10u);
    EXPECT_EQ(this->Found(cache, 0, 5'000), 10u);
    if (std::is_same_v<typename TypeParam::Value, Counted>) {
      EXPECT_EQ(Counted::Live(), 10);
    }
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, TheDestructorDestroysTheRest) {
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(5'000, options);
    this->Fill(cache, 0, 5'000);
    cache.Clear();
    this->Fill(cache, 0, 300);
    cache.Clear();
    this->Fill(cache, 0, 20);
    this->End(cache);
    EXPECT_EQ(Counted::Live(), 0);
  });
}

TYPED_TEST(CacheClearTest, ACacheClearedOverAndOverNeedsNoMoreMemory) {
  constexpr uint64_t kEntries = 8'000;
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(kEntries, options);
    std::mt19937_64 random(1);
    uintptr_t begin = UINTPTR_MAX;
    uintptr_t end = 0;
    const auto look = [&](uint64_t key) {
      cache.Visit(key, [&](const typename TypeParam::Value& value) {
        begin = std::min(begin, reinterpret_cast<uintptr_t>(&value));
        end = std::max(end, reinterpret_cast<uintptr_t>(&value));
      });
    };
    uintptr_t bytes_once = 0;
    int64_t most_live = 0;
    for (int round = 0; round < 20; ++round) {
      // At times not nearly full, at times past that.
      const uint64_t puts = round == 0 ? kEntries : 1 + random() % (kEntries * 5 / 4);
      for (uint64_t key = 0; key < puts; ++key) {
        ASSERT_TRUE(cache.Put(key, key).ok());
        look(key);
        most_live = std::max(most_live, Counted::Live());
      }
      if (round == 0) bytes_once = end - begin;
      cache.Clear();
      if (round % 4 == 0) this->ExpectSound(cache);
    }
    const size_t stride = bytes_once / kEntries;
    EXPECT_LE(end - begin, bytes_once + stride * kSlack * static_cast<size_t>(options.stripes));
    EXPECT_LE(end - begin, 2 * bytes_once);
    EXPECT_LE(most_live, static_cast<int64_t>(kEntries * 3 / 2));
    this->End(cache);
  });
}

// --- What comes after.

TYPED_TEST(CacheClearTest, ACacheThatIsFilledAgainHoldsWhatWasPutSince) {
  constexpr uint64_t kEntries = 4'000;
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(kEntries * 2, options);
    for (uint64_t round = 0; round < 4; ++round) {
      this->Fill(cache, round * kEntries, (round + 1) * kEntries);
      EXPECT_EQ(cache.size(), kEntries);
      EXPECT_EQ(this->Found(cache, 0, 5 * kEntries), kEntries);
      cache.Clear();
      this->ExpectSound(cache);
      EXPECT_EQ(this->Found(cache, 0, 5 * kEntries), 0u);
    }
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, ManyClearsInARowWithAFewPutsBetween) {
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(5'000, options);
    this->Fill(cache, 0, 5'000);
    uint64_t cleared = cache.size();
    for (uint64_t round = 0; round < 300; ++round) {
      cache.Clear();
      ASSERT_EQ(cache.Stats().cleared, cleared);
      const uint64_t puts = round % 13;
      this->Fill(cache, round, round + puts);
      ASSERT_EQ(cache.size(), puts);
      ASSERT_EQ(this->Found(cache, round, round + puts), puts);
      if (round % 10 == 0) this->ExpectSound(cache);
      cleared += puts;
    }
    this->End(cache);
  });
}

// A cache that was cleared evicts what a new one would, while it works off what was cleared, and
// passes over none of that.
TYPED_TEST(CacheClearTest, EvictsAsANewCacheWould) {
  constexpr uint64_t kCapacity = 1'500;
  for (const uint64_t before : {10u, 700u, 1'500u, 5'000u}) {
    SCOPED_TRACE(before);
    auto& cleared = this->MakeOf(std::max(before, kCapacity), {1});
    this->Fill(cleared, 1'000'000, 1'000'000 + before);
    std::mt19937_64 random(before);
    for (int hit = 0; hit < 1'000; ++hit) cleared.Get(1'000'000 + random() % before);
    cleared.Clear();
    // At once, with nothing in it.
    ASSERT_TRUE(cleared.SetCapacity(kCapacity).ok());
    auto& fresh = this->MakeOf(kCapacity, {1});
    for (uint64_t key = 0; key < 6'000; ++key) {
      // Keys that were evicted don't come back: S3Fifo remembers those from before a Clear as well.
      ASSERT_TRUE(cleared.Put(key, key).ok());
      ASSERT_TRUE(fresh.Put(key, key).ok());
      for (int hit = 0; hit < 3; ++hit) {
        const uint64_t other = key - std::min(key, random() % 2'000);
        ASSERT_EQ(cleared.Get(other).has_value(), fresh.Get(other).has_value())
            << other << " after " << key;
      }
      if (key % 500 == 0) {
        for (uint64_t other = 0; other <= key; ++other) {
          ASSERT_EQ(cleared.Contains(other), fresh.Contains(other)) << other << " after " << key;
        }
      }
    }
    EXPECT_EQ(cleared.Stats().evictions, fresh.Stats().evictions);
    this->End(cleared);
    this->End(fresh);
  }
}

TYPED_TEST(CacheClearTest, ALowerCapacityIsReachedWhileMuchIsLeft) {
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(20'000, options);
    this->Fill(cache, 0, 20'000);
    cache.Clear();
    this->Fill(cache, 0, 2'000);
    ASSERT_TRUE(cache.SetCapacity(100).ok());
    EXPECT_EQ(cache.size(), 100u);
    this->Fill(cache, 2'000, 2'500);
    EXPECT_EQ(cache.size(), 100u);
    this->ExpectSound(cache);
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, WhatWasClearedDoesNotExpireAndWhatFollowedDoes) {
  for (const int stripes : {1, 8}) {
    auto& cache = this->MakeOf(10'000, {stripes, absl::Minutes(10)});
    this->Fill(cache, 0, 5'000);
    this->clock_.Advance(absl::Minutes(5));
    cache.Clear();
    this->Fill(cache, 0, 1'000);
    // Past the deadlines of what was cleared.
    this->clock_.Advance(absl::Minutes(6));
    EXPECT_EQ(this->Found(cache, 0, 5'000), 1'000u);
    this->ExpectSound(cache);
    this->Fill(cache, 1'000, 1'100);
    this->WorkOff(cache);
    EXPECT_EQ(cache.Stats().expirations, 0u);
    EXPECT_EQ(cache.size(), 1'100u);
    this->clock_.Advance(absl::Minutes(5));
    this->WorkOff(cache);
    EXPECT_EQ(cache.size(), 100u);
    EXPECT_EQ(cache.Stats().expirations, 1'000u);
    EXPECT_EQ(cache.Stats().cleared, 5'000u);
    this->End(cache);
  }
}

}  // namespace
}  // namespace larder::test
