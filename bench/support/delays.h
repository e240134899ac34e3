// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_DELAYS_H_
#define LARDER_BENCH_SUPPORT_DELAYS_H_

#include <cstdint>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"

namespace larder::bench {

// Times drawn uniformly from a range: the n-th call after a (re)start with a seed is given the n-th
// time of that seed's sequence, whichever thread it comes from. Thread-safe.
class Delays {
 public:
  Delays(absl::Duration fastest, absl::Duration slowest, uint64_t seed)
      : fastest_(fastest), slowest_(slowest), random_(seed) {}

  absl::Duration Next() {
    const internal::MutexLock lock(&mutex_);
    const double share = static_cast<double>(random_() >> 11) * 0x1.0p-53;
    return fastest_ + share * (slowest_ - fastest_);
  }

  void Restart(uint64_t seed) {
    const internal::MutexLock lock(&mutex_);
    random_.seed(seed);
  }

 private:
  const absl::Duration fastest_;
  const absl::Duration slowest_;
  internal::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_DELAYS_H_
