// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TIER_BENCHMARKS_H_
#define LARDER_BENCH_SUPPORT_TIER_BENCHMARKS_H_

#include "bench/support/tier_parts.h"

namespace larder::bench {

// Registers BM_Tier/memory, /redis, /redis_1ms_network and /database: what one answer takes from
// each. `parts` must outlive their run.
void RegisterTierBenchmarks(TierParts& parts);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TIER_BENCHMARKS_H_
