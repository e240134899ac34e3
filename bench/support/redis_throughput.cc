// SPDX-License-Identifier: Apache-2.0

#include "bench/support/redis_throughput.h"

#include <sys/types.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "bench/support/progress.h"
#include "bench/support/redis_limit.h"
#include "bench/support/slow_database.h"
#include "bench/support/stage_results.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_server.h"

namespace larder::bench {
namespace {

using std::chrono::steady_clock;

constexpr uint32_t kKeys = 10'000;
constexpr size_t kValueBytes = 100;
constexpr absl::Duration kWarmUp = absl::Milliseconds(60);
constexpr absl::Duration kMeasured = absl::Milliseconds(250);

// What a process has had of processors; 0 where it can't be told.
double ProcessorSeconds(pid_t process) {
  clockid_t clock;
  timespec time = {};
  if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Threads that get until they are told to stop.
class Getters {
 public:
  Getters(const GetsPlan& plan, const std::vector<std::string>& keys,
          std::vector<std::unique_ptr<RedisTier>>& tiers)
      : plan_(plan), keys_(keys), counts_(static_cast<size_t>(plan.threads)) {
    for (size_t i = 0; i < counts_.size(); ++i) {
      threads_.emplace_back([this, i, &tier = *tiers[i % tiers.size()]] { Run(i, tier); });
    }
  }

  ~Getters() { Stop().IgnoreError(); }

  uint64_t gets() const {
    uint64_t sum = 0;
    for (const Count& count : counts_) sum += count.gets.load(std::memory_order_relaxed);
    return sum;
  }

  // Returns the first error of any of them.
  absl::Status Stop() {
    stopped_.store(true, std::memory_order_relaxed);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    absl::Status status;
    for (const Count& count : counts_) status.Update(count.status);
    return status;
  }

 private:
  struct alignas(64) Count {
    std::atomic<uint64_t> gets{0};
    absl::Status status;  // of its thread, until that is joined
  };

  void Run(size_t i, RedisTier& tier) {
    std::minstd_rand random(static_cast<uint32_t>(kSeed + i));
    std::vector<std::string_view> wanted(static_cast<size_t>(plan_.batch));
    Count& count = counts_[i];
    while (count.status.ok() && !stopped_.load(std::memory_order_relaxed)) {
      for (std::string_view& key : wanted) key = keys_[random() % keys_.size()];
      count.status = plan_.batch == 1 ? GetOne(tier, wanted.front()) : GetAll(tier, wanted);
      count.gets.fetch_add(wanted.size(), std::memory_order_relaxed);
    }
  }

  static absl::Status GetOne(RedisTier& tier, std::string_view key) {
    const absl::StatusOr<std::optional<std::string>> value = tier.Get(key, kPatience);
    return value.ok() ? Check(*value) : value.status();
  }

  static absl::Status GetAll(RedisTier& tier, absl::Span<const std::string_view> keys) {
    const absl::StatusOr<std::vector<std::optional<std::string>>> values =
        tier.GetMany(keys, kPatience);
    if (!values.ok()) return values.status();
    absl::Status status;
    for (const std::optional<std::string>& value : *values) status.Update(Check(value));
    return status;
  }

  static absl::Status Check(const std::optional<std::string>& value) {
    if (value.has_value() && value->size() == kValueBytes) return absl::OkStatus();
    return absl::InternalError("a value that was set isn't there");
  }

  const GetsPlan& plan_;
  const std::vector<std::string>& keys_;
  std::vector<Count> counts_;
  std::atomic<bool> stopped_{false};
  std::vector<std::thread> threads_;
};

// What one part of a round came to.
struct Part {
  double gets_per_s = 0;
  double server_busy = 0;
  double client_busy = 0;
};

// What the benchmarks have in common.
class Throughput {
 public:
  explicit Throughput(TierParts& parts) : parts_(parts) {
    for (uint32_t i = 0; i < kKeys; ++i) keys_.push_back(LimitKey(i));
  }

  void Run(benchmark::State& state, const GetsPlan& plan) {
    while (state.KeepRunning()) {
      Stage stage(plan.Benchmark().substr(3),
                  absl::StrCat(plan.threads, " threads, beside redis-benchmark"), kGetsRounds);
      const absl::Status status = Measure(state, plan, stage);
      if (!status.ok()) GiveUp(state, parts_, stage, status);
    }
  }

 private:
  absl::Status Measure(benchmark::State& state, const GetsPlan& plan, Stage& stage);
  // Sets the keys, unless they are there.
  absl::Status Fill();
  absl::StatusOr<Part> MeasureLarder(const GetsPlan& plan, pid_t server);
  absl::StatusOr<Part> MeasureLimit(const GetsPlan& plan, const test::RedisServer& server,
                                    double expected_rate);

  TierParts& parts_;
  std::vector<std::string> keys_;
};

double Median(std::vector<double> values) {
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(middle), values.end());
  return values[middle];
}

absl::Status Throughput::Measure(benchmark::State& state, const GetsPlan& plan, Stage& stage) {
  const absl::StatusOr<test::RedisServer*> server = parts_.Server();
  if (!server.ok()) return server.status();
  if (absl::Status filled = Fill(); !filled.ok()) return filled;
  std::vector<double> gets, limits, ratios, server_busy, client_busy, limit_server_busy;
  for (int round = 0; round < kGetsRounds; ++round) {
    const absl::StatusOr<Part> larder = MeasureLarder(plan, (*server)->pid());
    if (!larder.ok()) return larder.status();
    const absl::StatusOr<Part> limit =
        MeasureLimit(plan, **server, limits.empty() ? larder->gets_per_s : limits.back());
    if (!limit.ok()) return limit.status();
    gets.push_back(larder->gets_per_s);
    limits.push_back(limit->gets_per_s);
    ratios.push_back(larder->gets_per_s / limit->gets_per_s);
    server_busy.push_back(larder->server_busy);
    client_busy.push_back(larder->client_busy);
    limit_server_busy.push_back(limit->server_busy);
    stage.Advance();
  }
  state.counters["gets_per_s"] = Median(gets);
  state.counters["limit_per_s"] = Median(limits);
  state.counters["ratio"] = Median(ratios);
  state.counters["ratio_min"] = *std::min_element(ratios.begin(), ratios.end());
  state.counters["ratio_max"] = *std::max_element(ratios.begin(), ratios.end());
  state.counters["server_busy"] = Median(server_busy);
  state.counters["client_busy"] = Median(client_busy);
  state.counters["limit_server_busy"] = Median(limit_server_busy);
  return absl::OkStatus();
}

absl::Status Throughput::Fill() {
  const absl::StatusOr<RedisTier*> redis = parts_.Redis();
  if (!redis.ok()) return redis.status();
  const absl::StatusOr<std::optional<std::string>> last = (*redis)->Get(keys_.back(), kPatience);
  if (!last.ok()) return last.status();
  if (last->has_value()) return absl::OkStatus();
  const std::string value(kValueBytes, 'v');
  for (const std::string& key : keys_) {
    const absl::Status set = (*redis)->Set(key, value, absl::InfiniteDuration(), kPatience);
    if (!set.ok()) return set;
  }
  return absl::OkStatus();
}

absl::StatusOr<Part> Throughput::MeasureLarder(const GetsPlan& plan, pid_t server) {
  absl::StatusOr<RedisOptions> options = parts_.RedisAt(RedisPlace::kLoopback);
  if (!options.ok()) return options.status();
  options->max_connections = 1;
  std::vector<std::unique_ptr<RedisTier>> tiers;
  for (int i = 0; i < plan.tiers; ++i) {
    absl::StatusOr<std::unique_ptr<RedisTier>> tier = RedisTier::Create(*options);
    if (!tier.ok()) return tier.status();
    tiers.push_back(*std::move(tier));
  }
  Getters getters(plan, keys_, tiers);
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(kWarmUp));
  const uint64_t gets_before = getters.gets();
  const double server_before = ProcessorSeconds(server), own_before = ProcessorSeconds(0);
  const auto start = steady_clock::now();
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(kMeasured));
  const uint64_t gets = getters.gets() - gets_before;
  const std::chrono::duration<double> elapsed = steady_clock::now() - start;
  const double server_used = ProcessorSeconds(server) - server_before;
  const double own_used = ProcessorSeconds(0) - own_before;
  if (absl::Status status = getters.Stop(); !status.ok()) return status;
  return Part{.gets_per_s = static_cast<double>(gets) / elapsed.count(),
              .server_busy = server_used / elapsed.count(),
              .client_busy = own_used / elapsed.count()};
}

absl::StatusOr<Part> Throughput::MeasureLimit(const GetsPlan& plan, const test::RedisServer& server,
                                              double expected_rate) {
  const auto at_once = static_cast<uint64_t>(plan.limit_clients * plan.limit_depth);
  const auto wanted =
      static_cast<uint64_t>(expected_rate * absl::ToDoubleSeconds(kWarmUp + kMeasured));
  const double server_before = ProcessorSeconds(server.pid());
  const LimitLoad load = {.port = server.port(),
                          .clients = plan.limit_clients,
                          .depth = plan.limit_depth,
                          .requests = std::max<uint64_t>(1, wanted / at_once) * at_once,
                          .keys = kKeys};
  const absl::StatusOr<double> rate = RunRedisBenchmark(load);
  if (!rate.ok()) return rate.status();
  // By the time that the requests themselves took, as the rate is.
  const double seconds = static_cast<double>(load.requests) / *rate;
  return Part{.gets_per_s = *rate,
              .server_busy = (ProcessorSeconds(server.pid()) - server_before) / seconds};
}

}  // namespace

std::string GetsPlan::Benchmark() const { return absl::StrCat("BM_Gets/", way, "/", Size()); }

std::vector<GetsPlan> GetsPlans() {
  std::vector<GetsPlan> plans;
  const std::vector<int> threads = {1, 2, 4, 8, 16, 32, 64};
  for (const int n : threads) {
    plans.push_back({.way = "shared", .threads = n, .limit_depth = n});
  }
  for (const int n : threads) {
    plans.push_back({.way = "own", .threads = n, .tiers = n, .limit_clients = n});
  }
  for (const int n : {1, 8, 64}) plans.push_back({.way = "many", .batch = n, .limit_depth = n});
  return plans;
}

void RegisterThroughputBenchmarks(TierParts& parts) {
  const auto throughput = std::make_shared<Throughput>(parts);
  for (const GetsPlan& plan : GetsPlans()) {
    benchmark::RegisterBenchmark(plan.Benchmark().c_str(), [throughput,
                                                            plan](benchmark::State& state) {
      throughput->Run(state, plan);
    })->Iterations(1);
  }
}

}  // namespace larder::bench
