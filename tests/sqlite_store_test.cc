// SPDX-License-Identifier: Apache-2.0
#include "docs/examples/sqlite_store.h"

#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/store.h"
#include "larder/write_id.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/threads.h"

namespace larder {
namespace {

using examples::SqliteStore;
using examples::SqliteStoreOptions;

using Writes = std::vector<StoreWrite<std::string, std::string>>;

constexpr uint64_t kWriter = 0xFEDC'BA98'7654'3210;  // larger than SQLite's integers

// Another program's connection to the file.
class OtherProgram {
 public:
  explicit OtherProgram(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &database_), SQLITE_OK);
  }
  ~OtherProgram() { sqlite3_close(database_); }
  OtherProgram(const OtherProgram&) = delete;
  OtherProgram& operator=(const OtherProgram&) = delete;

  void Execute(const char* sql) {
    EXPECT_EQ(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database_);
  }

 private:
  sqlite3* database_ = nullptr;
};

class SqliteStoreTest : public ::testing::Test {
 protected:
  SqliteStoreTest() { Reopen(); }

  void Reopen(SqliteStoreOptions options = {}) {
    store_.reset();
    absl::StatusOr<std::unique_ptr<SqliteStore>> store =
        SqliteStore::Open(path_, std::move(options));
    if (!store.ok()) FAIL() << store.status();
    store_ = *std::move(store);
  }

  // The value, or the error's name.
  std::string Loaded(const std::string& key) {
    const absl::StatusOr<std::string> value = store_->Load(key);
    return value.ok() ? *value : absl::StatusCodeToString(value.status().code());
  }

  const test::TemporaryDirectory folder_;
  const std::string path_ = folder_ / "store.db";
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(SqliteStoreTest, LoadsWhatWasWritten) {
  EXPECT_EQ(Loaded("lamp"), "NOT_FOUND");
  ASSERT_EQ(store_->Write("lamp", "brass", {kWriter, 1}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "brass");
  ASSERT_EQ(store_->Write("lamp", "copper", {kWriter, 2}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "copper");
  ASSERT_EQ(store_->Erase("lamp", {kWriter, 3}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "NOT_FOUND");
  EXPECT_EQ(store_->Erase("chair", {kWriter, 4}), absl::OkStatus());
}

TEST_F(SqliteStoreTest, KeysAndValuesAreAnyBytes) {
  const std::string zeros("a\0b\xFF", 4);
  ASSERT_EQ(store_->Write(zeros, zeros + "'", {kWriter, 1}), absl::OkStatus());
  ASSERT_EQ(store_->Write("a", "only a", {kWriter, 2}), absl::OkStatus());
  ASSERT_EQ(store_->Write("", "of nothing", {kWriter, 3}), absl::OkStatus());
  ASSERT_EQ(store_->Write("empty", "", {kWriter, 4}), absl::OkStatus());
  EXPECT_EQ(Loaded(zeros), zeros + "'");
  EXPECT_EQ(Loaded("a"), "only a");
  EXPECT_EQ(Loaded(""), "of nothing");
  EXPECT_EQ(Loaded("empty"), "");
}

TEST_F(SqliteStoreTest, LoadsManyInTheirOrder) {
  ASSERT_EQ(store_->Write("a", "1", {kWriter, 1}), absl::OkStatus());
  ASSERT_EQ(store_->Write("c", "3", {kWriter, 2}), absl::OkStatus());
  const std::vector<std::string> keys = {"c", "b", "a", "c"};
  const std::vector<absl::StatusOr<std::string>> values = store_->LoadMany(keys);
  ASSERT_EQ(values.size(), 4u);
  EXPECT_EQ(values[0].value(), "3");
  EXPECT_TRUE(absl::IsNotFound(values[1].status()));
  EXPECT_EQ(values[2].value(), "1");
  EXPECT_EQ(values[3].value(), "3");
}

TEST_F(SqliteStoreTest, PassesOverWritesThatAreOutOfDate) {
  ASSERT_EQ(store_->Write("lamp", "newer", {kWriter, 7}), absl::OkStatus());
  EXPECT_EQ(store_->Write("lamp", "older", {kWriter, 6}), absl::OkStatus());
  EXPECT_EQ(store_->Write("lamp", "again", {kWriter, 7}), absl::OkStatus());
  EXPECT_EQ(store_->Erase("lamp", {kWriter, 5}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "newer");
  ASSERT_EQ(store_->Write("lamp", "another writer's", {kWriter + 1, 1}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "another writer's");
  ASSERT_EQ(store_->Write("lamp", "nobody's", {}), absl::OkStatus());
  ASSERT_EQ(store_->Write("lamp", "nobody's either", {}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "nobody's either");
}

TEST_F(SqliteStoreTest, AnErasedKeyIsNotBroughtBackByAnOlderWrite) {
  ASSERT_EQ(store_->Write("lamp", "brass", {kWriter, 1}), absl::OkStatus());
  ASSERT_EQ(store_->Erase("lamp", {kWriter, 2}), absl::OkStatus());
  ASSERT_EQ(store_->Erase("chair", {kWriter, 4}), absl::OkStatus());
  EXPECT_EQ(store_->Write("lamp", "brass", {kWriter, 1}), absl::OkStatus());
  EXPECT_EQ(store_->Write("chair", "oak", {kWriter, 3}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "NOT_FOUND");
  EXPECT_EQ(Loaded("chair"), "NOT_FOUND");
  EXPECT_EQ(store_->Write("lamp", "new", {kWriter, 5}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "new");
}

TEST_F(SqliteStoreTest, WritesAndErasesInOneBatch) {
  const std::string a = "a", b = "b", c = "c", value = "1", old = "old";
  ASSERT_EQ(store_->Write(b, old, {kWriter, 9}), absl::OkStatus());
  ASSERT_EQ(store_->Write(c, old, {kWriter, 1}), absl::OkStatus());
  const Writes writes = {
      {a, &value, {kWriter, 2}}, {b, &value, {kWriter, 3}}, {c, nullptr, {kWriter, 4}}};
  const std::vector<absl::Status> results = store_->WriteMany(writes);
  EXPECT_EQ(results, std::vector<absl::Status>(3));
  EXPECT_EQ(Loaded("a"), "1");
  EXPECT_EQ(Loaded("b"), "old") << "the batch's is out of date";
  EXPECT_EQ(Loaded("c"), "NOT_FOUND");
  EXPECT_TRUE(store_->WriteMany({}).empty());
}

TEST_F(SqliteStoreTest, RefusesOneWriteOfABatchAndTakesTheOthers) {
  Reopen({.setup = "CREATE TEMP TRIGGER careful BEFORE INSERT ON entries WHEN new.key = X'62' "
                   "BEGIN SELECT RAISE(ABORT, 'no b, please'); END"});
  const std::string a = "a", b = "b", c = "c", value = "1";
  const Writes writes = {
      {a, &value, {kWriter, 1}}, {b, &value, {kWriter, 2}}, {c, &value, {kWriter, 3}}};
  const std::vector<absl::Status> results = store_->WriteMany(writes);
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[0], absl::OkStatus());
  EXPECT_TRUE(absl::IsInvalidArgument(results[1])) << results[1];
  EXPECT_NE(results[1].message().find("no b, please"), std::string::npos) << results[1];
  EXPECT_EQ(results[2], absl::OkStatus());
  EXPECT_EQ(Loaded("a"), "1");
  EXPECT_EQ(Loaded("b"), "NOT_FOUND");
  EXPECT_EQ(Loaded("c"), "1");
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Write(b, value, {kWriter, 4})));
}

TEST_F(SqliteStoreTest, ABatchThatIsRolledBackHalfwayLeavesNothing) {
  Reopen({.setup = "CREATE TEMP TRIGGER rude BEFORE INSERT ON entries WHEN new.key = X'62' "
                   "BEGIN SELECT RAISE(ROLLBACK, 'all or nothing'); END"});
  const std::string a = "a", b = "b", c = "c", value = "1";
  const Writes writes = {
      {a, &value, {kWriter, 1}}, {b, &value, {kWriter, 2}}, {c, &value, {kWriter, 3}}};
  for (const absl::Status& result : store_->WriteMany(writes)) EXPECT_FALSE(result.ok());
  EXPECT_EQ(Loaded("a"), "NOT_FOUND");
  EXPECT_EQ(Loaded("c"), "NOT_FOUND");
  EXPECT_EQ(store_->Write(c, value, {kWriter, 4}), absl::OkStatus());
}

TEST_F(SqliteStoreTest, AFullDiskRefusesWritesAndGoesOnAnsweringLoads) {
  Reopen({.setup = "PRAGMA max_page_count = 16"});
  ASSERT_EQ(store_->Write("small", "fits", {kWriter, 1}), absl::OkStatus());
  const std::string a = "a", b = "b", small = "1", large(200'000, 'x');
  EXPECT_TRUE(absl::IsResourceExhausted(store_->Write(b, large, {kWriter, 2})));
  const Writes writes = {{a, &small, {kWriter, 3}}, {b, &large, {kWriter, 4}}};
  for (const absl::Status& result : store_->WriteMany(writes)) {
    EXPECT_TRUE(absl::IsResourceExhausted(result)) << result;
  }
  EXPECT_EQ(Loaded("a"), "NOT_FOUND") << "half a batch";
  EXPECT_EQ(Loaded("small"), "fits");
  EXPECT_EQ(store_->Write("small", "still", {kWriter, 5}), absl::OkStatus());
  Reopen();
  EXPECT_EQ(store_->WriteMany(writes), std::vector<absl::Status>(2));
  EXPECT_EQ(Loaded("b"), large);
}

TEST_F(SqliteStoreTest, AFileThatAnotherProgramLocksIsUnavailableForWritesOnly) {
  ASSERT_EQ(store_->Write("lamp", "brass", {kWriter, 1}), absl::OkStatus());
  Reopen({.busy_timeout = absl::ZeroDuration()});
  OtherProgram other(path_);
  other.Execute("BEGIN IMMEDIATE");
  const std::string lamp = "lamp", value = "copper";
  EXPECT_TRUE(absl::IsUnavailable(store_->Write(lamp, value, {kWriter, 2})));
  const Writes writes = {{lamp, &value, {kWriter, 3}}};
  EXPECT_TRUE(absl::IsUnavailable(store_->WriteMany(writes)[0]));
  EXPECT_EQ(Loaded("lamp"), "brass");
  other.Execute("COMMIT");
  EXPECT_EQ(store_->WriteMany(writes)[0], absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "copper");
}

TEST_F(SqliteStoreTest, WaitsForAnotherProgramToFinish) {
  Reopen({.busy_timeout = absl::Minutes(5)});
  OtherProgram other(path_);
  other.Execute("BEGIN IMMEDIATE");
  std::thread writer([&] {
    EXPECT_EQ(store_->Write("lamp", "brass", {kWriter, 1}), absl::OkStatus());
  });
  other.Execute("COMMIT");
  writer.join();
  EXPECT_EQ(Loaded("lamp"), "brass");
}

TEST_F(SqliteStoreTest, SurvivesReopening) {
  ASSERT_EQ(store_->Write("lamp", "brass", {kWriter, 2}), absl::OkStatus());
  ASSERT_EQ(store_->Erase("chair", {kWriter, 3}), absl::OkStatus());
  Reopen();
  EXPECT_EQ(Loaded("lamp"), "brass");
  EXPECT_EQ(store_->Write("lamp", "out of date", {kWriter, 1}), absl::OkStatus());
  EXPECT_EQ(store_->Write("chair", "out of date", {kWriter, 1}), absl::OkStatus());
  EXPECT_EQ(Loaded("lamp"), "brass");
  EXPECT_EQ(Loaded("chair"), "NOT_FOUND");
}

TEST_F(SqliteStoreTest, SaysWhichFileItCouldNotOpen) {
  const std::string nowhere = folder_ / "no such folder/store.db";
  const absl::Status missing = SqliteStore::Open(nowhere).status();
  EXPECT_TRUE(absl::IsUnavailable(missing)) << missing;
  EXPECT_NE(missing.message().find(nowhere), std::string::npos) << missing;
  EXPECT_TRUE(absl::IsUnavailable(SqliteStore::Open(folder_.path()).status()));
  EXPECT_TRUE(absl::IsUnavailable(SqliteStore::Open(path_, {.setup = "no SQL"}).status()));
}

TEST_F(SqliteStoreTest, ManyThreadsReadAndWrite) {
  constexpr int kThreads = 8;
  constexpr uint64_t kRounds = 25;
  Reopen({.setup = "PRAGMA synchronous = OFF"});
  std::atomic<int> wrong{0};
  test::RunThreads(kThreads, [&](int thread) {
    const std::string key = absl::StrCat("key ", thread);
    const std::string shared = absl::StrCat("shared ", thread);
    for (uint64_t i = 1; i <= kRounds; ++i) {
      const std::string value = absl::StrCat(i);
      const Writes writes = {{shared, &value, {kWriter, i}}};
      if (!store_->Write(key, value, {kWriter, i}).ok()) ++wrong;
      if (!store_->WriteMany(writes)[0].ok()) ++wrong;
      if (Loaded(key) != value || Loaded(shared) != value) ++wrong;
      // A neighbour's is any of its values, or not there yet.
      const absl::StatusOr<std::string> other =
          store_->Load(absl::StrCat("key ", (thread + 1) % kThreads));
      if (!other.ok() && !absl::IsNotFound(other.status())) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
  for (int thread = 0; thread < kThreads; ++thread) {
    EXPECT_EQ(Loaded(absl::StrCat("key ", thread)), absl::StrCat(kRounds));
  }
}

}  // namespace
}  // namespace larder
