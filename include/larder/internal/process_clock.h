// SPDX-License-Identifier: Apache-2.0
//
// ProcessClock: CLOCK_MONOTONIC, and a way to know that a deadline is far without reading it.

#ifndef LARDER_INTERNAL_PROCESS_CLOCK_H_
#define LARDER_INTERNAL_PROCESS_CLOCK_H_

#include <time.h>

#include <cstdint>

namespace larder::internal {

// A hit on an entry that can expire has to know whether it has. Reading the clock costs as much as
// the rest of the hit, and more than its own instructions: it reads the processor's timestamp
// counter, which waits for the loads before it, so the cache misses of one lookup no longer overlap
// with those of the next. HasPassed() looks at the time of the kernel's last tick first, a plain
// memory read, and reads the clock only for deadlines close to that.
class ProcessClock {
 public:
  // ns of CLOCK_MONOTONIC.
  static int64_t NowNanos() { return Read(CLOCK_MONOTONIC); }

  // Whether `deadline`, ns of CLOCK_MONOTONIC, is at or before NowNanos().
  static bool HasPassed(int64_t deadline) {
    // The same clock as of the last tick: never ahead of it.
    const int64_t ticked = Read(CLOCK_MONOTONIC_COARSE);
    if (deadline <= ticked) return true;
    if (deadline - ticked > kLongestTick) [[likely]]
      return false;
    return deadline <= NowNanos();
  }

 private:
  // Ticks are 1 to 10 ms apart. Far more than that, for ticks that come late since the processor
  // that was to handle them was taken away.
  static constexpr int64_t kLongestTick = 100'000'000;

  static int64_t Read(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_PROCESS_CLOCK_H_
