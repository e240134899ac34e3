// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/journal.h"

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "src/journal_format.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/journal_fixture.h"

namespace larder::internal {
namespace {

using test::Append;
using test::CrashKind;
using test::FaultyFileSystem;
using test::FileCall;
using test::OpenedJournal;
using test::OpenJournal;
using test::Payloads;
using test::SegmentPaths;
using test::SettingsOf;

using Strings = std::vector<std::string>;

TEST(JournalTest, IsEmptyWhenItIsNew) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  EXPECT_TRUE(opened.found.writes.empty());
  EXPECT_EQ(opened.found.files, 0u);
  EXPECT_EQ(opened.found.damaged_bytes + opened.found.torn_bytes, 0u);
  EXPECT_TRUE(opened.journal->Close().ok());
  EXPECT_TRUE(OpenJournal(files).found.writes.empty());
}

TEST(JournalTest, FindsWhatWasAppendedInOrder) {
  FaultyFileSystem files;
  std::vector<JournalWrite> appended;
  {
    const OpenedJournal opened = OpenJournal(files);
    for (const char* payload : {"one", "", "three"}) {
      appended.push_back({Append(*opened.journal, payload), payload});
    }
  }
  const OpenedJournal opened = OpenJournal(files);
  EXPECT_EQ(opened.found.writes, appended);
  EXPECT_LT(appended[0].sequence, appended[1].sequence);
  EXPECT_LT(appended[1].sequence, appended[2].sequence);
}

TEST(JournalTest, DoesNotFindWhatWasAcknowledged) {
  FaultyFileSystem files;
  {
    const OpenedJournal opened = OpenJournal(files);
    const uint64_t one = Append(*opened.journal, "one");
    Append(*opened.journal, "two");
    const uint64_t three = Append(*opened.journal, "three");
    opened.journal->Acknowledge({three, one});
    opened.journal->Acknowledge({one, 12345});  // again, and one that was never there
    EXPECT_EQ(opened.journal->Stats().live_writes, 1u);
  }
  EXPECT_EQ(Payloads(OpenJournal(files).found), Strings({"two"}));
}

TEST(JournalTest, KeepsWhatItFoundUntilThatIsAcknowledged) {
  FaultyFileSystem files;
  Append(*OpenJournal(files).journal, "one");
  uint64_t one = 0;
  {
    const OpenedJournal opened = OpenJournal(files);
    one = opened.found.writes.at(0).sequence;
    EXPECT_LT(one, Append(*opened.journal, "two"));
  }
  {
    const OpenedJournal opened = OpenJournal(files);
    EXPECT_EQ(Payloads(opened.found), Strings({"one", "two"}));
    EXPECT_EQ(opened.found.writes[0].sequence, one);
    opened.journal->Acknowledge({one});
  }
  EXPECT_EQ(Payloads(OpenJournal(files).found), Strings({"two"}));
}

TEST(JournalTest, AcknowledgementsAreThereAfterTheProcessWasKilled) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  const uint64_t one = Append(*opened.journal, "one");
  Append(*opened.journal, "two");
  opened.journal->Acknowledge({one});
  const auto crashed = files.Crash(CrashKind::kProcess);
  EXPECT_EQ(Payloads(OpenJournal(*crashed).found), Strings({"two"}));
}

TEST(JournalTest, KeepsItsWriterAndUsesNoSequenceTwice) {
  FaultyFileSystem files;
  std::set<uint64_t> sequences;
  std::optional<uint64_t> writer;
  std::unique_ptr<FaultyFileSystem> disk = files.Crash(CrashKind::kProcess);
  for (size_t round = 0; round < 6; ++round) {
    const std::unique_ptr<FaultyFileSystem> before = std::move(disk);
    const OpenedJournal opened = OpenJournal(*before, Durability::kJournal);
    if (!writer.has_value()) writer = opened.journal->writer();
    EXPECT_EQ(opened.journal->writer(), *writer);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(sequences.insert(Append(*opened.journal, "write")).second);
    }
    // Not synced, but for each round's first one, as older files may go: these are gone.
    disk = before->Crash(CrashKind::kUnsynced);
    EXPECT_LE(OpenJournal(*disk).found.writes.size(), round);
  }
  EXPECT_NE(OpenJournal(files).journal->writer(), *writer);
}

TEST(JournalTest, TwoCannotBeOpenInOneDirectory) {
  FaultyFileSystem files;
  OpenedJournal opened = OpenJournal(files);
  JournalRecovery found;
  const auto second = Journal::Open(SettingsOf(files), &found);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_NE(second.status().message().find("journal/LOCK"), std::string::npos) << second.status();
  EXPECT_TRUE(opened.journal->Close().ok());
  EXPECT_TRUE(Journal::Open(SettingsOf(files), &found).ok());
}

TEST(JournalTest, RefusesAnotherSchemaAndNamesBoth) {
  FaultyFileSystem files;
  Append(*OpenJournal(files).journal, "one");
  JournalSettings settings = SettingsOf(files);
  settings.schema = "another";
  JournalRecovery found;
  const auto opened = Journal::Open(settings, &found);
  EXPECT_TRUE(absl::IsFailedPrecondition(opened.status())) << opened.status();
  EXPECT_NE(opened.status().message().find("\"test\""), std::string::npos) << opened.status();
  EXPECT_NE(opened.status().message().find("\"another\""), std::string::npos) << opened.status();
  EXPECT_EQ(Payloads(OpenJournal(files).found), Strings({"one"}));
}

TEST(JournalTest, TakesAnotherSchemaOnceNothingIsLeftOfTheOneBefore) {
  FaultyFileSystem files;
  {
    OpenedJournal opened = OpenJournal(files);
    const absl::StatusOr<uint64_t> sequence = opened.journal->Append("one");
    ASSERT_TRUE(sequence.ok());
    opened.journal->Acknowledge({*sequence});
  }
  JournalSettings settings = SettingsOf(files);
  settings.schema = "another";
  for (const Strings& expected : {Strings{}, Strings{"two"}}) {
    JournalRecovery found;
    const auto opened = Journal::Open(settings, &found);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(Payloads(found), expected);
    if (expected.empty()) {
      EXPECT_TRUE((*opened)->Append("two").ok());
    }
  }
}

TEST(JournalTest, RefusesFilesOfANewerVersion) {
  FaultyFileSystem files;
  RecordWriter writer(RecordFileKind::kJournal, kJournalVersion + 1, 1);
  files.SetFile("journal/" + JournalSegmentName(1), writer.Header());
  JournalRecovery found;
  const auto opened = Journal::Open(SettingsOf(files), &found);
  EXPECT_TRUE(absl::IsUnimplemented(opened.status())) << opened.status();
  EXPECT_NE(opened.status().message().find(JournalSegmentName(1)), std::string::npos);
}

TEST(JournalTest, LeavesOtherFilesAlone) {
  FaultyFileSystem files;
  const Strings others = {"journal/notes.txt", "journal/1.journal",
                          "journal/0000000000000001.journal.bak",
                          "journal/00000000000000x1.journal", "journal/0000000000000000.journal"};
  for (const std::string& other : others) files.SetFile(other, "something");
  {
    const OpenedJournal opened = OpenJournal(files);
    EXPECT_EQ(opened.found.files, 0u);
    for (int i = 0; i < 40; ++i) {
      opened.journal->Acknowledge({Append(*opened.journal, std::string(300, 'x'))});
    }
  }
  for (const std::string& other : others) EXPECT_EQ(files.Files().at(other), "something");
}

TEST(JournalTest, DoesNotOpenWithoutReadingAllOfIt) {
  FaultyFileSystem files;
  Append(*OpenJournal(files).journal, "one");
  files.FailAll(FileCall::kRead, FaultyFileSystem::IoError());
  JournalRecovery found;
  EXPECT_TRUE(absl::IsUnavailable(Journal::Open(SettingsOf(files), &found).status()));
  files.Heal();
  EXPECT_EQ(Payloads(OpenJournal(files).found), Strings({"one"}));
}

TEST(JournalTest, SyncsEachAppendOrNoneAsAsked) {
  for (const Durability durability :
       {Durability::kJournalSync, Durability::kJournalSyncInterval, Durability::kJournal}) {
    FaultyFileSystem files;
    const OpenedJournal opened = OpenJournal(files, durability);
    Append(*opened.journal, "first");  // begins a file, which is synced whatever the durability
    const uint64_t before = opened.journal->Stats().syncs;
    for (int i = 0; i < 5; ++i) Append(*opened.journal, "next");
    const bool each = durability == Durability::kJournalSync;
    EXPECT_EQ(opened.journal->Stats().syncs - before, each ? 5u : 0u);
    EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kProcess)).found).size(), 6u);
    EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kUnsynced)).found).size(),
              each ? 6u : 0u);
    EXPECT_TRUE(opened.journal->Sync().ok());
    EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kUnsynced)).found).size(), 6u);
  }
}

TEST(JournalTest, CloseSyncsAndRefusesWhatFollows) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files, Durability::kJournal);
  const uint64_t one = Append(*opened.journal, "one");
  Append(*opened.journal, "two");
  opened.journal->Acknowledge({one});
  EXPECT_TRUE(opened.journal->Close().ok());
  EXPECT_TRUE(opened.journal->Close().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(opened.journal->Append("three").status()));
  opened.journal->Acknowledge({one + 1});
  EXPECT_TRUE(opened.journal->Sync().ok());
  EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kUnsynced)).found), Strings({"two"}));
}

TEST(JournalTest, CloseSaysWhatMayNotSurvive) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files, Durability::kJournal);
  Append(*opened.journal, "one");
  files.FailAll(FileCall::kSync, FaultyFileSystem::IoError());
  EXPECT_TRUE(absl::IsUnavailable(opened.journal->Close()));
  EXPECT_TRUE(absl::IsUnavailable(opened.journal->Close()));
  files.Heal();
  EXPECT_EQ(Payloads(OpenJournal(files).found), Strings({"one"}));  // nobody has its lock
}

TEST(JournalTest, DeletesTheOldestFilesOnceTheyAreNotNeeded) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  std::vector<uint64_t> sequences;
  while (SegmentPaths(files).size() < 4) {
    sequences.push_back(Append(*opened.journal, std::string(500, 'x')));
  }
  EXPECT_EQ(opened.journal->Stats().files, 4u);
  // All but the first: they are needed as long as an older one is.
  opened.journal->Acknowledge(absl::MakeSpan(sequences).subspan(1, sequences.size() - 2));
  EXPECT_EQ(SegmentPaths(files).size(), 4u);
  const Strings before = SegmentPaths(files);
  opened.journal->Acknowledge({sequences.front()});
  EXPECT_EQ(SegmentPaths(files), Strings({before.back()}));
  EXPECT_EQ(OpenJournal(*files.Crash(CrashKind::kTorn)).found.writes.size(), 1u);
  uint64_t bytes = 0;
  for (const std::string& path : SegmentPaths(files)) bytes += files.Files().at(path).size();
  EXPECT_EQ(opened.journal->Stats().bytes, bytes);
}

TEST(JournalTest, DeletesWhatItFoundOnceThatIsAcknowledged) {
  FaultyFileSystem files;
  for (int i = 0; i < 20; ++i) Append(*OpenJournal(files).journal, std::string(500, 'x'));
  const OpenedJournal opened = OpenJournal(files);
  EXPECT_GT(opened.found.files, 1u);
  std::vector<uint64_t> sequences;
  for (const JournalWrite& write : opened.found.writes) sequences.push_back(write.sequence);
  opened.journal->Acknowledge(sequences);
  EXPECT_EQ(SegmentPaths(files).size(), 1u);
  EXPECT_EQ(opened.journal->Stats().live_writes, 0u);
}

TEST(JournalTest, StaysSmallIfAllIsAcknowledged) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  for (int i = 0; i < 1000; ++i) {
    opened.journal->Acknowledge({Append(*opened.journal, std::string(100, 'x'))});
  }
  EXPECT_EQ(opened.journal->Stats().files, 1u);
  EXPECT_LT(opened.journal->Stats().bytes, 2048u);
}

TEST(JournalTest, OneWriteThatIsNeededDoesNotKeepAllFiles) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  const uint64_t stuck = Append(*opened.journal, "stuck");
  for (int i = 0; i < 1000; ++i) {
    opened.journal->Acknowledge({Append(*opened.journal, std::string(400, 'x'))});
    EXPECT_LT(opened.journal->Stats().bytes, 8u * 4096);
  }
  for (const CrashKind kind : {CrashKind::kProcess, CrashKind::kUnsynced, CrashKind::kTorn}) {
    EXPECT_EQ(OpenJournal(*files.Crash(kind)).found.writes,
              std::vector<JournalWrite>({{stuck, "stuck"}}));
  }
  opened.journal->Acknowledge({stuck});
  EXPECT_TRUE(OpenJournal(*files.Crash(CrashKind::kProcess)).found.writes.empty());
}

TEST(JournalTest, TakesAWriteThatIsLargerThanASegment) {
  FaultyFileSystem files;
  const std::string large(100'000, 'x');
  Append(*OpenJournal(files).journal, large);
  EXPECT_EQ(Payloads(OpenJournal(files).found), Strings({large}));
}

TEST(JournalTest, AFullDiskFailsAppendsAndWorksAgainOnceThereIsRoom) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  Append(*opened.journal, "one");
  files.LimitSpace(200);
  for (int i = 0; i < 3; ++i) {
    const auto failed = opened.journal->Append(std::string(300, 'x'));
    EXPECT_TRUE(absl::IsResourceExhausted(failed.status())) << failed.status();
    EXPECT_NE(failed.status().message().find(".journal"), std::string::npos) << failed.status();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(opened.journal->Stats().last_error));
  EXPECT_EQ(opened.journal->Stats().failed_appends, 3u);
  files.Heal();
  Append(*opened.journal, "two");
  for (const CrashKind kind : {CrashKind::kProcess, CrashKind::kUnsynced, CrashKind::kTorn}) {
    EXPECT_EQ(Payloads(OpenJournal(*files.Crash(kind)).found), Strings({"one", "two"}));
  }
}

TEST(JournalTest, AFullDiskIsEmptiedOfWhatIsNotNeeded) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  std::vector<uint64_t> sequences;
  for (int i = 0; i < 30; ++i) {
    sequences.push_back(Append(*opened.journal, std::string(400, 'x')));
  }
  uint64_t used = 0;
  for (const auto& [path, bytes] : files.Files()) used += bytes.size();
  files.LimitSpace(used);
  EXPECT_FALSE(opened.journal->Append("no room").ok());
  EXPECT_FALSE(opened.journal->Append("no room").ok());
  opened.journal->Acknowledge(sequences);
  Append(*opened.journal, "two");
  EXPECT_EQ(opened.journal->Stats().files, 1u);
  EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kTorn)).found), Strings({"two"}));
}

TEST(JournalTest, AFailedSyncFailsTheAppendAndTheFileIsNotUsedAgain) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  Append(*opened.journal, "one");
  files.FailAll(FileCall::kSync, FaultyFileSystem::IoError());
  EXPECT_TRUE(absl::IsUnavailable(opened.journal->Append("failed").status()));
  files.Heal();
  const std::string given_up = SegmentPaths(files).front();
  const std::string bytes = files.Files().at(given_up);
  Append(*opened.journal, "two");
  EXPECT_EQ(files.Files().at(given_up), bytes);
  EXPECT_EQ(SegmentPaths(files).size(), 2u);
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kTorn, seed)).found),
              Strings({"one", "two"}));
  }
}

TEST(JournalTest, WhatWasNotSyncedYetIsWrittenAgainWhereASyncFails) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files, Durability::kJournalSyncInterval);
  Append(*opened.journal, "one");
  const uint64_t two = Append(*opened.journal, "two");
  opened.journal->Acknowledge({two});
  files.FailCall(files.calls() + 1, FaultyFileSystem::IoError());
  EXPECT_TRUE(opened.journal->Sync().ok());
  EXPECT_EQ(files.failed_calls(), 1u);
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kTorn, seed)).found), Strings({"one"}));
  }
  // The same where there is no other file to be had at first.
  Append(*opened.journal, "three");  // and the file that was given up goes
  Append(*opened.journal, "four");
  files.FailCallsFrom(files.calls() + 1, FaultyFileSystem::IoError());
  EXPECT_TRUE(absl::IsUnavailable(opened.journal->Sync()));
  EXPECT_TRUE(absl::IsUnavailable(opened.journal->Append("failed").status()));
  files.Heal();
  EXPECT_TRUE(opened.journal->Sync().ok());
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(Payloads(OpenJournal(*files.Crash(CrashKind::kTorn, seed)).found),
              Strings({"one", "three", "four"}));
  }
}

TEST(JournalTest, RefusesAPayloadThatIsTooLarge) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  // Only its length is looked at.
  const std::string_view too_large("", size_t{1} << 30);
  EXPECT_TRUE(absl::IsInvalidArgument(opened.journal->Append(too_large).status()));
}

}  // namespace
}  // namespace larder::internal
