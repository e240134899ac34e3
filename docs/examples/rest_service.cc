// SPDX-License-Identifier: Apache-2.0
//
// A service's data layer over a real SQLite file: every GET is cached, every POST, PUT and DELETE
// invalidates. Reads go through the cache, one query per key however many ask; writes go to the
// database first and then erase the key, so that the next read loads what was written.

#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "docs/examples/sqlite_store.h"
#include "larder/cache.h"
#include "larder/write_id.h"

namespace {

using larder::examples::SqliteStore;

class Items {
 public:
  using Cache = larder::Cache<std::string, std::string>;

  Items(SqliteStore& database, std::unique_ptr<Cache> cache)
      : database_(database), cache_(std::move(cache)) {}

  absl::StatusOr<std::string> Get(std::string_view id) {
    return cache_->GetOrLoad(id, [this](const std::string& key) { return database_.Load(key); });
  }

  // POST and PUT.
  absl::Status Save(const std::string& id, const std::string& body) {
    absl::Status saved = database_.Write(id, body, larder::WriteId());
    // Also after an error: whether it was written isn't known then. A load that is running now
    // started before this, and won't be stored.
    cache_->Erase(id);
    return saved;
  }

  absl::Status Delete(const std::string& id) {
    absl::Status deleted = database_.Erase(id, larder::WriteId());
    cache_->Erase(id);
    return deleted;
  }

  larder::CacheStats Stats() const { return cache_->Stats(); }

 private:
  SqliteStore& database_;
  const std::unique_ptr<Cache> cache_;
};

absl::Status Serve(const std::string& directory) {
  absl::StatusOr<std::unique_ptr<SqliteStore>> database =
      SqliteStore::Open(directory + "/items.db");
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
  std::printf("8,000 GETs; queries: %d\n", static_cast<int>(items.Stats().loads));

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
  std::filesystem::remove_all(directory);
  return status.ok() ? 0 : 1;
}
