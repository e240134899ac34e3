// SPDX-License-Identifier: Apache-2.0
#include "tests/support/faulty_file_system.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/rounds.h"
#include "tests/support/temporary_directory.h"

namespace larder::test {
namespace {

using FileMap = std::map<std::string, std::string>;

std::unique_ptr<AppendFile> Create(FileSystem& files, const std::string& path) {
  absl::StatusOr<std::unique_ptr<AppendFile>> file = files.Create(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : nullptr;
}

// Of one file, "f", what may be there after crashes of one kind, over many seeds.
std::set<std::string> AfterCrashes(const FaultyFileSystem& files, CrashKind kind) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 1; seed <= 1'000; ++seed) {
    const FileMap left = files.Crash(kind, seed)->Files();
    const auto found = left.find("f");
    outcomes.insert(found == left.end() ? "(none)" : found->second);
  }
  return outcomes;
}

TEST(FaultyFileSystemTest, KeepsAllInAKilledProcessAndOnlyWhatWasSyncedWithoutPower) {
  FaultyFileSystem files;
  const auto file = Create(files, "f");
  EXPECT_TRUE(file->Append("one").ok());
  EXPECT_EQ(files.Crash(CrashKind::kProcess)->Files(), (FileMap{{"f", "one"}}));
  EXPECT_EQ(files.Crash(CrashKind::kUnsynced)->Files(), FileMap{});
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(files.Crash(CrashKind::kUnsynced)->Files(), FileMap{}) << "its name isn't synced";
  EXPECT_TRUE(files.SyncDirectory(".").ok());
  EXPECT_TRUE(file->Append(", two").ok());
  EXPECT_EQ(files.Crash(CrashKind::kUnsynced)->Files(), (FileMap{{"f", "one"}}));
  EXPECT_EQ(files.Crash(CrashKind::kProcess)->Files(), (FileMap{{"f", "one, two"}}));
  EXPECT_TRUE(file->Truncate(2).ok());
  EXPECT_EQ(files.Crash(CrashKind::kUnsynced)->Files(), (FileMap{{"f", "one"}}));
}

TEST(FaultyFileSystemTest, WhatAKilledProcessDidntSyncIsLostWhenThePowerFailsLater) {
  FaultyFileSystem files;
  EXPECT_TRUE(Create(files, "f")->Append("one").ok());
  const auto killed = files.Crash(CrashKind::kProcess);
  EXPECT_EQ(killed->Crash(CrashKind::kUnsynced)->Files(), FileMap{});
  EXPECT_TRUE(killed->SyncDirectory("").ok());
  EXPECT_EQ(killed->Crash(CrashKind::kUnsynced)->Files(), (FileMap{{"f", ""}}));
}

TEST(FaultyFileSystemTest, ATornTailIsAnyOfWhatWasntSynced) {
  FaultyFileSystem files;
  const auto file = Create(files, "f");
  EXPECT_TRUE(files.SyncDirectory(".").ok());
  EXPECT_TRUE(file->Append("safe").ok());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_TRUE(file->Append("abc").ok());
  const std::set<std::string> outcomes = AfterCrashes(files, CrashKind::kTorn);
  bool garbage = false;
  for (const std::string& outcome : outcomes) {
    EXPECT_EQ(outcome.substr(0, 4), "safe");
    EXPECT_LE(outcome.size(), 7u);
    garbage |= outcome != std::string("safeabc").substr(0, outcome.size());
  }
  for (const std::string& possible :
       {std::string("safe"), std::string("safea"), std::string("safeabc"),
        std::string("safea\0", 6), std::string("safe\0bc", 7)})
    EXPECT_TRUE(outcomes.contains(possible)) << testing::PrintToString(possible);
  EXPECT_TRUE(garbage);
}

TEST(FaultyFileSystemTest, AnyChangeOfADirectoryThatWasntSyncedMayBeLost) {
  FaultyFileSystem files;
  files.SetFile("f", "old");
  {
    const auto file = Create(files, "new");
    EXPECT_TRUE(file->Append("new").ok());
    EXPECT_TRUE(file->Sync().ok());
  }
  EXPECT_TRUE(files.Rename("new", "f").ok());
  EXPECT_EQ(files.Crash(CrashKind::kUnsynced)->Files(), (FileMap{{"f", "old"}}));
  EXPECT_EQ(AfterCrashes(files, CrashKind::kTorn), (std::set<std::string>{"old", "new"}));
  EXPECT_TRUE(files.SyncDirectory(".").ok());
  EXPECT_EQ(files.Crash(CrashKind::kUnsynced)->Files(), (FileMap{{"f", "new"}}));
  EXPECT_TRUE(files.Remove("f").ok());
  EXPECT_EQ(AfterCrashes(files, CrashKind::kTorn), (std::set<std::string>{"(none)", "new"}));
  EXPECT_TRUE(files.SyncDirectory(".").ok());
  EXPECT_EQ(AfterCrashes(files, CrashKind::kTorn), std::set<std::string>{"(none)"});
}

TEST(FaultyFileSystemTest, ASyncThatSucceedsAfterOneThatFailedMayHaveLostBytes) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    FaultyFileSystem files(seed);
    const auto file = Create(files, "f");
    EXPECT_TRUE(files.SyncDirectory(".").ok());
    EXPECT_TRUE(file->Append("one").ok());
    EXPECT_TRUE(file->Sync().ok());
    EXPECT_TRUE(file->Append("two").ok());
    files.FailCall(files.calls() + 1, FaultyFileSystem::IoError());
    EXPECT_FALSE(file->Sync().ok());
    EXPECT_EQ(*files.Read("f"), "onetwo");
    EXPECT_TRUE(file->Append("three").ok());
    EXPECT_TRUE(file->Sync().ok());
    EXPECT_EQ(*files.Read("f"), "onetwothree");
    outcomes.insert(files.Crash(CrashKind::kUnsynced)->Files()["f"]);
  }
  EXPECT_TRUE(outcomes.contains("onetwothree"));
  EXPECT_TRUE(outcomes.contains(std::string("one\0\0\0three", 11)));
  EXPECT_TRUE(outcomes.contains(std::string("onet\0\0three", 11)));
  for (const std::string& outcome : outcomes) {
    EXPECT_EQ(outcome.substr(0, 3), "one");
    EXPECT_EQ(outcome.substr(6), "three");
  }
}

TEST(FaultyFileSystemTest, AFailedAppendAppendsAnyPart) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    FaultyFileSystem files(seed);
    files.FailCall(2, FaultyFileSystem::NoSpace());
    const auto file = Create(files, "f");
    const absl::Status status = file->Append("abc");
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(status.message(), "can't write f: No space left on device");
    outcomes.insert(files.Files()["f"]);
    EXPECT_TRUE(file->Append("").ok());
    EXPECT_EQ(files.calls(), 3u);
    EXPECT_EQ(files.failed_calls(), 1u);
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"", "a", "ab", "abc"}));
}

TEST(FaultyFileSystemTest, AFailedTruncateMayHaveTruncated) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    FaultyFileSystem files(seed);
    const auto file = Create(files, "f");
    EXPECT_TRUE(file->Append("abc").ok());
    files.FailAll(FileCall::kTruncate, FaultyFileSystem::IoError());
    EXPECT_FALSE(file->Truncate(1).ok());
    outcomes.insert(files.Files()["f"]);
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"a", "abc"}));
}

TEST(FaultyFileSystemTest, AFailedSyncOfADirectoryMayHaveSyncedSomeChanges) {
  std::set<size_t> outcomes;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    FaultyFileSystem files(seed);
    for (const std::string name : {"a", "b", "c"}) Create(files, name);
    files.FailAll(FileCall::kSyncDirectory, FaultyFileSystem::IoError());
    EXPECT_FALSE(files.SyncDirectory(".").ok());
    outcomes.insert(files.Crash(CrashKind::kUnsynced)->Files().size());
    files.Heal();
    EXPECT_TRUE(files.SyncDirectory(".").ok());
    EXPECT_EQ(files.Crash(CrashKind::kUnsynced)->Files().size(), 3u);
  }
  EXPECT_EQ(outcomes, (std::set<size_t>{0, 1, 2, 3}));
}

TEST(FaultyFileSystemTest, EveryCallCanFail) {
  // How often something fails when the n-th call does.
  const auto run = [](FaultyFileSystem& files) {
    int failures = 0;
    const auto count = [&](const absl::Status& status) { failures += status.ok() ? 0 : 1; };
    count(files.CreateDirectory("d/e"));
    count(files.LockFile("d/e/LOCK").status());
    auto file = files.Create("d/e/f");
    count(file.status());
    if (file.ok()) {
      count((*file)->Append("abc"));
      count((*file)->Sync());
      count((*file)->Truncate(3));
      count((*file)->Close());
      count(files.Rename("d/e/f", "d/e/g"));
      count(files.Read("d/e/g").status());
      count(files.Remove("d/e/g"));
    }
    count(files.List("d").status());
    count(files.SyncDirectory("d/e"));
    return failures;
  };
  FaultyFileSystem well;
  EXPECT_EQ(run(well), 0);
  EXPECT_EQ(well.calls(), 12u);
  for (uint64_t n = 1; n <= well.calls(); ++n) {
    FaultyFileSystem once(n);
    once.FailCall(n, FaultyFileSystem::IoError());
    EXPECT_GT(run(once), 0) << n;
    EXPECT_EQ(once.failed_calls(), 1u);
    FaultyFileSystem always(n);
    always.FailCallsFrom(n, FaultyFileSystem::IoError());
    EXPECT_GT(run(always), 0) << n;
    EXPECT_EQ(always.failed_calls(), always.calls() - n + 1);
    const uint64_t calls = always.calls();
    always.Heal();
    EXPECT_TRUE(always.CreateDirectory("other").ok());
    EXPECT_EQ(always.calls(), calls + 1);
  }
  FaultyFileSystem beyond;
  beyond.FailCall(well.calls() + 1, FaultyFileSystem::IoError());
  EXPECT_EQ(run(beyond), 0);
}

TEST(FaultyFileSystemTest, FailsCallsOfAKindAndPath) {
  FaultyFileSystem files;
  files.FailAll(FileCall::kCreate, FaultyFileSystem::IoError(), ".tmp");
  EXPECT_TRUE(absl::IsUnavailable(files.Create("a.tmp").status()));
  EXPECT_TRUE(files.Create("a").ok());
  EXPECT_TRUE(absl::IsNotFound(files.Read("a.tmp").status()));
}

TEST(FaultyFileSystemTest, AFullDiskTakesWhatFitsUntilThereIsSpaceAgain) {
  FaultyFileSystem files;
  const auto file = Create(files, "f");
  files.SetFile("other", "12345");
  files.LimitSpace(12);
  EXPECT_TRUE(file->Append("abcd").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(file->Append("efgh")));
  EXPECT_EQ(files.Files()["f"], "abcdefg");
  EXPECT_TRUE(absl::IsResourceExhausted(file->Append("h")));
  EXPECT_TRUE(files.Remove("other").ok());
  EXPECT_TRUE(file->Append("h").ok());
  EXPECT_EQ(files.Files()["f"], "abcdefgh");
}

TEST(FaultyFileSystemTest, ACrashReleasesLocksAndLeavesTheOldOneToItself) {
  FaultyFileSystem files;
  EXPECT_TRUE(files.CreateDirectory("d").ok());
  const auto lock = files.LockFile("d/LOCK");
  ASSERT_TRUE(lock.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(files.LockFile("d/LOCK").status()));
  const auto file = Create(files, "d/f");
  const auto crashed = files.Crash(CrashKind::kProcess);
  EXPECT_TRUE(file->Append("too late").ok());
  EXPECT_TRUE(crashed->LockFile("d/LOCK").ok());
  EXPECT_EQ(crashed->Files()["d/f"], "");
  EXPECT_EQ(crashed->calls(), 1u);
}

TEST(FaultyFileSystemTest, TellsItsObserverOfEachCallWithoutALock) {
  FaultyFileSystem files;
  std::vector<std::string> crashes;
  files.SetObserver([&](FileCall call, const std::string& path) {
    if (call == FileCall::kSync) crashes.push_back(files.Crash(CrashKind::kProcess)->Files()[path]);
  });
  const auto file = Create(files, "f");
  EXPECT_TRUE(file->Append("one").ok());
  EXPECT_TRUE(file->Sync().ok());
  files.SetObserver(nullptr);
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(crashes, std::vector<std::string>{"one"});
}

// Does the same at random to two file systems, which must say the same.
class Twins {
 public:
  Twins(uint64_t seed, FileSystem& real, std::string real_directory, FaultyFileSystem& faulty)
      : random_(seed), real_(real), faulty_(faulty), directory_(std::move(real_directory)) {}

  void Step() {
    const std::string path = Path();
    const std::string other = Path();
    switch (random_() % 11) {
      case 0:
      case 1: {
        auto a = real_.Create(directory_ + path);
        auto b = faulty_.Create("root" + path);
        Same("create " + path, a.status(), b.status());
        if (a.ok() && b.ok()) open_.emplace_back(*std::move(a), *std::move(b));
        break;
      }
      case 2:
      case 3:
      case 4:
        if (!open_.empty()) WriteTo(open_[random_() % open_.size()]);
        break;
      case 5: {
        const auto a = real_.Read(directory_ + path);
        const auto b = faulty_.Read("root" + path);
        Same("read " + path, a.status(), b.status());
        EXPECT_EQ(a.value_or(""), b.value_or(""));
        break;
      }
      case 6:
        Same("rename " + path + " " + other, real_.Rename(directory_ + path, directory_ + other),
             faulty_.Rename("root" + path, "root" + other));
        break;
      case 7:
        Same("remove " + path, real_.Remove(directory_ + path), faulty_.Remove("root" + path));
        break;
      case 8: {
        const std::string directory = Directory();
        auto a = real_.List(directory_ + directory);
        auto b = faulty_.List("root" + directory);
        Same("list " + directory, a.status(), b.status());
        if (!a.ok() || !b.ok()) break;
        std::sort(a->begin(), a->end());
        std::sort(b->begin(), b->end());
        EXPECT_EQ(*a, *b);
        break;
      }
      case 9: {
        const std::string directory = Directory();
        Same("make " + directory, real_.CreateDirectory(directory_ + directory),
             faulty_.CreateDirectory("root" + directory));
        Same("sync " + directory, real_.SyncDirectory(directory_ + directory),
             faulty_.SyncDirectory("root" + directory));
        break;
      }
      case 10: {
        if (locks_.size() > 2) locks_.clear();
        auto a = real_.LockFile(directory_ + path);
        auto b = faulty_.LockFile("root" + path);
        Same("lock " + path, a.status(), b.status());
        if (a.ok() && b.ok()) locks_.emplace_back(*std::move(a), *std::move(b));
        break;
      }
    }
  }

 private:
  using OpenTwins = std::pair<std::unique_ptr<AppendFile>, std::unique_ptr<AppendFile>>;
  using LockTwins = std::pair<std::unique_ptr<FileSystem::Lock>, std::unique_ptr<FileSystem::Lock>>;

  std::string Directory() {
    static constexpr const char* kDirectories[] = {"", "/a", "/a/b", "/c/"};
    return kDirectories[random_() % 4];
  }
  std::string Path() {
    static constexpr const char* kNames[] = {"/x", "//y", "/z"};
    return Directory() + kNames[random_() % 3];
  }

  void WriteTo(OpenTwins& file) {
    if (random_() % 5 == 0) {
      Same("sync", file.first->Sync(), file.second->Sync());
      return;
    }
    const std::string bytes(random_() % 10, static_cast<char>('a' + random_() % 26));
    Same("append", file.first->Append(bytes), file.second->Append(bytes));
    if (random_() % 4 == 0) Same("truncate", file.first->Truncate(0), file.second->Truncate(0));
  }

  void Same(const std::string& what, const absl::Status& a, const absl::Status& b) {
    EXPECT_EQ(a.code(), b.code()) << what << ": really " << a << ", faulty " << b;
  }

  std::mt19937_64 random_;
  FileSystem& real_;
  FaultyFileSystem& faulty_;
  const std::string directory_;
  std::vector<OpenTwins> open_;
  std::vector<LockTwins> locks_;
};

TEST(FaultyFileSystemTest, DoesWhatTheRealOneDoesWhileNothingFails) {
  for (int round = 0; round < Rounds(10); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const TemporaryDirectory directory;
    FaultyFileSystem faulty(seed);
    ASSERT_TRUE(faulty.CreateDirectory("root").ok());
    Twins twins(seed, FileSystem::Default(), directory.path(), faulty);
    for (int step = 0; step < 200 && !testing::Test::HasFailure(); ++step) twins.Step();
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FaultyFileSystemTest, WhatWasSyncedSurvivesWhateverElseGoesWrong) {
  for (int round = 0; round < Rounds(300); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    FaultyFileSystem files(seed);
    const auto file = Create(files, "f");
    ASSERT_TRUE(files.SyncDirectory(".").ok());
    std::string synced;
    bool failed_before = false;  // then a sync promises nothing more
    for (int step = 0; step < 20; ++step) {
      if (random() % 10 == 0) files.FailCall(files.calls() + 1, FaultyFileSystem::IoError());
      if (random() % 2 == 0) {
        file->Append(std::string(random() % 50, static_cast<char>(random()))).IgnoreError();
      } else if (!file->Sync().ok()) {
        failed_before = true;
      } else if (!failed_before) {
        synced = files.Files()["f"];
      }
      for (const CrashKind kind : {CrashKind::kProcess, CrashKind::kUnsynced, CrashKind::kTorn}) {
        const std::string left = files.Crash(kind, seed)->Files()["f"];
        ASSERT_EQ(left.substr(0, synced.size()), synced);
        ASSERT_LE(left.size(), files.Files()["f"].size());
      }
    }
  }
}

}  // namespace
}  // namespace larder::test
