// SPDX-License-Identifier: Apache-2.0
//
// LoadLimiter: at most so many loads at once; others wait in order.

#ifndef LARDER_INTERNAL_LOAD_LIMITER_H_
#define LARDER_INTERNAL_LOAD_LIMITER_H_

#include <cstddef>
#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "larder/clock.h"
#include "larder/internal/mutex.h"

namespace larder::internal {

// `max_concurrent` slots. A load takes one before it starts and releases it once it has ended.
// Where all are taken it waits, first come first served: a slot that is released goes straight to
// who has waited longest, and nobody can come in between. At most `max_queued` wait; past that,
// loads are refused.
//
// A thread that will run its load itself waits in Wait. A load that runs elsewhere leaves a
// callback with Acquire. Both stand in one queue, in the order of their calls.
//
// A load that holds a slot and waits for another load of the same limiter may wait for a slot that
// is never released: that takes max_concurrent such loads, and ends by a deadline only.
//
// In a forked child the slots that other threads had stay taken, and those that others wait for are
// granted to nobody.
//
// Thread-safe. All calls are O(log queued) and hold the lock for less than a microsecond; callbacks
// are run and destroyed under no lock. Where memory runs out, Acquire and Wait throw and have
// changed nothing; Release and Cancel allocate nothing.
class LoadLimiter {
 public:
  // Runs on the thread that releases a slot: it should only start the load. Must not throw.
  using Callback = absl::AnyInvocable<void() &&>;
  // Names a callback in the queue. Never used twice.
  using Ticket = uint64_t;

  enum class Answer {
    kGranted,  // the caller has a slot
    kQueued,   // the callback will have one
    kRefused,  // too many wait already
  };

  struct Stats {
    int running = 0;       // slots taken now
    size_t queued = 0;     // waiting now
    uint64_t refused = 0;  // so far; those whose deadline came aren't counted
  };

  // Requires: max_concurrent >= 1.
  LoadLimiter(int max_concurrent, size_t max_queued);
  // Requires: no call is under way or comes later, Release included. Callbacks in the queue are
  // destroyed without having run.
  ~LoadLimiter() = default;
  LoadLimiter(const LoadLimiter&) = delete;
  LoadLimiter& operator=(const LoadLimiter&) = delete;

  // Takes a slot if one is free.
  bool TryAcquire() ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes a slot if one is free; then, or where it is refused, `granted` is left as it was. Else
  // takes `granted`, and the slot once it is its turn: then runs it, exactly once, unless it is
  // cancelled before. `*ticket` is set only where it is queued, and before it can run.
  Answer Acquire(Callback&& granted, Ticket* ticket) ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes a callback out of the queue and destroys it. False: too late, it has been granted a slot,
  // and runs, or will, or did; whoever it tells must release that slot.
  bool Cancel(Ticket ticket) ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes a slot, and waits for one if need be until `deadline` (ns on `clock`; kNever: forever;
  // nullptr: the process's monotonic clock).
  //   OK                 the caller has a slot
  //   ResourceExhausted  too many wait already
  //   DeadlineExceeded   no slot by then; a free one is taken even past the deadline
  absl::Status Wait(int64_t deadline, const Clock* clock) ABSL_LOCKS_EXCLUDED(mutex_);

  // Gives a slot back. If it goes to a callback, that runs before this returns; except where
  // callbacks release slots in turn, so that one runs inside another: past some depth it runs as
  // soon as the one around it has returned.
  // Requires: the caller has a slot.
  void Release() ABSL_LOCKS_EXCLUDED(mutex_);

  // ResourceExhausted, for those who are refused.
  absl::Status RefusedError() const;

  Stats stats() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Waiter {
    Callback granted;
    bool wakes_only;  // it wakes a thread, and runs nothing of anyone else's
  };
  using Queue = std::map<Ticket, Waiter>;

  Answer Enter(Callback&& granted, bool wakes_only, Ticket* ticket) ABSL_LOCKS_EXCLUDED(mutex_);
  static void Run(Queue::node_type waiter);

  const int max_concurrent_;
  const size_t max_queued_;

  mutable Mutex mutex_;
  // Not empty only while all slots are taken. The first has waited longest.
  Queue queue_ ABSL_GUARDED_BY(mutex_);
  Ticket next_ticket_ ABSL_GUARDED_BY(mutex_) = 0;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOAD_LIMITER_H_
