// SPDX-License-Identifier: Apache-2.0

#include "bench/support/outage_results.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "bench/support/failing_database.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/outage_timeline.h"

namespace larder::bench {
namespace {

// Sweeps over the begins and ends of all queries.
void FindMostAtOnce(const OutageTimeline& timeline, std::span<const QueryRecord> queries,
                    std::vector<PhaseResults>& phases) {
  std::vector<std::pair<absl::Duration, int>> changes;
  // Those that are under way when a phase begins count there, too.
  for (size_t i = 0; i < phases.size(); ++i) changes.emplace_back(timeline.Begin(i), 0);
  for (const QueryRecord& query : queries) {
    changes.emplace_back(query.asked, 1);
    changes.emplace_back(query.ended, -1);
  }
  // At the same instant ends go first.
  std::sort(changes.begin(), changes.end());
  int under_way = 0;
  for (const auto& [at, change] : changes) {
    under_way += change;
    PhaseResults& phase = phases[timeline.PhaseAt(at)];
    phase.most_queries_at_once =
        std::max(phase.most_queries_at_once, static_cast<size_t>(under_way));
  }
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

std::string JsonMillis(const OutageBucket& bucket, absl::Duration time) {
  if (bucket.requests == 0) return "null";
  return absl::StrFormat("%.4f", absl::ToDoubleMilliseconds(time));
}

std::string JsonOf(const OutageTimeline& timeline, size_t i) {
  const OutagePhase& phase = timeline.phases()[i];
  return absl::StrFormat(
      R"({"name": "%s", "from_s": %.4f, "to_s": %.4f, "measured": %s, "answers": %s, )"
      R"("fastest_ms": %.4f, "slowest_ms": %.4f})",
      std::string(phase.name), absl::ToDoubleSeconds(timeline.Begin(i)),
      absl::ToDoubleSeconds(timeline.End(i)), phase.measured ? "true" : "false",
      phase.answers ? "true" : "false", absl::ToDoubleMilliseconds(phase.fastest),
      absl::ToDoubleMilliseconds(phase.slowest));
}

std::string JsonOf(const OutageSeries& series) {
  using Bucket = OutageBucket;
  const std::vector<Bucket>& buckets = series.buckets;
  return absl::StrCat(
      R"({"name": ")", series.name, R"(", "title": ")", series.title, "\",\n   \"requests\": ",
      JsonArray(buckets, [](const Bucket& b) { return absl::StrCat(b.requests); }),
      ",\n   \"p50_ms\": ",
      JsonArray(buckets, [](const Bucket& b) { return JsonMillis(b, b.p50); }),
      ",\n   \"p99_ms\": ",
      JsonArray(buckets, [](const Bucket& b) { return JsonMillis(b, b.p99); }),
      ",\n   \"errors\": ",
      JsonArray(buckets, [](const Bucket& b) { return absl::StrCat(b.errors); }),
      ",\n   \"stale\": ",
      JsonArray(buckets, [](const Bucket& b) { return absl::StrCat(b.stale); }),
      ",\n   \"queries\": ",
      JsonArray(buckets, [](const Bucket& b) { return absl::StrCat(b.queries); }), "}");
}

}  // namespace

size_t PhaseOf(const OutageTimeline& timeline, const RequestRecord& request) {
  const size_t phase = timeline.PhaseAt(request.due);
  const size_t next = phase + 1;
  const bool died_next = next < timeline.phases().size() && !timeline.phases()[next].answers;
  return died_next && request.due + request.latency > timeline.End(phase) ? next : phase;
}

std::vector<PhaseResults> ResultsByPhase(const OutageTimeline& timeline,
                                         const OutageRecords& records) {
  std::vector<PhaseResults> phases(timeline.phases().size());
  for (const RequestRecord& request : records.requests) {
    PhaseResults& phase = phases[PhaseOf(timeline, request)];
    phase.latencies.Record(absl::ToDoubleNanoseconds(request.latency));
    if (request.outcome == Outcome::kError) ++phase.errors;
    if (request.outcome != Outcome::kStale) continue;
    ++phase.stale;
    phase.oldest_stale = std::max(phase.oldest_stale, request.age);
  }
  for (const QueryRecord& query : records.queries) {
    ++phases[timeline.PhaseAt(query.asked)].queries;
  }
  FindMostAtOnce(timeline, records.queries, phases);
  return phases;
}

std::vector<OutageBucket> ResultsOverTime(const OutageTimeline& timeline,
                                          const OutageRecords& records, absl::Duration width) {
  const auto count = static_cast<size_t>(absl::Ceil(timeline.length(), width) / width);
  std::vector<OutageBucket> buckets(count);
  std::vector<std::vector<float>> latencies(count);
  const auto index = [&](absl::Duration at) { return static_cast<size_t>(at / width); };
  for (const RequestRecord& request : records.requests) {
    const size_t i = index(request.due);
    if (i >= count) continue;
    ++buckets[i].requests;
    if (request.outcome == Outcome::kError) {
      ++buckets[i].errors;
    } else {
      ++buckets[i].by_source[static_cast<size_t>(request.source)];
    }
    if (request.outcome == Outcome::kStale) ++buckets[i].stale;
    latencies[i].push_back(static_cast<float>(absl::ToDoubleNanoseconds(request.latency)));
  }
  for (const QueryRecord& query : records.queries) {
    const size_t i = index(query.asked);
    if (i < count) ++buckets[i].queries;
  }
  for (size_t i = 0; i < count; ++i) {
    std::sort(latencies[i].begin(), latencies[i].end());
    buckets[i].p50 = absl::Nanoseconds(Percentile(latencies[i], 0.5));
    buckets[i].p99 = absl::Nanoseconds(Percentile(latencies[i], 0.99));
    buckets[i].max = absl::Nanoseconds(Percentile(latencies[i], 1));
  }
  return buckets;
}

LatencyRecorder Lateness(std::span<const RequestRecord> requests) {
  LatencyRecorder lateness;
  for (const RequestRecord& request : requests) {
    lateness.Record(absl::ToDoubleNanoseconds(request.begun - request.due));
  }
  return lateness;
}

absl::Status WriteOutageJson(const std::string& path, const OutageTimeline& timeline,
                             absl::Duration bucket, std::span<const OutageSeries> contenders) {
  std::vector<std::string> phases;
  for (size_t i = 0; i < timeline.phases().size(); ++i) phases.push_back(JsonOf(timeline, i));
  std::vector<std::string> series;
  for (const OutageSeries& contender : contenders) series.push_back(JsonOf(contender));
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << absl::StrFormat(
              "{\"bucket_s\": %.4f,\n \"phases\": [\n  %s],\n \"contenders\": [\n  %s]}\n",
              absl::ToDoubleSeconds(bucket), absl::StrJoin(phases, ",\n  "),
              absl::StrJoin(series, ",\n  "))
       << std::flush;
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace larder::bench
