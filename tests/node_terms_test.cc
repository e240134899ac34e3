// SPDX-License-Identifier: Apache-2.0
// When nodes with NodeTerms leave: what slab and timer wheel make of them.
#include <cstdint>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/timer_wheel.h"

namespace larder::internal {
namespace {

constexpr int64_t kTick = int64_t{1} << 20;  // ns

class NodeTermsTest : public ::testing::Test {
 protected:
  NodeTermsTest() {
    slab_.At(node_)->deadline.store(5 * kTick);
    slab_.At(node_)->timer_prev = NodeHeader::kNoTimer;
  }

  NodeTerms& GiveTerms() {
    EXPECT_TRUE(slab_.EnsureTerms(node_));
    slab_.At(node_)->state.fetch_or(NodeHeader::kTerms);
    return *slab_.Terms(node_);
  }

  Slab slab_{sizeof(NodeHeader), 10};
  SlotAllocator slots_{&slab_, 0};
  const NodeIndex node_ = slots_.Allocate();
};

TEST_F(NodeTermsTest, WithoutThemANodeLeavesAtItsDeadline) {
  EXPECT_EQ(slab_.LeavesAt(node_), 5 * kTick);
}

// The node's own deadline only says when hits have to look at them.
TEST_F(NodeTermsTest, WithThemItLeavesWhenItIsNoLongerKept) {
  NodeTerms& terms = GiveTerms();
  terms.expires_at.store(10 * kTick);
  terms.fresh_until.store(10 * kTick);
  terms.kept_for.store(20 * kTick);
  EXPECT_EQ(slab_.LeavesAt(node_), 30 * kTick);
  TimerWheel wheel(&slab_, 0);
  wheel.Schedule(node_);
  EXPECT_EQ(wheel.Advance(29 * kTick, 100).count, 0u);
  // That it was found expired meanwhile changes nothing.
  terms.expires_at.store(kOver);
  EXPECT_TRUE(wheel.Consistent());
  const TimerWheel::Due due = wheel.Advance(30 * kTick, 100);
  EXPECT_EQ(due.count, 1u);
  EXPECT_EQ(due.first, node_);
}

TEST_F(NodeTermsTest, WhatLastsOrIsKeptForeverNeverLeaves) {
  NodeTerms& terms = GiveTerms();
  const auto leaves_at = [&](int64_t fresh_until, int64_t kept_for) {
    terms.fresh_until.store(fresh_until);
    terms.kept_for.store(kept_for);
    return slab_.LeavesAt(node_);
  };
  EXPECT_EQ(leaves_at(kNever, 0), kNever);
  EXPECT_EQ(leaves_at(kNever, kTick), kNever);
  EXPECT_EQ(leaves_at(0, kNever), kNever);
  EXPECT_EQ(leaves_at(kNever - 1, 2), kNever);
  EXPECT_EQ(leaves_at(-kTick, kTick), 0);
}

TEST_F(NodeTermsTest, TheyTakeALineEach) {
  EXPECT_EQ(reinterpret_cast<uintptr_t>(&GiveTerms()) % 64, 0u);
}

}  // namespace
}  // namespace larder::internal
