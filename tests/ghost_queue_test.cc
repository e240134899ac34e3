// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/ghost_queue.h"

#include <cstddef>
#include <cstdint>
#include <list>
#include <random>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

// What an exact queue would do.
class GhostList {
 public:
  void Add(uint64_t fingerprint) {
    places_[fingerprint] = ghosts_.insert(ghosts_.end(), fingerprint);
  }
  bool Remove(uint64_t fingerprint) {
    const auto found = places_.find(fingerprint);
    if (found == places_.end()) return false;
    ghosts_.erase(found->second);
    places_.erase(found);
    return true;
  }
  void TrimTo(size_t count) {
    while (ghosts_.size() > count) Remove(ghosts_.front());
  }
  bool empty() const { return ghosts_.empty(); }
  size_t size() const { return ghosts_.size(); }
  uint64_t oldest() const { return ghosts_.front(); }
  uint64_t newest() const { return ghosts_.back(); }

 private:
  std::list<uint64_t> ghosts_;
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> places_;
};

// A fingerprint whose first bucket is the table's first one; others for other `print`s. Undoes
// GhostQueue's mixing, which gives the upper half the print and the lower half zeros.
uint64_t OfFirstBucket(uint64_t print) {
  constexpr uint64_t kFactor = 0x9e3779b97f4a7c15;
  uint64_t inverse = kFactor;  // Newton's iteration: each round doubles the bits that are right
  for (int round = 0; round < 5; ++round) inverse *= 2 - kFactor * inverse;
  return (print << 32 | print) * inverse;
}

void AddAndTrim(GhostQueue& ghosts, uint64_t fingerprint) {
  ghosts.Add(fingerprint);
  ghosts.Trim();
}

TEST(GhostQueueTest, WithoutCapacityRemembersNothing) {
  GhostQueue ghosts;
  EXPECT_FALSE(ghosts.Remove(1));
  AddAndTrim(ghosts, 1);
  EXPECT_EQ(ghosts.size(), 0u);
  EXPECT_FALSE(ghosts.Remove(1));
  ghosts.SetCapacity(0);
  AddAndTrim(ghosts, 1);
  EXPECT_EQ(ghosts.size(), 0u);
  EXPECT_FALSE(ghosts.Remove(1));
}

TEST(GhostQueueTest, FindsWhatWasAddedOnce) {
  GhostQueue ghosts;
  ghosts.SetCapacity(10);
  AddAndTrim(ghosts, 7);
  EXPECT_EQ(ghosts.size(), 1u);
  EXPECT_FALSE(ghosts.Remove(8));
  EXPECT_TRUE(ghosts.Remove(7));
  EXPECT_FALSE(ghosts.Remove(7));
  EXPECT_EQ(ghosts.size(), 0u);
  // The fingerprint that fresh memory holds.
  EXPECT_FALSE(ghosts.Remove(0));
  AddAndTrim(ghosts, 0);
  EXPECT_TRUE(ghosts.Remove(0));
}

TEST(GhostQueueTest, ForgetsTheOldest) {
  GhostQueue ghosts;
  ghosts.SetCapacity(3);
  for (uint64_t i = 0; i < 5; ++i) AddAndTrim(ghosts, i);
  EXPECT_EQ(ghosts.size(), 3u);
  EXPECT_FALSE(ghosts.Remove(0));
  EXPECT_FALSE(ghosts.Remove(1));
  for (uint64_t i = 2; i < 5; ++i) EXPECT_TRUE(ghosts.Remove(i));
}

TEST(GhostQueueTest, OneThatCameBackMakesRoomForAnother) {
  GhostQueue ghosts;
  ghosts.SetCapacity(3);
  for (uint64_t i = 0; i < 3; ++i) AddAndTrim(ghosts, i);
  EXPECT_TRUE(ghosts.Remove(1));
  AddAndTrim(ghosts, 3);
  EXPECT_EQ(ghosts.size(), 3u);
  EXPECT_TRUE(ghosts.Remove(0));
}

TEST(GhostQueueTest, KeepsOneMoreUntilTrimmed) {
  GhostQueue ghosts;
  ghosts.SetCapacity(2);
  for (uint64_t i = 0; i < 3; ++i) ghosts.Add(i);
  EXPECT_EQ(ghosts.size(), 3u);
  ghosts.Add(3);
  EXPECT_EQ(ghosts.size(), 3u);
  EXPECT_FALSE(ghosts.Remove(0));
  EXPECT_TRUE(ghosts.Remove(1));
  ghosts.Trim();
  EXPECT_TRUE(ghosts.Remove(2));
  EXPECT_TRUE(ghosts.Remove(3));
}

TEST(GhostQueueTest, HoldsAllItHasCapacityForWhateverTheSize) {
  for (const size_t capacity : {1, 2, 9, 57, 100, 1'000, 5'000, 200'000}) {
    SCOPED_TRACE(absl::StrCat("capacity ", capacity));
    std::mt19937_64 random(SeedOfRound(0));
    GhostQueue ghosts;
    ghosts.SetCapacity(capacity);
    std::vector<uint64_t> added;
    for (size_t i = 0; i < 3 * capacity; ++i) {
      added.push_back(random());
      AddAndTrim(ghosts, added.back());
    }
    EXPECT_EQ(ghosts.size(), capacity);
    size_t found = 0;
    for (const uint64_t fingerprint : added) found += ghosts.Remove(fingerprint) ? 1 : 0;
    EXPECT_EQ(found, capacity);
    EXPECT_EQ(ghosts.size(), 0u);
  }
}

TEST(GhostQueueTest, ConsecutiveFingerprintsAreAsGoodAsRandomOnes) {
  constexpr size_t kGhosts = 50'000;
  GhostQueue ghosts;
  ghosts.SetCapacity(kGhosts);
  for (uint64_t i = 0; i < 2 * kGhosts; ++i) AddAndTrim(ghosts, i);
  EXPECT_EQ(ghosts.size(), kGhosts);
  for (uint64_t i = 0; i < kGhosts; ++i) ASSERT_FALSE(ghosts.Remove(i));
  for (uint64_t i = kGhosts; i < 2 * kGhosts; ++i) ASSERT_TRUE(ghosts.Remove(i));
}

TEST(GhostQueueTest, WhatWasNeverAddedIsNotFound) {
  std::mt19937_64 random(SeedOfRound(0));
  GhostQueue ghosts;
  ghosts.SetCapacity(20'000);
  for (int i = 0; i < 20'000; ++i) AddAndTrim(ghosts, random());
  for (int i = 0; i < 200'000; ++i) ASSERT_FALSE(ghosts.Remove(random()));
}

TEST(GhostQueueTest, TakesTenBytesAGhost) {
  constexpr size_t kGhosts = 100'000;
  GhostQueue ghosts;
  ghosts.SetCapacity(kGhosts);
  EXPECT_LE(ghosts.bytes(), kGhosts * 10);
}

TEST(GhostQueueTest, GrowsAndShrinksWithoutForgettingTooMuch) {
  GhostQueue ghosts;
  uint64_t next = 0;
  const auto fill = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) AddAndTrim(ghosts, next++);
  };
  ghosts.SetCapacity(1'000);
  fill(1'500);
  ghosts.SetCapacity(20'000);
  EXPECT_EQ(ghosts.size(), 1'000u);
  fill(9'000);
  EXPECT_EQ(ghosts.size(), 10'000u);
  EXPECT_TRUE(ghosts.Remove(500)) << "the oldest is still there";
  fill(50'000);
  EXPECT_EQ(ghosts.size(), 20'000u);
  const size_t large = ghosts.bytes();
  ghosts.SetCapacity(2'000);
  ghosts.Trim();
  EXPECT_EQ(ghosts.size(), 2'000u);
  EXPECT_TRUE(ghosts.Remove(next - 2'000));
  EXPECT_FALSE(ghosts.Remove(next - 2'001));
  fill(4'000);
  EXPECT_EQ(ghosts.size(), 2'000u);
  EXPECT_LT(ghosts.bytes(), large / 4) << "memory is given back";
}

// A ghost that never comes back, while all others do, leaves numbers that nobody has.
TEST(GhostQueueTest, AnOldGhostThatStaysIsForgottenAtLast) {
  GhostQueue ghosts;
  ghosts.SetCapacity(100);
  ghosts.Add(0);
  for (uint64_t i = 1; i < 4'000; ++i) {
    ghosts.Add(i);
    ASSERT_TRUE(ghosts.Remove(i));
  }
  EXPECT_EQ(ghosts.size(), 1u);
  for (uint64_t i = 4'000; i < 50'000; ++i) {
    ghosts.Add(i);
    ASSERT_TRUE(ghosts.Remove(i));
  }
  EXPECT_EQ(ghosts.size(), 0u);
  AddAndTrim(ghosts, 0);
  EXPECT_TRUE(ghosts.Remove(0));
}

TEST(GhostQueueTest, LongRunsThatCameBackAreSkipped) {
  constexpr uint64_t kRun = 150;
  GhostQueue ghosts;
  GhostList expected;
  ghosts.SetCapacity(kRun + 5);
  for (uint64_t first = 0; first < 300 * kRun; first += kRun) {
    for (uint64_t i = first; i < first + kRun; ++i) {
      AddAndTrim(ghosts, i);
      expected.Add(i);
      expected.TrimTo(kRun + 5);
    }
    // Of some runs the oldest stay, of some the newest, of some none.
    const uint64_t stays = first / kRun % 3;
    for (uint64_t i = first; i < first + kRun; ++i) {
      if ((stays == 0 && i < first + 2) || (stays == 1 && i >= first + kRun - 2)) continue;
      ASSERT_EQ(ghosts.Remove(i), expected.Remove(i));
    }
    ASSERT_EQ(ghosts.size(), expected.size());
  }
  while (!expected.empty()) {
    ASSERT_TRUE(ghosts.Remove(expected.oldest()));
    expected.Remove(expected.oldest());
  }
  EXPECT_EQ(ghosts.size(), 0u);
}

TEST(GhostQueueTest, ThoseOfOneBucketFindRoomInOthers) {
  GhostQueue ghosts;
  ghosts.SetCapacity(200);
  constexpr uint64_t kCrowded = 40;
  for (uint64_t i = 0; i < kCrowded; ++i) AddAndTrim(ghosts, OfFirstBucket(i));
  for (uint64_t i = 0; i < 160; ++i) AddAndTrim(ghosts, i);
  EXPECT_EQ(ghosts.size(), 200u);
  for (uint64_t i = 0; i < kCrowded; ++i) ASSERT_TRUE(ghosts.Remove(OfFirstBucket(i))) << i;
  for (uint64_t i = 0; i < 160; ++i) ASSERT_TRUE(ghosts.Remove(i)) << i;
  EXPECT_EQ(ghosts.size(), 0u);
}

// Keys whose hashes are equal have the same two buckets; what these can't hold is forgotten.
// Keys whose hashes are equal have the same two buckets; what these can't hold is forgotten.
TEST(GhostQueueTest, SizeCountsWhatCanBeFoundWhereBucketsOverflow) {
  GhostQueue ghosts;
  ghosts.SetCapacity(200);
  for (uint64_t i = 0; i < 50; ++i) AddAndTrim(ghosts, i);
  for (int i = 0; i < 100; ++i) AddAndTrim(ghosts, 1'000);
  AddAndTrim(ghosts, 50);
  const size_t size = ghosts.size();
  EXPECT_LT(size, 151u);
  size_t others = 0;
  for (uint64_t i = 0; i <= 50; ++i) others += ghosts.Remove(i) ? 1 : 0;
  EXPECT_GT(others, 30u) << "most have a bucket that isn't crowded";
  size_t same = 0;
  while (ghosts.Remove(1'000)) ++same;
  EXPECT_GE(same, 10u);
  EXPECT_EQ(others + same, size);
  EXPECT_EQ(ghosts.size(), 0u);
}

TEST(GhostQueueTest, WithoutMemoryToGrowForgetsEarly) {
  constexpr size_t kTooMany = size_t{1} << 40;
  GhostQueue ghosts;
  ghosts.SetCapacity(kTooMany);
  AddAndTrim(ghosts, 1);
  EXPECT_FALSE(ghosts.Remove(1));
  EXPECT_EQ(ghosts.bytes(), 0u);

  ghosts.SetCapacity(10);
  for (uint64_t i = 0; i < 10; ++i) AddAndTrim(ghosts, i);
  ghosts.SetCapacity(kTooMany);
  for (uint64_t i = 10; i < 1'000; ++i) {
    AddAndTrim(ghosts, i);
    ASSERT_GE(ghosts.size(), 10u);
    ASSERT_LT(ghosts.size(), 40u);
  }
  for (uint64_t i = 990; i < 1'000; ++i) EXPECT_TRUE(ghosts.Remove(i));
}

TEST(GhostQueueTest, WhatIsExpectedIsLookedForWhenItIsRemoved) {
  GhostQueue ghosts;
  ghosts.SetCapacity(100);
  ghosts.Expect(1);
  EXPECT_FALSE(ghosts.RemoveExpected());
  ghosts.Add(1);
  EXPECT_TRUE(ghosts.RemoveExpected()) << "the newest";
  EXPECT_FALSE(ghosts.RemoveExpected());
  AddAndTrim(ghosts, 1);
  AddAndTrim(ghosts, 2);
  ghosts.Expect(1);
  const size_t small = ghosts.bytes();
  ghosts.SetCapacity(10'000);
  EXPECT_GT(ghosts.bytes(), small);
  EXPECT_TRUE(ghosts.RemoveExpected()) << "it is in the former table";
  AddAndTrim(ghosts, 1);
  EXPECT_TRUE(ghosts.RemoveExpected()) << "and now in the new one";
}

TEST(GhostQueueTest, TheNewestIsForgottenLikeAnyOther) {
  GhostQueue ghosts;
  ghosts.SetCapacity(5);
  ghosts.Add(1);
  ghosts.SetCapacity(0);
  ghosts.Trim();
  EXPECT_EQ(ghosts.size(), 0u);
  EXPECT_FALSE(ghosts.Remove(1));
  ghosts.SetCapacity(5);
  AddAndTrim(ghosts, 2);
  EXPECT_FALSE(ghosts.Remove(1));
  EXPECT_TRUE(ghosts.Remove(2));
}

class GhostQueueModelTest : public testing::TestWithParam<std::tuple<size_t, bool>> {};

TEST_P(GhostQueueModelTest, AgreesWithAList) {
  const auto [capacity, wraps] = GetParam();
  // Late enough that nearly all slots were used by then, as they would have been.
  const uint32_t first_number = wraps ? -static_cast<uint32_t>(10 * capacity + 100) : 1;
  std::mt19937_64 random(SeedOfRound(0));
  GhostQueue ghosts(first_number);
  GhostList expected;
  size_t now = capacity;
  ghosts.SetCapacity(now);
  for (int step = 0; step < Rounds(30'000); ++step) {
    // Of few, so that many are found; not 0, which slots that were never used hold.
    const uint64_t fingerprint = (1 + random() % (3 * capacity)) * 0x9e3779b97f4a7c15;
    ghosts.Expect(fingerprint);
    if (random() % 4 == 0) {
      const uint64_t meanwhile = random();
      ghosts.Add(meanwhile);
      expected.TrimTo(now);
      expected.Add(meanwhile);
    }
    const bool there = expected.Remove(fingerprint);
    ASSERT_EQ(ghosts.RemoveExpected(), there) << "step " << step;
    if (!there || random() % 2 == 0) {
      AddAndTrim(ghosts, fingerprint);
      expected.Add(fingerprint);
      expected.TrimTo(now);
    }
    if (random() % 2'000 == 0) {
      // Up and down by not so much that ghosts of a third generation go.
      now = capacity - random() % (capacity / 2 + 1);
      ghosts.SetCapacity(now);
    }
    ghosts.Trim();
    expected.TrimTo(now);
    ASSERT_EQ(ghosts.size(), expected.size()) << "step " << step;
    if (!expected.empty() && random() % 8 == 0) {
      const uint64_t known = random() % 2 == 0 ? expected.oldest() : expected.newest();
      expected.Remove(known);
      ASSERT_TRUE(ghosts.Remove(known)) << "step " << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, GhostQueueModelTest,
                         testing::Combine(testing::Values<size_t>(1, 5, 64, 1'000),
                                          testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat("Capacity", std::get<0>(info.param),
                                               std::get<1>(info.param) ? "NumbersWrap" : "");
                         });

}  // namespace
}  // namespace larder::internal
