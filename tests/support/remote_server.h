// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_REMOTE_SERVER_H_
#define LARDER_TESTS_SUPPORT_REMOTE_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"
#include "larder/internal/remote_cache.h"
#include "larder/remote_options.h"
#include "tests/support/model_tier.h"

namespace larder::test {

// The database of all servers. Thread-safe.
class ModelStore {
 public:
  struct Row {
    std::string value;
    std::vector<std::string> tags = {};
  };

  std::optional<Row> Find(const std::string& key) const {
    internal::MutexLock lock(&mutex_);
    const auto found = rows_.find(key);
    return found == rows_.end() ? std::nullopt : std::optional(found->second);
  }
  void Write(const std::string& key, std::optional<Row> row) {
    internal::MutexLock lock(&mutex_);
    if (row.has_value()) {
      rows_.insert_or_assign(key, *std::move(row));
    } else {
      rows_.erase(key);
    }
  }

 private:
  mutable internal::Mutex mutex_;
  std::map<std::string, Row> rows_ ABSL_GUARDED_BY(mutex_);
};

// What a load or a write does at certain points.
struct RemoteHooks {
  std::function<void()> before_store = [] {};
  std::function<void()> after_store = [] {};
  std::function<void()> before_memory = [] {};
};

// A server as small as can be: a RemoteCache, and a memory that is a map. It does what TieredCache
// does, in steps between which a test may do something. Thread-safe, but for writes of one key at a
// time.
class RemoteServer : private internal::RemoteCache::Memory {
 public:
  static RemoteOptions DefaultOptions() {
    RemoteOptions options;
    options.ttl = absl::Minutes(10);
    options.timeout = absl::Seconds(5);  // the model answers at once, or a test says when
    options.unverified_ttl = absl::Hours(1);
    options.first_probe = options.last_probe = absl::Milliseconds(1);
    options.settle_time = absl::ZeroDuration();
    return options;
  }

  RemoteServer(ModelServer* server, ModelStore* store, RemoteOptions options = DefaultOptions())
      : tier_(server), store_(*store) {
    options.tier = &tier_;
    cache_ = internal::RemoteCache::Create(options, "string", this).value();
  }
  ~RemoteServer() override { cache_->Stop(); }

  ModelTier& tier() { return tier_; }
  internal::RemoteCache& cache() { return *cache_; }

  void AwaitUp() {
    while (cache_->health() != RemoteHealth::kUp) absl::SleepFor(absl::Microseconds(50));
  }
  // It has subscribed as often as this.
  void AwaitConnects(uint64_t connects) {
    while (cache_->Stats().connects < connects) absl::SleepFor(absl::Microseconds(50));
  }
  // Until all that happened was told.
  void AwaitTold() {
    while (cache_->health() != RemoteHealth::kUp || !tier_.Idle()) {
      absl::SleepFor(absl::Microseconds(50));
    }
  }

  std::optional<std::string> Get(const std::string& key, const RemoteHooks& hooks = {}) {
    {
      internal::MutexLock lock(&mutex_);
      if (const auto found = values_.find(key); found != values_.end()) return found->second.value;
    }
    return Load(key, /*is_refresh=*/false, hooks);
  }

  // As a cache does where the value that it has is old.
  std::optional<std::string> Load(const std::string& key, bool is_refresh,
                                  const RemoteHooks& hooks = {}) {
    const uint64_t drops = DropsOf(key);
    internal::RemoteRead read = cache_->Read(key, is_refresh);
    std::optional<ModelStore::Row> row;
    if (read.found() == internal::RemoteRead::Found::kValue) {
      row = ModelStore::Row{read.payload(), read.tags()};
    } else if (read.found() != internal::RemoteRead::Found::kNegative) {
      hooks.before_store();
      row = store_.Find(key);
      hooks.after_store();
      if (row.has_value()) {
        cache_->Fill(read, {.payload = row->value, .tags = row->tags});
      } else {
        cache_->FillNegative(read);
      }
    }
    hooks.before_memory();
    if (!row.has_value()) return std::nullopt;
    internal::MutexLock lock(&mutex_);
    if (drops_[key] + all_drops_ == drops) values_.insert_or_assign(key, *row);
    return row->value;
  }

  void Put(const std::string& key, std::optional<ModelStore::Row> row,
           const RemoteHooks& hooks = {}) {
    const uint64_t mark = cache_->ForeignMark(key);
    auto writes = cache_->BeginWrites({key}, /*is_in_memory=*/false);
    hooks.before_store();
    store_.Write(key, row);
    hooks.after_store();
    internal::RemoteCache::Committing committing = {.write = &writes[0]};
    if (row.has_value()) {
      committing.value = internal::RemoteValue{.payload = row->value, .tags = row->tags};
    }
    cache_->CommitWrites({&committing, 1});
    hooks.before_memory();
    {
      internal::MutexLock lock(&mutex_);
      ++drops_[key];  // a load that is under way isn't stored
      if (row.has_value()) {
        values_.insert_or_assign(key, *row);
      } else {
        values_.erase(key);
      }
    }
    if (cache_->ForeignMark(key) != mark) Drop(key);
  }

  // What memory has.
  std::optional<std::string> InMemory(const std::string& key) const {
    internal::MutexLock lock(&mutex_);
    const auto found = values_.find(key);
    return found == values_.end() ? std::nullopt : std::optional(found->second.value);
  }

 private:
  uint64_t DropsOf(const std::string& key) {
    internal::MutexLock lock(&mutex_);
    return drops_[key] + all_drops_;
  }

  template <class Predicate>
  void DropWhere(const Predicate& predicate) {
    internal::MutexLock lock(&mutex_);
    ++all_drops_;
    std::erase_if(values_, predicate);
  }

  void Drop(std::string_view key) override {
    internal::MutexLock lock(&mutex_);
    ++drops_[std::string(key)];
    values_.erase(std::string(key));
  }
  void DropTag(std::string_view tag) override {
    DropWhere([tag](const auto& entry) {
      for (const std::string& its : entry.second.tags) {
        if (its == tag) return true;
      }
      return false;
    });
  }
  void DropPrefix(std::string_view prefix) override {
    DropWhere([prefix](const auto& entry) { return entry.first.starts_with(prefix); });
  }
  void DropAll() override {
    DropWhere([](const auto&) { return true; });
  }

  void ExpireAll() override { DropAll(); }

  ModelTier tier_;
  ModelStore& store_;
  mutable internal::Mutex mutex_;
  std::map<std::string, ModelStore::Row> values_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, uint64_t> drops_ ABSL_GUARDED_BY(mutex_);
  uint64_t all_drops_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<internal::RemoteCache> cache_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_REMOTE_SERVER_H_
