// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_SHARED_LATENCIES_H_
#define LARDER_BENCH_SUPPORT_SHARED_LATENCIES_H_

#include <mutex>

#include "bench/support/latency_recorder.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

// Puts the samples of a benchmark's threads together: a percentile of all is no mean of theirs.
// One object for all benchmarks of a program. Thread-safe.
class SharedLatencies {
 public:
  // Each thread calls it once a run, after its loop. The last one adds the counters p50_ns, p99_ns,
  // p999_ns, p9999_ns, max_ns of all, which end up as the run's, forgets the samples, and is told
  // whether it was the last.
  bool Add(benchmark::State& state, const LatencyRecorder& latencies);

 private:
  std::mutex mutex_;
  int threads_ = 0;
  LatencyRecorder all_;
};

// Adds the counters named above.
void AddPercentiles(benchmark::State& state, const LatencyRecorder& latencies);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_SHARED_LATENCIES_H_
