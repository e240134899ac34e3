// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/age_buckets.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/node.h"

namespace larder::internal {
namespace {

// Here a node's index is its stamp.
constexpr size_t kPlenty = 1 << 20;

void Gather(AgeBuckets& queue, std::vector<uint32_t> stamps, size_t most = kPlenty) {
  std::mt19937_64 random(stamps.size());
  std::shuffle(stamps.begin(), stamps.end(), random);
  const auto [lowest, highest] = std::minmax_element(stamps.begin(), stamps.end());
  queue.Begin(*lowest, *highest, most);
  for (const uint32_t stamp : stamps) queue.Add(stamp, stamp);
  queue.End();
}

std::vector<uint32_t> Numbers(uint32_t first, uint32_t last, uint32_t step = 1) {
  std::vector<uint32_t> numbers;
  for (uint32_t i = first; i <= last; i += step) numbers.push_back(i);
  return numbers;
}

std::vector<uint32_t> TakeBucket(AgeBuckets& queue) {
  const size_t count = queue.OldestCount();
  const size_t size = queue.size();
  std::vector<uint32_t> taken;
  queue.TakeOldest([&](NodeIndex node) { taken.push_back(node); });
  EXPECT_EQ(taken.size(), count);
  EXPECT_EQ(queue.size(), size - count);
  std::sort(taken.begin(), taken.end());
  return taken;
}

// All of it, in order; each bucket's within what the queue says of it.
std::vector<uint32_t> TakeAll(AgeBuckets& queue) {
  std::vector<uint32_t> all;
  while (queue.size() > 0) {
    const std::vector<uint32_t> bucket = TakeBucket(queue);
    EXPECT_GE(bucket.front(), queue.taken_first());
    EXPECT_LE(bucket.back(), queue.taken_last());
    all.insert(all.end(), bucket.begin(), bucket.end());
  }
  return all;
}

TEST(AgeBucketsTest, IsEmptyAtFirst) {
  AgeBuckets queue;
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_EQ(queue.gathered(), 0u);
  EXPECT_FALSE(queue.gathering());
}

TEST(AgeBucketsTest, TakesTheOldestFirst) {
  for (const uint32_t last : {1u, 2u, 255u, 256u, 10'000u}) {
    for (const uint32_t step : {1u, 7u, 1'000u}) {
      AgeBuckets queue;
      const std::vector<uint32_t> stamps = Numbers(1, last, step);
      Gather(queue, stamps);
      EXPECT_EQ(queue.size(), stamps.size());
      EXPECT_EQ(queue.gathered(), stamps.back());
      EXPECT_EQ(TakeAll(queue), stamps) << "1 to " << last << " by " << step;
    }
  }
}

TEST(AgeBucketsTest, BucketsAreSmallWhereStampsAreSpreadEvenly) {
  AgeBuckets queue;
  Gather(queue, Numbers(1, 3'000'000, 100), 30'000);
  while (queue.size() > 0) EXPECT_LE(TakeBucket(queue).size(), 2 * AgeBuckets::kBucketNodes);
}

TEST(AgeBucketsTest, WhatIsBeingGatheredIsNotQueued) {
  AgeBuckets queue;
  Gather(queue, Numbers(1, 1'000));
  queue.Begin(1'001, 2'000, kPlenty);
  EXPECT_TRUE(queue.gathering());
  std::vector<uint32_t> all;
  for (uint32_t stamp = 2'000; stamp > 1'000; --stamp) {
    queue.Add(stamp, stamp);
    if (stamp % 100 == 0 && queue.size() > 0) {
      for (const uint32_t taken : TakeBucket(queue)) all.push_back(taken);
    }
  }
  EXPECT_EQ(queue.size() + all.size(), 1'000u);
  EXPECT_EQ(queue.gathered(), 1'000u);
  queue.End();
  EXPECT_EQ(queue.size() + all.size(), 2'000u);
  EXPECT_EQ(queue.gathered(), 2'000u);
  for (const uint32_t taken : TakeAll(queue)) all.push_back(taken);
  EXPECT_EQ(all, Numbers(1, 2'000));
}

TEST(AgeBucketsTest, QueuesWhatSeveralGatheringsFound) {
  AgeBuckets queue;
  for (uint32_t i = 0; i < 20; ++i) Gather(queue, Numbers(i * 500 + 1, i * 500 + 500));
  EXPECT_EQ(TakeAll(queue), Numbers(1, 10'000));
}

TEST(AgeBucketsTest, StampsBelowTheRangeGoFirstAndThoseAboveAreLeftOut) {
  AgeBuckets queue;
  Gather(queue, Numbers(1, 100));
  TakeAll(queue);
  queue.Begin(5'000, 9'000, kPlenty);
  for (const uint32_t stamp : {9'001u, 8'000u, 50u, 101u, 5'000u}) queue.Add(stamp, stamp);
  queue.End();
  EXPECT_EQ(queue.gathered(), 9'000u);
  const std::vector<uint32_t> first = TakeBucket(queue);
  EXPECT_EQ(first, (std::vector<uint32_t>{50, 101, 5'000}));
  EXPECT_EQ(queue.taken_first(), 101u);
  EXPECT_EQ(TakeAll(queue), std::vector<uint32_t>{8'000});
}

TEST(AgeBucketsTest, GivesUpTheYoungerEndWhereRoomIsShort) {
  constexpr size_t kMost = 10'000;
  AgeBuckets queue;
  const std::vector<uint32_t> stamps = Numbers(1, 4 * kMost);
  Gather(queue, stamps, kMost);
  EXPECT_GT(queue.size(), kMost / 2);
  EXPECT_LT(queue.size(), kMost * 3 / 2);
  // All up to where it says, and nothing else.
  const uint32_t end = queue.gathered();
  EXPECT_EQ(TakeAll(queue), Numbers(1, end));
  // Room that was taken is used again, and what was given up is found the next time.
  for (int round = 0; round < 10; ++round) {
    const uint32_t first = queue.gathered() + 1;
    Gather(queue, Numbers(first, first + 2 * kMost), kMost);
    EXPECT_GT(queue.size(), kMost / 2);
    EXPECT_LT(queue.size(), kMost * 3 / 2);
    EXPECT_EQ(TakeAll(queue), Numbers(first, queue.gathered()));
  }
}

TEST(AgeBucketsTest, AddsAllEvenIfTheyCrowdInOneBucket) {
  AgeBuckets queue;
  queue.Begin(1, 1'000'000, 1'000);
  for (NodeIndex node = 0; node < 10'000; ++node) queue.Add(node, 77);
  queue.End();
  EXPECT_EQ(queue.size(), 10'000u);
  EXPECT_EQ(TakeBucket(queue).size(), 10'000u);
}

TEST(AgeBucketsTest, RangesReachTheLargestStamp) {
  AgeBuckets queue;
  queue.Begin(1, UINT32_MAX, kPlenty);
  for (const uint32_t stamp : {UINT32_MAX, 1u, 0x80000000u}) queue.Add(stamp, stamp);
  queue.End();
  EXPECT_EQ(queue.gathered(), UINT32_MAX);
  EXPECT_EQ(TakeAll(queue), (std::vector<uint32_t>{1, 0x80000000, UINT32_MAX}));
}

TEST(AgeBucketsTest, IsAsNewOnceCleared) {
  AgeBuckets queue;
  Gather(queue, Numbers(1, 1'000));
  queue.Begin(1'001, 2'000, kPlenty);
  queue.Add(1'500, 1'500);
  queue.Clear();
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_EQ(queue.gathered(), 0u);
  EXPECT_FALSE(queue.gathering());
  Gather(queue, Numbers(1, 300));
  EXPECT_EQ(TakeAll(queue), Numbers(1, 300));
}

}  // namespace
}  // namespace larder::internal
