// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_PUT_LOOP_H_
#define LARDER_BENCH_SUPPORT_PUT_LOOP_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/put_target.h"

namespace larder::bench {

struct PutLoad {
  int threads = 1;
  absl::Duration length = absl::Milliseconds(400);
  uint32_t keys = 1'000;  // all as likely
  size_t value_bytes = 100;
  uint64_t seed = 20'250'207;
};

struct PutResults {
  LatencyRecorder latencies;  // of each Put, in ns
  absl::Duration length;      // from the first put's begin to the last one's end
};

// "user:0", "user:1", ...
std::string PutKey(uint32_t i);

// A text of `size` bytes that begins with `number`.
std::string PutValue(uint64_t number, size_t size);

// Threads that put one value after the other, each as soon as the one before has returned (a closed
// loop), for a while. The first error that a Put returned, if one did.
absl::StatusOr<PutResults> RunPuts(PutTarget& target, const PutLoad& load);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_PUT_LOOP_H_
