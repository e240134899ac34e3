// SPDX-License-Identifier: Apache-2.0
//
// Alarms: tasks that run once, at a time of a cache's clock.

#ifndef LARDER_INTERNAL_ALARMS_H_
#define LARDER_INTERNAL_ALARMS_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "larder/clock.h"

namespace larder::internal {

// A cache's timeouts and retries. An alarm is due once its clock is at or past its deadline.
//
// On the process's monotonic clock a thread, one for all Alarms of the process, runs what is due in
// time. It is there from the first Set until the last Alarms that had one is destroyed. It runs one
// task at a time: a task must be short, and hand anything longer to an executor. Where there is no
// such thread (it can't be started, or fork() has left it behind), every Set and RunDue tries to
// start it; until then tasks run as on any other clock.
//
// On any other clock nobody but the callers of RunDue runs anything: time that is moved by hand is
// deterministic.
//
// After fork() the child has all alarms that the parent had, save one whose task was running in
// another thread at that moment. They go on as the parent's do.
//
// Tasks run and are destroyed under no lock. They may call all methods, and destroy the Alarms;
// they don't throw.
//
// Thread safety: all methods may be called from any thread.
class Alarms {
 public:
  using Task = absl::AnyInvocable<void() &&>;

  // Names an alarm among those of its Alarms; never used again. A default one names none.
  struct Id {
    int64_t deadline = 0;
    uint64_t sequence = 0;  // counts from 1
    friend auto operator<=>(const Id&, const Id&) = default;
  };

  // nullptr: the process's monotonic clock, as is Clock::Monotonic(). Another must outlive this.
  explicit Alarms(const Clock* clock);

  // What is left is destroyed and doesn't run. Waits for a task of this Alarms that the thread is
  // running, unless called from that thread; what that task sets meanwhile is destroyed too. No
  // call may be under way in any other thread.
  ~Alarms();

  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;

  // Runs `task` once the clock, in ns, is at or past `deadline_nanos`; never at kNever. May run it,
  // in the alarms' thread, before this returns. std::bad_alloc where memory is out: nothing is set.
  // O(log n) in the number of alarms.
  Id Set(int64_t deadline_nanos, Task task);

  // True: the task will not run, and has been destroyed. False: it ran, is running, was cancelled,
  // or never was; doesn't wait. O(log n).
  bool Cancel(Id id);

  // Runs, in the calling thread, alarms that were due when it was called, in order of deadline,
  // equal ones in order of Set, up to `budget` of them. What these tasks themselves set takes part.
  // Returns how many it ran. Several threads may do so at a time; each alarm runs once. Where
  // nothing can be due this is a look at one atomic, or at the clock too.
  size_t RunDue(size_t budget);

  // Whether no alarm waits for its time. One atomic load.
  bool empty() const;

 private:
  class State;
  class Thread;

  // Shared with calls of RunDue, whose tasks may destroy this.
  const std::shared_ptr<State> state_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_ALARMS_H_
