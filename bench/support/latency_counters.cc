// SPDX-License-Identifier: Apache-2.0

#include "bench/support/latency_counters.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "bench/support/latency_recorder.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

void AddLatencyCounters(benchmark::State& state, std::string_view prefix,
                        const LatencyRecorder& latencies, std::string_view unit,
                        double nanos_per_unit) {
  const LatencySummary summary = latencies.Summarize();
  const auto add = [&](std::string_view name, double nanos) {
    state.counters[absl::StrCat(std::string(prefix), std::string(name), "_", std::string(unit))] =
        nanos / nanos_per_unit;
  };
  add("mean", summary.mean);
  add("min", summary.min);
  add("p50", summary.p50);
  add("p95", summary.p95);
  add("p99", summary.p99);
  add("p999", summary.p999);
  add("max", summary.max);
  state.counters[absl::StrCat(std::string(prefix), "samples")] =
      static_cast<double>(summary.samples);
}

}  // namespace larder::bench
