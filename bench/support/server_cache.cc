// SPDX-License-Identifier: Apache-2.0

#include "bench/support/server_cache.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "bench/support/requests.h"
#include "bench/support/tier_parts.h"
#include "larder/load_result.h"
#include "larder/redis_tier.h"
#include "larder/remote_stats.h"
#include "larder/removal_cause.h"
#include "larder/store.h"
#include "larder/tiered_cache.h"
#include "larder/tiered_stats.h"

namespace larder::bench {
namespace {

Source SourceOf(LoadSource source) {
  switch (source) {
    case LoadSource::kMemory:
      return Source::kMemory;
    case LoadSource::kJoined:
      return Source::kJoined;
    case LoadSource::kRemote:
    case LoadSource::kStale:  // memory keeps none here
      return Source::kRedis;
    case LoadSource::kLoaded:
    case LoadSource::kRefreshed:
      break;
  }
  return Source::kDatabase;
}

class TieredServerCache : public ServerCache {
 public:
  using Tiered = TieredCache<std::string, std::string>;

  explicit TieredServerCache(Store<std::string, std::string>& store) : store_(store) {}

  absl::Status Open(ServerCacheOptions given) {
    Tiered::Options options;
    options.cache.capacity = given.capacity;
    options.cache.ttl = given.ttl;
    if (given.on_removal != nullptr) {
      options.cache.on_removal = [told = std::move(given.on_removal)](const std::string& key,
                                                                      const std::string&,
                                                                      RemovalCause) { told(key); };
    }
    options.store = &store_;
    if (given.redis.has_value()) {
      absl::StatusOr<std::unique_ptr<RedisTier>> tier = RedisTier::Create(*std::move(given.redis));
      if (!tier.ok()) return tier.status();
      tier_ = *std::move(tier);
      options.remote = given.remote;
      options.remote.tier = tier_.get();
    }
    absl::StatusOr<std::unique_ptr<Tiered>> cache = Tiered::Create(std::move(options));
    if (!cache.ok()) return cache.status();
    cache_ = *std::move(cache);
    return tier_ == nullptr ? absl::OkStatus() : WaitUntilUp();
  }

  absl::StatusOr<std::string> Get(const std::string& key, Source* source) override {
    absl::StatusOr<LoadResult<std::string>> result = cache_->GetResult(key);
    if (!result.ok()) return result.status();
    if (source != nullptr) *source = SourceOf(result->source);
    return std::move(result->value);
  }

  absl::Status Put(const std::string& key, const std::string& value) override {
    return cache_->Put(key, value);
  }

  TieredStats Stats() const override { return cache_->Stats(); }

 private:
  absl::Status WaitUntilUp() const {
    const absl::Time limit = absl::Now() + kPatience;
    while (absl::Now() < limit) {
      if (Stats().remote.health == RemoteHealth::kUp) return absl::OkStatus();
      absl::SleepFor(absl::Milliseconds(1));
    }
    return absl::DeadlineExceededError(absl::StrCat("Redis isn't up after ",
                                                    absl::FormatDuration(kPatience), ": ",
                                                    Stats().remote.last_error.ToString()));
  }

  Store<std::string, std::string>& store_;
  std::unique_ptr<RedisTier> tier_;
  std::unique_ptr<Tiered> cache_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ServerCache>> ServerCache::Create(ServerCacheOptions options) {
  auto cache = std::make_unique<TieredServerCache>(*options.store);
  if (absl::Status opened = cache->Open(std::move(options)); !opened.ok()) return opened;
  return cache;
}

}  // namespace larder::bench
