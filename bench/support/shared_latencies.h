// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_SHARED_LATENCIES_H_
#define LARDER_BENCH_SUPPORT_SHARED_LATENCIES_H_

#include <mutex>

#include "bench/support/latency_recorder.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

// Tells whether the kernel took the processor from the calling thread. Not thread-safe.
class PreemptionWatch {
 public:
  PreemptionWatch() : seen_(Count()) {}

  // Since the last call, or the construction. What a hypervisor takes is not seen.
  bool Preempted();

 private:
  static long Count();

  long seen_;
};

// What one thread measured.
struct ThreadLatencies {
  LatencyRecorder all;
  // The longest, in ns, of those operations during which the thread was not preempted, as far as
  // they took longer than kWatchedNanos; other ones are not looked at so closely.
  double longest_undisturbed = 0;

  static constexpr double kWatchedNanos = 20'000;
};

// Puts the latencies of a benchmark's threads together: a percentile of all is no mean of theirs.
// One object for all benchmarks of a program. Thread-safe.
class SharedLatencies {
 public:
  // Each thread calls it once a run, after its loop. The last one adds the counters p50_ns, p99_ns,
  // p999_ns, p9999_ns, max_ns and max_undisturbed_ns (of samples that were watched, else 0) of all,
  // which end up as the run's, forgets the samples, and is told that it was the last.
  bool Add(benchmark::State& state, const ThreadLatencies& latencies);

 private:
  std::mutex mutex_;
  int threads_ = 0;
  ThreadLatencies merged_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_SHARED_LATENCIES_H_
