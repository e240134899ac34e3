// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_OPEN_LOOP_H_
#define LARDER_BENCH_SUPPORT_OPEN_LOOP_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/outage_results.h"
#include "bench/support/progress.h"
#include "bench/support/requests.h"
#include "larder/thread_pool.h"

namespace larder::bench {

struct ServiceAnswer {
  absl::StatusOr<std::string> row;
  bool stale = false;
  absl::Duration age = absl::ZeroDuration();  // where stale
  Source source = Source::kDatabase;          // where it is known
};

// Something that answers requests for products.
class Service {
 public:
  virtual ~Service() = default;
  // Thread-safe. Blocks.
  virtual ServiceAnswer Ask(uint32_t product) = 0;
};

// Sends requests to services when they are due, however many are still without an answer: that is
// what users do, and a service that stalls is not spared the requests that it then makes wait (no
// "coordinated omission"). Each service has threads of its own.
class OpenLoop {
 public:
  // Starts `threads` threads, the most that may wait for one service, for each of `services`. A
  // request that finds none free waits for one, which counts as its latency. Unavailable where the
  // system has no more threads.
  static absl::StatusOr<OpenLoop> Create(size_t services, int threads);

  // Sends each of `services` a request for each of `products`, in this order, one every `interval`
  // from `start` on; the services take turns within an interval. Returns, for each service, the
  // record of each request; Internal where a service answered with anything but SlowDatabase's row.
  // Advances `stage` once a request to one service. Only once, with as many services as created
  // for.
  absl::StatusOr<std::vector<std::vector<RequestRecord>>> Send(
      std::span<const std::unique_ptr<Service>> services, std::span<const uint32_t> products,
      std::chrono::steady_clock::time_point start, absl::Duration interval, Stage& stage) &&;

 private:
  explicit OpenLoop(std::vector<std::unique_ptr<ThreadPool>> pools) : pools_(std::move(pools)) {}

  std::vector<std::unique_ptr<ThreadPool>> pools_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_OPEN_LOOP_H_
