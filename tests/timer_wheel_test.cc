// SPDX-License-Identifier: Apache-2.0
// The timer wheel on cases worked out by hand; timer_wheel_fuzz_test.cc has the random ones.
#include "larder/internal/timer_wheel.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "tests/support/wheel_times.h"

namespace larder::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using test::kBegin;
using test::kDay;
using test::kSecond;
using test::kTick;
using test::kYear;
constexpr size_t kPlenty = 1'000'000;
// Of a list of level 2: 64 * 64 ticks.
constexpr int64_t kRange = 4'096 * kTick;
// A node starts in one of six levels and goes down at each look.
constexpr size_t kMostVisits = 6;

class TimerWheelTest : public ::testing::Test {
 protected:
  NodeIndex NewNode(int64_t deadline) {
    const NodeIndex index = slots_.Allocate();
    slab_.At(index)->deadline.store(deadline, std::memory_order_relaxed);
    slab_.At(index)->timer_prev = NodeHeader::kNoTimer;
    return index;
  }

  NodeIndex Schedule(TimerWheel& wheel, int64_t deadline) {
    const NodeIndex node = NewNode(deadline);
    wheel.Schedule(node);
    EXPECT_TRUE(slab_.At(node)->HasTimer());
    EXPECT_TRUE(wheel.Consistent());
    return node;
  }

  void MoveDeadline(NodeIndex node, int64_t deadline) {
    slab_.At(node)->deadline.store(deadline, std::memory_order_relaxed);
  }

  // What one call with a large budget takes out.
  std::vector<NodeIndex> Advance(TimerWheel& wheel, int64_t now) {
    const TimerWheel::Due due = wheel.Advance(now, kPlenty);
    EXPECT_FALSE(due.more);
    EXPECT_TRUE(wheel.Consistent());
    const std::vector<NodeIndex> nodes = Nodes(due);
    EXPECT_EQ(nodes.size(), due.count);
    return nodes;
  }

  std::vector<NodeIndex> Nodes(const TimerWheel::Due& due) {
    std::vector<NodeIndex> nodes;
    for (NodeIndex node = due.first; node != kNoNode; node = slab_.At(node)->timer_next) {
      EXPECT_FALSE(slab_.At(node)->HasTimer());
      EXPECT_TRUE(slab_.At(node)->InCache());
      nodes.push_back(node);
    }
    return nodes;
  }

  Slab slab_{sizeof(NodeHeader), 10};
  SlotAllocator slots_{&slab_, 0};
};

TEST_F(TimerWheelTest, AnEmptyWheelHasNoEventAndNothingToDo) {
  TimerWheel wheel(&slab_, 0);
  EXPECT_EQ(wheel.next_event(), kNever);
  EXPECT_THAT(Advance(wheel, kYear), IsEmpty());
  EXPECT_EQ(wheel.Advance(2 * kYear, kPlenty).visited, 0u);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.next_event(), kNever);
}

TEST_F(TimerWheelTest, ANodeIsDueFromItsDeadlineOnRoundedUpToATick) {
  // On a tick, just after and just before one; in every level.
  for (int level = 0; level < 6; ++level) {
    const int64_t span = kTick << (6 * level);
    for (const int64_t deadline : {span, span + 1, 3 * span - 1, 7 * span + span / 3}) {
      TimerWheel wheel(&slab_, 0);
      const NodeIndex node = Schedule(wheel, deadline);
      EXPECT_THAT(Advance(wheel, deadline - 1), IsEmpty()) << deadline;
      const int64_t rounded_up = (deadline + kTick - 1) / kTick * kTick;
      EXPECT_THAT(Advance(wheel, rounded_up), ElementsAre(node)) << deadline;
      EXPECT_EQ(wheel.size(), 0u);
    }
  }
}

TEST_F(TimerWheelTest, ADeadlineThatHasPassedIsDueAtOnce) {
  constexpr int64_t kStart = 1'000 * kTick;
  TimerWheel wheel(&slab_, kStart);
  const NodeIndex at_start = Schedule(wheel, kStart);
  const NodeIndex long_ago = Schedule(wheel, -kYear);
  EXPECT_LE(wheel.next_event(), kStart);
  EXPECT_THAT(Advance(wheel, kStart), UnorderedElementsAre(at_start, long_ago));
}

TEST_F(TimerWheelTest, OneAdvanceTakesOutAllThatIsDueAndNothingElse) {
  TimerWheel wheel(&slab_, 0);
  std::vector<NodeIndex> nodes;
  for (int64_t deadline = 1; deadline < kYear; deadline *= 3) {
    nodes.push_back(Schedule(wheel, deadline));
  }
  const std::vector<NodeIndex> due = Advance(wheel, kDay);
  for (const NodeIndex node : nodes) {
    const bool expected = slab_.At(node)->deadline.load() <= kDay;
    EXPECT_EQ(std::find(due.begin(), due.end(), node) != due.end(), expected);
    EXPECT_EQ(slab_.At(node)->HasTimer(), !expected);
  }
  EXPECT_EQ(due.size() + wheel.size(), nodes.size());
}

TEST_F(TimerWheelTest, ACancelledNodeIsNeverDue) {
  TimerWheel wheel(&slab_, 0);
  // First, middle and last of one list, and alone in another.
  std::vector<NodeIndex> same;
  for (int i = 0; i < 5; ++i) same.push_back(Schedule(wheel, kSecond));
  const NodeIndex alone = Schedule(wheel, kDay);
  for (const NodeIndex node : {same[0], same[2], same[4], alone}) {
    wheel.Cancel(node);
    EXPECT_FALSE(slab_.At(node)->HasTimer());
    EXPECT_TRUE(wheel.Consistent());
  }
  EXPECT_EQ(wheel.size(), 2u);
  EXPECT_THAT(Advance(wheel, kYear), UnorderedElementsAre(same[1], same[3]));
}

TEST_F(TimerWheelTest, TheLastCancelLeavesNoEvent) {
  TimerWheel wheel(&slab_, 0);
  wheel.Cancel(Schedule(wheel, kSecond));
  EXPECT_EQ(wheel.next_event(), kNever);
}

TEST_F(TimerWheelTest, ADeadlineMovedLaterIsReadWhenItsListComesUp) {
  TimerWheel wheel(&slab_, 0);
  const NodeIndex node = Schedule(wheel, kSecond);
  MoveDeadline(node, kDay + 1);
  EXPECT_THAT(Advance(wheel, kSecond + kTick), IsEmpty());
  EXPECT_EQ(wheel.size(), 1u);
  MoveDeadline(node, 5 * kYear);
  EXPECT_THAT(Advance(wheel, kDay + kTick), IsEmpty());
  EXPECT_THAT(Advance(wheel, 5 * kYear - 1), IsEmpty());
  EXPECT_THAT(Advance(wheel, 5 * kYear + kTick), ElementsAre(node));
}

TEST_F(TimerWheelTest, ANodeTakenOutMayBeScheduledAgain) {
  TimerWheel wheel(&slab_, 0);
  const NodeIndex node = Schedule(wheel, kSecond);
  for (int64_t deadline = kSecond; deadline < kYear; deadline *= 7) {
    EXPECT_THAT(Advance(wheel, deadline + kTick), ElementsAre(node));
    MoveDeadline(node, 7 * deadline);
    wheel.Schedule(node);
  }
  EXPECT_EQ(wheel.size(), 1u);
}

TEST_F(TimerWheelTest, DeadlinesBeyondTheSpanOfTheLevels) {
  TimerWheel wheel(&slab_, 0);
  const std::vector<int64_t> years = {3, 3, 10, 100, 290};
  std::vector<NodeIndex> nodes;
  for (const int64_t year : years) nodes.push_back(Schedule(wheel, year * kYear));
  for (int64_t year = 1; year <= 290; ++year) {
    std::vector<NodeIndex> expected;
    for (size_t i = 0; i < years.size(); ++i) {
      if (years[i] == year) expected.push_back(nodes[i]);
    }
    EXPECT_THAT(Advance(wheel, year * kYear - 1), IsEmpty()) << year;
    EXPECT_THAT(Advance(wheel, year * kYear + kTick),
                ::testing::UnorderedElementsAreArray(expected))
        << year;
  }
}

TEST_F(TimerWheelTest, FarNodesCanBeCancelledWhileTheyAreLookedAtAgain) {
  TimerWheel wheel(&slab_, 0);
  std::vector<NodeIndex> nodes;
  for (int i = 0; i < 6; ++i) nodes.push_back(Schedule(wheel, 100 * kYear));
  EXPECT_TRUE(wheel.Advance(50 * kYear, 2).more);
  EXPECT_TRUE(wheel.Consistent());
  for (const NodeIndex node : nodes) {
    wheel.Cancel(node);
    EXPECT_TRUE(wheel.Consistent());
  }
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_THAT(Advance(wheel, 200 * kYear), IsEmpty());
}

TEST_F(TimerWheelTest, TheEndOfTime) {
  TimerWheel wheel(&slab_, kNever - kDay);
  // The last tick that begins within time, and a deadline that no such tick follows.
  const int64_t last_tick = kNever / kTick * kTick;
  const NodeIndex reached = Schedule(wheel, last_tick);
  const NodeIndex before = Schedule(wheel, last_tick - 1);
  Schedule(wheel, kNever - 1);
  EXPECT_THAT(Advance(wheel, last_tick - 2), IsEmpty());
  EXPECT_THAT(Advance(wheel, last_tick), UnorderedElementsAre(reached, before));
  EXPECT_THAT(Advance(wheel, kNever), IsEmpty());
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(wheel.next_event(), kNever);
  EXPECT_THAT(Advance(wheel, kNever), IsEmpty());
}

TEST_F(TimerWheelTest, ALeapOverAllOfTime) {
  TimerWheel wheel(&slab_, kBegin);
  std::vector<NodeIndex> nodes = {Schedule(wheel, kBegin), Schedule(wheel, kBegin + 1),
                                  Schedule(wheel, -kYear), Schedule(wheel, -1),
                                  Schedule(wheel, 0),      Schedule(wheel, 200 * kYear)};
  EXPECT_THAT(Advance(wheel, kNever), ::testing::UnorderedElementsAreArray(nodes));
}

TEST_F(TimerWheelTest, NegativeTimes) {
  TimerWheel wheel(&slab_, -kYear);
  const NodeIndex node = Schedule(wheel, -kDay);
  EXPECT_THAT(Advance(wheel, -kDay - 1), IsEmpty());
  EXPECT_THAT(Advance(wheel, -kDay + kTick), ElementsAre(node));
}

TEST_F(TimerWheelTest, ABudgetOfOneGetsThroughALongList) {
  constexpr size_t kNodes = 5'000;
  TimerWheel wheel(&slab_, 0);
  for (size_t i = 0; i < kNodes; ++i) wheel.Schedule(NewNode(kDay));
  size_t calls = 0;
  size_t taken_out = 0;
  for (bool more = true; more; ++calls) {
    ASSERT_LE(calls, kNodes * kMostVisits + 1);
    EXPECT_LE(wheel.next_event(), 2 * kDay);
    const TimerWheel::Due due = wheel.Advance(2 * kDay, 1);
    ASSERT_LE(due.visited, 1u);
    taken_out += due.count;
    more = due.more;
  }
  EXPECT_EQ(taken_out, kNodes);
  EXPECT_TRUE(wheel.Consistent());
}

TEST_F(TimerWheelTest, ABudgetOfNothingDoesNothingAndSaysSo) {
  TimerWheel wheel(&slab_, 0);
  Schedule(wheel, kSecond);
  const TimerWheel::Due due = wheel.Advance(kDay, 0);
  EXPECT_EQ(due.visited, 0u);
  EXPECT_TRUE(due.more);
  EXPECT_LE(wheel.next_event(), kDay);
}

TEST_F(TimerWheelTest, WhatTheBudgetLeftIsTakenUpThoughTimeStandsStill) {
  TimerWheel wheel(&slab_, 0);
  for (int i = 0; i < 100; ++i) Schedule(wheel, kSecond + i * kTick);
  size_t taken_out = 0;
  for (int call = 0; call < 100; ++call) taken_out += wheel.Advance(2 * kSecond, 20).count;
  EXPECT_EQ(taken_out, 100u);
}

TEST_F(TimerWheelTest, ANodeScheduledInTheMiddleOfLeftOverWorkIsNotLost) {
  TimerWheel wheel(&slab_, 0);
  for (int i = 0; i < 50; ++i) Schedule(wheel, kDay + i);
  size_t taken_out = wheel.Advance(2 * kDay, 10).count;
  const NodeIndex passed = Schedule(wheel, kSecond);
  const NodeIndex later = Schedule(wheel, 2 * kDay + kTick);
  for (TimerWheel::Due due{.more = true}; due.more; taken_out += due.count) {
    due = wheel.Advance(2 * kDay, 10);
    ASSERT_TRUE(wheel.Consistent());
  }
  EXPECT_EQ(taken_out, 51u);
  EXPECT_FALSE(slab_.At(passed)->HasTimer());
  EXPECT_THAT(Advance(wheel, 2 * kDay + 2 * kTick), ElementsAre(later));
}

// A node whose deadline lies between the time that the clock went back to and the wheel's own.
TEST_F(TimerWheelTest, TimeThatGoesBackIsHarmless) {
  TimerWheel wheel(&slab_, 100 * kTick);
  const NodeIndex node = Schedule(wheel, 60 * kTick);
  const TimerWheel::Due early = wheel.Advance(50 * kTick, 1'000);
  EXPECT_EQ(early.count, 0u);
  EXPECT_LE(early.visited, kMostVisits) << "looked at the same node over and over";
  EXPECT_TRUE(wheel.Consistent());
  EXPECT_THAT(Nodes(wheel.Advance(100 * kTick, 1'000)), ElementsAre(node));
}

TEST_F(TimerWheelTest, ClearForgetsAllNodes) {
  TimerWheel wheel(&slab_, 0);
  for (const int64_t deadline : {kTick, kSecond, kDay, kYear, 10 * kYear}) {
    Schedule(wheel, deadline);
  }
  wheel.Clear();
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.next_event(), kNever);
  EXPECT_TRUE(wheel.Consistent());
  EXPECT_THAT(Advance(wheel, 20 * kYear), IsEmpty());
  const NodeIndex node = Schedule(wheel, 21 * kYear);
  EXPECT_THAT(Advance(wheel, 22 * kYear), ElementsAre(node));
}

// Going to each event in turn visits a node once a level at most, whatever lies between.
TEST_F(TimerWheelTest, VisitsANodeOnceALevelAtMost) {
  std::mt19937_64 random(7);
  TimerWheel wheel(&slab_, 0);
  constexpr size_t kNodes = 2'000;
  for (size_t i = 0; i < kNodes; ++i) {
    // As many in each level.
    wheel.Schedule(NewNode(1 + static_cast<int64_t>(random() % kYear >> random() % 50)));
  }
  size_t visited = 0;
  size_t calls = 0;
  while (wheel.size() > 0) {
    const int64_t next = wheel.next_event();
    ASSERT_EQ(wheel.Advance(next - 1, kPlenty).visited, 0u) << "had work before its next event";
    visited += wheel.Advance(next, kPlenty).visited;
    ++calls;
  }
  EXPECT_LE(visited, kNodes * kMostVisits);
  // No call is in vain: a wheel that stopped at each tick would need thousands of millions.
  EXPECT_LE(calls, visited);
}

TEST_F(TimerWheelTest, ALeapOfYearsOverASparseWheelCostsItsNodesOnly) {
  TimerWheel wheel(&slab_, 0);
  for (int64_t year = 1; year <= 30; ++year) Schedule(wheel, year * kYear);
  const TimerWheel::Due due = wheel.Advance(29 * kYear + kTick, kPlenty);
  EXPECT_EQ(due.count, 29u);
  // Once as a far node, then down the levels.
  EXPECT_LE(due.visited, 30 * (1 + kMostVisits));
}

TEST_F(TimerWheelTest, AListIsSplitWhileTheRangeBeforeItsOwnLasts) {
  TimerWheel wheel(&slab_, 0);
  for (int64_t i = 0; i < kRange; i += kTick) wheel.Schedule(NewNode(5 * kRange + i));
  EXPECT_EQ(wheel.next_event(), 4 * kRange);
  for (int64_t now = 4 * kRange; now < 5 * kRange; now += kTick) {
    ASSERT_EQ(wheel.Advance(now, 2).count, 0u);
  }
  for (int64_t now = 5 * kRange; now < 6 * kRange; now += kTick) {
    ASSERT_EQ(wheel.Advance(now, 4).count, 1u) << now / kTick << ": had something else to do";
  }
  EXPECT_EQ(wheel.size(), 0u);
}

TEST_F(TimerWheelTest, SplittingAheadEndsThoughTimeStandsStill) {
  constexpr size_t kNodes = 1'000;
  TimerWheel wheel(&slab_, 0);
  for (size_t i = 0; i < kNodes; ++i) wheel.Schedule(NewNode(6 * kRange - kTick));
  EXPECT_THAT(Advance(wheel, 4 * kRange - 1), IsEmpty());
  size_t visited = 0;
  for (TimerWheel::Due due{.more = true}; due.more;) {
    due = wheel.Advance(4 * kRange, 7);
    visited += due.visited;
    ASSERT_LE(visited, kNodes * kMostVisits);
    ASSERT_TRUE(wheel.Consistent());
  }
  EXPECT_GE(visited, kNodes);
  EXPECT_GT(wheel.next_event(), 4 * kRange);
  EXPECT_EQ(wheel.Advance(wheel.next_event() - 1, kPlenty).visited, 0u);
  EXPECT_THAT(Advance(wheel, 6 * kRange), ::testing::SizeIs(kNodes));
}

TEST_F(TimerWheelTest, AListThatIsSplitLateDoesNotHoldBackWhatIsDue) {
  constexpr size_t kDue = 100;
  TimerWheel wheel(&slab_, 0);
  for (size_t i = 0; i < kDue; ++i) wheel.Schedule(NewNode(5 * kRange - kTick));
  for (size_t i = 0; i < 10 * kDue; ++i) wheel.Schedule(NewNode(6 * kRange - kTick));
  size_t taken_out = 0;
  // A look at either list in turn.
  for (size_t i = 0; i < 2 * kDue; ++i) taken_out += wheel.Advance(5 * kRange, 1).count;
  EXPECT_EQ(taken_out, kDue);
}

TEST_F(TimerWheelTest, WhatIsDueDoesNotHoldBackAListThatIsSplitLate) {
  constexpr size_t kLate = 100;
  TimerWheel wheel(&slab_, 0);
  for (size_t i = 0; i < kLate; ++i) wheel.Schedule(NewNode(5 * kRange + kTick));
  size_t calls = 0;
  // As many nodes become due as the budget has room for.
  for (size_t taken_late = 0; taken_late < kLate; ++calls) {
    ASSERT_LE(calls, kMostVisits * kLate);
    wheel.Schedule(NewNode(kTick));
    for (const NodeIndex node : Nodes(wheel.Advance(5 * kRange + kTick, 1))) {
      if (slab_.At(node)->deadline.load() > kTick) ++taken_late;
    }
  }
}

}  // namespace
}  // namespace larder::internal
