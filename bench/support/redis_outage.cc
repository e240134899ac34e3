// SPDX-License-Identifier: Apache-2.0

#include "bench/support/redis_outage.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/open_loop.h"
#include "bench/support/outage_results.h"
#include "bench/support/product_stores.h"
#include "bench/support/progress.h"
#include "bench/support/requests.h"
#include "bench/support/server_cache.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/tier_parts.h"
#include "larder/redis_tier.h"
#include "larder/remote_stats.h"
#include "tests/support/redis_server.h"

namespace larder::bench {
namespace {

using std::chrono::steady_clock;
using SteadyTime = steady_clock::time_point;

constexpr int kFillers = 8;
constexpr absl::Duration kLookAgain = absl::Milliseconds(5);

class CacheService : public Service {
 public:
  CacheService(ServerCache& cache, TierParts& parts) : cache_(cache), parts_(parts) {}

  ServiceAnswer Ask(uint32_t product) override {
    ServiceAnswer answer;
    answer.row = cache_.Get(parts_.Key(product), &answer.source);
    return answer;
  }

 private:
  ServerCache& cache_;
  TierParts& parts_;
};

absl::Status AskForAll(ServerCache& cache, TierParts& parts, std::vector<uint32_t> products) {
  const Answerer ask = [&](uint32_t product, Source* source) {
    return cache.Get(parts.Key(product), source);
  };
  Stage stage("Redis' and memory's copies", "made before", products.size());
  return SendRequests(products, kFillers, ask, stage).status();
}

// Another server puts all products into Redis, then `cache` gets some of them from there.
absl::Status WarmUp(ServerCacheOptions options, ServerCache& cache, TierParts& parts) {
  InstantStore instant;
  options.store = &instant;
  const absl::StatusOr<std::unique_ptr<ServerCache>> other = ServerCache::Create(options);
  if (!other.ok()) return other.status();
  std::vector<uint32_t> all(kProducts);
  std::iota(all.begin(), all.end(), 0u);
  if (absl::Status status = AskForAll(**other, parts, all); !status.ok()) return status;
  return AskForAll(cache, parts, parts.Popular(2 * kProducts));
}

std::vector<HealthChange> WatchHealth(const std::stop_token& stopped, const ServerCache& cache,
                                      SteadyTime start) {
  std::vector<HealthChange> changes = {{absl::ZeroDuration(), cache.Stats().remote.health}};
  while (!stopped.stop_requested()) {
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(kLookAgain));
    const RemoteHealth health = cache.Stats().remote.health;
    if (health == changes.back().health) continue;
    changes.push_back({absl::FromChrono(steady_clock::now() - start), health});
  }
  return changes;
}

// Does the fault, and undoes it.
absl::Status GoAwayAndComeBack(TierParts& parts, test::RedisServer& server,
                               const RedisOutagePlan& plan, SteadyTime start,
                               RedisOutageRecords& records) {
  const auto since_start = [&] { return absl::FromChrono(steady_clock::now() - start); };
  std::this_thread::sleep_until(start + absl::ToChronoNanoseconds(plan.away_at));
  records.away_at = since_start();
  const bool killed = plan.fault == RedisFault::kKilled;
  if (killed) {
    parts.KillServer();
  } else {
    server.Pause();
  }
  std::this_thread::sleep_until(start + absl::ToChronoNanoseconds(plan.back_at));
  absl::Status back = absl::OkStatus();
  if (killed) {
    back = parts.RestartServer();
  } else {
    server.Resume();
  }
  records.back_at = since_start();
  return back;
}

absl::StatusOr<RedisOutageRecords> Run(TierParts& parts, test::RedisServer& server,
                                       const RedisOutagePlan& plan, ServerCache& cache) {
  absl::StatusOr<OpenLoop> loop = OpenLoop::Create(1, plan.threads);
  if (!loop.ok()) return loop.status();
  std::vector<std::unique_ptr<Service>> services;
  services.push_back(std::make_unique<CacheService>(cache, parts));
  const std::vector<uint32_t> products = parts.Popular(RequestCount(plan));
  const SteadyTime start = steady_clock::now() + std::chrono::milliseconds(20);
  RedisOutageRecords records;
  Stage stage(absl::StrCat("RedisOutage/", std::string(plan.name)), plan.title, products.size());
  std::jthread watcher(
      [&](const std::stop_token& stopped) { records.health = WatchHealth(stopped, cache, start); });
  absl::StatusOr<std::vector<std::vector<RequestRecord>>> sent = absl::InternalError("not sent");
  std::thread sender([&] {
    sent = (*std::move(loop))
               .Send(services, products, start, absl::Seconds(1 / plan.requests_per_second), stage);
  });
  const absl::Status back = GoAwayAndComeBack(parts, server, plan, start, records);
  sender.join();
  watcher.request_stop();
  watcher.join();
  if (!back.ok()) return back;
  if (!sent.ok()) return sent.status();
  records.requests = std::move(sent->front());
  records.stats = cache.Stats().remote;
  return records;
}

}  // namespace

std::vector<RedisOutagePlan> RedisOutagePlans() {
  return {
      {.name = "killed", .title = "Redis is killed, and restarted empty"},
      {.name = "paused", .title = "Redis stands still, and goes on", .fault = RedisFault::kPaused}};
}

uint64_t RequestCount(const RedisOutagePlan& plan) {
  return static_cast<uint64_t>(absl::ToDoubleSeconds(plan.length) * plan.requests_per_second);
}

absl::StatusOr<RedisOutageRecords> RunRedisOutage(TierParts& parts, const RedisOutagePlan& plan,
                                                  int run) {
  const absl::StatusOr<test::RedisServer*> server = parts.Server();
  if (!server.ok()) return server.status();
  const TemporaryFolder folder;
  const auto database = ProductDatabase::Create(folder.File("products.sqlite3"), kSeed);
  if (!database.ok()) return database.status();
  RedisOptions redis;
  redis.host = "127.0.0.1";
  redis.port = (*server)->port();
  redis.key_prefix = absl::StrCat(std::string(plan.name), run, ":");
  ServerCacheOptions options;
  options.redis = redis;
  options.store = &(*database)->store();
  options.capacity = plan.memory_capacity;
  const absl::StatusOr<std::unique_ptr<ServerCache>> cache = ServerCache::Create(options);
  if (!cache.ok()) return cache.status();
  if (absl::Status warm = WarmUp(options, **cache, parts); !warm.ok()) return warm;
  return Run(parts, **server, plan, **cache);
}

}  // namespace larder::bench
