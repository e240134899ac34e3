// SPDX-License-Identifier: Apache-2.0
//
// SqliteStore: a real database as a cache's store, and a model for stores of your own.

#ifndef LARDER_DOCS_EXAMPLES_SQLITE_STORE_H_
#define LARDER_DOCS_EXAMPLES_SQLITE_STORE_H_

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/store.h"
#include "larder/write_id.h"

namespace larder::examples {

struct SqliteStoreOptions {
  // How long to wait for another process, or another store, that writes to the same file. >= 0
  absl::Duration busy_timeout = absl::Seconds(5);

  // SQL that each connection runs once it is open, such as "PRAGMA synchronous = NORMAL", with
  // which the system's end may take the last writes along, or "PRAGMA max_page_count = 100000".
  std::string setup = {};
};

// Keys and values, of any bytes, in a table of a SQLite file:
//
//   CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB, writer INTEGER NOT NULL,
//                         sequence INTEGER NOT NULL)
//
// The file is in WAL mode, so reads don't wait for writes. A write that returned OK is on the disk
// (SQLite's synchronous = FULL). Each row keeps the id of its last write, and a write which that
// one makes out of date changes nothing: it was there before. For this an erased key keeps its row,
// with NULL for its value; once no journal has writes left, these rows can be deleted. A write
// whose id is WriteId{} is nobody's and always takes place.
//
// Errors: NotFound for a key that isn't there; InvalidArgument for a write that SQLite refuses for
// what it is (too large, or against a constraint or trigger), which won't get better;
// ResourceExhausted for a full disk; Unavailable for all else, such as a file that another process
// keeps locked. Messages have SQLite's own.
//
// Thread safety: everything from many threads at once. Loads have a connection each, as from a pool
// without a bound; writes take turns at one.
class SqliteStore : public Store<std::string, std::string> {
 public:
  // Opens the file `path`, which is created, with the table, unless it is there. Unavailable if
  // that fails.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(std::string path,
                                                           SqliteStoreOptions options = {});

  // Closes the file. No call may be under way.
  ~SqliteStore() override;

  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;

  absl::StatusOr<std::string> Load(const std::string& key) override;
  std::vector<absl::StatusOr<std::string>> LoadMany(std::span<const std::string> keys) override;

  absl::Status Write(const std::string& key, const std::string& value, const WriteId& id) override;
  // OK also where `key` has nothing.
  absl::Status Erase(const std::string& key, const WriteId& id) override;
  // One transaction: all of it or nothing, but for writes that are refused for what they are, whose
  // results say so.
  std::vector<absl::Status> WriteMany(
      std::span<const StoreWrite<std::string, std::string>> writes) override;

 private:
  class Connection;

  SqliteStore(std::string path, SqliteStoreOptions options, std::unique_ptr<Connection> writer);

  absl::StatusOr<std::unique_ptr<Connection>> TakeReader();
  void ReturnReader(std::unique_ptr<Connection> reader);

  const std::string path_;
  const SqliteStoreOptions options_;

  // Held while SQLite writes: threads queue up for it, where SQLite would have them try again and
  // again until busy_timeout.
  std::mutex write_mutex_;
  const std::unique_ptr<Connection> writer_;

  std::mutex idle_mutex_;
  std::vector<std::unique_ptr<Connection>> idle_readers_;  // under idle_mutex_
};

}  // namespace larder::examples

#endif  // LARDER_DOCS_EXAMPLES_SQLITE_STORE_H_
