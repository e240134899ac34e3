// SPDX-License-Identifier: Apache-2.0
//
// Clock: where a cache gets its time from.

#ifndef LARDER_CLOCK_H_
#define LARDER_CLOCK_H_

#include <cstdint>

namespace larder {

// A source of monotonic time. Replace the default one (see CacheOptions::clock) to drive expiry
// from a simulation or a test; ManualClock does that.
//
// Thread safety: NowNanos() is called from many threads at once, and from inside the cache's
// locks: it must not block and must not call the cache.
class Clock {
 public:
  virtual ~Clock() = default;

  // Nanoseconds since an arbitrary fixed point. Never less than a value already returned.
  virtual int64_t NowNanos() const = 0;

  // The process's monotonic clock, which caches use unless told otherwise. Follows
  // CLOCK_MONOTONIC, so changes of the wall clock don't move it.
  static const Clock& Monotonic();
};

}  // namespace larder

#endif  // LARDER_CLOCK_H_
