// SPDX-License-Identifier: Apache-2.0
// SievePolicy by itself; spec/policy_exactness_test.cc has it beside a model.
#include <cstddef>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/sieve.h"
#include "tests/support/policy_stripe.h"

namespace larder::internal {
namespace {

using SieveStripe = test::PolicyStripe<SievePolicy>;

// The paper's example: hits keep a node where it is, and the hand goes on from there.
TEST(SievePolicyTest, TheHandPassesWhatWasHitAndGoesOnFromThere) {
  SieveStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(5);
  stripe.Hit(nodes[0]);
  stripe.Hit(nodes[1]);
  EXPECT_EQ(stripe.Evict(), nodes[2]);
  const NodeIndex newest = stripe.Insert(1);
  EXPECT_EQ(stripe.Evict(), nodes[3]);
  EXPECT_EQ(stripe.Evict(), nodes[4]);
  EXPECT_EQ(stripe.Evict(), newest);
  EXPECT_EQ(stripe.Evict(), nodes[0]) << "round again, and its hit is forgotten";
  EXPECT_EQ(stripe.Evict(), nodes[1]);
}

TEST(SievePolicyTest, WhereAllWereHitTheFirstPassedGoes) {
  SieveStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(100);
  for (const NodeIndex node : nodes) stripe.Hit(node);
  for (const NodeIndex node : nodes) ASSERT_EQ(stripe.Evict(), node);
}

TEST(SievePolicyTest, AHitWritesOnce) {
  SieveStripe stripe;
  const NodeIndex node = stripe.Insert(1);
  EXPECT_EQ(stripe.At(node).accesses(), 0u);
  for (int i = 0; i < 5; ++i) {
    stripe.Hit(node);
    EXPECT_EQ(stripe.At(node).accesses(), 1u);
  }
}

TEST(SievePolicyTest, AReplacementTakesThePlaceAndCountsAsAHit) {
  SieveStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(3);
  EXPECT_EQ(stripe.Victim(), nodes[0]);  // the hand is there
  const NodeIndex replacement = stripe.Replace(nodes[0]);
  EXPECT_EQ(stripe.Evict(), nodes[1]);
  EXPECT_EQ(stripe.Evict(), nodes[2]);
  EXPECT_EQ(stripe.Evict(), replacement);
}

TEST(SievePolicyTest, TheHandGoesOnWhereItsNodeIsRemoved) {
  SieveStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(4);
  stripe.Hit(nodes[0]);
  EXPECT_EQ(stripe.Victim(), nodes[1]);
  stripe.Remove(nodes[1]);
  EXPECT_EQ(stripe.Victim(), nodes[2]);
  stripe.Remove(nodes[3]);
  stripe.Remove(nodes[2]);  // the front, where the hand is
  EXPECT_EQ(stripe.Evict(), nodes[0]);
  EXPECT_EQ(stripe.Victim(), kNoNode);
}

TEST(SievePolicyTest, PassesOnlySoManyAtOnce) {
  SieveStripe stripe;
  const std::vector<NodeIndex> nodes = stripe.InsertMany(100'000);
  for (const NodeIndex node : nodes) stripe.Hit(node);
  EXPECT_EQ(stripe.Evict(), nodes[1 << 16]);
  EXPECT_EQ(stripe.Evict(), nodes[0]) << "the rest of the way, and round again";
}

}  // namespace
}  // namespace larder::internal
