// SPDX-License-Identifier: Apache-2.0
// The linearizability checker itself: histories written by hand, against a brute force search, and
// generated from a sequential register. Planted bugs are in planted_races_test.cc.
#include "tests/support/linearizability.h"

#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/history.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

constexpr RegisterModel kStrict{};
constexpr RegisterModel kMayVanish{.may_vanish = true};

Operation Op(OpKind kind, int thread, uint64_t invoked, uint64_t responded,
             std::optional<uint64_t> before, std::optional<uint64_t> after, bool result = false) {
  return {.kind = kind,
          .thread = thread,
          .key = 1,
          .invoked = invoked,
          .responded = responded,
          .before = before,
          .after = after,
          .result = result};
}

Operation Get(int thread, uint64_t invoked, uint64_t responded, std::optional<uint64_t> value) {
  return Op(OpKind::kGet, thread, invoked, responded, value, std::nullopt);
}
Operation Contains(int thread, uint64_t invoked, uint64_t responded, bool present) {
  return Op(OpKind::kContains, thread, invoked, responded, std::nullopt, std::nullopt, present);
}
Operation Put(int thread, uint64_t invoked, uint64_t responded, uint64_t value) {
  return Op(OpKind::kPut, thread, invoked, responded, std::nullopt, value);
}
Operation PutIfAbsent(int thread, uint64_t invoked, uint64_t responded, uint64_t value,
                      bool stored) {
  return Op(OpKind::kPutIfAbsent, thread, invoked, responded, std::nullopt, value, stored);
}
Operation Erase(int thread, uint64_t invoked, uint64_t responded, bool erased) {
  return Op(OpKind::kErase, thread, invoked, responded, std::nullopt, std::nullopt, erased);
}
Operation Clear(int thread, uint64_t invoked, uint64_t responded) {
  return Op(OpKind::kClear, thread, invoked, responded, std::nullopt, std::nullopt);
}
Operation Compute(int thread, uint64_t invoked, uint64_t responded, std::optional<uint64_t> before,
                  std::optional<uint64_t> after) {
  return Op(OpKind::kCompute, thread, invoked, responded, before, after);
}
Operation VoidLoads(int thread, uint64_t invoked, uint64_t responded) {
  return Op(OpKind::kVoidLoads, thread, invoked, responded, std::nullopt, std::nullopt);
}
Operation GetOrLoad(int thread, uint64_t invoked, uint64_t responded, uint64_t value) {
  return Op(OpKind::kGetOrLoad, thread, invoked, responded, value, std::nullopt);
}
Operation LoadBegin(int thread, uint64_t invoked, uint64_t responded, uint64_t value) {
  return Op(OpKind::kLoadBegin, thread, invoked, responded, std::nullopt, value);
}
Operation LoadStore(int thread, uint64_t invoked, uint64_t responded, uint64_t value) {
  return Op(OpKind::kLoadStore, thread, invoked, responded, std::nullopt, value);
}
Operation LoadEnd(int thread, uint64_t invoked, uint64_t responded, uint64_t value) {
  return Op(OpKind::kLoadEnd, thread, invoked, responded, std::nullopt, value);
}

struct Case {
  const char* name;
  History history;
  bool strict_ok;
  bool may_vanish_ok;

  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

class HandMade : public ::testing::TestWithParam<Case> {};

TEST_P(HandMade, HasTheKnownVerdict) {
  const Case& c = GetParam();
  const LinearizabilityResult strict = CheckLinearizable(c.history, kStrict);
  EXPECT_EQ(strict.ok, c.strict_ok) << strict.explanation;
  EXPECT_EQ(strict.ok, strict.explanation.empty());
  const LinearizabilityResult vanishing = CheckLinearizable(c.history, kMayVanish);
  EXPECT_EQ(vanishing.ok, c.may_vanish_ok) << vanishing.explanation;
}

const Case kCases[] = {
    {"Empty", {}, true, true},
    {"ReadsOwnPut", {Put(0, 1, 2, 7), Get(0, 3, 4, 7)}, true, true},
    {"StartsAbsent", {Get(0, 1, 2, std::nullopt), Contains(0, 3, 4, false)}, true, true},
    {"MissAfterPut", {Put(0, 1, 2, 7), Get(1, 3, 4, std::nullopt)}, false, true},
    {"StaleReadAfterPut", {Put(0, 1, 2, 7), Put(0, 3, 4, 8), Get(1, 5, 6, 7)}, false, false},
    {"OldOrNewDuringPut",
     {Put(0, 1, 2, 7), Put(0, 3, 8, 8), Get(1, 4, 5, 7), Get(1, 6, 7, 8)},
     true,
     true},
    {"NewThenOldDuringPut",
     {Put(0, 1, 2, 7), Put(0, 3, 8, 8), Get(1, 4, 5, 8), Get(1, 6, 7, 7)},
     false,
     false},
    {"TwoReadersSeeTwoOrders",
     {Put(0, 1, 20, 7), Put(1, 2, 21, 8), Get(2, 3, 4, 7), Get(2, 5, 6, 8), Get(3, 7, 8, 8),
      Get(3, 9, 10, 7)},
     false,
     false},
    {"StaleReadAfterErase", {Put(0, 1, 2, 7), Erase(0, 3, 4, true), Get(1, 5, 6, 7)}, false, false},
    {"ResurrectedAfterErase",
     {Put(0, 1, 2, 7), Erase(0, 3, 4, true), Get(1, 5, 6, std::nullopt), Get(1, 7, 8, 7)},
     false,
     false},
    {"ResurrectedAfterVanishing",
     {Put(0, 1, 2, 7), Get(1, 3, 4, std::nullopt), Get(1, 5, 6, 7)},
     false,
     false},
    {"EraseTwiceTrue", {Put(0, 1, 2, 7), Erase(0, 3, 6, true), Erase(1, 4, 7, true)}, false, false},
    {"EraseFindsNothing", {Put(0, 1, 2, 7), Erase(0, 3, 4, false)}, false, true},
    {"OutOfThinAir", {Put(0, 1, 2, 7), Get(1, 1, 4, 9)}, false, false},
    {"ReadBeforeItsPutBegan", {Get(1, 1, 2, 7), Put(0, 3, 4, 7)}, false, false},
    {"PutIfAbsentTrueTwice",
     {PutIfAbsent(0, 1, 4, 7, true), PutIfAbsent(1, 2, 5, 8, true)},
     false,
     true},
    {"PutIfAbsentFalseOnAbsent", {PutIfAbsent(0, 1, 2, 7, false)}, false, false},
    {"PutIfAbsentLoserSeesWinner",
     {PutIfAbsent(0, 1, 4, 7, true), PutIfAbsent(1, 2, 5, 8, false), Get(1, 6, 7, 7)},
     true,
     true},
    {"PutIfAbsentLoserStores",
     {PutIfAbsent(0, 1, 4, 7, true), PutIfAbsent(1, 2, 5, 8, false), Get(1, 6, 7, 8)},
     false,
     false},
    {"LostUpdate", {Put(0, 1, 2, 7), Compute(0, 3, 6, 7, 8), Compute(1, 4, 7, 7, 9)}, false, false},
    {"UpdatesInARow",
     {Put(0, 1, 2, 7), Compute(0, 3, 6, 7, 8), Compute(1, 4, 7, 8, 9), Get(1, 8, 9, 9)},
     true,
     true},
    {"ComputeErases",
     {Put(0, 1, 2, 7), Compute(0, 3, 4, 7, std::nullopt), Get(1, 5, 6, 7)},
     false,
     false},
    {"ReadAfterClear", {Put(0, 1, 2, 7), Clear(1, 3, 4), Get(1, 5, 6, 7)}, false, false},
    {"LoadIsStored",
     {LoadBegin(0, 1, 2, 7), LoadStore(0, 3, 4, 7), LoadEnd(0, 3, 4, 7), Get(0, 5, 6, 7)},
     true,
     true},
    {"LoadThoughPresent", {Put(0, 1, 2, 7), LoadBegin(0, 3, 4, 8)}, false, true},
    {"WaiterSharesTheLoad",
     {LoadBegin(0, 1, 2, 7), GetOrLoad(1, 3, 9, 7), LoadStore(0, 4, 5, 7), LoadEnd(0, 4, 5, 7)},
     true,
     true},
    {"TwoLoadsAtOnce", {LoadBegin(0, 1, 2, 7), LoadBegin(1, 3, 4, 8)}, false, false},
    {"FailedLoadStoresNothing",
     {LoadBegin(0, 1, 2, 7), LoadEnd(0, 3, 4, 7), Get(0, 5, 6, 7)},
     false,
     false},
    {"FillAfterInvalidation",
     {LoadBegin(0, 1, 2, 7), Erase(1, 3, 4, false), LoadStore(0, 5, 6, 7), LoadEnd(0, 5, 6, 7),
      Get(1, 7, 8, 7)},
     false,
     false},
    {"VoidedLoadOfAKeyThatIsPut",
     {LoadBegin(0, 1, 2, 7), Put(1, 3, 4, 8), VoidLoads(1, 5, 6), LoadStore(0, 7, 8, 7),
      LoadEnd(0, 7, 8, 7), Get(1, 9, 10, 8)},
     true,
     true},
    {"FillAfterVoiding",
     {LoadBegin(0, 1, 2, 7), VoidLoads(1, 3, 4), LoadStore(0, 5, 6, 7), LoadEnd(0, 5, 6, 7),
      Get(1, 7, 8, 7)},
     false,
     false},
    {"EarlyWaiterOfAVoidLoad",
     {LoadBegin(0, 1, 2, 7), GetOrLoad(2, 3, 9, 7), Erase(1, 4, 5, false), LoadStore(0, 6, 7, 7),
      LoadEnd(0, 6, 7, 7), Get(1, 10, 11, std::nullopt)},
     true,
     true},
    {"LateWaiterOfAVoidLoad",
     {LoadBegin(0, 1, 2, 7), Erase(1, 3, 4, false), GetOrLoad(2, 5, 9, 7), LoadStore(0, 6, 7, 7),
      LoadEnd(0, 6, 7, 7)},
     false,
     false},
};

INSTANTIATE_TEST_SUITE_P(Linearizability, HandMade, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST(Linearizability, ChecksEachKeyByItself) {
  History history = {Put(0, 1, 2, 7), Get(1, 3, 4, std::nullopt)};
  history[1].key = 2;
  EXPECT_TRUE(CheckLinearizable(history));
}

TEST(Linearizability, StartsFromTheGivenValue) {
  EXPECT_TRUE(CheckLinearizable({Get(0, 1, 2, 7)}, {.initial = 7}));
  EXPECT_FALSE(CheckLinearizable({Get(0, 1, 2, 7)}));
}

TEST(Linearizability, RefusesAMalformedHistory) {
  EXPECT_FALSE(CheckLinearizable({Get(0, 2, 1, std::nullopt)}));
  const LinearizabilityResult overlapping =
      CheckLinearizable({Get(0, 1, 4, std::nullopt), Get(0, 2, 5, std::nullopt)});
  EXPECT_FALSE(overlapping);
  EXPECT_NE(overlapping.explanation.find("malformed"), std::string::npos);
  EXPECT_TRUE(CheckLinearizable({VoidLoads(0, 1, 4), Get(0, 1, 4, std::nullopt)}));
}

TEST(Linearizability, SaysSoWhenItGivesUp) {
  const LinearizabilityResult result =
      CheckLinearizable({Put(0, 1, 9, 7), Put(1, 2, 9, 8), Get(2, 3, 9, 7)},
                        {.may_vanish = false, .initial = std::nullopt, .max_configurations = 2});
  EXPECT_FALSE(result);
  EXPECT_NE(result.explanation.find("undecided"), std::string::npos) << result.explanation;
}

TEST(Linearizability, ExplainsWithTheOperationsThatMatter) {
  const LinearizabilityResult result =
      CheckLinearizable({Put(0, 1, 2, 7), Get(2, 3, 12, 7), Get(1, 4, 5, 7), Erase(0, 6, 9, true),
                         Get(1, 10, 11, 7), Put(0, 13, 14, 8)});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.explanation,
            "key 1 is not linearizable\n"
            "before:\n"
            "  [1, 2] T0 Put(7)\n"
            "which leaves it 7\n"
            "operations [invoked, responded]:\n"
            "  [6, 9] T0 Erase -> true\n"
            "  [10, 11] T1 Get -> 7\n"
            "longest order found:\n"
            "  [6, 9] T0 Erase -> true\n"
            "then the state is absent, and none of these can come next:\n"
            "  [10, 11] T1 Get -> 7\n");
}

// Every order that respects real time and each thread's own order, tried one after another, with
// the entry vanishing or not before every operation.
class BruteForce {
 public:
  BruteForce(const History& history, bool may_vanish)
      : history_(history), may_vanish_(may_vanish) {}

  bool Linearizable() { return Continue(0, 0, 0); }

 private:
  // Values are numbers above 0; 0 is none.
  bool Continue(uint32_t done, uint64_t value, uint64_t flight) {
    if (done == (1u << history_.size()) - 1) return true;
    if (may_vanish_ && value != 0 && Continue(done, 0, flight)) return true;
    for (size_t i = 0; i < history_.size(); ++i) {
      if ((done & (1u << i)) == 0 && MayComeNext(i, done) && Play(i, done, value, flight)) {
        return true;
      }
    }
    return false;
  }

  bool MayComeNext(size_t i, uint32_t done) const {
    for (size_t j = 0; j < history_.size(); ++j) {
      if (j == i || (done & (1u << j)) != 0) continue;
      if (history_[j].responded < history_[i].invoked) return false;
      if (history_[j].thread == history_[i].thread && j < i) return false;
    }
    return true;
  }

  bool Play(size_t i, uint32_t done, uint64_t value, uint64_t flight) {
    const Operation& op = history_[i];
    const uint64_t before = op.before.value_or(0);
    const uint64_t after = op.after.value_or(0);
    done |= 1u << i;
    switch (op.kind) {
      case OpKind::kGet:
        return value == before && Continue(done, value, flight);
      case OpKind::kContains:
        return (value != 0) == op.result && Continue(done, value, flight);
      case OpKind::kPut:
        return Continue(done, after, 0);
      case OpKind::kPutIfAbsent:
        if ((value == 0) != op.result) return false;
        return op.result ? Continue(done, after, 0) : Continue(done, value, flight);
      case OpKind::kErase:
        return (value != 0) == op.result && Continue(done, 0, 0);
      case OpKind::kClear:
        return Continue(done, 0, 0);
      case OpKind::kCompute:
        return value == before && Continue(done, after, 0);
      case OpKind::kVoidLoads:
        return Continue(done, value, 0);
      case OpKind::kGetOrLoad:
        return (value == before || flight == before) && Continue(done, value, flight);
      case OpKind::kLoadBegin:
        return value == 0 && flight == 0 && Continue(done, value, after);
      case OpKind::kLoadStore:
        return Continue(done, flight == after ? after : value, flight);
      case OpKind::kLoadEnd:
        return Continue(done, value, flight == after ? 0 : flight);
    }
    return false;
  }

  const History& history_;
  const bool may_vanish_;
};

// Up to seven operations with answers drawn at random, so most have no order and some have one.
History RandomSmallHistory(std::mt19937_64& random) {
  History history;
  uint64_t loads = 100;
  const auto optional_value = [&random]() -> std::optional<uint64_t> {
    const uint64_t value = random() % 3;
    return value == 0 ? std::nullopt : std::optional<uint64_t>(value);
  };
  for (int thread = 0; thread < 3; ++thread) {
    uint64_t now = static_cast<uint64_t>(thread);
    const auto later = [&now, &random] { return now += 3 * (1 + random() % 4); };
    while (random() % 3 != 0 && history.size() < 6) {
      Operation op = Op(static_cast<OpKind>(random() % 10), thread, later(), 0, optional_value(),
                        1 + random() % 2, random() % 2 == 0);
      if (op.kind == OpKind::kCompute) op.after = optional_value();
      if (op.kind == OpKind::kGetOrLoad) op.before = random() % 2 == 0 ? 101 : 1;
      if (op.kind == OpKind::kLoadBegin) op.after = ++loads;
      op.responded = later();
      history.push_back(op);
      if (op.kind != OpKind::kLoadBegin) continue;
      op.invoked = later();
      op.responded = later();
      for (OpKind kind : {OpKind::kLoadStore, OpKind::kLoadEnd}) {
        op.kind = kind;
        history.push_back(op);
      }
    }
  }
  return history;
}

TEST(Linearizability, AgreesWithBruteForce) {
  int verdicts[2][2] = {};
  for (int round = 0; round < Rounds(30'000); ++round) {
    std::mt19937_64 random(SeedOfRound(round));
    const History history = RandomSmallHistory(random);
    for (const bool may_vanish : {false, true}) {
      const bool expected = BruteForce(history, may_vanish).Linearizable();
      const LinearizabilityResult result = CheckLinearizable(history, {.may_vanish = may_vanish});
      ASSERT_EQ(result.ok, expected) << "seed " << SeedOfRound(round) << "\n"
                                     << ::testing::PrintToString(history) << result.explanation;
      if (history.size() > 2) ++verdicts[may_vanish][expected];
    }
  }
  for (const bool may_vanish : {false, true}) {
    for (const bool ok : {false, true}) EXPECT_GT(verdicts[may_vanish][ok], 1000);
  }
}

}  // namespace
}  // namespace larder::test
