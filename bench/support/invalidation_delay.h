// SPDX-License-Identifier: Apache-2.0
//
// How long after a write by one process the memory of another has its old copy.

#ifndef LARDER_BENCH_SUPPORT_INVALIDATION_DELAY_H_
#define LARDER_BENCH_SUPPORT_INVALIDATION_DELAY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/tier_parts.h"

namespace larder::bench {

// What the process that writes is told: products 0 to writes - 1, one every `interval`.
struct WriterTask {
  int port = 0;  // of the Redis, on loopback
  std::string key_prefix;
  uint32_t writes = 0;
  absl::Duration interval;

  std::string Format() const;
  // InvalidArgument for what Format didn't make.
  static absl::StatusOr<WriterTask> Parse(std::string_view text);
};

// The flag that makes the program the writer: --invalidation_writer=TASK. Its main must then only
// return RunWriter(TASK), the exit status.
inline constexpr std::string_view kWriterFlag = "invalidation_writer";
int RunWriter(std::string_view task);

// One write. Nanoseconds on the system's monotonic clock, which is the same for all processes.
struct WriteTimes {
  int64_t begun = 0;
  int64_t returned = 0;
};

struct InvalidationDelays {
  LatencyRecorder since_begun;     // from the begin of a write until the old copy was gone, in ns
  LatencyRecorder since_returned;  // from its return; 0 where it was gone by then
  uint64_t gone_first = 0;         // writes whose old copy was gone before they returned
};

// `gone`: when the old copy of what writes[i] wrote left the other's memory. Internal where that
// was before the write began: somebody else must have removed it.
absl::StatusOr<InvalidationDelays> DelaysOf(std::span<const WriteTimes> writes,
                                            std::span<const int64_t> gone);

// One way to measure them. The writer is always on loopback.
struct InvalidationPlan {
  RedisPlace place = RedisPlace::kLoopback;  // of the Redis, as this process sees it
  // This process has itself put the copies into Redis, just before. It must then find out whether
  // the change that it is told of is its own, which takes a round trip.
  bool own_copies = false;

  std::string Benchmark() const;  // "BM_Invalidation/loopback"
};

std::vector<InvalidationPlan> InvalidationPlans();

// Registers a benchmark for each of InvalidationPlans(). Counters: those of AddLatencyCounters in
// µs, begun_ and returned_, and gone_first, a share.
void RegisterInvalidationBenchmarks(TierParts& parts);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_INVALIDATION_DELAY_H_
