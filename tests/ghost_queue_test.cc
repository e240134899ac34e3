// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/ghost_queue.h"

#include <cstddef>
#include <cstdint>
#include <list>
#include <random>
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

TEST(GhostQueueTest, AgreesWithAList) {
  for (const size_t capacity : {1, 5, 64, 1'000}) {
    SCOPED_TRACE(absl::StrCat("capacity ", capacity));
    std::mt19937_64 random(SeedOfRound(0));
    GhostQueue ghosts;
    GhostList expected;
    size_t now = capacity;
    ghosts.SetCapacity(now);
    for (int step = 0; step < Rounds(30'000); ++step) {
      // Of few, so that many are found.
      const uint64_t fingerprint = random() % (3 * capacity) * 0x9e3779b97f4a7c15;
      const bool there = expected.Remove(fingerprint);
      ASSERT_EQ(ghosts.Remove(fingerprint), there) << "step " << step;
      if (!there || random() % 2 == 0) {
        AddAndTrim(ghosts, fingerprint);
        expected.Add(fingerprint);
        expected.TrimTo(now);
      }
      if (random() % 2'000 == 0) {
        // Up and down by not so much that ghosts of a third generation go.
        now = capacity - random() % (capacity / 2 + 1);
        ghosts.SetCapacity(now);
        ghosts.Trim();
        expected.TrimTo(now);
      }
      ASSERT_EQ(ghosts.size(), expected.size()) << "step " << step;
      if (!expected.empty() && random() % 8 == 0) {
        const uint64_t known = random() % 2 == 0 ? expected.oldest() : expected.newest();
        expected.Remove(known);
        ASSERT_TRUE(ghosts.Remove(known)) << "step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace larder::internal
