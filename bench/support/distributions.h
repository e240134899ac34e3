// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_DISTRIBUTIONS_H_
#define LARDER_BENCH_SUPPORT_DISTRIBUTIONS_H_

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "bench/support/latency_recorder.h"

namespace larder::bench {

// The latency distributions of a run, by the name of their benchmark, for the report to plot.
// Not thread-safe.
class Distributions {
 public:
  // Repetitions of one benchmark replace one another: the last one is kept.
  void Add(std::string_view name, const LatencyRecorder& latencies);

  // Writes a JSON file:
  //   {"unit": "ns",
  //    "distributions": {NAME: {"samples": N, "quantiles": [[SHARE, NANOS], ...]}, ...}}
  // Unavailable, naming the file, if it can't be written.
  absl::Status WriteJson(const std::string& path) const;

 private:
  struct Distribution {
    size_t samples;
    std::vector<QuantilePoint> quantiles;
  };

  std::map<std::string, Distribution> by_name_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_DISTRIBUTIONS_H_
