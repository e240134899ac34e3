// SPDX-License-Identifier: Apache-2.0
//
// What a service and its database went through in an outage, request by request, and what that
// comes to for each phase and over time.

#ifndef LARDER_BENCH_SUPPORT_OUTAGE_RESULTS_H_
#define LARDER_BENCH_SUPPORT_OUTAGE_RESULTS_H_

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bench/support/failing_database.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/requests.h"

namespace larder::bench {

enum class Outcome { kFresh, kStale, kError };

// A request to a service. Times since the beginning of the timeline, but for latencies and ages.
struct RequestRecord {
  absl::Duration due;      // when it was to be sent
  absl::Duration begun;    // when a thread came to do so
  absl::Duration latency;  // from `due` to its answer or error
  Outcome outcome = Outcome::kFresh;
  absl::Duration age;  // of a stale answer
  Source source = Source::kDatabase;
};

// All that is known of one contender.
struct OutageRecords {
  std::vector<RequestRecord> requests;  // in the order in which they were due
  std::vector<QueryRecord> queries;     // in any order
};

// The phase that a request counts in: that of its due time, or, if it was without an answer when
// the next one, which doesn't answer, began, that one.
size_t PhaseOf(const OutageTimeline& timeline, const RequestRecord& request);

// What was due, or asked of the database, in one phase. Requests that were without an answer when
// the database died are the next phase's, as it is that phase's doing.
struct PhaseResults {
  LatencyRecorder latencies;  // in ns; errors included
  size_t errors = 0;
  size_t stale = 0;
  absl::Duration oldest_stale = absl::ZeroDuration();
  size_t queries = 0;
  size_t most_queries_at_once = 0;  // those asked in an earlier phase included
};

// One for each phase of `timeline`, those that aren't measured included. O(n log n).
std::vector<PhaseResults> ResultsByPhase(const OutageTimeline& timeline,
                                         const OutageRecords& records);

// What was due, or asked of the database, in a short time. Latencies are nearest-rank percentiles,
// 0 without requests.
struct OutageBucket {
  size_t requests = 0;
  absl::Duration p50 = absl::ZeroDuration();
  absl::Duration p99 = absl::ZeroDuration();
  absl::Duration max = absl::ZeroDuration();
  size_t errors = 0;
  size_t stale = 0;
  size_t queries = 0;
  std::array<size_t, kSources> by_source = {};  // errors left out
};

// The whole timeline in buckets of `width`, the last of which may reach past its end. What happened
// later is left out. O(n log n).
std::vector<OutageBucket> ResultsOverTime(const OutageTimeline& timeline,
                                          const OutageRecords& records, absl::Duration width);

// How late the requests were begun: what the benchmark itself adds to their latencies.
LatencyRecorder Lateness(std::span<const RequestRecord> requests);

// One contender of a run, for WriteOutageJson.
struct OutageSeries {
  std::string name;
  std::string title;
  std::vector<OutageBucket> buckets;
};

// Writes a JSON file for the report to plot:
//   {"bucket_s": SECONDS,
//    "phases": [{"name": .., "from_s": .., "to_s": .., "measured": .., "answers": ..,
//                "fastest_ms": .., "slowest_ms": ..}, ...],
//    "contenders": [{"name": .., "title": .., "requests": [..], "p50_ms": [..], "p99_ms": [..],
//                    "errors": [..], "stale": [..], "queries": [..]}, ...]}
// with a figure for each bucket; a percentile of none is null. Unavailable, naming the file, if it
// can't be written.
absl::Status WriteOutageJson(const std::string& path, const OutageTimeline& timeline,
                             absl::Duration bucket, std::span<const OutageSeries> contenders);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_OUTAGE_RESULTS_H_
