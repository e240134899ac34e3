// SPDX-License-Identifier: Apache-2.0

#include "bench/support/outage_table.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "bench/support/latency_counters.h"
#include "bench/support/outage_contenders.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/result_table.h"
#include "bench/support/text_table.h"
#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

std::string FormatTime(absl::Duration time) { return FormatNanos(absl::ToDoubleNanoseconds(time)); }

// "DEAD, 5.00 s"
std::string Heading(const OutagePhase& phase) {
  return absl::StrCat(absl::AsciiStrToUpper(std::string(phase.name)), ", ",
                      FormatTime(phase.length));
}

std::string Describe(const OutagePhase& phase, absl::Duration client_timeout) {
  if (phase.answers) {
    return absl::StrCat("  The database answers after ", FormatTime(phase.fastest), " to ",
                        FormatTime(phase.slowest), ".\n");
  }
  return absl::StrCat("  The database doesn't answer: its client gives up after ",
                      FormatTime(client_timeout), ".\n");
}

}  // namespace

std::string OutageBenchmark(const OutageContender& contender) {
  return absl::StrCat("BM_Outage/", contender.name);
}

void AddOutageCounters(benchmark::State& state, const OutageTimeline& timeline,
                       const OutageRecords& records) {
  const std::vector<PhaseResults> results = ResultsByPhase(timeline, records);
  for (size_t i = 0; i < results.size(); ++i) {
    if (!timeline.phases()[i].measured) continue;
    const std::string prefix = absl::StrCat(std::string(timeline.phases()[i].name), "_");
    const auto add = [&](std::string_view name, double value) {
      state.counters[absl::StrCat(prefix, std::string(name))] = value;
    };
    AddLatencyCounters(state, prefix, results[i].latencies, "ms", kNanosPerMilli);
    add("errors", static_cast<double>(results[i].errors));
    add("stale", static_cast<double>(results[i].stale));
    add("oldest_stale_ms", absl::ToDoubleMilliseconds(results[i].oldest_stale));
    add("queries", static_cast<double>(results[i].queries));
    add("most_queries_at_once", static_cast<double>(results[i].most_queries_at_once));
  }
  const LatencySummary late = Lateness(records.requests).Summarize();
  state.counters["late_p50_ms"] = late.p50 / kNanosPerMilli;
  state.counters["late_p99_ms"] = late.p99 / kNanosPerMilli;
  state.counters["late_max_ms"] = late.max / kNanosPerMilli;
}

std::string OutageTable::Format() const {
  std::string text = absl::StrFormat(
      "\nEach gets %.0f requests a second, sent when they are due, for %s products (Zipf %.2f; ttl "
      "%s). All run side by side,\neach with a database, threads and a cache of its own, and all "
      "caches have seen all products. Latencies are from when\na request was due to its answer or "
      "error. Stale: answered with what had expired, the oldest of it this old. Queries:\nwhat the "
      "database got, and the most of that at once. A request counts in the phase that it was due "
      "in; what was without\nan answer when the database died counts there.\n",
      load_.requests_per_second, FormatCount(load_.products), load_.zipf_exponent,
      FormatTime(contenders_.back().options->ttl));
  for (size_t i = 0; i < timeline_.phases().size(); ++i) {
    if (timeline_.phases()[i].measured) text += FormatPhase(i);
  }
  return text + FormatLateness();
}

std::string OutageTable::FormatPhase(size_t phase) const {
  const std::string prefix = absl::StrCat(std::string(timeline_.phases()[phase].name), "_");
  TextTable table;
  table.AddRow({Heading(timeline_.phases()[phase]), "requests", "errors", "", "stale", "oldest",
                "p50", "p99", "p99.9", "max", "queries", "at once"});
  for (const OutageContender& contender : contenders_) {
    const Result* result = Find(OutageBenchmark(contender));
    if (result == nullptr) continue;
    if (!result->error.empty()) {
      table.AddNote(contender.title, result->error);
      continue;
    }
    const auto get = [&](std::string_view name) {
      return result->counters.at(absl::StrCat(prefix, std::string(name)));
    };
    const auto millis = [&](std::string_view name) {
      return FormatNanos(get(name) * kNanosPerMilli);
    };
    table.AddRow({contender.title, FormatCount(get("samples")), FormatCount(get("errors")),
                  absl::StrFormat("%.1f%%", 100 * get("errors") / std::max(1.0, get("samples"))),
                  FormatCount(get("stale")), get("stale") > 0 ? millis("oldest_stale_ms") : "",
                  millis("p50_ms"), millis("p99_ms"), millis("p999_ms"), millis("max_ms"),
                  FormatCount(get("queries")), FormatCount(get("most_queries_at_once"))});
  }
  return absl::StrCat("\n", table.Format(),
                      Describe(timeline_.phases()[phase], timeline_.client_timeout()));
}

std::string OutageTable::FormatLateness() const {
  double p50 = 0;
  double p99 = 0;
  double longest = 0;
  for (const auto& [name, result] : results()) {
    const auto& counters = result.counters;
    if (!counters.contains("late_p99_ms")) continue;
    p50 = std::max(p50, counters.at("late_p50_ms"));
    p99 = std::max(p99, counters.at("late_p99_ms"));
    longest = std::max(longest, counters.at("late_max_ms"));
  }
  return absl::StrFormat(
      "\n  All latencies include what it took this machine to hand a due request to a thread: p50 "
      "%s, p99 %s, at most %s\n  (the worst contender's).\n",
      FormatNanos(p50 * kNanosPerMilli), FormatNanos(p99 * kNanosPerMilli),
      FormatNanos(longest * kNanosPerMilli));
}

}  // namespace larder::bench
