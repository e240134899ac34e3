// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_LATENCY_COUNTERS_H_
#define LARDER_BENCH_SUPPORT_LATENCY_COUNTERS_H_

#include <string_view>

#include "bench/support/latency_recorder.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

inline constexpr double kNanosPerMicro = 1e3;
inline constexpr double kNanosPerMilli = 1e6;

// Adds the counters <prefix>mean_<unit>, p50, p95, p99, p999, min, max of the latencies, in units
// of `nanos_per_unit`, and <prefix>samples.
void AddLatencyCounters(benchmark::State& state, std::string_view prefix,
                        const LatencyRecorder& latencies, std::string_view unit,
                        double nanos_per_unit);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_LATENCY_COUNTERS_H_
