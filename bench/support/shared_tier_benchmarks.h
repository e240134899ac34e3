// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_SHARED_TIER_BENCHMARKS_H_
#define LARDER_BENCH_SUPPORT_SHARED_TIER_BENCHMARKS_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/support/tier_parts.h"

namespace larder::bench {

// What each request for a product does.
enum class SharedTierRequest {
  kTierGet,  // RedisTier::Get by itself
  kMemory,   // Get of what is in memory
  kHit,      // Get of what another server has put into Redis
  kMiss,     // Get of what only the store has
  kPut,      // Put, write-through
};

// One latency that is measured.
struct SharedTierPlan {
  std::string_view place;  // where the answer is, in short, for the name of the benchmark
  SharedTierRequest request;
  std::optional<RedisPlace> redis = std::nullopt;  // nullopt: there is none
  bool slow_store = false;                         // else one that answers at once
  size_t samples = 0;                              // at most kProducts, but for kMemory
  int threads = 1;

  std::string Benchmark() const;  // "BM_Remote/loopback/hit"
};

// In the order in which they are shown.
std::vector<SharedTierPlan> SharedTierPlans();

// Registers a benchmark for each of SharedTierPlans(). Counters are those of AddLatencyCounters, in
// µs, and threads.
void RegisterSharedTierBenchmarks(TierParts& parts);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_SHARED_TIER_BENCHMARKS_H_
