// SPDX-License-Identifier: Apache-2.0
//
// Alarms on a clock that is moved by hand: nothing happens but in calls of RunDue.

#include "larder/internal/alarms.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/manual_clock.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using test::Rounds;
using test::RunThreads;
using test::SeedOfRound;

constexpr size_t kAll = std::numeric_limits<size_t>::max();
constexpr int64_t kLongAgo = std::numeric_limits<int64_t>::min();

class AlarmsTest : public ::testing::Test {
 protected:
  // An alarm that writes `name` down.
  Alarms::Id Set(int64_t deadline, int name) {
    return alarms_.Set(deadline, [this, name] { ran_.push_back(name); });
  }
  std::vector<int> TakeRan() { return std::exchange(ran_, {}); }

  ManualClock clock_{1000};
  Alarms alarms_{&clock_};
  std::vector<int> ran_;
};

using Names = std::vector<int>;

TEST_F(AlarmsTest, RunNothingWhereNothingIsSet) {
  EXPECT_TRUE(alarms_.empty());
  EXPECT_EQ(alarms_.RunDue(kAll), 0u);
}

TEST_F(AlarmsTest, AreDueWhenTheClockIsThereAndNotBefore) {
  Set(2000, 1);
  EXPECT_FALSE(alarms_.empty());
  EXPECT_EQ(alarms_.RunDue(kAll), 0u);
  clock_.SetNanos(1999);
  EXPECT_EQ(alarms_.RunDue(kAll), 0u);
  EXPECT_EQ(TakeRan(), Names{});
  clock_.SetNanos(2000);
  EXPECT_EQ(TakeRan(), Names{}) << "nobody but RunDue runs anything";
  EXPECT_EQ(alarms_.RunDue(kAll), 1u);
  EXPECT_EQ(TakeRan(), Names{1});
  EXPECT_TRUE(alarms_.empty());
  EXPECT_EQ(alarms_.RunDue(kAll), 0u);
}

TEST_F(AlarmsTest, RunInTheOrderOfTheirDeadlinesThenOfSet) {
  Set(3000, 1);
  Set(2000, 2);
  Set(3000, 3);
  Set(4000, 4);
  Set(2000, 5);
  clock_.SetNanos(3500);
  EXPECT_EQ(alarms_.RunDue(kAll), 4u);
  EXPECT_EQ(TakeRan(), (Names{2, 5, 1, 3}));
  EXPECT_FALSE(alarms_.empty());
}

TEST_F(AlarmsTest, RunUpToTheBudget) {
  for (int i = 0; i < 5; ++i) Set(2000, i);
  clock_.SetNanos(2000);
  EXPECT_EQ(alarms_.RunDue(0), 0u);
  EXPECT_EQ(alarms_.RunDue(2), 2u);
  EXPECT_EQ(TakeRan(), (Names{0, 1}));
  EXPECT_EQ(alarms_.RunDue(2), 2u);
  EXPECT_EQ(alarms_.RunDue(2), 1u);
  EXPECT_EQ(TakeRan(), (Names{2, 3, 4}));
}

TEST_F(AlarmsTest, DeadlinesInThePastAreDueAtOnce) {
  Set(1000, 1);
  Set(-5, 2);
  Set(kLongAgo, 3);
  EXPECT_EQ(alarms_.RunDue(kAll), 3u);
  EXPECT_EQ(TakeRan(), (Names{3, 2, 1}));
}

TEST_F(AlarmsTest, AtTheEndOfTimeAllAreDueButThoseThatNeverAre) {
  Set(kNever, 1);
  const Alarms::Id never = Set(kNever, 2);
  Set(kNever - 1, 3);
  clock_.SetNanos(kNever - 2);
  EXPECT_EQ(alarms_.RunDue(kAll), 0u);
  clock_.SetNanos(kNever);
  EXPECT_EQ(alarms_.RunDue(kAll), 1u);
  EXPECT_EQ(TakeRan(), Names{3});
  EXPECT_FALSE(alarms_.empty());
  EXPECT_TRUE(alarms_.Cancel(never));
  EXPECT_FALSE(alarms_.empty());
}

TEST_F(AlarmsTest, ACancelledAlarmDoesNotRunAndIsDestroyedAtOnce) {
  auto token = std::make_shared<int>();
  const Alarms::Id id = alarms_.Set(2000, [token] { ADD_FAILURE() << "was cancelled"; });
  const Alarms::Id other = Set(2000, 2);
  EXPECT_EQ(token.use_count(), 2);
  EXPECT_TRUE(alarms_.Cancel(id));
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_FALSE(alarms_.Cancel(id));
  clock_.SetNanos(5000);
  EXPECT_EQ(alarms_.RunDue(kAll), 1u);
  EXPECT_EQ(TakeRan(), Names{2});
  EXPECT_FALSE(alarms_.Cancel(other)) << "it ran";
  EXPECT_FALSE(alarms_.Cancel(Alarms::Id{})) << "names none";
}

TEST_F(AlarmsTest, TheNextOneIsDueAfterTheFirstWasCancelled) {
  const Alarms::Id first = Set(2000, 1);
  Set(3000, 2);
  EXPECT_TRUE(alarms_.Cancel(first));
  clock_.SetNanos(2500);
  EXPECT_EQ(alarms_.RunDue(kAll), 0u);
  clock_.SetNanos(3000);
  EXPECT_EQ(alarms_.RunDue(kAll), 1u);
}

TEST_F(AlarmsTest, ATaskIsDestroyedOnceItRan) {
  auto token = std::make_shared<int>();
  alarms_.Set(1000, [token] { EXPECT_EQ(token.use_count(), 2); });
  EXPECT_EQ(alarms_.RunDue(kAll), 1u);
  EXPECT_EQ(token.use_count(), 1);
}

TEST_F(AlarmsTest, TasksMaySetAlarms) {
  alarms_.Set(1000, [this] {
    ran_.push_back(1);
    Set(1000, 3);
    Set(5000, 4);
    Set(500, 2);
  });
  EXPECT_EQ(alarms_.RunDue(kAll), 3u) << "what it set and is due takes part";
  EXPECT_EQ(TakeRan(), (Names{1, 2, 3}));
  clock_.SetNanos(5000);
  EXPECT_EQ(alarms_.RunDue(kAll), 1u);
}

TEST_F(AlarmsTest, ATaskThatSetsItselfAgainEndsWithTheBudget) {
  struct Again {
    Alarms& alarms;
    Names& ran;
    void operator()() && {
      ran.push_back(1);
      alarms.Set(0, Again{alarms, ran});
    }
  };
  alarms_.Set(0, Again{alarms_, ran_});
  EXPECT_EQ(alarms_.RunDue(10), 10u);
  EXPECT_EQ(ran_.size(), 10u);
  EXPECT_FALSE(alarms_.empty());
}

TEST_F(AlarmsTest, TasksMayCancelAndRunOthers) {
  Alarms::Id self;
  self = alarms_.Set(1000, [&] { EXPECT_FALSE(alarms_.Cancel(self)) << "it is running"; });
  Alarms::Id other;
  alarms_.Set(1001, [&] { EXPECT_TRUE(alarms_.Cancel(other)); });
  other = Set(1002, 1);
  alarms_.Set(1003, [&] { EXPECT_EQ(alarms_.RunDue(1), 1u); });
  Set(1004, 2);
  Set(1005, 3);
  clock_.SetNanos(2000);
  EXPECT_EQ(alarms_.RunDue(kAll), 4u);
  EXPECT_EQ(TakeRan(), (Names{2, 3}));
}

TEST(AlarmsLifetimeTest, WhatIsLeftIsDestroyedAndDoesNotRun) {
  const ManualClock clock(1000);
  auto token = std::make_shared<int>();
  {
    Alarms alarms(&clock);
    alarms.Set(500, [token] { ADD_FAILURE() << "due, but nobody asked"; });
    alarms.Set(2000, [token] { ADD_FAILURE(); });
    alarms.Set(kNever, [token] { ADD_FAILURE(); });
    EXPECT_EQ(token.use_count(), 4);
  }
  EXPECT_EQ(token.use_count(), 1);
}

TEST(AlarmsLifetimeTest, ATaskMayDestroyItsAlarms) {
  const ManualClock clock(1000);
  std::optional<Alarms> alarms(&clock);
  bool ran = false;
  alarms->Set(500, [&] {
    alarms.reset();
    ran = true;
  });
  alarms->Set(500, [] { ADD_FAILURE() << "was left"; });
  EXPECT_EQ(alarms->RunDue(kAll), 1u);
  EXPECT_TRUE(ran);
}

TEST(AlarmsLifetimeTest, SoMayATaskThatATaskRuns) {
  const ManualClock clock(1000);
  std::optional<Alarms> alarms(&clock);
  alarms->Set(1, [&] { EXPECT_EQ(alarms->RunDue(1), 1u); });
  alarms->Set(2, [&] { alarms.reset(); });
  alarms->Set(3, [] { ADD_FAILURE() << "was left"; });
  EXPECT_EQ(alarms->RunDue(kAll), 1u);
}

// What waits and when it is due, in the simplest form.
class Oracle {
 public:
  struct Alarm {
    int64_t deadline;
    int name;
    Alarms::Id id;
  };

  void Set(const Alarm& alarm) { alarms_.push_back(alarm); }
  std::vector<Alarm>& alarms() { return alarms_; }

  bool Cancel(int name) {
    return std::erase_if(alarms_, [&](const Alarm& alarm) { return alarm.name == name; }) == 1;
  }

  Names RunDue(int64_t now, size_t budget) {
    std::stable_sort(alarms_.begin(), alarms_.end(),
                     [](const Alarm& a, const Alarm& b) { return a.deadline < b.deadline; });
    Names due;
    for (const Alarm& alarm : alarms_) {
      if (due.size() == budget || alarm.deadline > now || alarm.deadline == kNever) break;
      due.push_back(alarm.name);
    }
    alarms_.erase(alarms_.begin(), alarms_.begin() + static_cast<int64_t>(due.size()));
    return due;
  }

 private:
  std::vector<Alarm> alarms_;  // equal deadlines in the order of Set
};

// Near, equal, far, past and outermost ones.
int64_t RandomDeadline(std::mt19937_64& random, int64_t now) {
  switch (random() % 16) {
    case 0:
      return kNever - static_cast<int64_t>(random() % 3);
    case 1:
      return kLongAgo + static_cast<int64_t>(random() % 3);
    case 2:
      return static_cast<int64_t>(random());
    default:
      return now - 50 + static_cast<int64_t>(random() % 300);
  }
}

TEST_F(AlarmsTest, AgreeWithAnOracle) {
  for (int round = 0; round < Rounds(20); ++round) {
    SCOPED_TRACE(SeedOfRound(round));
    std::mt19937_64 random(SeedOfRound(round));
    clock_.SetNanos(1000);
    Alarms alarms(&clock_);
    Oracle oracle;
    std::vector<Oracle::Alarm> all;
    for (int step = 0; step < 4000; ++step) {
      const int64_t now = clock_.NowNanos();
      const uint64_t what = random() % 16;
      if (what < 9) {
        const int64_t deadline = RandomDeadline(random, now);
        const int name = static_cast<int>(all.size());
        const Alarms::Id id = alarms.Set(deadline, [this, name] { ran_.push_back(name); });
        all.push_back({deadline, name, id});
        oracle.Set(all.back());
      } else if (what < 12 && !all.empty()) {
        const Oracle::Alarm& alarm = all[random() % all.size()];
        ASSERT_EQ(alarms.Cancel(alarm.id), oracle.Cancel(alarm.name));
      } else if (what < 14) {
        clock_.Advance(absl::Nanoseconds(random() % 60));
      } else {
        const size_t budget = random() % 4 == 0 ? kAll : random() % 8;
        const Names expected = oracle.RunDue(clock_.NowNanos(), budget);
        ASSERT_EQ(alarms.RunDue(budget), expected.size());
        ASSERT_EQ(TakeRan(), expected);
      }
      ASSERT_EQ(alarms.empty(), oracle.alarms().empty());
    }
    clock_.SetNanos(kNever);
    const Names expected = oracle.RunDue(kNever, kAll);
    EXPECT_EQ(alarms.RunDue(kAll), expected.size());
    EXPECT_EQ(TakeRan(), expected);
  }
}

TEST_F(AlarmsTest, EachRunsOnceOrIsCancelledWhateverThreadsDo) {
  constexpr size_t kThreads = 4;
  constexpr size_t kEach = 2000;
  for (int round = 0; round < Rounds(3); ++round) {
    std::vector<std::atomic<int>> ended(kThreads * kEach);
    RunThreads(kThreads, [&](int thread) {
      std::minstd_rand random(static_cast<uint32_t>(thread + 1));
      std::vector<std::pair<size_t, Alarms::Id>> mine;
      for (size_t i = 0; i < kEach; ++i) {
        std::atomic<int>& end = ended[static_cast<size_t>(thread) * kEach + i];
        const int64_t deadline = clock_.NowNanos() + static_cast<int64_t>(random() % 20);
        mine.emplace_back(i, alarms_.Set(deadline, [&end] { end.fetch_add(1); }));
        if (random() % 3 == 0) {
          const auto& [which, id] = mine[random() % mine.size()];
          if (alarms_.Cancel(id)) ended[static_cast<size_t>(thread) * kEach + which].fetch_add(1);
        }
        if (random() % 4 == 0) clock_.Advance(absl::Nanoseconds(1));
        if (random() % 4 == 0) alarms_.RunDue(random() % 5);
      }
    });
    clock_.Advance(absl::Nanoseconds(100));
    alarms_.RunDue(kAll);
    EXPECT_TRUE(alarms_.empty());
    for (const std::atomic<int>& end : ended) EXPECT_EQ(end.load(), 1);
  }
}

}  // namespace
}  // namespace larder::internal
