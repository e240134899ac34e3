// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/sqlite_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/store.h"
#include "larder/write_id.h"

namespace larder::examples {
namespace {

constexpr char kCreate[] =
    "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB, "
    "writer INTEGER NOT NULL, sequence INTEGER NOT NULL)";

constexpr char kSelect[] = "SELECT value FROM entries WHERE key = ?1 AND value IS NOT NULL";

// Also erases, with NULL for the value.
constexpr char kWrite[] =
    "INSERT INTO entries VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE "
    "SET value = excluded.value, writer = excluded.writer, sequence = excluded.sequence "
    "WHERE writer <> excluded.writer OR sequence < excluded.sequence OR excluded.sequence = 0";

int ToMillis(absl::Duration time) {
  const int64_t millis = absl::ToInt64Milliseconds(time);
  return static_cast<int>(std::clamp<int64_t>(millis, 0, std::numeric_limits<int>::max()));
}

// The write is at fault, and not the database.
bool IsRefusal(const absl::Status& status) { return absl::IsInvalidArgument(status); }

struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

// Makes a statement fit for its next use, whichever way this one ends.
class ResetAtEnd {
 public:
  explicit ResetAtEnd(const Statement& statement) : statement_(statement.get()) {}
  ~ResetAtEnd() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  ResetAtEnd(const ResetAtEnd&) = delete;
  ResetAtEnd& operator=(const ResetAtEnd&) = delete;

 private:
  sqlite3_stmt* const statement_;
};

}  // namespace

// A SQLite connection and its prepared statements. Used by one thread at a time.
class SqliteStore::Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& path,
                                                          const SqliteStoreOptions& options) {
    auto connection = std::make_unique<Connection>();
    const absl::Status opened = connection->Start(path, options);
    if (!opened.ok()) return opened;
    return connection;
  }

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ~Connection() {
    select_.reset();
    write_.reset();
    sqlite3_close(database_);
  }

  absl::Status Execute(const std::string& sql) {
    return StatusOf(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr), sql);
  }

  bool in_transaction() const { return sqlite3_get_autocommit(database_) == 0; }

  absl::StatusOr<std::string> Load(const std::string& key) {
    const ResetAtEnd reset(select_);
    absl::Status bound = Bind(select_, 1, key);
    if (!bound.ok()) return bound;
    const int result = sqlite3_step(select_.get());
    if (result == SQLITE_DONE) return absl::NotFoundError("no such key");
    if (result != SQLITE_ROW) return StatusOf(result, "load");
    const void* bytes = sqlite3_column_blob(select_.get(), 0);  // nullptr of an empty one
    const int size = sqlite3_column_bytes(select_.get(), 0);
    return bytes == nullptr
               ? std::string()
               : std::string(static_cast<const char*>(bytes), static_cast<size_t>(size));
  }

  // value nullptr: erases.
  absl::Status Write(const std::string& key, const std::string* value, const WriteId& id) {
    const ResetAtEnd reset(write_);
    if (absl::Status bound = Bind(write_, 1, key); !bound.ok()) return bound;
    if (value != nullptr) {
      if (absl::Status bound = Bind(write_, 2, *value); !bound.ok()) return bound;
    }
    sqlite3_bind_int64(write_.get(), 3, static_cast<sqlite3_int64>(id.writer));
    sqlite3_bind_int64(write_.get(), 4, static_cast<sqlite3_int64>(id.sequence));
    const int result = sqlite3_step(write_.get());
    return result == SQLITE_DONE ? absl::OkStatus() : StatusOf(result, "write");
  }

 private:
  absl::Status Start(const std::string& path, const SqliteStoreOptions& options) {
    constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    absl::Status status =
        StatusOf(sqlite3_open_v2(path.c_str(), &database_, kFlags, nullptr), "open");
    if (status.ok()) sqlite3_busy_timeout(database_, ToMillis(options.busy_timeout));
    for (const std::string& sql :
         {std::string("PRAGMA journal_mode = WAL"), std::string("PRAGMA synchronous = FULL"),
          std::string(kCreate), options.setup}) {
      if (status.ok()) status = Execute(sql);
    }
    if (status.ok()) status = Prepare(kSelect, select_);
    if (status.ok()) status = Prepare(kWrite, write_);
    if (status.ok()) return status;
    return absl::UnavailableError(absl::StrCat(path, ": ", status.message()));
  }

  absl::Status Prepare(const char* sql, Statement& statement) {
    sqlite3_stmt* raw = nullptr;
    const int result =
        sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    statement.reset(raw);
    return StatusOf(result, sql);
  }

  // `bytes` must stay as they are until the statement is reset.
  absl::Status Bind(const Statement& statement, int index, const std::string& bytes) {
    return StatusOf(
        sqlite3_bind_blob64(statement.get(), index, bytes.data(), bytes.size(), SQLITE_STATIC),
        "bind");
  }

  absl::Status StatusOf(int result, std::string_view doing) const {
    if (result == SQLITE_OK) return absl::OkStatus();
    const std::string message =
        absl::StrCat("SQLite, ", std::string(doing), ": ",
                     database_ == nullptr ? sqlite3_errstr(result) : sqlite3_errmsg(database_));
    switch (result & 0xff) {  // the rest says more, in extended codes
      case SQLITE_CONSTRAINT:
      case SQLITE_MISMATCH:
      case SQLITE_TOOBIG:
        return absl::InvalidArgumentError(message);
      case SQLITE_FULL:
        return absl::ResourceExhaustedError(message);
      default:
        return absl::UnavailableError(message);
    }
  }

  sqlite3* database_ = nullptr;
  Statement select_;
  Statement write_;
};

SqliteStore::SqliteStore(std::string path, SqliteStoreOptions options,
                         std::unique_ptr<Connection> writer)
    : path_(std::move(path)), options_(std::move(options)), writer_(std::move(writer)) {}

SqliteStore::~SqliteStore() = default;

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(std::string path,
                                                               SqliteStoreOptions options) {
  absl::StatusOr<std::unique_ptr<Connection>> writer = Connection::Open(path, options);
  if (!writer.ok()) return writer.status();
  return std::unique_ptr<SqliteStore>(
      new SqliteStore(std::move(path), std::move(options), *std::move(writer)));
}

absl::StatusOr<std::string> SqliteStore::Load(const std::string& key) {
  absl::StatusOr<std::unique_ptr<Connection>> reader = TakeReader();
  if (!reader.ok()) return reader.status();
  absl::StatusOr<std::string> value = (*reader)->Load(key);
  ReturnReader(*std::move(reader));
  return value;
}

std::vector<absl::StatusOr<std::string>> SqliteStore::LoadMany(std::span<const std::string> keys) {
  absl::StatusOr<std::unique_ptr<Connection>> reader = TakeReader();
  if (!reader.ok()) return std::vector<absl::StatusOr<std::string>>(keys.size(), reader.status());
  std::vector<absl::StatusOr<std::string>> values;
  values.reserve(keys.size());
  for (const std::string& key : keys) values.push_back((*reader)->Load(key));
  ReturnReader(*std::move(reader));
  return values;
}

absl::Status SqliteStore::Write(const std::string& key, const std::string& value,
                                const WriteId& id) {
  const std::lock_guard lock(write_mutex_);
  return writer_->Write(key, &value, id);
}

absl::Status SqliteStore::Erase(const std::string& key, const WriteId& id) {
  const std::lock_guard lock(write_mutex_);
  return writer_->Write(key, nullptr, id);
}

std::vector<absl::Status> SqliteStore::WriteMany(
    std::span<const StoreWrite<std::string, std::string>> writes) {
  const std::lock_guard lock(write_mutex_);
  std::vector<absl::Status> results;
  results.reserve(writes.size());
  // At once, since to become a writer later on can fail without a wait.
  absl::Status batch = writer_->Execute("BEGIN IMMEDIATE");
  for (auto write = writes.begin(); write != writes.end() && batch.ok(); ++write) {
    results.push_back(writer_->Write(write->key, write->value, write->id));
    // After some errors SQLite rolls back by itself, and what followed would be committed alone.
    if (!results.back().ok() && !(IsRefusal(results.back()) && writer_->in_transaction())) {
      batch = results.back();
    }
  }
  if (batch.ok()) batch = writer_->Execute("COMMIT");
  if (batch.ok()) return results;
  // What fails here fails on BEGIN, too, which will tell.
  if (writer_->in_transaction()) writer_->Execute("ROLLBACK").IgnoreError();
  return std::vector<absl::Status>(writes.size(), batch);
}

absl::StatusOr<std::unique_ptr<SqliteStore::Connection>> SqliteStore::TakeReader() {
  {
    const std::lock_guard lock(idle_mutex_);
    if (!idle_readers_.empty()) {
      std::unique_ptr<Connection> reader = std::move(idle_readers_.back());
      idle_readers_.pop_back();
      return reader;
    }
  }
  return Connection::Open(path_, options_);
}

void SqliteStore::ReturnReader(std::unique_ptr<Connection> reader) {
  const std::lock_guard lock(idle_mutex_);
  idle_readers_.push_back(std::move(reader));
}

}  // namespace larder::examples
