// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_SERVER_CACHE_H_
#define LARDER_BENCH_SUPPORT_SERVER_CACHE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/requests.h"
#include "bench/support/tier_parts.h"
#include "larder/redis_tier.h"
#include "larder/remote_options.h"
#include "larder/store.h"
#include "larder/tiered_stats.h"

namespace larder::bench {

struct ServerCacheOptions {
  // The Redis that it shares with others; without one there are memory and the store only.
  std::optional<RedisOptions> redis;
  RemoteOptions remote;                              // but for the tier, which is made of `redis`
  Store<std::string, std::string>* store = nullptr;  // REQUIRED. Must outlive it
  uint64_t capacity = kRoomForAll;
  absl::Duration ttl = kTimeToLive;
  // Told of each key that memory dropped, on the thread that did.
  std::function<void(const std::string& key)> on_removal = nullptr;
};

// What one server has: a TieredCache over a Redis that other servers use, too, and a store. It is
// compiled once, for all who measure it. Thread-safe.
class ServerCache {
 public:
  // Also waits until Redis may be used; DeadlineExceeded after kPatience.
  static absl::StatusOr<std::unique_ptr<ServerCache>> Create(ServerCacheOptions options);

  virtual ~ServerCache() = default;

  // Says in *source, unless that is nullptr, who answered.
  virtual absl::StatusOr<std::string> Get(const std::string& key, Source* source) = 0;
  virtual absl::Status Put(const std::string& key, const std::string& value) = 0;
  virtual TieredStats Stats() const = 0;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_SERVER_CACHE_H_
