// SPDX-License-Identifier: Apache-2.0
//
// A service's data layer over a real SQLite file: every GET is cached, every POST, PUT and DELETE
// invalidates. Reads go through the cache, one query per key however many ask; writes go to the
// database first and then erase the key, so that the next read loads what was written.

#include <sqlite3.h>
#include <stdlib.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "larder/cache.h"

namespace {

// One SQLite connection; SQLite itself serialises the threads that use it.
class Database {
 public:
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path) {
    auto database = std::unique_ptr<Database>(new Database);
    constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    if (sqlite3_open_v2(path.c_str(), &database->db_, kFlags, nullptr) != SQLITE_OK) {
      return absl::UnavailableError(absl::StrCat("can't open ", path));
    }
    absl::Status created =
        database->Run("CREATE TABLE items (id TEXT PRIMARY KEY, body TEXT)", {}).status();
    if (!created.ok()) return created;
    return database;
  }
  ~Database() { sqlite3_close(db_); }

  // Runs one statement; returns the first column of its first row, or "" where it has none.
  absl::StatusOr<std::string> Run(const char* sql, const std::vector<std::string_view>& values) {
    ++statements;
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(db_, sql, -1, &raw, nullptr) != SQLITE_OK) {
      return absl::InternalError(absl::StrCat(sql, ": ", sqlite3_errmsg(db_)));
    }
    const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement(raw, sqlite3_finalize);
    for (size_t i = 0; i < values.size(); ++i) {
      sqlite3_bind_text(raw, static_cast<int>(i) + 1, values[i].data(),
                        static_cast<int>(values[i].size()), SQLITE_TRANSIENT);
    }
    const int result = sqlite3_step(raw);
    if (result == SQLITE_DONE) return "";
    if (result != SQLITE_ROW) return absl::InternalError(sqlite3_errmsg(db_));
    return std::string(reinterpret_cast<const char*>(sqlite3_column_text(raw, 0)));
  }

  std::atomic<int> statements{0};

 private:
  Database() = default;
  sqlite3* db_ = nullptr;
};

class Items {
 public:
  using Cache = larder::Cache<std::string, std::string>;

  Items(Database& database, std::unique_ptr<Cache> cache)
      : database_(database), cache_(std::move(cache)) {}

  absl::StatusOr<std::string> Get(std::string_view id) {
    return cache_->GetOrLoad(id, [this](const std::string& key) -> absl::StatusOr<std::string> {
      absl::StatusOr<std::string> body =
          database_.Run("SELECT body FROM items WHERE id = ?1", {key});
      if (body.ok() && body->empty()) return absl::NotFoundError(absl::StrCat("no item ", key));
      return body;
    });
  }

  // POST and PUT.
  absl::Status Save(std::string_view id, std::string_view body) {
    absl::Status saved =
        database_
            .Run("INSERT INTO items VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET body = ?2",
                 {id, body})
            .status();
    // Also after an error: whether it was written isn't known then. A load that is running now
    // started before this, and won't be stored.
    cache_->Erase(id);
    return saved;
  }

  absl::Status Delete(std::string_view id) {
    absl::Status deleted = database_.Run("DELETE FROM items WHERE id = ?1", {id}).status();
    cache_->Erase(id);
    return deleted;
  }

  larder::CacheStats Stats() const { return cache_->Stats(); }

 private:
  Database& database_;
  const std::unique_ptr<Cache> cache_;
};

absl::Status Serve(const std::string& directory) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(directory + "/items.db");
  if (!database.ok()) return database.status();
  Items::Cache::Options options;
  options.capacity = 10'000;
  options.ttl =
      absl::Minutes(1);  // bounds how long a change that bypasses this service goes unseen
  absl::StatusOr<std::unique_ptr<Items::Cache>> cache = Items::Cache::Create(options);
  if (!cache.ok()) return cache.status();
  Items items(**database, *std::move(cache));

  if (absl::Status status = items.Save("lamp", "brass"); !status.ok()) return status;
  std::vector<std::thread> clients;
  for (int client = 0; client < 8; ++client) {
    clients.emplace_back([&items] {
      for (int request = 0; request < 1000; ++request) {
        if (!items.Get("lamp").ok()) std::abort();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  std::printf("8,000 GETs, %d statements\n", (*database)->statements.load());

  if (absl::Status status = items.Save("lamp", "copper"); !status.ok()) return status;
  const absl::StatusOr<std::string> changed = items.Get("lamp");
  if (!changed.ok() || *changed != "copper") return absl::InternalError("a stale answer");
  if (absl::Status status = items.Delete("lamp"); !status.ok()) return status;
  if (!absl::IsNotFound(items.Get("lamp").status())) return absl::InternalError("a ghost");
  std::printf("after a PUT and a DELETE, hit ratio %.4f\n", items.Stats().hit_ratio());
  return absl::OkStatus();
}

}  // namespace

int main() {
  std::string directory = "/tmp/larder_rest_service_XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return 1;
  const absl::Status status = Serve(directory);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::remove((directory + "/items.db").c_str());
  std::remove(directory.c_str());
  return status.ok() ? 0 : 1;
}
