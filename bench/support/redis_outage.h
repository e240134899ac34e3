// SPDX-License-Identifier: Apache-2.0
//
// A Redis that goes away for a while, and what the server in front of it makes of that.

#ifndef LARDER_BENCH_SUPPORT_REDIS_OUTAGE_H_
#define LARDER_BENCH_SUPPORT_REDIS_OUTAGE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/outage_results.h"
#include "bench/support/tier_parts.h"
#include "larder/remote_stats.h"

namespace larder::bench {

enum class RedisFault {
  kKilled,  // SIGKILL; an empty server takes its place
  kPaused,  // SIGSTOP: connections stay open, nothing is answered; goes on with all it had
};

struct RedisOutagePlan {
  std::string_view name;  // for the benchmark: "BM_RedisOutage/" and this
  std::string_view title;
  RedisFault fault = RedisFault::kKilled;
  // From the first request.
  absl::Duration away_at = absl::Seconds(2);
  absl::Duration back_at = absl::Seconds(5);
  absl::Duration length = absl::Seconds(12);
  double requests_per_second = 2'000;
  // Of kProducts, so that Redis has something to do.
  uint64_t memory_capacity = kProducts / 5;
  int threads = 600;  // more than ever wait at once
};

std::vector<RedisOutagePlan> RedisOutagePlans();

uint64_t RequestCount(const RedisOutagePlan& plan);

struct HealthChange {
  absl::Duration at;
  RemoteHealth health;
};

struct RedisOutageRecords {
  std::vector<RequestRecord> requests;  // in the order in which they were due
  std::vector<HealthChange> health;     // the first one is what it was at the beginning
  absl::Duration away_at;               // when the fault was done
  absl::Duration back_at;               // when the server answered again, or was told to go on
  RemoteStats stats;                    // at the end
};

// Sends requests at a fixed rate, open loop, Zipf-distributed over kProducts, to one ServerCache in
// front of a slow database, and has the Redis of `parts` go away and come back meanwhile. At the
// beginning Redis has all products and memory is full. RemoteOptions are the defaults. `run` tells
// the keys of one run from those of others. Internal for a wrong answer. Only the main thread may
// call this, since the server dies with the thread that starts it.
absl::StatusOr<RedisOutageRecords> RunRedisOutage(TierParts& parts, const RedisOutagePlan& plan,
                                                  int run);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_REDIS_OUTAGE_H_
