// SPDX-License-Identifier: Apache-2.0
//
// What an outage of Redis comes to, for each phase and over time.

#ifndef LARDER_BENCH_SUPPORT_REDIS_OUTAGE_RESULTS_H_
#define LARDER_BENCH_SUPPORT_REDIS_OUTAGE_RESULTS_H_

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/redis_outage.h"
#include "bench/support/requests.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "larder/remote_stats.h"

namespace larder::bench {

inline constexpr absl::Duration kOutageBucket = absl::Milliseconds(100);

// "before" the fault, while Redis is "away", while it is "back" but not read from yet, "after".
inline constexpr std::array<std::string_view, 4> kRedisPhases = {"before", "away", "back", "after"};

// kRedisPhases, as they were. "back" ends when health is kUp again, or with the run if it never is,
// which leaves "after" empty.
OutageTimeline PhasesOf(const RedisOutagePlan& plan, const RedisOutageRecords& records);

struct RedisPhaseResults {
  LatencyRecorder latencies;  // of all requests, in ns, from when they were due; errors included
  LatencyRecorder memory;     // of those that memory answered, from when a thread had begun
  size_t errors = 0;
  std::array<size_t, kSources> by_source = {};  // errors left out
};

// One for each of kRedisPhases. A request counts in the phase that it was due in; what was without
// an answer when Redis went away counts there.
std::vector<RedisPhaseResults> ResultsByPhase(const RedisOutagePlan& plan,
                                              const RedisOutageRecords& records);

// What health was at `at`.
RemoteHealth HealthAt(std::span<const HealthChange> changes, absl::Duration at);

// A run, over time.
struct RedisOutageSeries {
  RedisOutagePlan plan;
  absl::Duration away_at;
  absl::Duration back_at;
  absl::Duration up_at;  // when Redis was used again; the plan's length if it wasn't
  std::vector<HealthChange> health;
  std::vector<OutageBucket> buckets;  // each kOutageBucket long
};

RedisOutageSeries SeriesOf(const RedisOutagePlan& plan, const RedisOutageRecords& records);

// Writes a JSON file for the report to plot:
//   {"bucket_s": SECONDS,
//    "outages": [{"name": .., "title": .., "away_s": .., "back_s": .., "up_s": ..,
//                 "health": [[SECONDS, "up"], ...], "requests": [..], "p50_ms": [..],
//                 "p99_ms": [..], "max_ms": [..], "errors": [..], "memory": [..], "joined": [..],
//                 "redis": [..], "database": [..]}, ...]}
// with a figure for each bucket; a latency of none is null. Unavailable, naming the file, if it
// can't be written.
absl::Status WriteRedisOutageJson(const std::string& path,
                                  std::span<const RedisOutageSeries> outages);

// "BM_RedisOutage/killed".
std::string RedisOutageBenchmark(const RedisOutagePlan& plan);

// Registers a benchmark for each of RedisOutagePlans(). Counters, for each phase: <phase>_p50_ms
// and so on, <phase>_memory_p50_us and so on, <phase>_errors, _from_memory, _joined, _from_redis,
// _from_database; and away_ms, until_up_ms, breaker_opens, failed_calls, late_p99_ms. The last run
// of each is put into `series`.
void RegisterRedisOutageBenchmarks(TierParts& parts,
                                   std::shared_ptr<std::vector<RedisOutageSeries>> series);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_REDIS_OUTAGE_RESULTS_H_
