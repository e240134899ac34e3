// SPDX-License-Identifier: Apache-2.0

#include "bench/support/flow_benchmarks.h"

#include <atomic>
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
#include "bench/support/cycle_timer.h"
#include "bench/support/latency_counters.h"
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

// A way for a service to answer a request for a product.
class Flow {
 public:
  virtual ~Flow() = default;

  // Answers, and says in *source who did. Thread-safe.
  virtual absl::StatusOr<std::string> Answer(uint32_t product, Source* source) = 0;
};

// Every request asks the database.
class NoCache : public Flow {
 public:
  explicit NoCache(SlowDatabase& database) : database_(database) {}

  absl::StatusOr<std::string> Answer(uint32_t product, Source* source) override {
    *source = Source::kDatabase;
    return database_.Query(product);
  }

 private:
  SlowDatabase& database_;
};

// Cache-aside as most services have it: look in Redis, else ask the database and leave a copy.
class RedisAside : public Flow {
 public:
  // Keys begin with `prefix`, so that flows do not find one another's copies.
  RedisAside(TierParts& parts, std::string prefix, RedisTier& redis, SlowDatabase& database)
      : parts_(parts), prefix_(std::move(prefix)), redis_(redis), database_(database) {}

  absl::StatusOr<std::string> Answer(uint32_t product, Source* source) override {
    *source = Source::kRedis;
    const std::string key = prefix_ + parts_.Key(product);
    absl::StatusOr<std::optional<std::string>> copy = redis_.Get(key, kPatience);
    if (!copy.ok()) return copy.status();
    if (copy->has_value()) return **std::move(copy);
    *source = Source::kDatabase;
    absl::StatusOr<std::string> row = database_.Query(product);
    if (!row.ok()) return row;
    const absl::Status kept = redis_.Set(key, *row, kTimeToLive, kPatience);
    if (!kept.ok()) return kept;
    return row;
  }

 private:
  TierParts& parts_;
  const std::string prefix_;
  RedisTier& redis_;
  SlowDatabase& database_;
};

// larder in front of another flow: what is not in memory is loaded from there, once.
class LarderInFront : public Flow {
 public:
  using Memory = Cache<std::string, std::string>;

  static absl::StatusOr<std::unique_ptr<Flow>> Create(TierParts& parts,
                                                      std::unique_ptr<Flow> behind) {
    Memory::Options options;
    options.capacity = kRoomForAll;
    options.ttl = kTimeToLive;
    absl::StatusOr<std::unique_ptr<Memory>> memory = Memory::Create(std::move(options));
    if (!memory.ok()) return memory.status();
    return std::make_unique<LarderInFront>(parts, *std::move(memory), std::move(behind));
  }

  LarderInFront(TierParts& parts, std::unique_ptr<Memory> memory, std::unique_ptr<Flow> behind)
      : parts_(parts),
        memory_(std::move(memory)),
        behind_(std::move(behind)),
        load_ended_(kProducts) {}

  absl::StatusOr<std::string> Answer(uint32_t product, Source* source) override {
    const CycleTimer& timer = CycleTimer::Get();
    const uint64_t asked = timer.Start();
    bool loaded_here = false;
    absl::StatusOr<std::string> row =
        memory_->GetOrLoad(parts_.Key(product), [&](const std::string&) {
          loaded_here = true;
          absl::StatusOr<std::string> loaded = behind_->Answer(product, source);
          load_ended_[product].store(timer.Stop(), std::memory_order_relaxed);
          return loaded;
        });
    if (!loaded_here) {
      // A load that ended after this request began, and that it did not run itself, is one that it
      // waited for: before the load's end there was no copy to find.
      const bool waited = load_ended_[product].load(std::memory_order_relaxed) > asked;
      *source = waited ? Source::kJoined : Source::kMemory;
    }
    return row;
  }

 private:
  TierParts& parts_;
  const std::unique_ptr<Memory> memory_;
  const std::unique_ptr<Flow> behind_;
  std::vector<std::atomic<uint64_t>> load_ended_;  // by product; 0: not loaded yet
};

struct FlowPlan {
  std::string_view name;  // of the benchmark
  std::string_view doing;
  size_t requests;
  int requesters;
  // Brings the parts the flow is made of into the state it starts from.
  std::function<absl::StatusOr<std::unique_ptr<Flow>>(TierParts&)> create;
};

absl::StatusOr<std::unique_ptr<Flow>> CreateNoCache(TierParts& parts) {
  absl::StatusOr<SlowDatabase*> database = parts.Database();
  if (!database.ok()) return database.status();
  return std::make_unique<NoCache>(**database);
}

absl::StatusOr<std::unique_ptr<Flow>> CreateRedisAside(TierParts& parts, std::string_view name) {
  absl::StatusOr<SlowDatabase*> database = parts.Database();
  if (!database.ok()) return database.status();
  absl::StatusOr<RedisTier*> redis = parts.DistantRedis();
  if (!redis.ok()) return redis.status();
  // A number of its own makes each run a cold start, repetitions included.
  static int runs = 0;
  return std::make_unique<RedisAside>(parts, absl::StrCat(std::string(name), "/", ++runs, "/"),
                                      **redis, **database);
}

absl::StatusOr<std::unique_ptr<Flow>> CreateLarder(TierParts& parts) {
  absl::StatusOr<std::unique_ptr<Flow>> database = CreateNoCache(parts);
  if (!database.ok()) return database;
  return LarderInFront::Create(parts, *std::move(database));
}

absl::StatusOr<std::unique_ptr<Flow>> CreateLarderAndRedis(TierParts& parts) {
  absl::StatusOr<std::unique_ptr<Flow>> redis = CreateRedisAside(parts, "larder_redis");
  if (!redis.ok()) return redis;
  return LarderInFront::Create(parts, *std::move(redis));
}

absl::StatusOr<std::unique_ptr<Flow>> CreateSecondServer(TierParts& parts) {
  absl::StatusOr<RedisTier*> redis = parts.Redis();
  if (!redis.ok()) return redis.status();
  constexpr std::string_view kPrefix = "second_server/";
  for (uint32_t product = 0; product < kProducts; ++product) {
    const absl::Status set =
        (*redis)->Set(absl::StrCat(std::string(kPrefix), parts.Key(product)),
                      SlowDatabase::ExpectedRow(product), kTimeToLive, kPatience);
    if (!set.ok()) return set;
  }
  absl::StatusOr<SlowDatabase*> database = parts.Database();
  if (!database.ok()) return database.status();
  absl::StatusOr<RedisTier*> distant = parts.DistantRedis();
  if (!distant.ok()) return distant.status();
  return LarderInFront::Create(
      parts, std::make_unique<RedisAside>(parts, std::string(kPrefix), **distant, **database));
}

void Report(benchmark::State& state, const FlowPlan& plan, TierParts& parts,
            const RequestResults& results) {
  const double requests = static_cast<double>(results.requests());
  const double queries = static_cast<double>(results.From(Source::kDatabase));
  AddLatencyCounters(state, "", results.all, "ms", kNanosPerMilli);
  if (results.cached.size() > 0) {
    AddLatencyCounters(state, "cached_", results.cached, "ms", kNanosPerMilli);
  }
  state.counters["requesters"] = plan.requesters;
  state.counters["requests_per_s"] = requests / results.seconds;
  state.counters["hit_ratio"] = 1 - queries / requests;
  state.counters["memory_hit_ratio"] =
      static_cast<double>(results.From(Source::kMemory)) / requests;
  state.counters["redis_hit_ratio"] = static_cast<double>(results.From(Source::kRedis)) / requests;
  state.counters["joined_per_1000"] =
      1000 * static_cast<double>(results.From(Source::kJoined)) / requests;
  state.counters["database_queries_per_1000"] = 1000 * queries / requests;
  state.counters["timer_ns"] = CycleTimer::Get().CostNanos();
  parts.distributions().Add(plan.name, results.all);
}

absl::StatusOr<RequestResults> RunOnce(const FlowPlan& plan, TierParts& parts, Stage& stage) {
  absl::StatusOr<std::unique_ptr<Flow>> flow = plan.create(parts);
  if (!flow.ok()) return flow.status();
  absl::StatusOr<SlowDatabase*> database = parts.Database();
  if (!database.ok()) return database.status();
  (*database)->ResetDelays(kSeed);
  return SendRequests(
      parts.Popular(plan.requests), plan.requesters,
      [&](uint32_t product, Source* source) { return (*flow)->Answer(product, source); }, stage);
}

void RunFlow(benchmark::State& state, const FlowPlan& plan, TierParts& parts) {
  absl::StatusOr<RequestResults> results = RequestResults();
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(plan.requests))) {
    constexpr std::string_view kPrefix = "BM_";
    Stage stage(plan.name.substr(kPrefix.size()), plan.doing, plan.requests);
    results = RunOnce(plan, parts, stage);
    if (!results.ok()) {
      GiveUp(state, parts, stage, results.status());
      return;
    }
  }
  Report(state, plan, parts, *results);
}

void Register(TierParts& parts, const FlowPlan& plan) {
  benchmark::RegisterBenchmark(
      std::string(plan.name).c_str(),
      [&parts, plan](benchmark::State& state) { RunFlow(state, plan, parts); });
}

}  // namespace

void RegisterFlowBenchmarks(TierParts& parts) {
  constexpr size_t kRequests = 40'000;
  Register(parts, {"BM_RequestFlow/none", "6,000 requests, no cache: the database answers each",
                   6'000, kRequesters, CreateNoCache});
  Register(parts, {"BM_RequestFlow/redis", "40,000 requests, cache-aside on Redis alone", kRequests,
                   kRequesters, [](TierParts& shop) { return CreateRedisAside(shop, "redis"); }});
  Register(parts, {"BM_RequestFlow/larder", "40,000 requests, larder alone", kRequests, kRequesters,
                   CreateLarder});
  Register(parts, {"BM_RequestFlow/larder_redis", "40,000 requests, larder in front of Redis",
                   kRequests, kRequesters, CreateLarderAndRedis});
  // Few requesters: nobody waits for the database, so many would only queue for the relay.
  Register(parts, {"BM_SecondServer/larder_redis",
                   "40,000 requests, larder cold in front of a Redis that is warm", kRequests,
                   /*requesters=*/8, CreateSecondServer});
}

}  // namespace larder::bench
