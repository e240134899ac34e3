// SPDX-License-Identifier: Apache-2.0
// What all policies have in common that keep their nodes in queues.
#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/s3fifo.h"
#include "larder/internal/sieve.h"
#include "tests/support/policy_stripe.h"

namespace larder::internal {
namespace {

template <class Policy>
class QueuePoliciesTest : public ::testing::Test {
 protected:
  test::PolicyStripe<Policy> stripe_;
};

using Policies = ::testing::Types<SievePolicy, S3FifoPolicy>;
TYPED_TEST_SUITE(QueuePoliciesTest, Policies);

TYPED_TEST(QueuePoliciesTest, AnEmptyStripeHasNoVictim) {
  auto& stripe = this->stripe_;
  EXPECT_EQ(stripe.Victim(), kNoNode);
  const NodeIndex node = stripe.Insert(1);
  EXPECT_EQ(stripe.Victim(), node);
  EXPECT_EQ(stripe.Victim(), node) << "a victim stays where it is";
  stripe.Remove(node);
  EXPECT_EQ(stripe.Victim(), kNoNode);
}

TYPED_TEST(QueuePoliciesTest, EvictsInTheOrderOfInsertionWhereNothingIsHit) {
  auto& stripe = this->stripe_;
  for (const NodeIndex node : stripe.InsertMany(1'000)) ASSERT_EQ(stripe.Evict(), node);
  EXPECT_EQ(stripe.live(), 0u);
}

}  // namespace
}  // namespace larder::internal
