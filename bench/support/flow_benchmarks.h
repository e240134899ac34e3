// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_FLOW_BENCHMARKS_H_
#define LARDER_BENCH_SUPPORT_FLOW_BENCHMARKS_H_

#include "bench/support/tier_parts.h"

namespace larder::bench {

// Registers BM_RequestFlow/none, /redis, /larder and /larder_redis: requests for products, from a
// cold start, of kRequesters threads; and BM_SecondServer/larder_redis: the same requests to a
// server that joins when Redis is warm. `parts` must outlive their run.
void RegisterFlowBenchmarks(TierParts& parts);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_FLOW_BENCHMARKS_H_
