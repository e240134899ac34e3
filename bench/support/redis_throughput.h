// SPDX-License-Identifier: Apache-2.0
//
// How many GETs a second RedisTier makes, beside what redis-benchmark makes of the same server.

#ifndef LARDER_BENCH_SUPPORT_REDIS_THROUGHPUT_H_
#define LARDER_BENCH_SUPPORT_REDIS_THROUGHPUT_H_

#include <string>
#include <vector>

#include "bench/support/tier_parts.h"

namespace larder::bench {

// One way to ask, and what redis-benchmark does that comes closest.
struct GetsPlan {
  std::string way;  // "shared", "own", "many"
  int threads = 1;
  int tiers = 1;  // RedisTiers, each with one connection, that the threads share out
  int batch = 1;  // keys of one call
  int limit_clients = 1;
  int limit_depth = 1;

  int Size() const { return way == "many" ? batch : threads; }
  std::string Benchmark() const;  // "BM_Gets/shared/8"
};

// Threads that share a connection, as deep a pipeline as there are threads; threads that have a
// connection each; and one thread that asks for many keys in one call.
std::vector<GetsPlan> GetsPlans();

// Registers a benchmark for each of GetsPlans(), all against the server of `parts`. Each takes
// turns with redis-benchmark for kGetsRounds rounds. Counters, medians of the rounds, the ratio
// being that of each round's two rates: gets_per_s, limit_per_s, ratio, ratio_min, ratio_max; and
// how much of one processor the server took, server_busy, and the own process, client_busy, during
// larder's part, and the server during redis-benchmark's, limit_server_busy.
void RegisterThroughputBenchmarks(TierParts& parts);

inline constexpr int kGetsRounds = 5;

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_REDIS_THROUGHPUT_H_
