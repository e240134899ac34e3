// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_BURSTS_H_
#define LARDER_BENCH_SUPPORT_BURSTS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/burst.h"
#include "bench/support/progress.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

struct BurstPlan {
  std::string name;
  std::string title;
  BurstLoad load;
  uint64_t max_queued = 100'000;
};

// More puts than a slow database takes (about 2,000 a second: two calls at a time of up to 128
// writes): each of a key of its own, of few keys, with a short queue; and fewer, but while the
// database is dead for a while. Puts and the times of the outage are multiplied by `scale`.
std::vector<BurstPlan> BurstPlans(double scale);

// Runs all bursts side by side, since they mostly wait, each with a write-behind cache, a journal
// and a slow database of its own in new folders. Returns their results in the same order, or why it
// couldn't be measured; Internal where a cache and its database differ at the end. Advances `stage`
// by one for each put.
absl::StatusOr<std::vector<BurstSeries>> RunBursts(std::span<const BurstPlan> plans,
                                                   absl::Duration interval, Stage& stage);

// Adds what became of a burst to the counters of its benchmark: <quantile>_us of its puts,
// most_queued, oldest_ms, last_put_ms, drained_ms, stored, coalesced, failures, blocked.
void AddBurstCounters(benchmark::State& state, const BurstResults& results);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_BURSTS_H_
