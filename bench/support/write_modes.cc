// SPDX-License-Identifier: Apache-2.0

#include "bench/support/write_modes.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/put_target.h"
#include "larder/store.h"
#include "larder/tiered_cache.h"
#include "larder/write_behind_options.h"
#include "larder/write_policy.h"

namespace larder::bench {
namespace {

using TextCache = TieredCache<std::string, std::string>;

constexpr absl::Duration kPatience = absl::Minutes(1);

class TieredTarget : public PutTarget {
 public:
  explicit TieredTarget(std::unique_ptr<TextCache> cache) : cache_(std::move(cache)) {}

  absl::Status Put(const std::string& key, const std::string& value) override {
    return cache_->Put(key, value);
  }

  std::optional<std::string> Get(const std::string& key) override {
    return cache_->memory().Get(key);
  }

  absl::Status Flush() override { return cache_->Flush(kPatience); }

  PutTargetStats Stats() const override {
    const TieredStats stats = cache_->Stats();
    return {.queued = stats.write_behind.queued,
            .oldest = stats.write_behind.oldest_age,
            .stored = stats.write_behind.stored,
            .coalesced = stats.write_behind.coalesced,
            .failures = stats.write_behind.failures,
            .blocked = stats.write_behind.blocked,
            .syncs = stats.journal.syncs};
  }

 private:
  const std::unique_ptr<TextCache> cache_;
};

WriteMode Behind(std::string name, std::string title, std::string lost_with,
                 Durability durability) {
  return {std::move(name), std::move(title), std::move(lost_with), WritePolicy::kBehind,
          durability};
}

}  // namespace

std::vector<WriteMode> WriteModes() {
  return {
      {.name = "through",
       .title = "write-through",
       .lost_with = "nothing",
       .policy = WritePolicy::kThrough},
      Behind("memory", "write-behind, in memory", "the process", Durability::kMemory),
      UnsyncedJournal(),
      Behind("journal_interval", "  journal, synced each 100 ms", "the system, its last 100 ms",
             Durability::kJournalSyncInterval),
      SyncedJournal(),
  };
}

WriteMode SyncedJournal() {
  return Behind("journal_sync", "  journal, synced each put", "nothing", Durability::kJournalSync);
}

WriteMode UnsyncedJournal() {
  return Behind("journal", "  journal, never synced", "the system", Durability::kJournal);
}

absl::StatusOr<std::unique_ptr<PutTarget>> OpenTieredCache(const WriteMode& mode,
                                                           Store<std::string, std::string>& store,
                                                           const std::string& directory,
                                                           WriteBehindOptions options) {
  TextCache::Options all;
  all.cache.capacity = 100'000;
  all.store = &store;
  all.write_policy = mode.policy;
  all.write_behind = std::move(options);
  all.write_behind.durability = mode.durability;
  if (mode.durability != Durability::kMemory) all.write_behind.journal_directory = directory;
  absl::StatusOr<std::unique_ptr<TextCache>> cache = TextCache::Create(std::move(all));
  if (!cache.ok()) return cache.status();
  return std::make_unique<TieredTarget>(*std::move(cache));
}

}  // namespace larder::bench
