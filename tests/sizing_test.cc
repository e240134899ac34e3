// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/sizing.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>

#include "gtest/gtest.h"
#include "larder/internal/table.h"
#include "larder/options.h"

namespace larder::internal {
namespace {

constexpr size_t kNodeSize = 64;

Sizing For(uint64_t capacity, int stripes = 0, bool weighed = false, size_t node_size = kNodeSize) {
  return Sizing::For({.capacity = capacity, .stripes = stripes}, weighed, node_size);
}

TEST(SizingTest, ASmallCacheGetsOneStripeAndIsExact) {
  for (const uint64_t capacity : {1, 2, 10, 100, 512, 1'000}) {
    EXPECT_EQ(For(capacity).stripe_count(), 1u) << capacity;
  }
}

TEST(SizingTest, ALargeCacheGetsStripesThatAreNotSmall) {
  size_t before = 1;
  for (uint64_t capacity = 1'000; capacity < 1'000'000'000'000; capacity *= 10) {
    const size_t stripes = For(capacity).stripe_count();
    EXPECT_GE(stripes, before);
    EXPECT_LE(stripes, 1'024u);
    EXPECT_GE(capacity / stripes, 512u);
    before = stripes;
  }
  EXPECT_GE(before, 8u) << "8 a core";
}

TEST(SizingTest, StripesAskedForAreRoundedUpToAPowerOfTwo) {
  struct Case {
    int asked;
    size_t given;
  };
  for (const auto& [asked, given] :
       {Case{1, 1}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {100, 128}, {4'095, 4'096}, {4'096, 4'096}}) {
    EXPECT_EQ(For(1'000'000, asked).stripe_count(), given);
    // Also where the capacity makes little of it.
    EXPECT_EQ(For(1, asked).stripe_count(), given);
  }
}

TEST(SizingTest, ChunksAreNeitherLargerThanAStripeNeedsNorThanTheSlabAllows) {
  for (const size_t node_size : {size_t{40}, size_t{64}, size_t{4'096}, size_t{10} << 20}) {
    for (const int stripes : {0, 1, 64, 4'096}) {
      for (uint64_t capacity = 1; capacity < 1'000'000'000'000; capacity *= 10) {
        const Sizing sizing = For(capacity, stripes, false, node_size);
        EXPECT_GE(sizing.chunk_log2, 4);
        EXPECT_LE(sizing.chunk_log2, 16);
        const uint64_t slots = uint64_t{1} << sizing.chunk_log2;
        EXPECT_LE(slots, std::max<uint64_t>(64, capacity / sizing.stripe_count()));
        if (sizing.chunk_log2 > 4) {
          EXPECT_LE(slots * node_size, size_t{1} << 20);
        }
      }
    }
  }
  EXPECT_EQ(For(1'000'000, 1).chunk_log2, 8);
}

TEST(SizingTest, AStripeIsExpectedToHoldItsShareAndALittleMore) {
  EXPECT_GE(For(1'000, 1).stripe_entries, 1'000u);
  EXPECT_LE(For(1'000, 1).stripe_entries, 1'001u);
  const size_t share = 1'000'000 / 16;
  EXPECT_GT(For(1'000'000, 16).stripe_entries, share + 500);
  EXPECT_LT(For(1'000'000, 16).stripe_entries, share + share / 10);
  // Of a weighed cache it isn't known.
  EXPECT_EQ(For(1'000, 1, /*weighed=*/true).stripe_entries, 0u);
}

TEST(SizingTest, ExtremeCapacitiesAreFine) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  for (const bool weighed : {false, true}) {
    for (const int stripes : {0, 1, 4'096}) {
      const Sizing sizing = For(kMost, stripes, weighed);
      EXPECT_LE(sizing.chunk_log2, 16);
      EXPECT_GT(sizing.reclaim_weight, 0u);
      EXPECT_LE(sizing.FirstTable(), 1'000u);
      EXPECT_GT(sizing.GrownTable(1'000), 1'000u);
    }
  }
  EXPECT_GT(For(1, 4'096).reclaim_weight, 0u);
}

// What removed entries hold on to is a small share of the capacity.
TEST(SizingTest, RemovedEntriesAreReclaimedBeforeTheyWeighMuch) {
  const Sizing sizing = For(1 << 20, 4, /*weighed=*/true);
  EXPECT_LE(sizing.reclaim_weight * sizing.stripe_count(), (1u << 20) / 32);
}

// From the first table on, growing as the stripe does, up to one that holds a full stripe.
TEST(SizingTest, TablesGrowTwofoldUpToWhatAFullStripeNeeds) {
  for (const uint64_t capacity : {1, 5, 100, 576, 577, 1'000, 100'000}) {
    const Sizing sizing = For(capacity, 1);
    size_t entries = Table::Create(sizing.FirstTable())->capacity();
    int grown = 0;
    while (entries < capacity) {
      const size_t next = Table::Create(sizing.GrownTable(entries))->capacity();
      ASSERT_GT(next, entries);
      EXPECT_LE(next, 2 * entries + 9);
      entries = next;
      ++grown;
    }
    EXPECT_LE(grown, 9);
    EXPECT_LT(entries, capacity + 10) << "a full stripe needs no larger table";
  }
}

// Weights of less than 1, a larger capacity at run time: a stripe may hold more than was expected.
TEST(SizingTest, TablesGrowOnPastWhatWasExpected) {
  const Sizing sizing = For(100, 1);
  EXPECT_GE(sizing.GrownTable(sizing.stripe_entries), 2 * sizing.stripe_entries);
  EXPECT_GE(sizing.GrownTable(5'000), 10'000u);
}

TEST(SizingTest, TablesOfWeighedCachesStartSmallAndDouble) {
  const Sizing sizing = For(1'000'000'000, 1, /*weighed=*/true);
  EXPECT_GT(sizing.FirstTable(), 0u);
  EXPECT_LE(sizing.FirstTable(), 1'000u);
  EXPECT_EQ(sizing.GrownTable(1'000), 2'000u);
}

}  // namespace
}  // namespace larder::internal
