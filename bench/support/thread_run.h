// SPDX-License-Identifier: Apache-2.0
//
// How a thread's part in a benchmark of short operations is run and reported.

#ifndef LARDER_BENCH_SUPPORT_THREAD_RUN_H_
#define LARDER_BENCH_SUPPORT_THREAD_RUN_H_

#include <chrono>
#include <cstddef>

#include "bench/support/pinning.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

// One thread's part, pinned to a processor of its own. Adds the counters
//   ns_per_op   a thread's wall-clock time for an operation, the mean of the threads
//   ops_per_s   what all threads did together
// Google Benchmark's own real_time of several threads is their average divided by the operations of
// all, its cpu_time their sum.
class ThreadRun {
 public:
  explicit ThreadRun(benchmark::State& state) : state_(state) {
    PinToProcessor(state.thread_index());
  }

  size_t operations() const { return static_cast<size_t>(state_.max_iterations); }

  // Runs operation() as often as Google Benchmark asks for, all threads starting together. The loop
  // adds a decrement and a branch. Inlined, so that what the operation keeps can stay in registers.
  template <class Operation>
  [[gnu::always_inline]] inline void Measure(Operation&& operation) {
    std::chrono::duration<double, std::nano> elapsed{0};
    // The whole of it as one batch: the second call returns false.
    while (state_.KeepRunningBatch(state_.max_iterations)) {
      const auto start = std::chrono::steady_clock::now();
      for (benchmark::IterationCount i = state_.max_iterations; i > 0; --i) operation();
      elapsed += std::chrono::steady_clock::now() - start;
    }
    const double operations = static_cast<double>(state_.max_iterations);
    state_.counters["ns_per_op"] =
        benchmark::Counter(elapsed.count() / operations, benchmark::Counter::kAvgThreads);
    // Counters of several threads are added up.
    state_.counters["ops_per_s"] = benchmark::Counter(operations / elapsed.count() * 1e9);
  }

  void ReportHits(size_t hits) {
    state_.counters["hit_ratio"] =
        benchmark::Counter(static_cast<double>(hits) / static_cast<double>(state_.max_iterations),
                           benchmark::Counter::kAvgThreads);
  }

 private:
  benchmark::State& state_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_THREAD_RUN_H_
