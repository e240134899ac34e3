// SPDX-License-Identifier: Apache-2.0

#include "bench/support/redis_outage_results.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "bench/support/latency_counters.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/redis_outage.h"
#include "bench/support/requests.h"
#include "bench/support/stage_results.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "larder/remote_stats.h"

namespace larder::bench {
namespace {

absl::Duration UpAt(const RedisOutagePlan& plan, const RedisOutageRecords& records) {
  if (HealthAt(records.health, records.back_at) == RemoteHealth::kUp) return records.back_at;
  for (const HealthChange& change : records.health) {
    if (change.at >= records.back_at && change.health == RemoteHealth::kUp) {
      return std::min(change.at, plan.length);
    }
  }
  return plan.length;
}

template <class Figure>
std::string JsonArray(const std::vector<OutageBucket>& buckets, const Figure& figure) {
  return absl::StrCat("[",
                      absl::StrJoin(buckets, ",",
                                    [&](std::string* out, const OutageBucket& bucket) {
                                      absl::StrAppend(out, figure(bucket));
                                    }),
                      "]");
}

std::string JsonOf(const RedisOutageSeries& series) {
  using Bucket = OutageBucket;
  const auto millis = [&](absl::Duration Bucket::*time) {
    return JsonArray(series.buckets, [time](const Bucket& bucket) {
      if (bucket.requests == 0) return std::string("null");
      return absl::StrFormat("%.4f", absl::ToDoubleMilliseconds(bucket.*time));
    });
  };
  const auto from = [&](Source source) {
    return JsonArray(series.buckets, [source](const Bucket& bucket) {
      return absl::StrCat(bucket.by_source[static_cast<size_t>(source)]);
    });
  };
  const auto health = [](std::string* out, const HealthChange& change) {
    absl::StrAppendFormat(out, R"([%.4f, "%s"])", absl::ToDoubleSeconds(change.at),
                          std::string(RemoteHealthName(change.health)));
  };
  return absl::StrCat(
      absl::StrFormat(
          R"({"name": "%s", "title": "%s", "away_s": %.4f, "back_s": %.4f, "up_s": %.4f, )",
          std::string(series.plan.name), std::string(series.plan.title),
          absl::ToDoubleSeconds(series.away_at), absl::ToDoubleSeconds(series.back_at),
          absl::ToDoubleSeconds(series.up_at)),
      R"("health": [)", absl::StrJoin(series.health, ", ", health), "],\n   \"requests\": ",
      JsonArray(series.buckets, [](const Bucket& b) { return absl::StrCat(b.requests); }),
      ",\n   \"p50_ms\": ", millis(&Bucket::p50), ",\n   \"p99_ms\": ", millis(&Bucket::p99),
      ",\n   \"max_ms\": ", millis(&Bucket::max), ",\n   \"errors\": ",
      JsonArray(series.buckets, [](const Bucket& b) { return absl::StrCat(b.errors); }),
      ",\n   \"memory\": ", from(Source::kMemory), ",\n   \"joined\": ", from(Source::kJoined),
      ",\n   \"redis\": ", from(Source::kRedis), ",\n   \"database\": ", from(Source::kDatabase),
      "}");
}

void AddCounters(benchmark::State& state, const RedisOutagePlan& plan,
                 const RedisOutageRecords& records) {
  const std::vector<RedisPhaseResults> results = ResultsByPhase(plan, records);
  for (size_t i = 0; i < results.size(); ++i) {
    const RedisPhaseResults& phase = results[i];
    const std::string prefix = absl::StrCat(std::string(kRedisPhases[i]), "_");
    const auto add = [&](std::string_view name, size_t value) {
      state.counters[absl::StrCat(prefix, std::string(name))] = static_cast<double>(value);
    };
    const auto from = [&](Source source) { return phase.by_source[static_cast<size_t>(source)]; };
    AddLatencyCounters(state, prefix, phase.latencies, "ms", kNanosPerMilli);
    AddLatencyCounters(state, absl::StrCat(prefix, "memory_"), phase.memory, "us", kNanosPerMicro);
    add("errors", phase.errors);
    add("from_memory", from(Source::kMemory));
    add("joined", from(Source::kJoined));
    add("from_redis", from(Source::kRedis));
    add("from_database", from(Source::kDatabase));
  }
  state.counters["away_ms"] = absl::ToDoubleMilliseconds(records.back_at - records.away_at);
  state.counters["until_up_ms"] = absl::ToDoubleMilliseconds(UpAt(plan, records) - records.back_at);
  state.counters["breaker_opens"] = static_cast<double>(records.stats.breaker_opens);
  state.counters["failed_calls"] = static_cast<double>(records.stats.failed_calls);
  state.counters["late_p99_ms"] = Lateness(records.requests).Summarize().p99 / kNanosPerMilli;
}

}  // namespace

OutageTimeline PhasesOf(const RedisOutagePlan& plan, const RedisOutageRecords& records) {
  const absl::Duration up_at = UpAt(plan, records);
  return OutageTimeline(
      {{.name = kRedisPhases[0], .length = records.away_at},
       {.name = kRedisPhases[1], .length = records.back_at - records.away_at, .answers = false},
       {.name = kRedisPhases[2], .length = up_at - records.back_at},
       {.name = kRedisPhases[3], .length = plan.length - up_at}},
      /*client_timeout=*/absl::InfiniteDuration());
}

std::vector<RedisPhaseResults> ResultsByPhase(const RedisOutagePlan& plan,
                                              const RedisOutageRecords& records) {
  const OutageTimeline timeline = PhasesOf(plan, records);
  std::vector<RedisPhaseResults> phases(kRedisPhases.size());
  for (const RequestRecord& request : records.requests) {
    RedisPhaseResults& phase = phases[PhaseOf(timeline, request)];
    phase.latencies.Record(absl::ToDoubleNanoseconds(request.latency));
    if (request.outcome == Outcome::kError) {
      ++phase.errors;
      continue;
    }
    ++phase.by_source[static_cast<size_t>(request.source)];
    if (request.source != Source::kMemory) continue;
    const absl::Duration waited = request.begun - request.due;
    phase.memory.Record(absl::ToDoubleNanoseconds(request.latency - waited));
  }
  return phases;
}

RemoteHealth HealthAt(std::span<const HealthChange> changes, absl::Duration at) {
  RemoteHealth health = RemoteHealth::kNone;
  for (const HealthChange& change : changes) {
    if (change.at <= at) health = change.health;
  }
  return health;
}

RedisOutageSeries SeriesOf(const RedisOutagePlan& plan, const RedisOutageRecords& records) {
  return {.plan = plan,
          .away_at = records.away_at,
          .back_at = records.back_at,
          .up_at = UpAt(plan, records),
          .health = records.health,
          .buckets = ResultsOverTime(PhasesOf(plan, records),
                                     OutageRecords{.requests = records.requests, .queries = {}},
                                     kOutageBucket)};
}

absl::Status WriteRedisOutageJson(const std::string& path,
                                  std::span<const RedisOutageSeries> outages) {
  std::vector<std::string> texts;
  for (const RedisOutageSeries& series : outages) texts.push_back(JsonOf(series));
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << absl::StrFormat("{\"bucket_s\": %.4f,\n \"outages\": [\n  %s]}\n",
                          absl::ToDoubleSeconds(kOutageBucket), absl::StrJoin(texts, ",\n  "))
       << std::flush;
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

std::string RedisOutageBenchmark(const RedisOutagePlan& plan) {
  return absl::StrCat("BM_RedisOutage/", std::string(plan.name));
}

void RegisterRedisOutageBenchmarks(TierParts& parts,
                                   std::shared_ptr<std::vector<RedisOutageSeries>> series) {
  for (const RedisOutagePlan& plan : RedisOutagePlans()) {
    const auto run = [&parts, plan, series, runs = 0](benchmark::State& state) mutable {
      while (state.KeepRunning()) {
        const absl::StatusOr<RedisOutageRecords> records = RunRedisOutage(parts, plan, ++runs);
        if (!records.ok()) return GiveUp(state, parts, records.status());
        AddCounters(state, plan, *records);
        std::erase_if(*series,
                      [&](const RedisOutageSeries& of) { return of.plan.name == plan.name; });
        series->push_back(SeriesOf(plan, *records));
      }
    };
    benchmark::RegisterBenchmark(RedisOutageBenchmark(plan).c_str(), run)->Iterations(1);
  }
}

}  // namespace larder::bench
