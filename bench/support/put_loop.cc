// SPDX-License-Identifier: Apache-2.0

#include "bench/support/put_loop.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/put_target.h"
#include "tests/support/threads.h"

namespace larder::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct ThreadResults {
  LatencyRecorder latencies;
  absl::Status status;
  Clock::time_point begun;
  Clock::time_point ended;
};

ThreadResults PutUntilEnd(PutTarget& target, const PutLoad& load,
                          const std::vector<std::string>& keys, int thread) {
  ThreadResults results;
  std::mt19937_64 random(load.seed + static_cast<uint64_t>(thread));
  // Numbers that no other thread uses, so that a value says which put it is from.
  uint64_t number = static_cast<uint64_t>(thread) << 40;
  results.begun = Clock::now();
  results.ended = results.begun;
  const Clock::time_point end = results.begun + absl::ToChronoNanoseconds(load.length);
  while (results.ended < end && results.status.ok()) {
    const std::string& key = keys[random() % keys.size()];
    const std::string value = PutValue(++number, load.value_bytes);
    const Clock::time_point start = Clock::now();
    results.status = target.Put(key, value);
    results.ended = Clock::now();
    results.latencies.Record(
        std::chrono::duration<double, std::nano>(results.ended - start).count());
  }
  return results;
}

}  // namespace

std::string PutKey(uint32_t i) { return absl::StrCat("user:", i); }

std::string PutValue(uint64_t number, size_t size) {
  std::string value = absl::StrCat(number);
  value.resize(size, '.');
  return value;
}

absl::StatusOr<PutResults> RunPuts(PutTarget& target, const PutLoad& load) {
  std::vector<std::string> keys;
  for (uint32_t i = 0; i < load.keys; ++i) keys.push_back(PutKey(i));
  std::vector<ThreadResults> threads(static_cast<size_t>(load.threads));
  test::RunThreads(load.threads, [&](int thread) {
    threads[static_cast<size_t>(thread)] = PutUntilEnd(target, load, keys, thread);
  });
  PutResults results;
  Clock::time_point begun = threads[0].begun;
  Clock::time_point ended = threads[0].ended;
  for (const ThreadResults& thread : threads) {
    if (!thread.status.ok()) return thread.status;
    results.latencies.Merge(thread.latencies);
    begun = std::min(begun, thread.begun);
    ended = std::max(ended, thread.ended);
  }
  results.length = absl::FromChrono(ended - begun);
  return results;
}

}  // namespace larder::bench
