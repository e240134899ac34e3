// SPDX-License-Identifier: Apache-2.0
//
// Event: something that happens once, and threads that wait for it, if need be up to a deadline.

#ifndef LARDER_INTERNAL_EVENT_H_
#define LARDER_INTERNAL_EVENT_H_

#include <atomic>
#include <cstdint>

#include "larder/clock.h"

namespace larder::internal {

// std::atomic::wait with a deadline. Four bytes: a futex word, which std::atomic orders and the
// kernel only puts to sleep on. (Where there are no futexes, waiters look once a millisecond.)
//
// Memory ordering: what was written before Set() is visible to who has seen the event set.
//
// Lifetime: who has seen the event set may destroy it, even if Set() hasn't returned: Set() stores
// once and touches nothing of the object after that.
//
// After fork() an event is good in the child: there are no waiters in it but the child's own.
//
// Thread safety: all methods may be called from any thread.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // From now on the event is set; wakes all that wait. Idempotent, but see above: a second call
  // must be sure that the object is still there.
  void Set();

  bool IsSet() const { return state_.load(std::memory_order_acquire) == kSet; }

  // Waits until the event is set.
  void Wait() const;

  // Waits until the event is set, or `clock` (nullptr: the process's monotonic one) is at or past
  // `deadline`, in its nanoseconds; kNever waits for the event alone. Returns whether it is set,
  // even if that happened late. A deadline in the past asks without waiting.
  //
  // On the process's clock the wait ends in time. Another clock tells nobody when it has moved: it
  // is looked at about a thousand times a second of real time.
  bool WaitUntil(int64_t deadline, const Clock* clock) const;

 private:
  static constexpr uint32_t kNotSet = 0;
  static constexpr uint32_t kAwaited = 1;  // not set, and somebody may be asleep
  static constexpr uint32_t kSet = 2;

  bool SleepUntil(int64_t deadline) const;

  mutable std::atomic<uint32_t> state_{kNotSet};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_EVENT_H_
