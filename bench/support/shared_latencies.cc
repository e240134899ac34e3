// SPDX-License-Identifier: Apache-2.0

#include "bench/support/shared_latencies.h"

#include <mutex>

#include "bench/support/latency_recorder.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

bool SharedLatencies::Add(benchmark::State& state, const LatencyRecorder& latencies) {
  const std::lock_guard lock(mutex_);
  all_.Merge(latencies);
  if (++threads_ < state.threads()) return false;
  AddPercentiles(state, all_);
  all_ = LatencyRecorder();
  threads_ = 0;
  return true;
}

void AddPercentiles(benchmark::State& state, const LatencyRecorder& latencies) {
  // Counters of several threads are added up, and only one thread has these.
  const LatencySummary summary = latencies.Summarize();
  state.counters["p50_ns"] = summary.p50;
  state.counters["p99_ns"] = summary.p99;
  state.counters["p999_ns"] = summary.p999;
  state.counters["p9999_ns"] = summary.p9999;
  state.counters["max_ns"] = summary.max;
}

}  // namespace larder::bench
