// SPDX-License-Identifier: Apache-2.0
//
// Ways to put a cache in front of a database that fails, and what becomes of a service with each.

#ifndef LARDER_BENCH_SUPPORT_OUTAGE_CONTENDERS_H_
#define LARDER_BENCH_SUPPORT_OUTAGE_CONTENDERS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/progress.h"
#include "larder/options.h"

namespace larder::bench {

struct OutageContender {
  std::string name;
  std::string title;
  std::optional<CacheOptions> options;  // without one every request asks the database
};

// What the requests of a run are: first one for each product, then Zipf-distributed ones.
struct OutageLoad {
  uint32_t products = 1'000;
  double zipf_exponent = 0.99;
  double requests_per_second = 400;  // to each contender
  uint64_t seed = 20'250'131;
  int threads = 600;  // of each contender, more than ever wait at once
};

// A cache's time to live in this benchmark, before scaling.
inline constexpr absl::Duration kOutageTtl = absl::Seconds(2);

// No cache, plain cache-aside (a ttl, and one load per key), this with each option that matters in
// an outage by itself, and with all together. All times are multiplied by `scale`.
std::vector<OutageContender> OutageContenders(double scale);

// Runs all contenders side by side, each with a database (a new file in `directory`, which must
// have none yet), threads and a cache of its own, through the timeline. All get the same requests.
// Returns their records in the same order, or why it couldn't be measured; Internal for a wrong
// answer. Takes as long as the timeline and a few seconds.
absl::StatusOr<std::vector<OutageRecords>> RunOutage(const std::string& directory,
                                                     const OutageTimeline& timeline,
                                                     const OutageLoad& load,
                                                     std::span<const OutageContender> contenders,
                                                     Stage& stage);

// How many requests a contender gets in `timeline`.
uint64_t RequestCount(const OutageTimeline& timeline, const OutageLoad& load);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_OUTAGE_CONTENDERS_H_
