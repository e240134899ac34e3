// SPDX-License-Identifier: Apache-2.0

#include "bench/support/latency_recorder.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace larder::bench {

double Percentile(std::span<const float> sorted, double quantile) {
  if (sorted.empty()) return 0;
  // 0.99 * 100 is 99.00000000000001 or 98.99999999999999 depending on the factors; a rank must not
  // hang on that, so what is within rounding of a whole number counts as that number.
  constexpr double kRounding = 1e-9;
  const double size = static_cast<double>(sorted.size());
  const double rank = std::ceil(std::clamp(quantile, 0.0, 1.0) * size * (1 - kRounding));
  const auto index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return static_cast<double>(sorted[std::min(index, sorted.size() - 1)]);
}

void LatencyRecorder::Merge(const LatencyRecorder& other) {
  samples_.insert(samples_.end(), other.samples_.begin(), other.samples_.end());
}

std::vector<float> LatencyRecorder::Sorted() const {
  std::vector<float> sorted = samples_;
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

LatencySummary LatencyRecorder::Summarize() const {
  if (samples_.empty()) return {};
  const std::vector<float> sorted = Sorted();
  const double total = std::accumulate(sorted.begin(), sorted.end(), 0.0);
  return {.samples = sorted.size(),
          .mean = total / static_cast<double>(sorted.size()),
          .min = static_cast<double>(sorted.front()),
          .p50 = Percentile(sorted, 0.5),
          .p95 = Percentile(sorted, 0.95),
          .p99 = Percentile(sorted, 0.99),
          .p999 = Percentile(sorted, 0.999),
          .p9999 = Percentile(sorted, 0.9999),
          .max = static_cast<double>(sorted.back())};
}

std::vector<QuantilePoint> LatencyRecorder::Quantiles(size_t points) const {
  if (samples_.empty() || points < 2) return {};
  const std::vector<float> sorted = Sorted();
  const double decades = std::log10(static_cast<double>(sorted.size()));
  // Half the points walk the body evenly, the other half the tail by its logarithm.
  const size_t half = points / 2;
  std::vector<double> quantiles;
  quantiles.reserve(points + 1);
  for (size_t i = 0; i < half; ++i) {
    quantiles.push_back(0.9 * static_cast<double>(i) / static_cast<double>(half));
  }
  for (size_t i = 0; decades > 1 && i <= points - half; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(points - half);
    quantiles.push_back(1 - std::pow(10, -1 - share * (decades - 1)));
  }
  quantiles.push_back(1);
  std::vector<QuantilePoint> result;
  result.reserve(quantiles.size());
  for (const double quantile : quantiles) {
    result.push_back({.quantile = quantile, .nanos = Percentile(sorted, quantile)});
  }
  return result;
}

}  // namespace larder::bench
