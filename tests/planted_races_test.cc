// SPDX-License-Identifier: Apache-2.0
// The linearizability checker catches the bugs a concurrent cache is likely to have. Each is
// planted in a small register that simulated threads use in seeded interleavings; the register
// without the bug passes in all of them.
#include <algorithm>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/history.h"
#include "tests/support/linearizability.h"
#include "tests/support/rounds.h"
#include "tests/support/stepped_register.h"

namespace larder::test {
namespace {

// Reads come from a copy that the background brings up to date.
class LaggingCopy : public SteppedRegister {
 public:
  Steps Get() override {
    return {[this](Call& call) { call.operation.before = copy_; }};
  }
  void Background() override { copy_ = value_; }

 protected:
  std::optional<uint64_t> copy_;
};

// The same with the copy written together with the original.
class SynchronousCopy : public LaggingCopy {
 protected:
  void Write(std::optional<uint64_t> value) override {
    LaggingCopy::Write(value);
    copy_ = value_;
  }
  void Store(uint64_t loaded) override {
    LaggingCopy::Store(loaded);
    copy_ = value_;
  }
};

// Looks first and stores later, whatever happened meanwhile.
class CheckThenPutIfAbsent : public SteppedRegister {
 public:
  Steps PutIfAbsent() override {
    return {[this](Call& call) { call.operation.result = !value_.has_value(); },
            [this](Call& call) {
              if (call.operation.result) Write(call.operation.after);
            }};
  }
};

// As a table that grows and forgets to erase from its old half: a reader that finds nothing in the
// one looks into the other, which the next write of the key brings up to date.
class EraseLeavesCopy : public SteppedRegister {
 public:
  Steps Get() override {
    return {[this](Call& call) { call.operation.before = value_; },
            [this](Call& call) {
              if (!call.operation.before.has_value()) call.operation.before = old_half_;
            }};
  }

 protected:
  void Write(std::optional<uint64_t> value) override {
    SteppedRegister::Write(value);
    if (value.has_value()) old_half_ = value;
  }

 private:
  std::optional<uint64_t> old_half_;
};

// Writes what it computed from a value that may no longer be there.
class LostCompute : public SteppedRegister {
 public:
  Steps Compute() override {
    return {[this](Call& call) { call.operation.before = value_; },
            [this](Call& call) { Write(call.operation.after); }};
  }
};

// Stores a load without asking whether the key was written or erased since it began.
class FillAfterInvalidation : public SteppedRegister {
 protected:
  void Store(uint64_t loaded) override {
    value_ = loaded;
    flight_.reset();
  }
};

// Lets callers join a load that a write made void before they came.
class JoinsVoidLoad : public SteppedRegister {
 protected:
  void Write(std::optional<uint64_t> value) override {
    value_ = value;
    void_ = flight_.has_value();
  }
  void Store(uint64_t loaded) override {
    if (!void_) value_ = loaded;
    void_ = false;
    flight_.reset();
  }

 private:
  bool void_ = false;
};

// An eviction takes the entry at any time.
template <typename Base>
class Evicting : public Base {
 public:
  void Background() override {
    Base::Background();
    this->value_.reset();
  }
};

constexpr int kRaceSeeds = 60;

template <typename Register>
int CountCaught(bool may_vanish) {
  int caught = 0;
  for (int round = 0; round < kRaceSeeds; ++round) {
    Register target;
    const History history =
        SteppedScheduler(&target, 3, 120, static_cast<uint64_t>(round) + 1).Run();
    const LinearizabilityResult result = CheckLinearizable(history, {.may_vanish = may_vanish});
    EXPECT_EQ(result.explanation.find("undecided"), std::string::npos);
    EXPECT_EQ(result.explanation.find("malformed"), std::string::npos);
    if (!result.ok) ++caught;
  }
  return caught;
}

TEST(PlantedRaces, CorrectRegistersPass) {
  EXPECT_EQ(CountCaught<SteppedRegister>(false), 0);
  EXPECT_EQ(CountCaught<SteppedRegister>(true), 0);
  EXPECT_EQ(CountCaught<SynchronousCopy>(false), 0);
  EXPECT_EQ(CountCaught<Evicting<SteppedRegister>>(true), 0);
}

TEST(PlantedRaces, AVanishingEntryIsCaughtWhereItMustNot) {
  EXPECT_GE(CountCaught<Evicting<SteppedRegister>>(false), kRaceSeeds / 2);
}

TEST(PlantedRaces, CatchesAReadFromALaggingCopy) {
  EXPECT_GE(CountCaught<LaggingCopy>(false), kRaceSeeds / 2);
  EXPECT_GE(CountCaught<LaggingCopy>(true), kRaceSeeds / 2);
}

// Where entries may vanish this is no bug that can be seen: the first may have gone.
TEST(PlantedRaces, CatchesANonAtomicPutIfAbsent) {
  EXPECT_GE(CountCaught<CheckThenPutIfAbsent>(false), kRaceSeeds / 2);
}

TEST(PlantedRaces, CatchesAnEraseThatLeavesACopy) {
  EXPECT_GE(CountCaught<EraseLeavesCopy>(false), kRaceSeeds / 2);
  EXPECT_GE(CountCaught<EraseLeavesCopy>(true), kRaceSeeds / 2);
}

TEST(PlantedRaces, CatchesALostCompute) {
  EXPECT_GE(CountCaught<LostCompute>(false), kRaceSeeds / 2);
  EXPECT_GE(CountCaught<LostCompute>(true), kRaceSeeds / 2);
}

TEST(PlantedRaces, CatchesAFillAfterInvalidation) {
  EXPECT_GE(CountCaught<FillAfterInvalidation>(false), kRaceSeeds / 2);
  EXPECT_GE(CountCaught<FillAfterInvalidation>(true), kRaceSeeds / 2);
  EXPECT_GE(CountCaught<Evicting<FillAfterInvalidation>>(true), kRaceSeeds / 2);
}

TEST(PlantedRaces, CatchesWaitersOfAVoidLoad) {
  EXPECT_GE(CountCaught<JoinsVoidLoad>(false), kRaceSeeds / 2);
  EXPECT_GE(CountCaught<JoinsVoidLoad>(true), kRaceSeeds / 2);
}

// Real threads, as the cache's own test records them, and long histories.
TEST(PlantedRaces, ALockedRegisterUsedByThreadsPasses) {
  constexpr int kThreads = 4;
  constexpr int kOperations = 500;
  for (int round = 0; round < Rounds(20); ++round) {
    std::mutex mutex;
    std::optional<uint64_t> value;
    HistoryRecorder recorder(kThreads, kOperations);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        ThreadLog& log = recorder.log(t);
        std::mt19937_64 random(SeedOfRound(round) * kThreads + static_cast<uint64_t>(t));
        for (uint64_t i = 0; i < kOperations; ++i) {
          if (random() % 8 == 0) std::this_thread::yield();
          const uint64_t invoked = log.Now();
          std::lock_guard<std::mutex> lock(mutex);
          if (random() % 2 == 0) {
            log.Get(0, invoked, value);
          } else if (random() % 4 == 0) {
            log.Erase(0, invoked, value.has_value());
            value.reset();
          } else {
            const uint64_t written = i * kThreads + static_cast<uint64_t>(t);
            log.Compute(0, invoked, value, written);
            value = written;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const LinearizabilityResult result = CheckLinearizable(recorder.Collect());
    ASSERT_TRUE(result.ok) << result.explanation;
  }
}

// Every operation of a thread overlaps one or two of each other thread, so the history has no
// quiescent point. The bound is on the work, not on the time it takes.
TEST(PlantedRaces, LongOverlapsStayCheap) {
  for (const int threads : {4, 8}) {
    std::optional<uint64_t> value;
    uint64_t now = 0;
    std::mt19937_64 random(static_cast<uint64_t>(threads));
    History history;
    std::vector<uint64_t> free_at(static_cast<size_t>(threads), 0);
    for (int i = 0; i < 2000; ++i) {
      const int thread = i % threads;
      now += 100;
      Operation op;
      op.thread = thread;
      op.invoked = std::max(free_at[static_cast<size_t>(thread)],
                            now < 100u * static_cast<uint64_t>(threads)
                                ? 0
                                : now - 100u * static_cast<uint64_t>(threads)) +
                   1 + random() % 20;
      op.responded = now + 50u * static_cast<uint64_t>(threads) + random() % 20;
      free_at[static_cast<size_t>(thread)] = op.responded;
      if (random() % 2 == 0) {
        op.kind = OpKind::kGet;
        op.before = value;
      } else {
        op.kind = OpKind::kPut;
        op.after = value = now;
      }
      history.push_back(op);
    }
    for (const bool may_vanish : {false, true}) {
      const LinearizabilityResult result = CheckLinearizable(history, {.may_vanish = may_vanish});
      EXPECT_TRUE(result.ok) << result.explanation;
      EXPECT_LT(result.configurations, 1'000'000u) << threads << " threads";
    }
    history[history.size() / 2].before = 1;  // a value never written
    history[history.size() / 2].kind = OpKind::kGet;
    EXPECT_FALSE(CheckLinearizable(history));
  }
}

}  // namespace
}  // namespace larder::test
