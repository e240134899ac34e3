// SPDX-License-Identifier: Apache-2.0

#include "bench/support/asker_benchmark.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/latency_counters.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/progress.h"
#include "bench/support/slow_database.h"
#include "bench/support/stage_results.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "larder/cache.h"

namespace larder::bench {
namespace {

constexpr size_t kAskers = 1'000;
constexpr uint32_t kRounds = 5;

using Memory = Cache<std::string, std::string>;

// What one round came to.
struct Round {
  LatencyRecorder waits;  // of each asker, from its question to its answer
  uint64_t loads = 0;     // counted by the loader
  double load_nanos = 0;  // the longest one
};

// One round: everyone asks `memory` for `product`.
absl::StatusOr<Round> AskAtOnce(TierParts& parts, SlowDatabase& database, Memory& memory,
                                uint32_t product, Stage& stage) {
  const CycleTimer& timer = CycleTimer::Get();
  std::atomic<uint64_t> loads{0};
  std::atomic<uint64_t> load_ticks{0};
  const auto load = [&](const std::string&) {
    loads.fetch_add(1, std::memory_order_relaxed);
    const uint64_t start = timer.Start();
    absl::StatusOr<std::string> row = database.Query(product);
    load_ticks.store(timer.Stop() - start, std::memory_order_relaxed);
    return row;
  };
  const std::string expected = SlowDatabase::ExpectedRow(product);
  std::atomic<uint64_t> wrong{0};
  std::vector<uint64_t> waits(kAskers);
  std::latch start_together(kAskers);
  std::vector<std::thread> askers;
  askers.reserve(kAskers);
  for (size_t i = 0; i < kAskers; ++i) {
    askers.emplace_back([&, i] {
      start_together.arrive_and_wait();
      const uint64_t start = timer.Start();
      const absl::StatusOr<std::string> row = memory.GetOrLoad(parts.Key(product), load);
      waits[i] = timer.Stop() - start;
      if (!row.ok() || *row != expected) wrong.fetch_add(1, std::memory_order_relaxed);
      stage.Advance();
    });
  }
  for (std::thread& asker : askers) asker.join();
  if (wrong > 0) {
    return absl::InternalError(absl::StrCat(wrong.load(), " of ", kAskers, " askers got an error"));
  }
  Round round;
  for (const uint64_t ticks : waits) round.waits.Record(timer.ToNanos(ticks));
  round.loads = loads;
  round.load_nanos = timer.ToNanos(load_ticks);
  return round;
}

// All rounds, each with a product nobody asked for before.
absl::StatusOr<std::vector<Round>> AskRepeatedly(TierParts& parts, Stage& stage) {
  absl::StatusOr<SlowDatabase*> database = parts.Database();
  if (!database.ok()) return database.status();
  (*database)->ResetDelays(kSeed);
  Memory::Options options;
  options.capacity = kRoomForAll;
  options.ttl = kTimeToLive;
  absl::StatusOr<std::unique_ptr<Memory>> memory = Memory::Create(std::move(options));
  if (!memory.ok()) return memory.status();
  std::vector<Round> rounds;
  for (uint32_t product = 0; product < kRounds; ++product) {
    absl::StatusOr<Round> round = AskAtOnce(parts, **database, **memory, product, stage);
    if (!round.ok()) return round.status();
    rounds.push_back(*std::move(round));
  }
  return rounds;
}

void Report(benchmark::State& state, TierParts& parts, const std::vector<Round>& rounds) {
  LatencyRecorder waits;
  uint64_t most_loads = 0;
  uint64_t all_loads = 0;
  double longest_load = 0;
  for (size_t i = 0; i < rounds.size(); ++i) {
    const Round& round = rounds[i];
    parts.distributions().Add(absl::StrCat("BM_ThousandAskers/round_", i + 1), round.waits);
    waits.Merge(round.waits);
    most_loads = std::max(most_loads, round.loads);
    all_loads += round.loads;
    longest_load = std::max(longest_load, round.load_nanos);
  }
  AddLatencyCounters(state, "wait_", waits, "ms", kNanosPerMilli);
  state.counters["askers"] = kAskers;
  state.counters["rounds"] = static_cast<double>(rounds.size());
  // The most that any round had: 1 if the promise held in all of them.
  state.counters["loads"] = static_cast<double>(most_loads);
  state.counters["loads_of_all_rounds"] = static_cast<double>(all_loads);
  state.counters["longest_wait_ms"] = waits.Summarize().max / kNanosPerMilli;
  state.counters["longest_load_ms"] = longest_load / kNanosPerMilli;
  state.counters["timer_ns"] = CycleTimer::Get().CostNanos();
}

void RunAskers(benchmark::State& state, TierParts& parts) {
  absl::StatusOr<std::vector<Round>> rounds = std::vector<Round>();
  while (state.KeepRunningBatch(kRounds)) {
    Stage stage("ThousandAskers", "1,000 threads ask for the same cold product at once, 5 times",
                kAskers * kRounds);
    rounds = AskRepeatedly(parts, stage);
    if (!rounds.ok()) {
      GiveUp(state, parts, stage, rounds.status());
      return;
    }
  }
  Report(state, parts, *rounds);
}

}  // namespace

void RegisterAskerBenchmark(TierParts& parts) {
  benchmark::RegisterBenchmark("BM_ThousandAskers",
                               [&parts](benchmark::State& state) { RunAskers(state, parts); });
}

}  // namespace larder::bench
