// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/own_changes.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <random>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using Answer = OwnChanges::Answer;

constexpr int64_t kSecond = 1'000'000'000;

Stamp Mine(uint64_t sequence) { return {1, sequence}; }

TEST(OwnChangesTest, AKeyWithoutOperationsWasChangedByOthers) {
  OwnChanges changes;
  auto operation = changes.Begin("key", Mine(1));
  EXPECT_EQ(changes.Told("other"), Answer::kForeign);
  EXPECT_FALSE(changes.IsOwn("other", Mine(1)));
}

TEST(OwnChangesTest, APendingOperationNotesAChange) {
  OwnChanges changes;
  auto operation = changes.Begin("key", Mine(1));
  EXPECT_EQ(changes.Told("key"), Answer::kNoted);
  EXPECT_TRUE(operation.Finish(/*success=*/false, 0));
  EXPECT_EQ(changes.Told("key"), Answer::kForeign);
  EXPECT_EQ(changes.under_way(), 0u);
}

TEST(OwnChangesTest, SuccessMakesUpForWhatWasNoted) {
  OwnChanges changes;
  auto operation = changes.Begin("key", Mine(1));
  EXPECT_EQ(changes.Told("key"), Answer::kNoted);
  operation.MarkSent();
  EXPECT_FALSE(operation.Finish(/*success=*/true, 0));
}

TEST(OwnChangesTest, AnOperationThatNotedNothingHasNothingToMakeUpFor) {
  OwnChanges changes;
  auto operation = changes.Begin("key", Mine(1));
  EXPECT_FALSE(operation.Finish(/*success=*/false, 0));
}

TEST(OwnChangesTest, AfterTheLastChangeWasSentWhatIsThereIsToBeChecked) {
  OwnChanges changes;
  auto operation = changes.Begin("key", Mine(1));
  operation.MarkSent();
  EXPECT_EQ(changes.Told("key"), Answer::kCheck);
  EXPECT_TRUE(changes.IsOwn("key", Mine(1)));
  EXPECT_FALSE(changes.IsOwn("key", Mine(2)));
  EXPECT_FALSE(changes.IsOwn("key", {2, 1}));
  // The check sees to it: the operation doesn't have to.
  EXPECT_FALSE(operation.Finish(/*success=*/false, 0));
}

TEST(OwnChangesTest, FinishedOperationsAreKnownForAWhile) {
  OwnChanges::Options options;
  options.keep_finished = absl::Seconds(10);
  OwnChanges changes(options);
  EXPECT_FALSE(changes.Begin("key", Mine(1)).Finish(true, 0));
  EXPECT_EQ(changes.Told("key"), Answer::kCheck);
  EXPECT_TRUE(changes.IsOwn("key", Mine(1)));
  EXPECT_FALSE(changes.Begin("key", Mine(2)).Finish(true, 10 * kSecond - 1));
  EXPECT_TRUE(changes.IsOwn("key", Mine(1)));
  EXPECT_FALSE(changes.Begin("key", Mine(3)).Finish(true, 10 * kSecond));
  EXPECT_FALSE(changes.IsOwn("key", Mine(1)));
  EXPECT_TRUE(changes.IsOwn("key", Mine(2)));
}

TEST(OwnChangesTest, RemembersABoundedNumber) {
  OwnChanges::Options options;
  options.max_finished = 64;
  OwnChanges changes(options);
  for (uint64_t i = 0; i < 1000; ++i)
    EXPECT_FALSE(changes.Begin(std::to_string(i), Mine(i)).Finish(true, 0));
  EXPECT_LE(changes.finished(), 64u);
  EXPECT_GE(changes.finished(), 32u);
  EXPECT_TRUE(changes.IsOwn("999", Mine(999)));
  EXPECT_EQ(changes.Told("0"), Answer::kForeign);
}

TEST(OwnChangesTest, RemembersNothingWhereItMayNot) {
  OwnChanges::Options options;
  options.max_finished = 0;
  OwnChanges changes(options);
  EXPECT_FALSE(changes.Begin("key", Mine(1)).Finish(true, 0));
  EXPECT_EQ(changes.Told("key"), Answer::kForeign);
}

TEST(OwnChangesTest, OfAKeyRemembersTheLast) {
  OwnChanges changes;
  auto under_way = changes.Begin("key", Mine(0));
  for (uint64_t i = 1; i <= 100; ++i) EXPECT_FALSE(changes.Begin("key", Mine(i)).Finish(true, 0));
  EXPECT_TRUE(changes.IsOwn("key", Mine(0)));
  EXPECT_FALSE(changes.IsOwn("key", Mine(1)));
  for (uint64_t i = 97; i <= 100; ++i) EXPECT_TRUE(changes.IsOwn("key", Mine(i)));
}

TEST(OwnChangesTest, AChangeIsNotedByAllThatArePending) {
  OwnChanges changes;
  auto load = changes.Begin("key", Mine(1));
  auto write = changes.Begin("key", Mine(2));
  EXPECT_EQ(changes.Told("key"), Answer::kNoted);
  EXPECT_FALSE(write.Finish(true, 0));
  EXPECT_TRUE(load.Finish(false, 0));
}

// The value of the one that isn't pending may be in memory, and can't stay there until the other is
// done.
TEST(OwnChangesTest, APendingOperationHidesNoOther) {
  OwnChanges changes;
  auto load = changes.Begin("key", Mine(1));
  load.MarkSent();
  auto write = changes.Begin("key", Mine(2));
  EXPECT_EQ(changes.Told("key"), Answer::kCheck);
  EXPECT_TRUE(changes.IsOwn("key", Mine(2)));
  EXPECT_TRUE(write.Finish(false, 0));
  EXPECT_FALSE(load.Finish(true, 0));
}

TEST(OwnChangesTest, AnOperationThatGoesAwayHasNoSuccess) {
  OwnChanges changes;
  {
    auto operation = changes.Begin("key", Mine(1));
    OwnChanges::Operation moved = std::move(operation);
    EXPECT_EQ(moved.stamp(), Mine(1));
    EXPECT_EQ(changes.under_way(), 1u);
    moved = changes.Begin("key", Mine(2));
    EXPECT_EQ(changes.under_way(), 1u);
    EXPECT_FALSE(changes.IsOwn("key", Mine(1)));
  }
  EXPECT_EQ(changes.under_way(), 0u);
  EXPECT_EQ(changes.Told("key"), Answer::kForeign);
}

// A model of a few lines: all operations there ever were.
class OwnChangesModel {
 public:
  struct Op {
    std::string key;
    enum { kPending, kSent, kFinished, kGone } state = kPending;
    bool noted = false;
    OwnChanges::Operation operation;
  };

  explicit OwnChangesModel(uint64_t seed) : random_(seed) {}

  void Step() {
    const uint64_t what = random_() % 8;
    if (what < 2) {
      Begin();
    } else if (what < 4) {
      Tell();
    } else if (Op* op = AnyUnderWay()) {
      if (what == 4) MarkSent(op);
      if (what > 4) Finish(op, what < 7);
    }
  }

 private:
  std::string AnyKey() { return std::string(1, static_cast<char>('a' + random_() % 3)); }

  void Begin() {
    const uint64_t sequence = ops_.size();
    Op& op = ops_[sequence];
    op.key = AnyKey();
    op.operation = changes_.Begin(op.key, Mine(sequence));
  }

  Op* AnyUnderWay() {
    std::vector<Op*> under_way;
    for (auto& [sequence, op] : ops_) {
      if (op.state == Op::kPending || op.state == Op::kSent) under_way.push_back(&op);
    }
    EXPECT_EQ(changes_.under_way(), under_way.size());
    return under_way.empty() ? nullptr : under_way[random_() % under_way.size()];
  }

  void MarkSent(Op* op) {
    op->operation.MarkSent();
    op->state = Op::kSent;
  }

  void Finish(Op* op, bool success) {
    now_ += static_cast<int64_t>(random_() % 3) * kSecond;
    ASSERT_EQ(op->operation.Finish(success, now_), !success && op->noted);
    op->state = success ? Op::kFinished : Op::kGone;
    if (success) finished_[op->key] = now_;
  }

  void Tell() {
    const std::string key = AnyKey();
    bool pending = false;
    bool sent = false;
    for (auto& [sequence, op] : ops_) {
      if (op.key != key) continue;
      if (op.state == Op::kPending) pending = op.noted = true;
      if (op.state == Op::kSent) sent = true;
      if (op.state != Op::kFinished && op.state != Op::kGone) {
        ASSERT_TRUE(changes_.IsOwn(key, Mine(sequence)));
      }
      if (op.state == Op::kGone) {
        ASSERT_FALSE(changes_.IsOwn(key, Mine(sequence)));
      }
    }
    const bool finished = finished_.contains(key) && now_ - finished_[key] < 10 * kSecond;
    const Answer answer = changes_.Told(key);
    if (sent || finished) {
      ASSERT_EQ(answer, Answer::kCheck);
    } else if (pending) {
      // Or of an older operation that isn't forgotten yet.
      ASSERT_NE(answer, Answer::kForeign);
    } else {
      ASSERT_NE(answer, Answer::kNoted);
    }
  }

  std::mt19937_64 random_;
  OwnChanges changes_;
  int64_t now_ = 0;
  std::map<uint64_t, Op> ops_;
  std::map<std::string, int64_t> finished_;  // when last
};

TEST(OwnChangesTest, DoesWhatAModelDoes) {
  for (int round = 0; round < test::Rounds(20); ++round) {
    const uint64_t seed = test::SeedOfRound(round);
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    OwnChangesModel model(seed);
    for (int step = 0; step < 200; ++step) {
      model.Step();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(ForeignMarksTest, CountByKey) {
  ForeignMarks marks;
  const uint64_t before = marks.Of("key");
  marks.Add("key");
  EXPECT_NE(marks.Of("key"), before);
  const uint64_t other = marks.Of("another");
  marks.AddAll();
  EXPECT_NE(marks.Of("another"), other);
}

}  // namespace
}  // namespace larder::internal
