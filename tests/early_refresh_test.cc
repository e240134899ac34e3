// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/early_refresh.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

constexpr int64_t kBeginning = std::numeric_limits<int64_t>::min();
constexpr int64_t kSecond = 1'000'000'000;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
// The bits that make an access refresh earliest, and latest.
constexpr uint64_t kLeast = 0;
constexpr uint64_t kMost = UINT64_MAX;
constexpr double kLeastLog = 36.736800569677101;  // -ln 2^-53

TEST(EarlyRefreshTest, FromTheExpiryOnEveryAccessRefreshes) {
  for (const double beta : {0.0, 1.0, -1.0, kInfinity, kNan}) {
    for (const int64_t load_time : {int64_t{0}, kSecond, kNever, int64_t{-5}, kBeginning}) {
      for (const uint64_t random : {kLeast, kMost}) {
        EXPECT_TRUE(RefreshesEarly(100, 100, load_time, beta, random)) << beta << " " << load_time;
        EXPECT_TRUE(RefreshesEarly(101, 100, load_time, beta, random));
        EXPECT_TRUE(RefreshesEarly(kNever, kBeginning, load_time, beta, random));
        EXPECT_TRUE(RefreshesEarly(kBeginning, kBeginning, load_time, beta, random));
      }
    }
  }
}

TEST(EarlyRefreshTest, WhatNeverExpiresIsNeverRefreshed) {
  for (const double beta : {0.0, 1.0, kInfinity, kNan}) {
    for (const int64_t load_time : {int64_t{0}, kSecond, kNever}) {
      EXPECT_EQ(EarliestRefresh(kNever, load_time, beta), kNever);
      EXPECT_FALSE(RefreshesEarly(kNever - 1, kNever, load_time, beta, kLeast));
      EXPECT_FALSE(RefreshesEarly(kNever, kNever, load_time, beta, kLeast));
    }
  }
}

TEST(EarlyRefreshTest, WithoutALoadTimeOrABetaNoneIsEarly) {
  struct Case {
    int64_t load_time;
    double beta;
  };
  for (const auto& [load_time, beta] :
       {Case{0, 1}, Case{-1, 1}, Case{kBeginning, 1}, Case{kSecond, 0}, Case{kSecond, -0.0},
        Case{kSecond, -2}, Case{kSecond, -kInfinity}, Case{kSecond, kNan}, Case{0, kInfinity},
        Case{0, kNan}}) {
    EXPECT_EQ(EarliestRefresh(100, load_time, beta), 100) << load_time << " " << beta;
    EXPECT_FALSE(RefreshesEarly(99, 100, load_time, beta, kLeast)) << load_time << " " << beta;
  }
}

TEST(EarlyRefreshTest, TheMostExtremeRandomNumbersSetTheBounds) {
  const int64_t expiry = 1'000 * kSecond;
  const int64_t lead = static_cast<int64_t>(kLeastLog * 2 * kSecond);
  EXPECT_TRUE(RefreshesEarly(expiry - lead + 1'000, expiry, kSecond, 2, kLeast));
  EXPECT_FALSE(RefreshesEarly(expiry - lead - 1'000, expiry, kSecond, 2, kLeast));
  // -ln 1 = 0: only at the expiry.
  EXPECT_FALSE(RefreshesEarly(expiry - 1, expiry, kSecond, 2, kMost));
  // Of 64 bits, the lowest eleven don't matter.
  EXPECT_TRUE(RefreshesEarly(expiry - lead + 1'000, expiry, kSecond, 2, 0x7ff));
  EXPECT_FALSE(RefreshesEarly(expiry - lead + 1'000, expiry, kSecond, 2, 0x800));
}

TEST(EarlyRefreshTest, TheEarliestTimeIsJustBeforeTheEarliestAnswer) {
  const int64_t expiry = 1'000 * kSecond;
  const int64_t earliest = EarliestRefresh(expiry, kSecond, 2);
  const double lead = static_cast<double>(expiry - earliest) / (2.0 * kSecond);
  EXPECT_GE(lead, kLeastLog);
  EXPECT_LE(lead, kLeastLog + 0.001);
  EXPECT_EQ(EarliestRefresh(100, 1, 1), 100 - 37) << "rounds down";
  EXPECT_EQ(EarliestRefresh(-100, 1, 1), -100 - 37);
}

TEST(EarlyRefreshTest, HugeValuesSaturate) {
  EXPECT_EQ(EarliestRefresh(kSecond, kNever, 1), kBeginning);
  EXPECT_EQ(EarliestRefresh(kSecond, kSecond, kInfinity), kBeginning);
  EXPECT_EQ(EarliestRefresh(kSecond, kNever, 1e300), kBeginning);
  EXPECT_EQ(EarliestRefresh(kNever - 1, kNever / 18, 1), kBeginning) << "more than all of time";
  EXPECT_LT(EarliestRefresh(kNever - 1, kNever / 36, 1), 0) << "more than half of it";
  EXPECT_GT(EarliestRefresh(kNever - 1, kNever / 36, 1), kBeginning / 20);
  EXPECT_EQ(EarliestRefresh(kBeginning, kSecond, 1), kBeginning);
  EXPECT_EQ(EarliestRefresh(kBeginning + 10, 1, 1), kBeginning);
  EXPECT_TRUE(RefreshesEarly(kBeginning, kNever - 1, kNever, 1, kLeast));
  EXPECT_TRUE(RefreshesEarly(kBeginning, 0, kSecond, kInfinity, kLeast));
  EXPECT_FALSE(RefreshesEarly(0, kNever - 1, kSecond, 1, kLeast));
  // Infinity times -ln 1 is not a number.
  EXPECT_FALSE(RefreshesEarly(0, kSecond, kSecond, kInfinity, kMost));
}

TEST(EarlyRefreshTest, ATinyBetaOfAHugeLoadTimeIsAnOrdinaryOne) {
  const int64_t load_time = int64_t{1} << 60;
  const double beta = 0x1p-60 * kSecond;
  EXPECT_EQ(EarliestRefresh(1'000 * kSecond, load_time, beta),
            EarliestRefresh(1'000 * kSecond, kSecond, 1));
}

// Over all magnitudes: before the earliest time not even the least random number is enough.
TEST(EarlyRefreshTest, BeforeTheEarliestTimeNoAccessRefreshes) {
  for (int round = 0; round < Rounds(100); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto magnitude = [&random] {
      return static_cast<int64_t>(random() >> (1 + random() % 63));
    };
    for (int i = 0; i < 1'000; ++i) {
      const int64_t expiry = random() % 2 == 0 ? magnitude() : -magnitude();
      const int64_t load_time = magnitude();
      const double beta = std::ldexp(1.0 + static_cast<double>(random() % 1'000) / 1'000,
                                     static_cast<int>(random() % 40) - 20);
      const int64_t earliest = EarliestRefresh(expiry, load_time, beta);
      ASSERT_LE(earliest, expiry);
      if (earliest == kBeginning) continue;
      ASSERT_FALSE(RefreshesEarly(earliest - 1, expiry, load_time, beta, kLeast))
          << expiry << " " << load_time << " " << beta;
    }
  }
}

// The probability of an answer at `left` before the expiry is exp(-left / (load_time * beta)).
// Within five standard deviations, which one set of draws in two million exceeds; the seed is
// fixed.
TEST(EarlyRefreshTest, TheProbabilityIsThePapers) {
  constexpr int kDraws = 200'000;
  const int64_t load_time = 100'000'000;
  const int64_t expiry = 1'000 * kSecond;
  std::mt19937_64 random(20150901);
  for (const double beta : {0.5, 1.0, 3.0}) {
    for (const double share : {0.001, 0.1, 0.5, 1.0, 2.0, 4.0, 7.0}) {
      const double scale = static_cast<double>(load_time) * beta;
      const int64_t now = expiry - static_cast<int64_t>(share * scale);
      int early = 0;
      for (int i = 0; i < kDraws; ++i) {
        early += RefreshesEarly(now, expiry, load_time, beta, random()) ? 1 : 0;
      }
      const double p = std::exp(-share);
      const double tolerance = 5 * std::sqrt(p * (1 - p) / kDraws);
      EXPECT_NEAR(static_cast<double>(early) / kDraws, p, tolerance) << beta << " " << share;
    }
  }
}

// What it is for. With 1,000 accesses in the time of a load, that none of them refreshes until one
// load before the expiry has a probability of exp(-368).
TEST(EarlyRefreshTest, AnOftenUsedEntryIsRefreshedBeforeItExpires) {
  const int64_t load_time = 1'000'000;
  const int64_t expiry = 100 * load_time;
  std::mt19937_64 random(7);
  for (int i = 0; i < 100; ++i) {
    int64_t now = 0;
    while (!RefreshesEarly(now, expiry, load_time, 1, random())) now += load_time / 1'000;
    EXPECT_LT(now, expiry - load_time);
    EXPECT_GE(now, EarliestRefresh(expiry, load_time, 1));
  }
}

}  // namespace
}  // namespace larder::internal
