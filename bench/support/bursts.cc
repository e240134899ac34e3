// SPDX-License-Identifier: Apache-2.0

#include "bench/support/bursts.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/burst.h"
#include "bench/support/latency_counters.h"
#include "bench/support/progress.h"
#include "bench/support/put_target.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/write_database.h"
#include "bench/support/write_modes.h"
#include "benchmark/benchmark.h"
#include "larder/write_behind_options.h"
#include "tests/support/threads.h"

namespace larder::bench {
namespace {

constexpr uint64_t kSeed = 20'250'209;

absl::StatusOr<BurstResults> RunBurstAlone(const BurstPlan& plan, absl::Duration interval,
                                           Stage& stage) {
  const TemporaryFolder folder;
  absl::StatusOr<std::unique_ptr<WriteDatabase>> database =
      WriteDatabase::Create(folder.File("store.db"), WriteDatabase::Speed::kSlow, kSeed);
  if (!database.ok()) return database.status();
  WriteBehindOptions options;
  options.max_entries = plan.max_queued;
  absl::StatusOr<std::unique_ptr<PutTarget>> cache =
      OpenTieredCache(UnsyncedJournal(), (*database)->store(), folder.File("journal"), options);
  if (!cache.ok()) return cache.status();
  absl::StatusOr<BurstResults> results =
      RunBurst(**cache, (*database)->store(), plan.load, interval, stage);
  if (!results.ok()) return results;
  const absl::Status same = (*database)->CompareWith(**cache, plan.load.keys);
  if (!same.ok()) return same;
  return results;
}

}  // namespace

std::vector<BurstPlan> BurstPlans(double scale) {
  const auto puts = [scale](double count) { return static_cast<uint32_t>(count * scale); };
  const uint32_t burst = puts(12'000);
  const uint32_t steady = puts(5'000);
  return {
      {"own_keys", "4,000/s, each a key of its own", {.puts = burst, .keys = burst}},
      {"hot_keys", "4,000/s, to 500 keys", {.puts = burst, .keys = 500}},
      {"bounded",
       "4,000/s, room for 2,000: puts wait",
       {.puts = burst, .keys = burst},
       /*max_queued=*/2'000},
      {"outage",
       "1,000/s, database dead for 2 s",
       {.puts_per_second = 1'000,
        .puts = steady,
        .keys = steady,
        .dies = absl::Seconds(1) * scale,
        .comes_back = absl::Seconds(3) * scale}},
  };
}

absl::StatusOr<std::vector<BurstSeries>> RunBursts(std::span<const BurstPlan> plans,
                                                   absl::Duration interval, Stage& stage) {
  std::vector<absl::StatusOr<BurstResults>> results(plans.size());
  test::RunThreads(static_cast<int>(plans.size()), [&](int i) {
    const auto index = static_cast<size_t>(i);
    results[index] = RunBurstAlone(plans[index], interval, stage);
  });
  std::vector<BurstSeries> series;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (!results[i].ok()) return results[i].status();
    series.push_back({plans[i].name, plans[i].title, plans[i].load, plans[i].max_queued,
                      *std::move(results[i])});
  }
  return series;
}

void AddBurstCounters(benchmark::State& state, const BurstResults& results) {
  AddLatencyCounters(state, "", results.latencies, "us", kNanosPerMicro);
  uint64_t most_queued = 0;
  absl::Duration oldest = absl::ZeroDuration();
  for (const BurstSample& sample : results.samples) {
    most_queued = std::max(most_queued, sample.queued);
    oldest = std::max(oldest, sample.oldest);
  }
  const auto add = [&](const char* name, double value) { state.counters[name] = value; };
  add("most_queued", static_cast<double>(most_queued));
  add("oldest_ms", absl::ToDoubleMilliseconds(oldest));
  add("last_put_ms", absl::ToDoubleMilliseconds(results.last_put));
  add("drained_ms", absl::ToDoubleMilliseconds(results.drained));
  add("stored", static_cast<double>(results.stats.stored));
  add("coalesced", static_cast<double>(results.stats.coalesced));
  add("failures", static_cast<double>(results.stats.failures));
  add("blocked", static_cast<double>(results.stats.blocked));
}

}  // namespace larder::bench
