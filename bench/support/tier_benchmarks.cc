// SPDX-License-Identifier: Apache-2.0

#include "bench/support/tier_benchmarks.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/latency_counters.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/progress.h"
#include "bench/support/requests.h"
#include "bench/support/slow_database.h"
#include "bench/support/stage_results.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "larder/cache.h"
#include "larder/redis_tier.h"

namespace larder::bench {
namespace {

// How a tier is measured: how many answers, asked for by how many threads at a time.
struct TierPlan {
  std::string_view name;
  std::string_view doing;
  size_t samples;
  int threads;
};

constexpr TierPlan kMemory = {"memory", "1,000,000 hits in larder, in this process", 1'000'000, 1};
constexpr TierPlan kRedis = {"redis", "50,000 GETs from a redis-server of our own, over loopback",
                             50'000, 1};
constexpr TierPlan kDistantRedis = {"redis_1ms_network",
                                    "6,000 GETs from it through a relay that adds 1 ms", 6'000, 4};
constexpr TierPlan kDatabase = {"database", "6,000 queries of SQLite, each held back to 50-200 ms",
                                6'000, kRequesters};

// Measures a tier and returns the latency of each answer.
using Measurement =
    std::function<absl::StatusOr<LatencyRecorder>(const TierPlan&, TierParts&, Stage&)>;

void Report(benchmark::State& state, const TierPlan& plan, TierParts& parts,
            const LatencyRecorder& latencies) {
  AddLatencyCounters(state, "", latencies, "us", kNanosPerMicro);
  state.counters["threads"] = plan.threads;
  state.counters["timer_ns"] = CycleTimer::Get().CostNanos();
  parts.distributions().Add(absl::StrCat("BM_Tier/", std::string(plan.name)), latencies);
}

void RunTier(benchmark::State& state, const TierPlan& plan, TierParts& parts,
             const Measurement& measure) {
  LatencyRecorder latencies;
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(plan.samples))) {
    Stage stage(absl::StrCat("Tier/", std::string(plan.name)), plan.doing, plan.samples);
    absl::StatusOr<LatencyRecorder> measured = measure(plan, parts, stage);
    if (!measured.ok()) {
      GiveUp(state, parts, stage, measured.status());
      return;
    }
    latencies.Merge(*measured);
  }
  Report(state, plan, parts, latencies);
}

absl::StatusOr<LatencyRecorder> MeasureMemory(const TierPlan& plan, TierParts& parts,
                                              Stage& stage) {
  using Memory = Cache<std::string, std::string>;
  Memory::Options options;
  options.capacity = kRoomForAll;
  options.ttl = kTimeToLive;
  absl::StatusOr<std::unique_ptr<Memory>> memory = Memory::Create(std::move(options));
  if (!memory.ok()) return memory.status();
  for (uint32_t product = 0; product < kProducts; ++product) {
    const absl::Status put = (*memory)->Put(parts.Key(product), SlowDatabase::ExpectedRow(product));
    if (!put.ok()) return put;
  }
  const CycleTimer& timer = CycleTimer::Get();
  LatencyRecorder latencies;
  latencies.Reserve(plan.samples);
  uint64_t absent = 0;
  for (const uint32_t product : parts.Popular(plan.samples)) {
    const std::string& key = parts.Key(product);
    const uint64_t start = timer.Start();
    std::optional<std::string> row = (*memory)->Get(key);
    const uint64_t stop = timer.Stop();
    benchmark::DoNotOptimize(row);
    if (!row.has_value() || row->empty()) ++absent;
    latencies.Record(timer.ToNanos(stop - start));
    stage.Advance();
  }
  if (absent > 0) {
    return absl::InternalError(absl::StrCat(absent, " of ", plan.samples, " lookups missed"));
  }
  return latencies;
}

// A tier that answers through a call which many threads may make.
absl::StatusOr<LatencyRecorder> MeasureAnswers(const TierPlan& plan, TierParts& parts,
                                               const Answerer& answer, Stage& stage) {
  absl::StatusOr<RequestResults> results =
      SendRequests(parts.Popular(plan.samples), plan.threads, answer, stage);
  if (!results.ok()) return results.status();
  return std::move(results->all);
}

absl::Status FillRedis(TierParts& parts, RedisTier& redis) {
  for (uint32_t product = 0; product < kProducts; ++product) {
    const absl::Status set =
        redis.Set(parts.Key(product), SlowDatabase::ExpectedRow(product), kTimeToLive, kPatience);
    if (!set.ok()) return set;
  }
  return absl::OkStatus();
}

absl::StatusOr<LatencyRecorder> MeasureRedis(const TierPlan& plan, TierParts& parts, Stage& stage,
                                             bool distant) {
  absl::StatusOr<RedisTier*> near = parts.Redis();
  if (!near.ok()) return near.status();
  absl::StatusOr<RedisTier*> redis = distant ? parts.DistantRedis() : near;
  if (!redis.ok()) return redis.status();
  if (const absl::Status filled = FillRedis(parts, **near); !filled.ok()) return filled;
  const Answerer answer = [&](uint32_t product, Source* source) -> absl::StatusOr<std::string> {
    *source = Source::kRedis;
    absl::StatusOr<std::optional<std::string>> row = (*redis)->Get(parts.Key(product), kPatience);
    if (!row.ok()) return row.status();
    if (!row->has_value()) return absl::NotFoundError(absl::StrCat("not in Redis: ", product));
    return **std::move(row);
  };
  return MeasureAnswers(plan, parts, answer, stage);
}

absl::StatusOr<LatencyRecorder> MeasureDatabase(const TierPlan& plan, TierParts& parts,
                                                Stage& stage) {
  absl::StatusOr<SlowDatabase*> database = parts.Database();
  if (!database.ok()) return database.status();
  (*database)->ResetDelays(kSeed);
  const Answerer answer = [&](uint32_t product, Source* source) {
    *source = Source::kDatabase;
    return (*database)->Query(product);
  };
  return MeasureAnswers(plan, parts, answer, stage);
}

void Register(TierParts& parts, const TierPlan& plan, Measurement measure) {
  benchmark::RegisterBenchmark(
      absl::StrCat("BM_Tier/", std::string(plan.name)).c_str(),
      [&parts, plan, measure = std::move(measure)](benchmark::State& state) {
        RunTier(state, plan, parts, measure);
      });
}

}  // namespace

void RegisterTierBenchmarks(TierParts& parts) {
  Register(parts, kMemory, MeasureMemory);
  Register(parts, kRedis, [](const TierPlan& plan, TierParts& shop, Stage& stage) {
    return MeasureRedis(plan, shop, stage, /*distant=*/false);
  });
  Register(parts, kDistantRedis, [](const TierPlan& plan, TierParts& shop, Stage& stage) {
    return MeasureRedis(plan, shop, stage, /*distant=*/true);
  });
  Register(parts, kDatabase, MeasureDatabase);
}

}  // namespace larder::bench
