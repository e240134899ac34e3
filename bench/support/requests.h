// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_REQUESTS_H_
#define LARDER_BENCH_SUPPORT_REQUESTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/progress.h"

namespace larder::bench {

// Who answered a request.
enum class Source {
  kMemory,    // a copy in this process
  kJoined,    // another request's load, which this one waited for
  kRedis,     // a copy in Redis
  kDatabase,  // a query of its own
};
inline constexpr size_t kSources = 4;

// Answers a request for a product and says in *source who did. Called by many threads at once.
using Answerer = std::function<absl::StatusOr<std::string>(uint32_t product, Source* source)>;

// What became of a sequence of requests.
struct RequestResults {
  LatencyRecorder all;     // every request, from asking to having the answer
  LatencyRecorder cached;  // those answered by memory or Redis
  std::array<uint64_t, kSources> by_source = {};
  double seconds = 0;  // from the first request to the last answer

  uint64_t From(Source source) const { return by_source[static_cast<size_t>(source)]; }
  size_t requests() const { return all.size(); }
};

// Sends one request for each of `products`, in this order, from `requesters` threads that each ask
// the next one as soon as they have their answer (a closed loop). Advances `stage` once a request.
// The first error ends the run and is returned; so is Internal for an answer that is not
// SlowDatabase's row of that product.
absl::StatusOr<RequestResults> SendRequests(std::span<const uint32_t> products, int requesters,
                                            const Answerer& answer, Stage& stage);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_REQUESTS_H_
