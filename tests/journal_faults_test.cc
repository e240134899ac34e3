// SPDX-License-Identifier: Apache-2.0
//
// Whatever the disk does, and whenever the system ends.

#include <cstdint>
#include <memory>
#include <random>
#include <utility>

#include "gtest/gtest.h"
#include "src/text.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/journal_model.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using internal::Concat;

constexpr Durability kDurabilities[] = {Durability::kJournal, Durability::kJournalSyncInterval,
                                        Durability::kJournalSync};
constexpr CrashKind kCrashes[] = {CrashKind::kProcess, CrashKind::kUnsynced, CrashKind::kTorn};

// Writes, stores, syncs and acknowledges, and opens the journal again in between. With this seed
// all that a journal does happens: files are begun and deleted.
void RunScript(JournalModel& model) {
  std::mt19937_64 random(7);
  for (int life = 0; life < 3; ++life) {
    if (!model.Open() && !model.Open()) return;
    for (int i = 0; i < 20; ++i) model.Step(random);
    model.Close();
  }
}

TEST(JournalFaultsTest, ACrashAtAnyCallLosesNothingThatWasPromised) {
  for (const Durability durability : kDurabilities) {
    FaultyFileSystem files;
    JournalModel model(&files, durability);
    uint64_t calls = 0;
    files.SetObserver([&](FileCall, const std::string& path) {
      ++calls;
      for (const CrashKind kind : kCrashes) {
        SCOPED_TRACE(Concat("crash ", static_cast<int>(kind), " before call ", calls, ", of ", path,
                            ", durability ", static_cast<int>(durability)));
        model.CheckCrash(kind, calls);
      }
    });
    RunScript(model);
    EXPECT_GT(calls, 100u);
    if (testing::Test::HasFailure()) return;
  }
}

// Lets the n-th call fail, or all from the n-th on, for every n, and looks at what crashes leave
// then.
void FailEachCall(Durability durability, const absl::Status& error, bool for_good) {
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(Concat("call ", n, for_good ? " and all later ones fail: " : " fails: ",
                        error.ToString(), ", durability ", static_cast<int>(durability)));
    FaultyFileSystem files(n);
    JournalModel model(&files, durability);
    if (for_good) {
      files.FailCallsFrom(n, error);
    } else {
      files.FailCall(n, error);
    }
    RunScript(model);
    if (files.failed_calls() == 0) return;
    for (const CrashKind kind : kCrashes) model.CheckCrash(kind, n);
    files.Heal();
    ASSERT_TRUE(model.Open());
    EXPECT_TRUE(model.Put(0, 10));
    EXPECT_TRUE(model.Sync());
    for (const CrashKind kind : kCrashes) model.CheckCrash(kind, n);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(JournalFaultsTest, AnyCallMayFail) {
  FailEachCall(Durability::kJournal, FaultyFileSystem::IoError(), /*for_good=*/false);
  FailEachCall(Durability::kJournalSyncInterval, FaultyFileSystem::IoError(), /*for_good=*/false);
  FailEachCall(Durability::kJournalSync, FaultyFileSystem::IoError(), /*for_good=*/false);
  FailEachCall(Durability::kJournalSync, FaultyFileSystem::NoSpace(), /*for_good=*/false);
}

TEST(JournalFaultsTest, AnyCallAndAllLaterOnesMayFail) {
  FailEachCall(Durability::kJournal, FaultyFileSystem::NoSpace(), /*for_good=*/true);
  FailEachCall(Durability::kJournalSyncInterval, FaultyFileSystem::NoSpace(), /*for_good=*/true);
  FailEachCall(Durability::kJournalSync, FaultyFileSystem::NoSpace(), /*for_good=*/true);
  FailEachCall(Durability::kJournalSync, FaultyFileSystem::IoError(), /*for_good=*/true);
}

TEST(JournalFaultsTest, AJournalWorksAgainAsSoonAsTheDiskDoes) {
  for (uint64_t n = 1;; ++n) {
    FaultyFileSystem files(n);
    JournalModel model(&files, Durability::kJournalSync);
    ASSERT_TRUE(model.Open());
    files.FailCallsFrom(files.calls() + n, FaultyFileSystem::IoError());
    std::mt19937_64 random(n);
    for (int i = 0; i < 30; ++i) model.Step(random);
    const bool failed = files.failed_calls() > 0;
    files.Heal();
    EXPECT_TRUE(model.Put(1, 10)) << n;
    for (const CrashKind kind : kCrashes) model.CheckCrash(kind, n);
    if (!failed || testing::Test::HasFailure()) return;
  }
}

// One journal's lives, on disks that fail and fill up, each life after a crash of the one before
// it.
void LiveRandomly(uint64_t seed) {
  std::mt19937_64 random(seed);
  const Durability durability = kDurabilities[random() % 3];
  auto files = std::make_unique<FaultyFileSystem>(seed);
  JournalModel model(files.get(), durability);
  for (int life = 0; life < 8; ++life) {
    while (!model.Open()) files->Heal();
    const uint64_t steps = random() % 80;
    for (uint64_t i = 0; i < steps; ++i) {
      switch (random() % 16) {
        case 0:
          files->FailCall(files->calls() + 1 + random() % 4, FaultyFileSystem::IoError());
          break;
        case 1:
          files->LimitSpace(random() % 20'000);
          break;
        case 2:
          files->FailCallsFrom(files->calls() + 1 + random() % 4, FaultyFileSystem::NoSpace());
          break;
        case 3:
        case 4:
        case 5:
          files->Heal();
          break;
      }
      model.Step(random);
    }
    const CrashKind kind = kCrashes[random() % 3];
    std::unique_ptr<FaultyFileSystem> disk = files->Crash(kind, random());
    model.ContinueOn(disk.get(), kind);
    files = std::move(disk);
  }
  files->Heal();
  ASSERT_TRUE(model.Open());
  EXPECT_TRUE(model.Put(0, 10));
  model.Close();
}

TEST(JournalFaultsTest, LivesThroughRandomFaultsAndCrashes) {
  for (int round = 0; round < Rounds(60); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(Concat("seed ", seed));
    LiveRandomly(seed);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace larder::test
