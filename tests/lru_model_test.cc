// SPDX-License-Identifier: Apache-2.0
// The reference model that the caches' exact order is measured against, on cases worked out by
// hand.
#include "tests/support/lru_model.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/manual_clock.h"

namespace larder::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using Removal = LruModel::Removal;
using enum RemovalCause;

class LruModelTest : public ::testing::Test {
 protected:
  // Keys 1 to n with values ten times as large, 1 being the least recent.
  void Fill(uint64_t n) {
    for (uint64_t key = 1; key <= n; ++key) model_.Put({.key = key, .value = key * 10});
    model_.TakeRemoved();
  }

  ManualClock clock_;
  LruModel model_{3, &clock_};
};

TEST_F(LruModelTest, EvictsTheLeastRecentlyUsed) {
  Fill(3);
  EXPECT_EQ(model_.Get(1), 10u);
  EXPECT_TRUE(model_.Put({.key = 4, .value = 40}));
  EXPECT_TRUE(model_.Put({.key = 5, .value = 50}));
  EXPECT_THAT(model_.TakeRemoved(),
              ElementsAre(Removal{2, 20, kEvicted}, Removal{3, 30, kEvicted}));
  EXPECT_THAT(model_.LiveInEvictionOrder(), ElementsAre(Pair(1, 10), Pair(4, 40), Pair(5, 50)));
}

TEST_F(LruModelTest, ContainsPeekAndAFailedPutIfAbsentLeaveTheOrder) {
  Fill(3);
  EXPECT_TRUE(model_.Contains(1));
  EXPECT_EQ(model_.Peek(1), 10u);
  EXPECT_FALSE(model_.PutIfAbsent({.key = 1, .value = 11}));
  EXPECT_FALSE(model_.Contains(4));
  EXPECT_THAT(model_.LiveInEvictionOrder(), ElementsAre(Pair(1, 10), Pair(2, 20), Pair(3, 30)));
  EXPECT_THAT(model_.TakeRemoved(), IsEmpty());
}

TEST_F(LruModelTest, APutOfAKeyReplacesItAndMakesItTheMostRecent) {
  Fill(3);
  EXPECT_TRUE(model_.Put({.key = 1, .value = 11}));
  EXPECT_THAT(model_.TakeRemoved(), ElementsAre(Removal{1, 10, kReplaced}));
  EXPECT_THAT(model_.LiveInEvictionOrder(), ElementsAre(Pair(2, 20), Pair(3, 30), Pair(1, 11)));
}

TEST_F(LruModelTest, WeighsEntries) {
  Fill(3);
  EXPECT_TRUE(model_.Put({.key = 4, .value = 40, .weight = 2}));
  EXPECT_THAT(model_.TakeRemoved(),
              ElementsAre(Removal{1, 10, kEvicted}, Removal{2, 20, kEvicted}));
  EXPECT_EQ(model_.weight(), 3u);
  // The old entry's weight is free before others have to go.
  EXPECT_TRUE(model_.Put({.key = 4, .value = 41, .weight = 2}));
  EXPECT_THAT(model_.TakeRemoved(), ElementsAre(Removal{4, 40, kReplaced}));
  EXPECT_FALSE(model_.Put({.key = 4, .value = 42, .weight = 4}));
  EXPECT_FALSE(model_.PutIfAbsent({.key = 5, .value = 50, .weight = 4}));
  EXPECT_THAT(model_.TakeRemoved(), IsEmpty());
  EXPECT_THAT(model_.LiveInEvictionOrder(), ElementsAre(Pair(3, 30), Pair(4, 41)));
}

TEST_F(LruModelTest, RemovesForEachCause) {
  Fill(3);
  EXPECT_TRUE(model_.Erase(2));
  EXPECT_FALSE(model_.Erase(2));
  EXPECT_TRUE(model_.Compute(3, LruModel::Entry{.key = 3, .value = 31}));
  EXPECT_TRUE(model_.Compute(3, std::nullopt));
  EXPECT_TRUE(model_.Compute(3, std::nullopt));
  EXPECT_EQ(model_.EraseIf([](uint64_t key, uint64_t value) { return key == 1 && value == 10; }),
            1u);
  EXPECT_THAT(model_.TakeRemoved(), ElementsAre(Removal{2, 20, kErased}, Removal{3, 30, kReplaced},
                                                Removal{3, 31, kErased}, Removal{1, 10, kErased}));
  Fill(2);
  model_.Clear();
  EXPECT_THAT(model_.TakeRemoved(),
              ElementsAre(Removal{2, 20, kCleared}, Removal{1, 10, kCleared}));
  EXPECT_EQ(model_.size(), 0u);
  EXPECT_EQ(model_.weight(), 0u);
}

TEST_F(LruModelTest, SetCapacityEvictsAtOnce) {
  Fill(3);
  model_.SetCapacity(1);
  EXPECT_THAT(model_.TakeRemoved(),
              ElementsAre(Removal{1, 10, kEvicted}, Removal{2, 20, kEvicted}));
}

TEST_F(LruModelTest, ATtlEndsAtItsDeadlineWhateverTheHits) {
  EXPECT_TRUE(model_.Put({.key = 1, .value = 10, .ttl = 100}));
  clock_.SetNanos(99);
  EXPECT_EQ(model_.Get(1), 10u);
  clock_.SetNanos(100);
  EXPECT_EQ(model_.Get(1), std::nullopt);
  EXPECT_FALSE(model_.Contains(1));
  EXPECT_FALSE(model_.Erase(1));
  EXPECT_THAT(model_.TakeRemoved(), IsEmpty());
  EXPECT_EQ(model_.size(), 1u);
  model_.DropExpired();
  EXPECT_THAT(model_.TakeRemoved(), ElementsAre(Removal{1, 10, kExpired}));
}

TEST_F(LruModelTest, DropsOneKeyOnlyWhereItIsExpired) {
  EXPECT_TRUE(model_.Put({.key = 1, .value = 10, .ttl = 100}));
  EXPECT_TRUE(model_.Put({.key = 2, .value = 20, .ttl = 50}));
  clock_.SetNanos(50);
  EXPECT_FALSE(model_.DropExpired(1));
  EXPECT_TRUE(model_.DropExpired(2));
  EXPECT_FALSE(model_.DropExpired(2));
  EXPECT_THAT(model_.TakeRemoved(), ElementsAre(Removal{2, 20, kExpired}));
}

TEST_F(LruModelTest, AnIdleTtlStartsAnewWithEachHit) {
  EXPECT_TRUE(model_.Put({.key = 1, .value = 10, .idle_ttl = 100}));
  EXPECT_TRUE(model_.Put({.key = 2, .value = 20, .idle_ttl = 100}));
  clock_.SetNanos(60);
  EXPECT_EQ(model_.Get(1), 10u);
  EXPECT_TRUE(model_.Contains(2));
  clock_.SetNanos(120);
  EXPECT_THAT(model_.LiveInEvictionOrder(), ElementsAre(Pair(1, 10)));
}

TEST_F(LruModelTest, ExpiredEntriesMakeRoomBeforeLiveOnes) {
  EXPECT_TRUE(model_.Put({.key = 1, .value = 10}));
  EXPECT_TRUE(model_.Put({.key = 2, .value = 20, .ttl = 100}));
  EXPECT_TRUE(model_.Put({.key = 3, .value = 30}));
  clock_.SetNanos(100);
  EXPECT_TRUE(model_.Put({.key = 4, .value = 40}));
  EXPECT_THAT(model_.TakeRemoved(), ElementsAre(Removal{2, 20, kExpired}));
}

TEST_F(LruModelTest, AnExpiredEntryIsNotReplacedButExpires) {
  EXPECT_TRUE(model_.Put({.key = 1, .value = 10, .ttl = 100}));
  clock_.SetNanos(100);
  EXPECT_TRUE(model_.PutIfAbsent({.key = 1, .value = 11}));
  EXPECT_THAT(model_.TakeRemoved(), ElementsAre(Removal{1, 10, kExpired}));
}

}  // namespace
}  // namespace larder::test
