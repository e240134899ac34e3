// SPDX-License-Identifier: Apache-2.0
//
// Puts that come faster than a store takes them, and how many wait for it meanwhile.

#ifndef LARDER_BENCH_SUPPORT_BURST_H_
#define LARDER_BENCH_SUPPORT_BURST_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/progress.h"
#include "bench/support/put_target.h"
#include "bench/support/slow_store.h"

namespace larder::bench {

// What is put, and how the database fares. Times count from the beginning.
struct BurstLoad {
  double puts_per_second = 4'000;
  uint32_t puts = 12'000;  // a thread that a put holds up puts its later ones when it can
  uint32_t keys = 12'000;  // used in turn: as many as puts, and each put has a key of its own
  size_t value_bytes = 100;
  int threads = 8;
  // When the database is dead. None if they are equal.
  absl::Duration dies = absl::ZeroDuration();
  absl::Duration comes_back = absl::ZeroDuration();
};

// One moment.
struct BurstSample {
  absl::Duration at;
  uint64_t queued;
  absl::Duration oldest;
  uint64_t stored;  // so far
};

// The puts that began in one interval between samples.
struct BurstPuts {
  uint32_t puts = 0;
  absl::Duration p50 = absl::ZeroDuration();
  absl::Duration p99 = absl::ZeroDuration();
};

struct BurstResults {
  std::vector<BurstSample> samples;
  std::vector<BurstPuts> puts;  // puts[i]: between samples[i] and the next one
  LatencyRecorder latencies;    // of all puts, in ns: what each call took
  absl::Duration last_put;      // when it returned
  absl::Duration drained;       // when the store had all of it
  PutTargetStats stats;         // then
};

// Puts `load` into `target`, which writes to `store`, and takes a sample every `interval` until the
// store has all of it. The first error that a Put or the Flush returned, if one did. Advances
// `stage` by one for each put.
absl::StatusOr<BurstResults> RunBurst(PutTarget& target, SlowStore& store, const BurstLoad& load,
                                      absl::Duration interval, Stage& stage);

struct BurstSeries {
  std::string name;
  std::string title;
  BurstLoad load;
  uint64_t max_queued;  // the queue's limit
  BurstResults results;
};

// Writes a JSON file for the report to plot:
//   {"interval_s": SECONDS,
//    "bursts": [{"name": .., "title": .., "puts_per_s": .., "dies_s": .., "comes_back_s": ..,
//                "max_queued": .., "last_put_s": .., "drained_s": .., "at_s": [..], "queued": [..],
//                "oldest_s": [..], "stored": [..], "puts": [..], "p50_us": [..], "p99_us": [..]},
//               ...]}
// with a figure for each sample; a percentile of no puts is null. Unavailable, naming the file, if
// it can't be written.
absl::Status WriteBurstJson(const std::string& path, absl::Duration interval,
                            std::span<const BurstSeries> bursts);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_BURST_H_
