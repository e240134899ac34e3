// SPDX-License-Identifier: Apache-2.0
//
// What a Redis server and this machine can do: redis-benchmark, the server's own load generator.

#ifndef LARDER_BENCH_SUPPORT_REDIS_LIMIT_H_
#define LARDER_BENCH_SUPPORT_REDIS_LIMIT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace larder::bench {

// The n-th key that redis-benchmark asks for.
std::string LimitKey(uint32_t n);

struct LimitLoad {
  int port = 0;  // on loopback
  int clients = 1;
  int depth = 1;  // requests that each client sends at once, before it waits for all their replies
  uint64_t requests = 0;
  uint32_t keys = 0;  // each GET is of one of them, drawn uniformly
};

// GETs a second. NotFound where redis-benchmark isn't installed; Internal, with what it said, where
// it fails.
absl::StatusOr<double> RunRedisBenchmark(const LimitLoad& load);

// The same of what `redis-benchmark --csv` wrote, in any of its versions.
absl::StatusOr<double> ParseRedisBenchmark(std::string_view csv);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_REDIS_LIMIT_H_
