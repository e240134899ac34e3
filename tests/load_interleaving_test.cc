// SPDX-License-Identifier: Apache-2.0
// Loads, refreshes, invalidations, timeouts and the cache's end in thousands of orders, against a
// model. See tests/support/load_world.h.
#include <cstdint>

#include "absl/base/config.h"
#include "gtest/gtest.h"
#include "tests/support/load_world.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

// ThreadSanitizer makes the mapping of a cache's memory slow, and has little to find on one thread.
#if defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr int kRounds = 100;
#else
constexpr int kRounds = 1500;
#endif

TEST(LoadInterleaving, IsWhatTheModelSaysInEveryOrder) {
  for (int round = 0; round < Rounds(kRounds); ++round) {
    LoadWorld world(SeedOfRound(round));
    ASSERT_TRUE(world.Run()) << world.Explanation();
  }
}

TEST(LoadInterleaving, TheSameSeedIsTheSameRun) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    LoadWorld first(seed);
    LoadWorld second(seed);
    first.Run();
    second.Run();
    EXPECT_EQ(first.Explanation(), second.Explanation());
  }
}

// Otherwise the first test says little.
TEST(LoadInterleaving, AllThatCanHappenDoes) {
  LoadModel::Counts sum;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    LoadWorld world(seed);
    world.Run();
    sum.loads += world.counts().loads;
    sum.joined += world.counts().joined;
    sum.stale += world.counts().stale;
    sum.timeouts += world.counts().timeouts;
    sum.negative_hits += world.counts().negative_hits;
    sum.refreshes += world.counts().refreshes;
    sum.refresh_failures += world.counts().refresh_failures;
    sum.not_modified += world.counts().not_modified;
  }
  EXPECT_GE(sum.loads, 100u);
  EXPECT_GE(sum.joined, 20u);
  EXPECT_GE(sum.stale, 20u);
  EXPECT_GE(sum.timeouts, 20u);
  EXPECT_GE(sum.negative_hits, 2u);
  EXPECT_GE(sum.refreshes, 10u);
  EXPECT_GE(sum.refresh_failures, 10u);
  EXPECT_GE(sum.not_modified, 2u);
}

}  // namespace
}  // namespace larder::test
