// SPDX-License-Identifier: Apache-2.0
// The timer wheel against an exact oracle: all scheduled nodes, ordered by deadline.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/timer_wheel.h"
#include "tests/support/rounds.h"
#include "tests/support/wheel_times.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

using test::kBegin;
using test::kDay;
using test::kTick;
using test::kYear;

int64_t Plus(int64_t time, int64_t nanos) {
  int64_t sum;
  if (!__builtin_add_overflow(time, nanos, &sum)) return sum;
  return nanos > 0 ? kNever : kBegin;
}

constexpr uint64_t kLevels = 6;
// Spans of all levels, 2^36 ticks each, from the beginning of time.
uint64_t SpanOf(int64_t time) { return (static_cast<uint64_t>(time) ^ (uint64_t{1} << 63)) >> 56; }

// The latest time at which the wheel may hold a node back: its deadline, rounded up to a tick;
// kNever where no tick begins after it.
int64_t DueBy(int64_t deadline) {
  const int64_t part = deadline & (kTick - 1);
  if (part == 0) return deadline;
  return deadline - part > kNever - kTick ? kNever : deadline - part + kTick;
}

enum class Time { kMonotonic, kStepsBack };

// One wheel, the oracle, and random operations on both.
class Fuzz {
 public:
  Fuzz(uint64_t seed, Time time)
      : random_(seed),
        steps_back_(time == Time::kStepsBack),
        now_(StartTime()),
        latest_(now_),
        wheel_(&slab_, now_) {}

  void Step() {
    const uint64_t what = random_() % 8;
    if (what < 3) {
      ScheduleSome();
    } else if (what == 3) {
      if (!scheduled_.empty()) CancelOne();
    } else if (what == 4) {
      if (!scheduled_.empty()) MoveOne();
    } else if (what == 5) {
      AdvanceToJustBeforeTheNextEvent();
    } else {
      MoveTime();
      Advance(RandomBudget());
    }
    Check();
  }

  // Calls that give enough budget in total take out every node that is due.
  void Finish() {
    Drain();
    now_ = latest_;
    Drain();
  }

 private:
  void Drain() {
    const size_t enough = 20 * (scheduled_.size() + 1);
    size_t visited = 0;
    for (bool more = true; more && !::testing::Test::HasFatalFailure();) {
      const size_t budget = 1 + random_() % 50;
      const TimerWheel::Due due = Advance(budget);
      visited += due.visited;
      more = due.more;
      ASSERT_LE(visited, enough) << "no progress";
    }
    Check();
  }

  // From ticks to hundreds of years, as likely each.
  int64_t RandomSpan() {
    const int64_t span = static_cast<int64_t>(random_() >> (1 + random_() % 63));
    return random_() % 4 == 0 ? span / kTick * kTick : span;
  }

  int64_t StartTime() {
    const int64_t times[] = {
        0, -RandomSpan(), kBegin, kNever - RandomSpan(), RandomSpan(), RandomSpan()};
    return times[random_() % std::size(times)];
  }

  int64_t RandomDeadline() {
    const uint64_t kind = random_() % 16;
    if (kind == 0) return Plus(now_, -RandomSpan());
    if (kind == 1) return kNever - 1 - static_cast<int64_t>(random_() % (2 * kTick));
    return std::min(kNever - 1, kind == 2 ? now_ : Plus(now_, RandomSpan()));
  }

  NodeIndex NewNode(int64_t deadline) {
    NodeIndex node;
    if (!idle_.empty()) {
      node = idle_.back();
      idle_.pop_back();
    } else {
      node = slots_.Allocate();
      slab_.At(node)->timer_prev = NodeHeader::kNoTimer;
    }
    slab_.At(node)->deadline.store(deadline, std::memory_order_relaxed);
    return node;
  }

  // Mostly one; sometimes many that are due at about the same time.
  void ScheduleSome() {
    const int64_t deadline = RandomDeadline();
    const size_t count = random_() % 32 == 0 ? random_() % 300 : 1;
    for (size_t i = 0; i < count; ++i) {
      const int64_t own = std::min(kNever - 1, Plus(deadline, static_cast<int64_t>(i % 3)));
      Schedule(own, NewNode(own));
    }
  }

  void Schedule(int64_t deadline, NodeIndex node) {
    wheel_.Schedule(node);
    by_deadline_.emplace(deadline, node);
    scheduled_.push_back(node);
    most_visits_ += MostVisits(deadline);
  }

  // One a level, and one for each span of the levels from here to there.
  uint64_t MostVisits(int64_t deadline) const {
    const uint64_t here = SpanOf(done_until_);
    const uint64_t there = SpanOf(deadline);
    return kLevels + (there > here ? there - here : 0);
  }

  void Forget(NodeIndex node) {
    const int64_t deadline = slab_.At(node)->deadline.load(std::memory_order_relaxed);
    ASSERT_EQ(by_deadline_.erase({deadline, node}), 1u) << "node " << node << " wasn't scheduled";
    scheduled_.erase(std::find(scheduled_.begin(), scheduled_.end(), node));
    idle_.push_back(node);
  }

  NodeIndex AnyScheduled() { return scheduled_[random_() % scheduled_.size()]; }

  void CancelOne() {
    const NodeIndex node = AnyScheduled();
    wheel_.Cancel(node);
    Forget(node);
    EXPECT_FALSE(slab_.At(node)->HasTimer());
  }

  void MoveOne() {
    const NodeIndex node = AnyScheduled();
    auto& deadline = slab_.At(node)->deadline;
    const int64_t old = deadline.load(std::memory_order_relaxed);
    const int64_t later = std::min(kNever - 1, Plus(old, RandomSpan()));
    by_deadline_.erase({old, node});
    by_deadline_.emplace(later, node);
    most_visits_ += MostVisits(later);
    deadline.store(later, std::memory_order_relaxed);
  }

  // Stands still, creeps, leaps over years, or goes back.
  void MoveTime() {
    const uint64_t kind = random_() % 8;
    if (kind == 1) {
      now_ = Plus(now_, static_cast<int64_t>(random_() % (3 * kTick)));
    } else if (kind == 2) {
      now_ = Plus(now_, static_cast<int64_t>(random_() % 3) * kYear);
    } else if (kind == 3 && steps_back_) {
      now_ = Plus(now_, -RandomSpan());
    } else if (kind == 3 || kind == 4) {
      if (!by_deadline_.empty()) now_ = std::max(now_, by_deadline_.begin()->first);
    } else if (kind > 4) {
      now_ = Plus(now_, RandomSpan() >> 8);
    }
    latest_ = std::max(latest_, now_);
  }

  size_t RandomBudget() {
    constexpr size_t kBudgets[] = {0, 1, 1, 3, 17, 200, 5'000};
    return kBudgets[random_() % std::size(kBudgets)];
  }

  void AdvanceToJustBeforeTheNextEvent() {
    const int64_t next = wheel_.next_event();
    if (next == kNever || next <= latest_) return;
    now_ = latest_ = next - 1;
    EXPECT_EQ(Advance(5'000).visited, 0u) << "had work before its next event";
  }

  TimerWheel::Due Advance(size_t budget) {
    const TimerWheel::Due due = wheel_.Advance(now_, budget);
    EXPECT_LE(due.visited, budget);
    EXPECT_TRUE(!due.more || due.visited == budget) << "gave up";
    visits_ += due.visited;
    EXPECT_LE(visits_, most_visits_);
    if (!due.more) done_until_ = std::max(done_until_, now_);
    size_t count = 0;
    NodeIndex next = kNoNode;
    for (NodeIndex node = due.first; node != kNoNode; node = next, ++count) {
      next = slab_.At(node)->timer_next;
      EXPECT_FALSE(slab_.At(node)->HasTimer());
      EXPECT_LE(slab_.At(node)->deadline.load(std::memory_order_relaxed), now_) << "early";
      TakeOut(node);
    }
    EXPECT_EQ(count, due.count);
    EXPECT_GE(due.visited, due.count);
    // A clock that went back stands still until it is where it was.
    if (!due.more && now_ == latest_ && !by_deadline_.empty()) {
      const int64_t due_by = DueBy(by_deadline_.begin()->first);
      EXPECT_TRUE(due_by > now_ || due_by == kNever) << "forgot a node that is due";
    }
    return due;
  }

  // Some are scheduled anew at once, as the owner of a node may.
  void TakeOut(NodeIndex node) {
    Forget(node);
    if (random_() % 4 != 0) return;
    idle_.pop_back();
    const int64_t deadline = RandomDeadline();
    slab_.At(node)->deadline.store(deadline, std::memory_order_relaxed);
    rescheduled_.emplace_back(deadline, node);
  }

  void Check() {
    for (const auto& [deadline, node] : std::exchange(rescheduled_, {})) {
      Schedule(deadline, node);
    }
    ASSERT_TRUE(wheel_.Consistent());
    ASSERT_EQ(wheel_.size(), scheduled_.size());
    if (scheduled_.empty()) {
      ASSERT_EQ(wheel_.next_event(), kNever);
      return;
    }
    // No later than the next node's due time, unless the wheel has been past that already: then no
    // later than there.
    const int64_t due_by = DueBy(by_deadline_.begin()->first);
    ASSERT_LE(wheel_.next_event(), std::max(due_by, latest_));
  }

  std::mt19937_64 random_;
  const bool steps_back_;
  Slab slab_{sizeof(NodeHeader), 8};
  SlotAllocator slots_{&slab_, 0};
  int64_t now_;
  int64_t latest_;
  TimerWheel wheel_;
  std::set<std::pair<int64_t, NodeIndex>> by_deadline_;
  std::vector<NodeIndex> scheduled_;
  std::vector<std::pair<int64_t, NodeIndex>> rescheduled_;
  std::vector<NodeIndex> idle_;
  int64_t done_until_ = now_;  // the wheel is there at least
  uint64_t visits_ = 0;
  uint64_t most_visits_ = 0;
};

void RunFuzz(Time time) {
  for (int round = 0; round < Rounds(50); ++round) {
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    Fuzz fuzz(SeedOfRound(round), time);
    for (int step = 0; step < 300; ++step) {
      fuzz.Step();
      if (::testing::Test::HasFailure()) return;
    }
    fuzz.Finish();
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(TimerWheelFuzzTest, NeverEarlyAndNothingForgotten) { RunFuzz(Time::kMonotonic); }

TEST(TimerWheelFuzzTest, NeverEarlyAndNothingForgottenWhereTheClockStepsBack) {
  RunFuzz(Time::kStepsBack);
}

// A wheel under load.
class Crowd {
 public:
  void Put(int64_t deadline) {
    const NodeIndex node = slots_.Allocate();
    slab_.At(node)->deadline.store(deadline, std::memory_order_relaxed);
    wheel_.Schedule(node);
    ++puts_;
  }

  // As the cache does it: not before the next event. Returns whether there is more to do.
  bool Advance(int64_t now, size_t budget) {
    if (wheel_.next_event() > now) return false;
    const TimerWheel::Due due = wheel_.Advance(now, budget);
    visits_ += due.visited;
    for (NodeIndex node = due.first, next; node != kNoNode; node = next) {
      next = slab_.At(node)->timer_next;
      EXPECT_LE(slab_.At(node)->deadline.load(std::memory_order_relaxed), now) << "early";
      slots_.Free(node);
    }
    return due.more;
  }

  size_t size() const { return wheel_.size(); }
  uint64_t visits() const { return visits_; }

  void CheckWork() const {
    EXPECT_LE(visits_, puts_ * kLevels);
    EXPECT_TRUE(wheel_.Consistent());
  }

 private:
  Slab slab_{sizeof(NodeHeader), 12};
  SlotAllocator slots_{&slab_, 0};
  TimerWheel wheel_{&slab_, 0};
  uint64_t puts_ = 0;
  uint64_t visits_ = 0;
};

// Puts evenly spread in time, `resident` of them in `ttl`; each does a writer's share of the work.
void RunSteadyState(int64_t ttl, int64_t resident) {
  SCOPED_TRACE(::testing::Message() << "ttl " << ttl / kTick << " ticks, resident " << resident);
  const int64_t between = ttl / resident;
  Crowd crowd;
  for (int64_t put = 0; put < 5 * resident / 2; ++put) {
    const int64_t now = put * between;
    crowd.Advance(now, 8);
    crowd.Put(now + resident * between);
    const auto alive = static_cast<size_t>(std::min(put + 1, resident));
    ASSERT_GE(crowd.size(), alive);
    ASSERT_LE((crowd.size() - alive) * 100, static_cast<size_t>(resident)) << "at " << now;
  }
  crowd.CheckWork();
}

TEST(TimerWheelLoadTest, WritersAloneKeepTheDeadBelowAHundredth) {
  RunSteadyState(int64_t{540} * 1'000'000'000, 200'000);
}

// With ttls that put most nodes into few lists of a level, or few into each of many.
TEST(TimerWheelLoadTest, WritersAloneKeepUpWhateverTheTtl) {
  for (int level = 2; level < 6; ++level) {
    const int64_t range = kTick << (6 * level);
    for (const int64_t ttl : {range + range / 9, 2 * range - kTick, 40 * range}) {
      RunSteadyState(ttl, 10'000);
    }
  }
}

TEST(TimerWheelLoadTest, WhatIsDueAtOneInstantIsReadyForIt) {
  constexpr uint64_t kNodes = 50'000;
  Crowd crowd;
  for (uint64_t i = 0; i < kNodes; ++i) crowd.Put(kDay);
  for (int64_t now = 0; now < kDay; now += kDay / 100'000) crowd.Advance(now, 8);
  EXPECT_EQ(crowd.size(), kNodes);
  size_t calls = 0;
  for (; crowd.size() > 0; ++calls) crowd.Advance(kDay + kTick, 8);
  EXPECT_EQ(calls, kNodes / 8);
  crowd.CheckWork();
}

TEST(TimerWheelLoadTest, ADayMinuteByMinuteAndInOneLeap) {
  std::vector<int64_t> deadlines(50'000);
  for (const int64_t step : {kDay / (24 * 60), kDay}) {
    std::mt19937_64 random(SeedOfRound(0));
    Crowd crowd;
    for (int64_t& deadline : deadlines) {
      deadline = 1 + static_cast<int64_t>(random() % kDay);
      crowd.Put(deadline);
    }
    std::sort(deadlines.begin(), deadlines.end());
    for (int64_t now = step; now <= kDay; now += step) {
      while (crowd.Advance(now, 64)) {
      }
      const auto due = std::upper_bound(deadlines.begin(), deadlines.end(), now - kTick);
      ASSERT_LE(crowd.size(), static_cast<size_t>(deadlines.end() - due));
    }
    crowd.CheckWork();
    // After the leap all that is looked at is due.
    ASSERT_TRUE(step < kDay || crowd.visits() <= deadlines.size());
  }
}

}  // namespace
}  // namespace larder::internal
