// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/dead_letter_file.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "larder/internal/record_io.h"
#include "tests/support/faulty_file_system.h"

namespace larder::internal {
namespace {

using test::CrashKind;
using test::FaultyFileSystem;
using test::FileCall;

constexpr char kPath[] = "/service/dead";
constexpr char kSchema[] = "write/1 string -> string";
using Texts = std::vector<std::string>;

DeadLetterRecord Letter(uint64_t number) {
  return {.id = {.writer = 7, .sequence = number},
          .reason = absl::InvalidArgumentError(absl::StrCat("refused ", number)),
          .attempts = static_cast<int>(number % 3),
          .payload = absl::StrCat("payload ", number)};
}

// All that is in a record.
std::string Text(const DeadLetterRecord& record) {
  return absl::StrCat(record.id.writer, " ", record.id.sequence, " ", record.attempts, " ",
                      record.reason.ToString(), " ", record.payload);
}

Texts Letters(const std::vector<uint64_t>& numbers) {
  Texts texts;
  for (const uint64_t number : numbers) texts.push_back(Text(Letter(number)));
  return texts;
}

absl::StatusOr<Texts> ReadAll(FaultyFileSystem& files, uint64_t* damaged_bytes) {
  *damaged_bytes = 0;
  const absl::StatusOr<std::vector<DeadLetterRecord>> records =
      ReadDeadLetterFiles(kPath, kSchema, files, damaged_bytes);
  if (!records.ok()) return records.status();
  Texts texts;
  for (const DeadLetterRecord& record : *records) texts.push_back(Text(record));
  return texts;
}

absl::StatusOr<Texts> ReadAll(FaultyFileSystem& files) {
  uint64_t ignored;
  return ReadAll(files, &ignored);
}

bool Contains(const Texts& all, const Texts& some) {
  return std::all_of(some.begin(), some.end(), [&](const std::string& text) {
    return std::find(all.begin(), all.end(), text) != all.end();
  });
}

std::unique_ptr<FaultyFileSystem> WithDirectory(uint64_t seed = 1) {
  auto files = std::make_unique<FaultyFileSystem>(seed);
  EXPECT_EQ(files->CreateDirectory("/service"), absl::OkStatus());
  EXPECT_EQ(files->SyncDirectory("/"), absl::OkStatus());
  return files;
}

class DeadLetterFileTest : public ::testing::Test {
 protected:
  // As a process does that has these.
  void Write(const std::vector<uint64_t>& numbers) {
    DeadLetterFile file(kPath, kSchema, *files_);
    ASSERT_EQ(file.Open(), absl::OkStatus());
    for (const uint64_t number : numbers) {
      ASSERT_EQ(file.Append(Letter(number)), absl::OkStatus());
    }
    ASSERT_EQ(file.Sync(), absl::OkStatus());
  }

  Texts Names() const {
    Texts names;
    for (const auto& [name, bytes] : files_->Files()) names.push_back(name);
    return names;
  }

  std::unique_ptr<FaultyFileSystem> files_ = WithDirectory();
};

TEST_F(DeadLetterFileTest, HasWhatWasAppended) {
  const std::string bytes("\0\xff\n\0", 4);
  const std::vector<DeadLetterRecord> records = {
      Letter(1),
      {.id = {.writer = ~uint64_t{0}, .sequence = uint64_t{1} << 62},
       .reason = absl::DataLossError(bytes),
       .attempts = 1'000'000,
       .payload = bytes},
      {.id = {}, .reason = absl::UnknownError(""), .attempts = 0, .payload = ""},
  };
  DeadLetterFile file(kPath, kSchema, *files_);
  ASSERT_EQ(file.Open(), absl::OkStatus());
  Texts texts;
  for (const DeadLetterRecord& record : records) {
    ASSERT_EQ(file.Append(record), absl::OkStatus());
    texts.push_back(Text(record));
    EXPECT_EQ(ReadAll(*files_).value(), texts);  // also while it is written
  }
}

TEST_F(DeadLetterFileTest, IsNoneWhereNothingWasAppended) {
  Write({});
  EXPECT_EQ(Names(), Texts());
  EXPECT_EQ(ReadAll(*files_).value(), Texts());
}

TEST_F(DeadLetterFileTest, IsOneForEachProcessInTheirOrder) {
  std::vector<uint64_t> numbers;
  for (uint64_t process = 1; process <= 11; ++process) {
    Write({2 * process, 2 * process + 1});
    numbers.insert(numbers.end(), {2 * process, 2 * process + 1});
  }
  EXPECT_EQ(files_->Files().size(), 11);
  EXPECT_TRUE(files_->Files().contains("/service/dead.11"));
  EXPECT_EQ(ReadAll(*files_).value(), Letters(numbers));
}

TEST_F(DeadLetterFileTest, NeverTakesTheNumberOfOneThatIsThere) {
  Write({1});
  Write({2});
  files_->SetFile("/service/dead.1", std::nullopt);  // was dealt with
  Write({3});
  EXPECT_EQ(Names(), (Texts{"/service/dead.2", "/service/dead.3"}));
  EXPECT_EQ(ReadAll(*files_).value(), Letters({2, 3}));
}

TEST_F(DeadLetterFileTest, LeavesAloneWhatHasAnotherName) {
  for (const char* name : {"dead", "dead.", "dead.txt", "dead.1.gz", "dead1", "undead.1"}) {
    files_->SetFile(absl::StrCat("/service/", name), "somebody else's");
  }
  Write({1});
  EXPECT_EQ(files_->Files().size(), 7);
  EXPECT_EQ(ReadAll(*files_).value(), Letters({1}));
}

TEST_F(DeadLetterFileTest, SaysAtOnceThatNoneCanBeMade) {
  files_->FailAll(FileCall::kCreate, FaultyFileSystem::NoSpace());
  EXPECT_TRUE(absl::IsResourceExhausted(DeadLetterFile(kPath, kSchema, *files_).Open()));
  files_->Heal();
  files_->FailAll(FileCall::kAppend, FaultyFileSystem::NoSpace());
  EXPECT_TRUE(absl::IsResourceExhausted(DeadLetterFile(kPath, kSchema, *files_).Open()));
  EXPECT_EQ(Names(), Texts());
}

TEST_F(DeadLetterFileTest, IsFollowedByAnotherAfterAnError) {
  for (const FileCall call : {FileCall::kAppend, FileCall::kSync}) {
    files_ = WithDirectory();
    DeadLetterFile file(kPath, kSchema, *files_);
    ASSERT_EQ(file.Open(), absl::OkStatus());
    ASSERT_EQ(file.Append(Letter(1)), absl::OkStatus());
    ASSERT_EQ(file.Sync(), absl::OkStatus());
    files_->FailAll(call, FaultyFileSystem::IoError());
    absl::Status failed = file.Append(Letter(2));
    failed.Update(file.Sync());
    EXPECT_FALSE(failed.ok());
    files_->Heal();
    ASSERT_EQ(file.Append(Letter(3)), absl::OkStatus());
    ASSERT_EQ(file.Sync(), absl::OkStatus());
    EXPECT_EQ(Names(), (Texts{"/service/dead.1", "/service/dead.2"}));
    EXPECT_TRUE(Contains(ReadAll(*files_).value(), Letters({1, 3})));
    EXPECT_TRUE(Contains(ReadAll(*files_->Crash(CrashKind::kUnsynced)).value(), Letters({1, 3})));
  }
}

TEST_F(DeadLetterFileTest, IsRemovedWhereItsFirstRecordFails) {
  DeadLetterFile file(kPath, kSchema, *files_);
  ASSERT_EQ(file.Open(), absl::OkStatus());
  for (int i = 0; i < 3; ++i) {
    files_->FailAll(FileCall::kAppend, FaultyFileSystem::NoSpace());
    EXPECT_TRUE(absl::IsResourceExhausted(file.Append(Letter(1))));
    EXPECT_EQ(Names(), Texts());
  }
  files_->Heal();
  ASSERT_EQ(file.Append(Letter(2)), absl::OkStatus());
  EXPECT_EQ(Names(), Texts{"/service/dead.1"});
  EXPECT_EQ(ReadAll(*files_).value(), Letters({2}));
}

TEST_F(DeadLetterFileTest, IsNotReadWithOtherCodecs) {
  Write({1});
  uint64_t damaged_bytes = 0;
  const absl::Status status =
      ReadDeadLetterFiles(kPath, "write/1 string -> Account/1", *files_, &damaged_bytes).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  for (const char* part : {"/service/dead.1", kSchema, "write/1 string -> Account/1"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
}

TEST_F(DeadLetterFileTest, IsNotReadInANewerFormat) {
  RecordWriter writer(RecordFileKind::kDeadLetters, /*version=*/2, /*salt=*/1);
  files_->SetFile("/service/dead.1", writer.Header());
  EXPECT_TRUE(absl::IsUnimplemented(ReadAll(*files_).status()));
}

TEST_F(DeadLetterFileTest, LosesWhatADamagedByteIsInAndSaysSo) {
  Write({1, 2, 3});
  const std::string name = "/service/dead.1";
  const std::string intact = files_->Files()[name];
  Write({4});
  const std::vector<Texts> possible = {Letters({4}),  // the header, or what payloads mean
                                       Letters({2, 3, 4}), Letters({1, 3, 4}), Letters({1, 2, 4})};
  size_t seen = 0;
  uint64_t damaged_bytes = 0;
  for (size_t at = 0; at < intact.size(); ++at) {
    std::string damaged = intact;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    files_->SetFile(name, damaged);
    const absl::StatusOr<Texts> read = ReadAll(*files_, &damaged_bytes);
    ASSERT_TRUE(read.ok()) << "byte " << at << ": " << read.status();
    if (seen + 1 < possible.size() && *read == possible[seen + 1]) ++seen;
    EXPECT_EQ(*read, possible[seen]) << "byte " << at;
    EXPECT_GT(damaged_bytes, 0) << "byte " << at;
    EXPECT_LE(damaged_bytes, intact.size()) << "byte " << at;
  }
  EXPECT_EQ(seen, possible.size() - 1);
  files_->SetFile(name, intact);
  EXPECT_EQ(ReadAll(*files_, &damaged_bytes).value(), Letters({1, 2, 3, 4}));
  EXPECT_EQ(damaged_bytes, 0);
}

TEST_F(DeadLetterFileTest, MayBeCutShortAnywhere) {
  Write({1, 2});
  const std::string name = "/service/dead.1";
  const std::string whole = files_->Files()[name];
  Write({3});
  const std::vector<Texts> possible = {Letters({3}), Letters({1, 3}), Letters({1, 2, 3})};
  size_t seen = 0;
  for (size_t size = 0; size <= whole.size(); ++size) {
    files_->SetFile(name, whole.substr(0, size));
    uint64_t damaged_bytes = 0;
    const absl::StatusOr<Texts> read = ReadAll(*files_, &damaged_bytes);
    ASSERT_TRUE(read.ok()) << size << " bytes: " << read.status();
    if (seen + 1 < possible.size() && *read == possible[seen + 1]) {
      ++seen;
      EXPECT_EQ(damaged_bytes, 0) << size << " bytes";
    }
    EXPECT_EQ(*read, possible[seen]) << size << " bytes";
    EXPECT_LE(damaged_bytes, size);
  }
  EXPECT_EQ(seen, possible.size() - 1);
}

// Three letters, each tried until it is safe, up to four times. Those that are.
Texts WriteThree(FaultyFileSystem& files) {
  DeadLetterFile file(kPath, kSchema, files);
  Texts safe;
  file.Open().IgnoreError();
  for (uint64_t number = 1; number <= 3; ++number) {
    for (int attempt = 0; attempt < 4; ++attempt) {
      if (!file.Append(Letter(number)).ok() || !file.Sync().ok()) continue;
      safe.push_back(Text(Letter(number)));
      break;
    }
  }
  return safe;
}

void CheckAllAreThere(FaultyFileSystem& files, const Texts& safe, uint64_t seed) {
  for (const CrashKind kind : {CrashKind::kProcess, CrashKind::kUnsynced, CrashKind::kTorn}) {
    const absl::StatusOr<Texts> read = ReadAll(*files.Crash(kind, seed));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(Contains(*read, safe));
  }
}

// `fail` tells a file system what is to fail at its n-th call.
void TryEachCall(const std::function<void(FaultyFileSystem& files, uint64_t n)>& fail,
                 size_t least_safe) {
  uint64_t tried = 0;
  for (bool failed = true; failed; ++tried) {
    SCOPED_TRACE(absl::StrCat("call ", tried + 1));
    const std::unique_ptr<FaultyFileSystem> files = WithDirectory(/*seed=*/tried + 1);
    fail(*files, files->calls() + tried + 1);
    const Texts safe = WriteThree(*files);
    failed = files->failed_calls() > 0;
    EXPECT_GE(safe.size(), least_safe);
    CheckAllAreThere(*files, safe, tried + 1);
    // Another process, once the disk is well.
    files->Heal();
    EXPECT_EQ(WriteThree(*files), Letters({1, 2, 3}));
    CheckAllAreThere(*files, Letters({1, 2, 3}), tried + 1);
  }
  EXPECT_GT(tried, 8);
}

TEST(DeadLetterFileFaultsTest, LosesNothingThatIsSafeWhicheverCallFails) {
  TryEachCall(
      [](FaultyFileSystem& files, uint64_t n) { files.FailCall(n, FaultyFileSystem::IoError()); },
      /*least_safe=*/3);
}

TEST(DeadLetterFileFaultsTest, LosesNothingThatIsSafeWhereTheDiskFailsForGood) {
  TryEachCall([](FaultyFileSystem& files,
                 uint64_t n) { files.FailCallsFrom(n, FaultyFileSystem::NoSpace()); },
              /*least_safe=*/0);
}

}  // namespace
}  // namespace larder::internal
