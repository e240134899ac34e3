// SPDX-License-Identifier: Apache-2.0
//
// ClockTicker: which deadlines are so far away that no clock has to be read for them.

#ifndef LARDER_INTERNAL_CLOCK_TICKER_H_
#define LARDER_INTERNAL_CLOCK_TICKER_H_

#include <atomic>
#include <cstdint>
#include <limits>

#include "larder/internal/mutex.h"

namespace larder::internal {

// Even the time of the kernel's last tick costs a hit half as much again. Most hits find an entry
// whose deadline is far off, and don't need to know the time: a thread of the process publishes a
// horizon, one second ahead of CLOCK_MONOTONIC, twenty times a second. A deadline past it hasn't
// come, as long as that thread is less than a second late; for the others a clock is read
// (process_clock.h). The thread runs while there are tickers that were started.
//
// So a lookup may see an entry that has expired where that thread doesn't run for more than a
// second while others do: for the moment after the whole process was stopped and goes on, or where
// the scheduler starves it (it inherits the affinity and the priority of whoever started it).
// Writers of entries that expire have read the clock, and help out (KeepUp).
//
// After fork() the child has no such thread, until Start is called again: meanwhile it has no
// horizon, and clocks are read.
class ClockTicker {
 public:
  ClockTicker() = default;
  ClockTicker(const ClockTicker&) = delete;
  ClockTicker& operator=(const ClockTicker&) = delete;
  ~ClockTicker();

  // A horizon that no deadline but kNever is past.
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max() - 1;

  // Deadlines (ns of CLOCK_MONOTONIC) past this haven't come.
  static const std::atomic<int64_t>& Horizon() { return horizon_; }

  // Whether the horizon moves: if not, Start may help.
  static bool Running() { return running_.load(std::memory_order_relaxed); }

  // It is `now` (ns of CLOCK_MONOTONIC): moves the horizon on, if that is late.
  static void KeepUp(int64_t now);

  // From now on the horizon moves, until this ticker goes. Where no thread is to be had there is no
  // horizon. Idempotent, thread-safe.
  void Start();

 private:
  static void Run();
  static void Launch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void BeforeFork();
  static void AfterForkInParent();
  static void AfterForkInChild();

  static std::atomic<int64_t> horizon_;
  static std::atomic<bool> running_;
  static Mutex mutex_;
  static int started_ ABSL_GUARDED_BY(mutex_);

  bool counted_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CLOCK_TICKER_H_
