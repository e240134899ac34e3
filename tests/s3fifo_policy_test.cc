// SPDX-License-Identifier: Apache-2.0
// S3FifoPolicy by itself; spec/policy_exactness_test.cc has it beside a model.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/s3fifo.h"
#include "tests/support/policy_stripe.h"

namespace larder::internal {
namespace {

using S3FifoStripe = test::PolicyStripe<S3FifoPolicy>;

constexpr uint64_t kKey = 42;

void HitTimes(S3FifoStripe& stripe, NodeIndex node, int times) {
  for (int i = 0; i < times; ++i) stripe.Hit(node);
}

// Inserts a node, and says whether it entered the main queue; which the next call decides.
bool EntersMain(S3FifoStripe& stripe, uint64_t key, NodeIndex* inserted = nullptr) {
  const NodeIndex node = stripe.Insert(key);
  if (inserted != nullptr) *inserted = node;
  stripe.Remove(stripe.InsertMany(1).front());
  return stripe.At(node).policy_flag();
}

TEST(S3FifoPolicyTest, TwoHitsOnTrialTakeANodeToTheMainQueue) {
  S3FifoStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(20);
  HitTimes(stripe, nodes[0], 2);
  HitTimes(stripe, nodes[1], 1);
  EXPECT_EQ(stripe.Evict(), nodes[1]);
  EXPECT_TRUE(stripe.At(nodes[0]).policy_flag());
  EXPECT_EQ(stripe.At(nodes[0]).accesses(), 0u) << "it starts anew there";
  for (size_t i = 2; i < nodes.size(); ++i) ASSERT_EQ(stripe.Evict(), nodes[i]);
  EXPECT_EQ(stripe.Evict(), nodes[0]);
}

TEST(S3FifoPolicyTest, InTheMainQueueEachTurnCostsAHit) {
  S3FifoStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(10);
  for (const NodeIndex node : nodes) HitTimes(stripe, node, 2);
  // All go to the main queue, and the first of them from there.
  EXPECT_EQ(stripe.Victim(), nodes[0]);
  HitTimes(stripe, nodes[0], 2);
  HitTimes(stripe, nodes[1], 1);
  for (size_t i = 2; i < nodes.size(); ++i) ASSERT_EQ(stripe.Evict(), nodes[i]);
  EXPECT_EQ(stripe.Evict(), nodes[1]);
  EXPECT_EQ(stripe.Evict(), nodes[0]);
}

TEST(S3FifoPolicyTest, ATenthIsOnTrialTheRestIsMain) {
  S3FifoStripe stripe;
  for (const NodeIndex node : stripe.InsertMany(90)) HitTimes(stripe, node, 2);
  const NodeIndex last = stripe.Insert(1);
  EXPECT_EQ(stripe.Evict(), last) << "the others were promoted on the way";
  // 90 in main; the tenth on trial isn't full, so main has to give.
  const std::vector<NodeIndex> trial = stripe.InsertMany(8);
  EXPECT_TRUE(stripe.At(stripe.Victim()).policy_flag());
  stripe.Evict();
  // Now it is, with 9 of 98.
  stripe.Insert(2);
  EXPECT_EQ(stripe.Evict(), trial[0]);
}

TEST(S3FifoPolicyTest, AKeyThatComesBackSoonEntersTheMainQueue) {
  S3FifoStripe stripe;
  const NodeIndex first = stripe.Insert(kKey);
  stripe.InsertMany(19);
  EXPECT_EQ(stripe.Evict(kKey), first);
  NodeIndex again = kNoNode;
  EXPECT_TRUE(EntersMain(stripe, kKey, &again));
  stripe.Remove(again);
  EXPECT_FALSE(EntersMain(stripe, kKey)) << "it was a ghost once";
}

TEST(S3FifoPolicyTest, AKeyThatComesBackLateOrWasErasedEntersOnTrial) {
  S3FifoStripe stripe;
  stripe.Insert(kKey);
  stripe.InsertMany(19);
  stripe.Evict(kKey);
  for (uint64_t i = 0; i < 19; ++i) {
    stripe.Insert(1'000 + i);
    stripe.Evict(2'000 + i);
  }
  EXPECT_FALSE(EntersMain(stripe, kKey)) << "18 of 20 are remembered";
  const NodeIndex erased = stripe.Insert(kKey + 1);
  stripe.Remove(erased);
  EXPECT_FALSE(EntersMain(stripe, kKey + 1));
}

// Room is made before the key is asked for; what leaves for it must not push out its ghost.
TEST(S3FifoPolicyTest, TheOldestGhostIsStillThereForTheKeyThatRoomWasMadeFor) {
  S3FifoStripe stripe;
  stripe.Insert(kKey);
  stripe.InsertMany(19);
  stripe.Evict(kKey);
  for (uint64_t i = 0; i < 18; ++i) {
    stripe.Insert(1'000 + i);
    stripe.Evict(2'000 + i);
  }
  EXPECT_TRUE(EntersMain(stripe, kKey));
}

// Where much is erased or expires at once, as much will come again.
TEST(S3FifoPolicyTest, GhostsAreForgottenNoFasterThanOthersAreEvicted) {
  S3FifoStripe stripe;
  stripe.Insert(kKey);
  const std::vector<NodeIndex> nodes = stripe.InsertMany(99);
  stripe.Evict(kKey);
  for (uint64_t i = 0; i < 50; ++i) {
    stripe.Insert(1'000 + i);
    EXPECT_EQ(stripe.Evict(2'000 + i), nodes[i]);
  }
  for (size_t i = 50; i < nodes.size(); ++i) stripe.Remove(nodes[i]);
  EXPECT_EQ(stripe.live(), 50u);
  stripe.Evict(3'000);
  EXPECT_TRUE(EntersMain(stripe, kKey)) << "52 ghosts";
}

TEST(S3FifoPolicyTest, ALoweredCapacityHasFewerGhosts) {
  S3FifoStripe stripe;
  stripe.InsertMany(100);
  for (uint64_t i = 0; i < 80; ++i) stripe.Evict(2'000 + i);
  // The last eviction was one of 21 nodes, for which there are 18 ghosts from the next insertion
  // on.
  EXPECT_FALSE(EntersMain(stripe, 2'060));
  EXPECT_FALSE(EntersMain(stripe, 2'061));
  EXPECT_TRUE(EntersMain(stripe, 2'062));
}

TEST(S3FifoPolicyTest, AHitCountsToThreeThenWritesNothing) {
  S3FifoStripe stripe;
  const NodeIndex node = stripe.Insert(1);
  for (const uint32_t accesses : {1u, 2u, 3u, 3u, 3u}) {
    stripe.Hit(node);
    EXPECT_EQ(stripe.At(node).accesses(), accesses);
  }
}

TEST(S3FifoPolicyTest, AReplacementTakesThePlaceAndTheHitsAndIsOne) {
  S3FifoStripe stripe;
  std::vector<NodeIndex> nodes = stripe.InsertMany(4);
  stripe.Hit(nodes[0]);
  nodes[0] = stripe.Replace(nodes[0]);
  EXPECT_EQ(stripe.At(nodes[0]).accesses(), 2u);
  EXPECT_FALSE(stripe.At(nodes[0]).policy_flag());
  EXPECT_EQ(stripe.Evict(), nodes[1]);
  EXPECT_TRUE(stripe.At(nodes[0]).policy_flag());
  nodes[0] = stripe.Replace(nodes[0]);
  EXPECT_TRUE(stripe.At(nodes[0]).policy_flag());
  EXPECT_EQ(stripe.At(nodes[0]).accesses(), 1u);
  HitTimes(stripe, nodes[0], 5);
  nodes[0] = stripe.Replace(nodes[0]);
  EXPECT_EQ(stripe.At(nodes[0]).accesses(), 3u);
}

TEST(S3FifoPolicyTest, NodesLeaveFromBothQueues) {
  S3FifoStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(6);
  HitTimes(stripe, nodes[0], 2);
  HitTimes(stripe, nodes[1], 2);
  EXPECT_EQ(stripe.Evict(), nodes[2]);
  stripe.Remove(nodes[0]);
  stripe.Remove(nodes[4]);
  EXPECT_EQ(stripe.Evict(), nodes[3]);
  EXPECT_EQ(stripe.Evict(), nodes[5]);
  EXPECT_EQ(stripe.Evict(), nodes[1]);
  EXPECT_EQ(stripe.Evict(), kNoNode);
}

TEST(S3FifoPolicyTest, TheLastInsertedMayLeaveOrBeReplacedAtOnce) {
  S3FifoStripe stripe;
  stripe.Remove(stripe.Insert(1));
  const NodeIndex replaced = stripe.Replace(stripe.Insert(2));
  EXPECT_EQ(stripe.Evict(), replaced);
  const NodeIndex evicted = stripe.Insert(3);
  EXPECT_EQ(stripe.Evict(), evicted);
  EXPECT_EQ(stripe.Evict(), kNoNode);

  stripe.InsertMany(5);
  stripe.Evict(kKey);
  const NodeIndex ghost = stripe.Replace(stripe.Insert(kKey));
  EXPECT_TRUE(stripe.At(ghost).policy_flag());
  EXPECT_EQ(stripe.At(ghost).accesses(), 1u);
}

TEST(S3FifoPolicyTest, MovesOnlySoManyAtOnce) {
  S3FifoStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(100'000);
  for (const NodeIndex node : nodes) HitTimes(stripe, node, 3);
  EXPECT_EQ(stripe.Evict(), nodes[1 << 16]);
  EXPECT_TRUE(stripe.At(nodes[(1 << 16) - 1]).policy_flag());
  EXPECT_FALSE(stripe.At(nodes[(1 << 16) + 1]).policy_flag());
  EXPECT_EQ(stripe.Evict(), nodes[0]) << "the rest went to the main queue, where this is the last";
}

}  // namespace
}  // namespace larder::internal
