// SPDX-License-Identifier: Apache-2.0
//
// What a user of an installed larder writes first: shows that headers and libraries are all there.

#include <stdlib.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "larder/cache.h"
#include "larder/redis_tier.h"
#include "larder/tiered_cache.h"

namespace {

class MapStore : public larder::Store<std::string, int> {
 public:
  absl::StatusOr<int> Load(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    const auto found = values_.find(key);
    if (found == values_.end()) return absl::NotFoundError(key);
    return found->second;
  }
  absl::Status Write(const std::string& key, const int& value, const larder::WriteId&) override {
    const std::lock_guard lock(mutex_);
    values_[key] = value;
    return absl::OkStatus();
  }
  absl::Status Erase(const std::string& key, const larder::WriteId&) override {
    const std::lock_guard lock(mutex_);
    values_.erase(key);
    return absl::OkStatus();
  }

 private:
  std::mutex mutex_;
  std::map<std::string, int> values_;
};

// Twice, as a process that is started again.
absl::Status WriteBehind(const std::string& directory, MapStore& store) {
  using Cache = larder::TieredCache<std::string, int>;
  Cache::Options options;
  options.cache.capacity = 2;
  options.store = &store;
  options.write_policy = larder::WritePolicy::kBehind;
  options.write_behind.durability = larder::Durability::kJournalSync;
  options.write_behind.journal_directory = directory + "/journal";
  options.snapshot_path = directory + "/snapshot";
  for (const bool is_restarted : {false, true}) {
    auto cache = Cache::Create(options);
    if (!cache.ok()) return cache.status();
    if (is_restarted && !(*cache)->LoadedSnapshot().ok()) {
      return (*cache)->LoadedSnapshot().status();
    }
    if (!is_restarted) {
      if (absl::Status put = (*cache)->Put("one", 1); !put.ok()) return put;
    }
    const absl::StatusOr<int> one = (*cache)->Get("one");
    if (!one.ok()) return one.status();
    if (*one != 1) return absl::InternalError("one isn't 1");
    if (absl::Status closed = (*cache)->Close(absl::Seconds(30)); !closed.ok()) return closed;
  }
  return store.Load("one").status();
}

}  // namespace

int main() {
  using Cache = larder::Cache<std::string, int>;
  Cache::Options options;
  options.capacity = 2;
  auto cache = Cache::Create(options);
  if (!cache.ok()) {
    std::cerr << cache.status() << '\n';
    return 1;
  }
  for (const char* key : {"one", "two", "three"}) {
    if (auto status = (*cache)->Put(key, 1); !status.ok()) {
      std::cerr << status << '\n';
      return 1;
    }
  }
  const std::optional<int> evicted = (*cache)->Get(std::string_view("one"));
  const std::optional<int> kept = (*cache)->Get(std::string_view("three"));
  if (evicted.has_value() || kept != 1) {
    std::cerr << "a cache of two entries kept the wrong ones\n";
    return 1;
  }
  if (larder::RedisTier::Create({}).ok()) {
    std::cerr << "a Redis tier without a server's address was accepted\n";
    return 1;
  }
  std::string directory = "/tmp/larder_package_XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return 1;
  MapStore store;
  const absl::Status written = WriteBehind(directory, store);
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  if (!written.ok()) {
    std::cerr << "write-behind: " << written << '\n';
    return 1;
  }
  return 0;
}
