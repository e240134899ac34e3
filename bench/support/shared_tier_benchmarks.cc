// SPDX-License-Identifier: Apache-2.0

#include "bench/support/shared_tier_benchmarks.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/latency_counters.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/product_stores.h"
#include "bench/support/progress.h"
#include "bench/support/requests.h"
#include "bench/support/server_cache.h"
#include "bench/support/slow_database.h"
#include "bench/support/stage_results.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "larder/redis_tier.h"
#include "larder/remote_stats.h"

namespace larder::bench {
namespace {

using Request = SharedTierRequest;

constexpr size_t kMemorySamples = 300'000;
constexpr size_t kNearSamples = 8'000;
constexpr size_t kDistantSamples = 1'000;
constexpr size_t kSlowSamples = 2'048;
constexpr int kFillers = 8;

std::string_view NameOf(Request request) {
  switch (request) {
    case Request::kTierGet:
      return "tier_get";
    case Request::kMemory:
    case Request::kHit:
      return "hit";
    case Request::kMiss:
      return "miss";
    case Request::kPut:
      return "put";
  }
  return "";
}

// One of each, in turn.
std::vector<uint32_t> EachProduct(size_t count) {
  std::vector<uint32_t> products(count);
  std::iota(products.begin(), products.end(), 0u);
  return products;
}

absl::StatusOr<LatencyRecorder> Send(const SharedTierPlan& plan, const Answerer& answer,
                                     Stage& stage) {
  absl::StatusOr<RequestResults> results =
      SendRequests(EachProduct(plan.samples), plan.threads, answer, stage);
  if (!results.ok()) return results.status();
  return std::move(results->all);
}

absl::StatusOr<LatencyRecorder> MeasureTierGets(const SharedTierPlan& plan, TierParts& parts,
                                                const RedisOptions& options, Stage& stage) {
  absl::StatusOr<std::unique_ptr<RedisTier>> tier = RedisTier::Create(options);
  if (!tier.ok()) return tier.status();
  for (uint32_t product = 0; product < plan.samples; ++product) {
    const absl::Status set = (*tier)->Set(parts.Key(product), SlowDatabase::ExpectedRow(product),
                                          kTimeToLive, kPatience);
    if (!set.ok()) return set;
  }
  const Answerer answer = [&](uint32_t product, Source* source) -> absl::StatusOr<std::string> {
    *source = Source::kRedis;
    absl::StatusOr<std::optional<std::string>> row = (*tier)->Get(parts.Key(product), kPatience);
    if (!row.ok()) return row.status();
    if (!row->has_value()) return absl::NotFoundError(absl::StrCat("not in Redis: ", product));
    return **std::move(row);
  };
  return Send(plan, answer, stage);
}

absl::StatusOr<LatencyRecorder> MeasureMemory(const SharedTierPlan& plan, TierParts& parts,
                                              ServerCache& cache, Stage& stage) {
  for (uint32_t product = 0; product < kProducts; ++product) {
    const absl::StatusOr<std::string> row = cache.Get(parts.Key(product), nullptr);
    if (!row.ok()) return row.status();
  }
  const CycleTimer& timer = CycleTimer::Get();
  LatencyRecorder latencies;
  latencies.Reserve(plan.samples);
  uint64_t elsewhere = 0;
  for (const uint32_t product : parts.Popular(plan.samples)) {
    const std::string& key = parts.Key(product);
    Source source = Source::kDatabase;
    const uint64_t start = timer.Start();
    absl::StatusOr<std::string> row = cache.Get(key, &source);
    const uint64_t stop = timer.Stop();
    benchmark::DoNotOptimize(row);
    stage.Advance();
    if (!row.ok()) return row.status();
    if (source == Source::kMemory) {
      latencies.Record(timer.ToNanos(stop - start));
    } else {
      ++elsewhere;
    }
  }
  // A connection that is lost, as on a machine that is too busy to answer in time, empties memory.
  if (elsewhere > plan.samples / 10) {
    const RemoteStats stats = cache.Stats().remote;
    return absl::InternalError(absl::StrFormat(
        "%d of %d answers didn't come from memory; emptied %d times, connection lost %d times: %s",
        elsewhere, plan.samples, stats.flushes, stats.disconnects, stats.last_error.ToString()));
  }
  return latencies;
}

// Gets of what memory doesn't have.
absl::StatusOr<LatencyRecorder> MeasureGets(const SharedTierPlan& plan, TierParts& parts,
                                            ServerCache& cache, Stage& stage) {
  const Source expected = plan.request == Request::kHit ? Source::kRedis : Source::kDatabase;
  const Answerer answer = [&](uint32_t product, Source* source) -> absl::StatusOr<std::string> {
    absl::StatusOr<std::string> row = cache.Get(parts.Key(product), source);
    // Without a Redis what isn't in memory comes from the store.
    if (!row.ok() || *source == expected) return row;
    return absl::InternalError(absl::StrFormat("%s came from source %d instead of %d",
                                               parts.Key(product), static_cast<int>(*source),
                                               static_cast<int>(expected)));
  };
  return Send(plan, answer, stage);
}

absl::StatusOr<LatencyRecorder> MeasurePuts(const SharedTierPlan& plan, TierParts& parts,
                                            ServerCache& cache, Stage& stage) {
  std::vector<std::string> rows;
  for (const uint32_t product : EachProduct(plan.samples)) {
    rows.push_back(SlowDatabase::ExpectedRow(product));
  }
  const Answerer answer = [&](uint32_t product, Source*) -> absl::StatusOr<std::string> {
    if (absl::Status put = cache.Put(parts.Key(product), rows[product]); !put.ok()) return put;
    return rows[product];
  };
  return Send(plan, answer, stage);
}

// Has another server put all that is asked for into Redis.
absl::Status FillRedis(const SharedTierPlan& plan, TierParts& parts, ServerCacheOptions options) {
  InstantStore store;
  options.store = &store;
  const absl::StatusOr<std::unique_ptr<ServerCache>> cache = ServerCache::Create(options);
  if (!cache.ok()) return cache.status();
  const std::string doing = absl::StrCat(plan.samples, " products put into Redis");
  Stage stage(absl::StrCat(plan.Benchmark(), ", before"), doing, plan.samples);
  const Answerer answer = [&](uint32_t product, Source* source) {
    return (*cache)->Get(parts.Key(product), source);
  };
  return SendRequests(EachProduct(plan.samples), kFillers, answer, stage).status();
}

// `run` makes the keys of one measurement others than those of the next.
absl::StatusOr<LatencyRecorder> Measure(const SharedTierPlan& plan, TierParts& parts, int run) {
  ServerCacheOptions options;
  if (plan.redis.has_value()) {
    absl::StatusOr<RedisOptions> redis = parts.RedisAt(*plan.redis);
    if (!redis.ok()) return redis.status();
    redis->key_prefix = absl::StrCat(plan.Benchmark(), "/", run, "/");
    options.redis = *std::move(redis);
    options.remote.timeout = kPatience;
  }
  if (plan.request == Request::kHit) {
    if (absl::Status filled = FillRedis(plan, parts, options); !filled.ok()) return filled;
  }
  const TemporaryFolder folder;
  InstantStore instant;
  std::unique_ptr<ProductDatabase> database;
  options.store = &instant;
  if (plan.slow_store) {
    auto created = ProductDatabase::Create(folder.File("products.sqlite3"), kSeed);
    if (!created.ok()) return created.status();
    database = *std::move(created);
    options.store = &database->store();
  }
  Stage stage(plan.Benchmark(), absl::StrCat(plan.samples, " requests"), plan.samples);
  if (plan.request == Request::kTierGet) {
    return MeasureTierGets(plan, parts, *options.redis, stage);
  }
  const absl::StatusOr<std::unique_ptr<ServerCache>> cache = ServerCache::Create(options);
  if (!cache.ok()) return cache.status();
  if (plan.request == Request::kMemory) return MeasureMemory(plan, parts, **cache, stage);
  if (plan.request == Request::kPut) return MeasurePuts(plan, parts, **cache, stage);
  return MeasureGets(plan, parts, **cache, stage);
}

void Run(benchmark::State& state, const SharedTierPlan& plan, TierParts& parts) {
  static int runs = 0;
  while (state.KeepRunning()) {
    const absl::StatusOr<LatencyRecorder> latencies = Measure(plan, parts, ++runs);
    if (!latencies.ok()) return GiveUp(state, parts, latencies.status());
    AddLatencyCounters(state, "", *latencies, "us", kNanosPerMicro);
    state.counters["threads"] = plan.threads;
  }
}

}  // namespace

std::string SharedTierPlan::Benchmark() const {
  return absl::StrCat("BM_Remote/", std::string(place), "/", std::string(NameOf(request)));
}

std::vector<SharedTierPlan> SharedTierPlans() {
  const auto kNear = RedisPlace::kLoopback;
  std::vector<SharedTierPlan> plans = {
      {.place = "memory_alone", .request = Request::kMemory, .samples = kMemorySamples},
      {.place = "memory", .request = Request::kMemory, .redis = kNear, .samples = kMemorySamples}};
  struct Place {
    std::string_view name;
    RedisPlace redis;
    size_t samples;
  };
  constexpr std::array<Place, 4> kPlaces = {{{"socket", RedisPlace::kSocket, kNearSamples},
                                             {"loopback", kNear, kNearSamples},
                                             {"tls", RedisPlace::kTls, kNearSamples},
                                             {"distant", RedisPlace::kDistant, kDistantSamples}}};
  for (const Place& place : kPlaces) {
    for (const Request request :
         {Request::kTierGet, Request::kHit, Request::kMiss, Request::kPut}) {
      plans.push_back({.place = place.name,
                       .request = request,
                       .redis = place.redis,
                       .samples = place.samples});
    }
  }
  for (const Request request : {Request::kMiss, Request::kPut}) {
    SharedTierPlan plan = {.place = "database_alone",
                           .request = request,
                           .slow_store = true,
                           .samples = kSlowSamples,
                           .threads = kRequesters};
    plans.push_back(plan);
    plan.place = "database";
    plan.redis = kNear;
    plans.push_back(plan);
  }
  return plans;
}

void RegisterSharedTierBenchmarks(TierParts& parts) {
  for (const SharedTierPlan& plan : SharedTierPlans()) {
    benchmark::RegisterBenchmark(plan.Benchmark().c_str(), [&parts, plan](benchmark::State& state) {
      Run(state, plan, parts);
    })->Iterations(1);
  }
}

}  // namespace larder::bench
