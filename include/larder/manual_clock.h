// SPDX-License-Identifier: Apache-2.0
//
// ManualClock: time that moves only when told to.

#ifndef LARDER_MANUAL_CLOCK_H_
#define LARDER_MANUAL_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "larder/clock.h"

namespace larder {

// A Clock for tests and simulations. Must outlive every cache that uses it.
//
// Thread safety: safe to read and to move from any thread.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t start_nanos = 0) : nanos_(start_nanos) {}

  int64_t NowNanos() const override { return nanos_.load(std::memory_order_acquire); }

  // Moves time forward by `step`, to the nanosecond. Requires: step >= 0.
  void Advance(absl::Duration step) {
    nanos_.fetch_add(absl::ToInt64Nanoseconds(step), std::memory_order_acq_rel);
  }

  // Jumps to `nanos`. Setting it back breaks Clock's promise; a cache then treats the time
  // as standing still.
  void SetNanos(int64_t nanos) { nanos_.store(nanos, std::memory_order_release); }

 private:
  std::atomic<int64_t> nanos_;
};

}  // namespace larder

#endif  // LARDER_MANUAL_CLOCK_H_
