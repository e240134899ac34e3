// SPDX-License-Identifier: Apache-2.0

#include "bench/support/shared_latencies.h"

#include <sys/resource.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "bench/support/latency_recorder.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

bool PreemptionWatch::Preempted() { return std::exchange(seen_, Count()) != seen_; }

long PreemptionWatch::Count() {
  rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

bool SharedLatencies::Add(benchmark::State& state, const ThreadLatencies& latencies) {
  const std::lock_guard lock(mutex_);
  merged_.all.Merge(latencies.all);
  merged_.longest_undisturbed =
      std::max(merged_.longest_undisturbed, latencies.longest_undisturbed);
  if (++threads_ < state.threads()) return false;
  // Counters of several threads are added up, and only one thread has these.
  const LatencySummary summary = merged_.all.Summarize();
  state.counters["p50_ns"] = summary.p50;
  state.counters["p99_ns"] = summary.p99;
  state.counters["p999_ns"] = summary.p999;
  state.counters["p9999_ns"] = summary.p9999;
  state.counters["max_ns"] = summary.max;
  state.counters["max_undisturbed_ns"] = merged_.longest_undisturbed;
  merged_ = ThreadLatencies();
  threads_ = 0;
  return true;
}

}  // namespace larder::bench
