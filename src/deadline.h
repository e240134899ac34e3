// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_DEADLINE_H_
#define LARDER_SRC_DEADLINE_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace larder::internal {

// A moment on the monotonic clock by which something has to be done, so that one timeout can be
// shared by several waits, and wall-clock jumps change nothing. Real time, not larder::Clock: it
// bounds waits of the kernel's. Immutable value.
class Deadline {
 public:
  // `timeout` from now. Infinite, or beyond what nanoseconds in an int64 can hold: never.
  static Deadline After(absl::Duration timeout) {
    const int64_t now = NowNanos();
    const int64_t wait = absl::ToInt64Nanoseconds(std::max(timeout, absl::ZeroDuration()));
    return Deadline(wait > kNever - now ? kNever : now + wait, timeout);
  }

  // Time left: zero if the deadline passed, infinite if there is none.
  absl::Duration Remaining() const {
    if (at_ == kNever) return absl::InfiniteDuration();
    return absl::Nanoseconds(std::max<int64_t>(at_ - NowNanos(), 0));
  }

  bool Passed() const { return at_ != kNever && NowNanos() >= at_; }

  // In nanoseconds of that clock; the largest number for never.
  int64_t nanos() const { return at_; }

  // That clock's time, since some point in the past.
  static absl::Duration Monotonic() { return absl::Nanoseconds(NowNanos()); }

  // What it was made from, for messages.
  absl::Duration timeout() const { return timeout_; }

  friend bool operator<(const Deadline& a, const Deadline& b) { return a.at_ < b.at_; }

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  Deadline(int64_t at, absl::Duration timeout) : at_(at), timeout_(timeout) {}

  static int64_t NowNanos() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  int64_t at_;
  absl::Duration timeout_;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_DEADLINE_H_
