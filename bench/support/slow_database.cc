// SPDX-License-Identifier: Apache-2.0

#include "bench/support/slow_database.h"

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"

namespace larder::bench {

// One sqlite3 handle and its prepared query. Used by one thread at a time.
class SlowDatabase::Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& path, int flags) {
    auto connection = std::make_unique<Connection>();
    if (sqlite3_open_v2(path.c_str(), &connection->database_, flags | SQLITE_OPEN_NOMUTEX,
                        nullptr) != SQLITE_OK) {
      return connection->Error(absl::StrCat("open ", path));
    }
    return connection;
  }

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ~Connection() {
    sqlite3_finalize(select_);
    sqlite3_close(database_);
  }

  absl::Status Execute(const char* sql) {
    if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return Error(sql);
    return absl::OkStatus();
  }

  absl::Status InsertProducts(uint32_t products) {
    sqlite3_stmt* insert = nullptr;
    int code = sqlite3_prepare_v2(database_, "INSERT INTO product (id, body) VALUES (?, ?)", -1,
                                  &insert, nullptr);
    for (uint32_t id = 0; code == SQLITE_OK && id < products; ++id) {
      const std::string row = ExpectedRow(id);
      sqlite3_bind_int64(insert, 1, id);
      sqlite3_bind_text(insert, 2, row.data(), static_cast<int>(row.size()), SQLITE_TRANSIENT);
      sqlite3_step(insert);
      code = sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    return code == SQLITE_OK ? absl::OkStatus() : Error("insert products");
  }

  absl::StatusOr<std::string> Select(uint32_t id) {
    if (select_ == nullptr && sqlite3_prepare_v2(database_, "SELECT body FROM product WHERE id = ?",
                                                 -1, &select_, nullptr) != SQLITE_OK) {
      return Error("prepare the query");
    }
    sqlite3_bind_int64(select_, 1, id);
    absl::StatusOr<std::string> row = absl::NotFoundError(absl::StrCat("no product ", id));
    switch (sqlite3_step(select_)) {
      case SQLITE_ROW:
        row = std::string(reinterpret_cast<const char*>(sqlite3_column_text(select_, 0)),
                          static_cast<size_t>(sqlite3_column_bytes(select_, 0)));
        break;
      case SQLITE_DONE:
        break;
      default:
        row = Error(absl::StrCat("query product ", id));
    }
    sqlite3_reset(select_);
    return row;
  }

 private:
  absl::Status Error(std::string_view doing) const {
    return absl::UnavailableError(
        absl::StrCat("SQLite could not ", std::string(doing), ": ",
                     database_ == nullptr ? "out of memory" : sqlite3_errmsg(database_)));
  }

  sqlite3* database_ = nullptr;
  sqlite3_stmt* select_ = nullptr;
};

SlowDatabase::SlowDatabase(std::string path, uint64_t seed)
    : path_(std::move(path)), delays_(kFastest, kSlowest, seed) {}

SlowDatabase::~SlowDatabase() = default;

absl::StatusOr<std::unique_ptr<SlowDatabase>> SlowDatabase::Create(std::string path,
                                                                   uint32_t products,
                                                                   uint64_t seed) {
  absl::StatusOr<std::unique_ptr<Connection>> writer =
      Connection::Open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  if (!writer.ok()) return writer.status();
  absl::Status status = (*writer)->Execute(
      "BEGIN; CREATE TABLE product (id INTEGER PRIMARY KEY, body TEXT NOT NULL)");
  if (status.ok()) status = (*writer)->InsertProducts(products);
  if (status.ok()) status = (*writer)->Execute("COMMIT");
  if (!status.ok()) return status;
  return std::unique_ptr<SlowDatabase>(new SlowDatabase(std::move(path), seed));
}

absl::StatusOr<std::string> SlowDatabase::Query(uint32_t id) {
  const auto start = std::chrono::steady_clock::now();
  queries_.fetch_add(1, std::memory_order_relaxed);
  const auto answer_at = start + absl::ToChronoNanoseconds(delays_.Next());
  absl::StatusOr<std::string> row = QueryAtOnce(id);
  std::this_thread::sleep_until(answer_at);
  return row;
}

absl::StatusOr<std::string> SlowDatabase::QueryAtOnce(uint32_t id) {
  absl::StatusOr<std::unique_ptr<Connection>> connection = TakeConnection();
  if (!connection.ok()) return connection.status();
  absl::StatusOr<std::string> row = (*connection)->Select(id);
  ReturnConnection(*std::move(connection));
  return row;
}

std::string SlowDatabase::ExpectedRow(uint32_t id) {
  return absl::StrFormat(
      R"({"id":%d,"name":"product %d","price_cents":%d,"stock":%d,"shelf":"%c-%02d","rating":%.1f})",
      id, id, 99 + id * 37 % 9901, id * 7919 % 500, 'A' + id % 26, id % 97, 1 + id % 41 / 10.0);
}

absl::StatusOr<std::unique_ptr<SlowDatabase::Connection>> SlowDatabase::TakeConnection() {
  {
    const internal::MutexLock lock(&mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Connection> connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
  }
  return Connection::Open(path_, SQLITE_OPEN_READONLY);
}

void SlowDatabase::ReturnConnection(std::unique_ptr<Connection> connection) {
  const internal::MutexLock lock(&mutex_);
  idle_.push_back(std::move(connection));
}

}  // namespace larder::bench
