// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/snapshot_file.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/snapshot_format.h"
#include "larder/internal/snapshot_io.h"
#include "larder/snapshot_options.h"
#include "src/paths.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/temporary_directory.h"

namespace larder::internal {
namespace {

using test::CrashKind;
using test::FaultyFileSystem;
using test::FileCall;

constexpr char kSnapshotPath[] = "/cache/users";
using Files = std::map<std::string, std::string>;

absl::StatusOr<std::unique_ptr<FaultyFileSystem>> WithCacheDirectory() {
  auto files = std::make_unique<FaultyFileSystem>();
  if (absl::Status status = files->CreateDirectory("/cache"); !status.ok()) return status;
  if (absl::Status status = files->SyncDirectory("/"); !status.ok()) return status;
  return files;
}

class SnapshotFileTest : public ::testing::Test {
 protected:
  void SetUp() override { files_ = WithCacheDirectory().value(); }

  absl::Status Write(const std::string& bytes) {
    absl::StatusOr<std::unique_ptr<SnapshotFile>> file =
        SnapshotFile::Create(*files_, kSnapshotPath);
    if (!file.ok()) return file.status();
    if (absl::Status status = (*file)->Append(bytes); !status.ok()) return status;
    return (*file)->Commit();
  }

  std::unique_ptr<FaultyFileSystem> files_;
};

TEST_F(SnapshotFileTest, TakesItsPlaceWhenCommitted) {
  auto file = SnapshotFile::Create(*files_, kSnapshotPath).value();
  ASSERT_EQ(file->Append("new"), absl::OkStatus());
  EXPECT_FALSE(files_->Files().contains(kSnapshotPath));
  ASSERT_EQ(file->Commit(), absl::OkStatus());
  EXPECT_EQ(files_->Files(), (Files{{kSnapshotPath, "new"}}));
  EXPECT_EQ(files_->Crash(CrashKind::kUnsynced)->Files(), (Files{{kSnapshotPath, "new"}}));
}

TEST_F(SnapshotFileTest, LeavesNothingWhereItIsNotCommitted) {
  ASSERT_EQ(Write("old"), absl::OkStatus());
  {
    auto file = SnapshotFile::Create(*files_, kSnapshotPath).value();
    ASSERT_EQ(file->Append("new"), absl::OkStatus());
  }
  EXPECT_EQ(files_->Files(), (Files{{kSnapshotPath, "old"}}));
}

TEST_F(SnapshotFileTest, TheLastOneToBeCommittedStays) {
  auto one = SnapshotFile::Create(*files_, kSnapshotPath).value();
  auto two = SnapshotFile::Create(*files_, kSnapshotPath).value();
  ASSERT_EQ(two->Append("two"), absl::OkStatus());
  ASSERT_EQ(two->Commit(), absl::OkStatus());
  EXPECT_EQ(files_->Files().at(kSnapshotPath), "two");
  auto three = SnapshotFile::Create(*files_, kSnapshotPath).value();
  ASSERT_EQ(one->Append("one"), absl::OkStatus());
  ASSERT_EQ(one->Commit(), absl::OkStatus());
  three.reset();
  EXPECT_EQ(files_->Files(), (Files{{kSnapshotPath, "one"}}));
}

TEST_F(SnapshotFileTest, RemovesWhatOthersLeftWhenTheyDied) {
  files_->SetFile("/cache/users.tmp.0123456789abcdef", "torn");
  files_->SetFile("/cache/users.tmp.", "torn");
  files_->SetFile("/cache/users.tmpx", "other");
  files_->SetFile("/cache/other.tmp.0123456789abcdef", "other");
  ASSERT_EQ(Write("new"), absl::OkStatus());
  EXPECT_EQ(files_->Files(), (Files{{kSnapshotPath, "new"},
                                    {"/cache/users.tmpx", "other"},
                                    {"/cache/other.tmp.0123456789abcdef", "other"}}));
}

TEST_F(SnapshotFileTest, ADirectoryThatCannotBeListedOrTidiedIsNoObstacle) {
  files_->SetFile("/cache/users.tmp.0", "torn");
  files_->FailAll(FileCall::kRemove, FaultyFileSystem::IoError());
  EXPECT_EQ(Write("new"), absl::OkStatus());
  files_->FailAll(FileCall::kList, FaultyFileSystem::IoError());
  EXPECT_EQ(Write("newer"), absl::OkStatus());
  EXPECT_EQ(files_->Files().at(kSnapshotPath), "newer");
}

TEST_F(SnapshotFileTest, PathsMayBeRelative) {
  for (const std::string path : {"users", "cache/users"}) {
    FaultyFileSystem files;
    ASSERT_EQ(files.CreateDirectory("cache"), absl::OkStatus());
    files.SetFile(path + ".tmp.0", "torn");
    auto file = SnapshotFile::Create(files, path);
    ASSERT_EQ(file.status(), absl::OkStatus()) << path;
    ASSERT_EQ((*file)->Commit(), absl::OkStatus()) << path;
    EXPECT_EQ(files.Files(), (Files{{path, ""}}));
  }
  EXPECT_EQ(DirectoryOf("a"), ".");
  EXPECT_EQ(DirectoryOf("/a"), "/");
  EXPECT_EQ(DirectoryOf("/a/b"), "/a");
  EXPECT_EQ(DirectoryOf("a/b"), "a");
}

TEST_F(SnapshotFileTest, WorksOnTheOperatingSystemsFiles) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "users";
  FileSystem& files = FileSystem::Default();
  for (const std::string bytes : {"one", "two"}) {
    auto file = SnapshotFile::Create(files, path).value();
    ASSERT_EQ(file->Append(bytes), absl::OkStatus());
    ASSERT_EQ(file->Commit(), absl::OkStatus());
    EXPECT_EQ(files.Read(path).value(), bytes);
  }
  EXPECT_EQ(files.List(directory.path()).value(), std::vector<std::string>{"users"});
}

// --- The whole way of a snapshot, with faults.

constexpr int kEntries = 1200;  // more than are written at once

SnapshotHead HeadFor(const std::string& policy) {
  return {.key_schema = "k", .value_schema = "v", .policy = policy};
}

absl::Status Save(FileSystem& files, const std::string& name) {
  SnapshotOptions options;
  options.file_system = &files;
  options.now = [] { return absl::UnixEpoch() + absl::Seconds(100); };
  absl::StatusOr<SnapshotSaver> saver = SnapshotSaver::Begin(kSnapshotPath, options, HeadFor(name));
  if (!saver.ok()) return saver.status();
  const std::string value(1000, name[0]);
  for (int i = 0; i < kEntries; ++i) {
    const std::string key = absl::StrCat(name, i);
    if (absl::Status status = saver->Add({.key = key, .value = value}); !status.ok()) return status;
  }
  return saver->Finish().status();
}

// The name that was given to Save; an error where that isn't what is there.
absl::StatusOr<std::string> Load(FileSystem& files) {
  SnapshotOptions options;
  options.file_system = &files;
  absl::StatusOr<std::unique_ptr<LoadedSnapshot>> snapshot =
      LoadedSnapshot::Read(kSnapshotPath, options, "k", "v");
  if (!snapshot.ok()) return snapshot.status();
  const std::string name = (*snapshot)->reader.head().policy;
  SnapshotEntry entry;
  int entries = 0;
  for (; (*snapshot)->reader.Next(&entry); ++entries) {
    EXPECT_EQ(entry.key, absl::StrCat(name, entries));
    EXPECT_EQ(entry.value, std::string(1000, name[0]));
  }
  EXPECT_EQ(entries, kEntries);
  return name;
}

// Whatever fails: an error, and the older snapshot, or else the newer one; whole, and after any
// crash, too.
TEST(SnapshotIoTest, WhicheverCallFailsThereIsAWholeSnapshot) {
  for (const absl::Status& error : {FaultyFileSystem::NoSpace(), FaultyFileSystem::IoError()}) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(absl::StrCat("call ", n, " fails: ", error.ToString()));
      auto files = WithCacheDirectory().value();
      ASSERT_EQ(Save(*files, "old"), absl::OkStatus());
      files->FailCall(files->calls() + n, error);
      const absl::Status status = Save(*files, "new");
      const bool failed = files->failed_calls() > 0;
      files->Heal();
      ASSERT_LE(files->Files().size(), 1u) << "something is left behind";
      const std::string there = Load(*files).value();
      if (status.ok()) {
        EXPECT_EQ(there, "new");
      } else {
        EXPECT_EQ(status.code(), error.code()) << status;
        EXPECT_TRUE(absl::StrContains(status.message(), kSnapshotPath)) << status;
      }
      for (uint64_t seed = 1; seed <= 3; ++seed) {
        const auto crashed = files->Crash(CrashKind::kTorn, seed);
        const std::string then = Load(*crashed).value();
        EXPECT_TRUE(then == "new" || (then == "old" && !status.ok())) << then;
      }
      // And the next save works, and leaves nothing of this one.
      ASSERT_EQ(Save(*files, "next"), absl::OkStatus());
      EXPECT_EQ(files->Files().size(), 1u);
      if (!failed) break;
    }
  }
}

TEST(SnapshotIoTest, APowerFailureAtAnyMomentLeavesAWholeSnapshot) {
  auto files = WithCacheDirectory().value();
  ASSERT_EQ(Save(*files, "old"), absl::OkStatus());
  std::vector<std::unique_ptr<FaultyFileSystem>> crashes;
  files->SetObserver([&](FileCall, const std::string&) {
    for (const CrashKind kind : {CrashKind::kProcess, CrashKind::kUnsynced, CrashKind::kTorn}) {
      crashes.push_back(files->Crash(kind, crashes.size() + 1));
    }
  });
  ASSERT_EQ(Save(*files, "new"), absl::OkStatus());
  files->SetObserver(nullptr);
  EXPECT_EQ(Load(*files->Crash(CrashKind::kTorn)).value(), "new");
  EXPECT_GT(crashes.size(), 20u);
  for (const auto& crashed : crashes) {
    const std::string there = Load(*crashed).value();
    EXPECT_TRUE(there == "old" || there == "new");
    // What the crash left is gone after the next save.
    ASSERT_EQ(Save(*crashed, "next"), absl::OkStatus());
    EXPECT_EQ(crashed->Files().size(), 1u);
  }
}

TEST(SnapshotIoTest, ADiskThatIsTooSmallKeepsTheOlderSnapshot) {
  auto files = WithCacheDirectory().value();
  ASSERT_EQ(Save(*files, "old"), absl::OkStatus());
  const uint64_t size = files->Files().at(kSnapshotPath).size();
  for (uint64_t space = size; space < 2 * size; space += size / 7) {
    files->LimitSpace(space);
    EXPECT_TRUE(absl::IsResourceExhausted(Save(*files, "new")));
    EXPECT_EQ(files->Files().size(), 1u);
    EXPECT_EQ(Load(*files).value(), "old");
  }
  files->LimitSpace(2 * size);
  EXPECT_EQ(Save(*files, "new"), absl::OkStatus());
  EXPECT_EQ(Load(*files).value(), "new");
}

TEST(SnapshotIoTest, ErrorsOfLoadingNameTheFileAndTheReason) {
  auto files = WithCacheDirectory().value();
  EXPECT_TRUE(absl::IsNotFound(Load(*files).status()));
  ASSERT_EQ(Save(*files, "old"), absl::OkStatus());
  SnapshotOptions options;
  options.file_system = files.get();
  const absl::Status key = LoadedSnapshot::Read(kSnapshotPath, options, "u64", "v").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(key)) << key;
  EXPECT_EQ(key.message(), "snapshot /cache/users: the snapshot's keys are 'k', the cache's 'u64'");
  const absl::Status value = LoadedSnapshot::Read(kSnapshotPath, options, "k", "u64").status();
  EXPECT_EQ(value.message(),
            "snapshot /cache/users: the snapshot's values are 'v', the cache's 'u64'");
  files->FailAll(FileCall::kRead, FaultyFileSystem::IoError());
  EXPECT_EQ(Load(*files).status().code(), FaultyFileSystem::IoError().code());
  files->Heal();
  files->SetFile(kSnapshotPath, "");
  EXPECT_TRUE(absl::IsDataLoss(Load(*files).status())) << Load(*files).status();
  EXPECT_TRUE(absl::StrContains(Load(*files).status().message(), kSnapshotPath));
}

int64_t Left(FileSystem& files, absl::Time now, int64_t nanos) {
  SnapshotOptions options;
  options.file_system = &files;
  options.now = [now] { return now; };
  return LoadedSnapshot::Read(kSnapshotPath, options, "k", "v").value()->Left(nanos);
}

TEST(SnapshotIoTest, TimeGoesOnByTheWallClockButNotBack) {
  auto files = WithCacheDirectory().value();
  ASSERT_EQ(Save(*files, "old"), absl::OkStatus());
  const absl::Time saved = absl::UnixEpoch() + absl::Seconds(100);
  EXPECT_EQ(Left(*files, saved, 7), 7);
  EXPECT_EQ(Left(*files, saved + absl::Nanoseconds(5), 7), 2);
  EXPECT_EQ(Left(*files, saved + absl::Nanoseconds(9), 7), -2);
  EXPECT_EQ(Left(*files, saved - absl::Hours(1), 7), 7);
  EXPECT_EQ(Left(*files, absl::InfinitePast(), 7), 7);
  EXPECT_LE(Left(*files, absl::InfiniteFuture(), 7), 0);
  EXPECT_EQ(Left(*files, absl::InfiniteFuture(), kNever), kNever);
}

}  // namespace
}  // namespace larder::internal
