// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_LATENCY_RECORDER_H_
#define LARDER_BENCH_SUPPORT_LATENCY_RECORDER_H_

#include <cstddef>
#include <span>
#include <vector>

namespace larder::bench {

// The smallest of the samples that at least the share `quantile` (0..1) of them do not exceed: the
// nearest-rank percentile, which is always a value that was observed and never an interpolated
// one. 0 of no samples. `sorted` must be in ascending order. O(1).
double Percentile(std::span<const float> sorted, double quantile);

// What is told of one distribution. In the unit of its samples, nanoseconds here.
struct LatencySummary {
  size_t samples = 0;
  double mean = 0;
  double min = 0;
  double p50 = 0;
  double p95 = 0;
  double p99 = 0;
  double p999 = 0;
  double p9999 = 0;
  double max = 0;
};

// One point of a cumulative distribution: the share `quantile` of the samples took at most `nanos`.
struct QuantilePoint {
  double quantile;
  double nanos;
};

// Keeps every sample, so percentiles are exact. A float holds a duration in nanoseconds to seven
// digits, which is finer than any timer here, in half the memory of a double.
//
// Not thread-safe: each thread records into its own, and they are merged at the end.
class LatencyRecorder {
 public:
  LatencyRecorder() = default;

  // Makes room beforehand, so that recording does not allocate inside the measured loop.
  void Reserve(size_t samples) { samples_.reserve(samples); }

  void Record(double nanos) { samples_.push_back(static_cast<float>(nanos)); }

  void Merge(const LatencyRecorder& other);

  size_t size() const { return samples_.size(); }

  // O(n log n): sorts a copy.
  LatencySummary Summarize() const;

  // The distribution for a plot: `points` quantiles, spaced so that the tail is as finely drawn as
  // the body (evenly in the logarithm of the share above), from the minimum to the maximum.
  // O(n log n). Empty without samples.
  std::vector<QuantilePoint> Quantiles(size_t points) const;

 private:
  std::vector<float> Sorted() const;

  std::vector<float> samples_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_LATENCY_RECORDER_H_
