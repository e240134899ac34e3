// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_STAGE_RESULTS_H_
#define LARDER_BENCH_SUPPORT_STAGE_RESULTS_H_

#include "absl/status/status.h"
#include "bench/support/progress.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

// Ends a stage that could not be measured: its row says why.
void GiveUp(benchmark::State& state, TierParts& parts, Stage& stage, const absl::Status& status);

// The same where no stage is under way.
void GiveUp(benchmark::State& state, TierParts& parts, const absl::Status& status);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_STAGE_RESULTS_H_
