// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_ASKER_BENCHMARK_H_
#define LARDER_BENCH_SUPPORT_ASKER_BENCHMARK_H_

#include "bench/support/tier_parts.h"

namespace larder::bench {

// Registers BM_ThousandAskers: 1,000 threads ask larder for the same product, which is not in
// memory, at the same moment. `parts` must outlive the run.
void RegisterAskerBenchmark(TierParts& parts);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_ASKER_BENCHMARK_H_
