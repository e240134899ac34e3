// SPDX-License-Identifier: Apache-2.0
//
// Sleepers: threads that wait for work, one of them by the clock.

#ifndef LARDER_INTERNAL_SLEEPERS_H_
#define LARDER_INTERNAL_SLEEPERS_H_

#include <cstdint>

#include "larder/internal/event.h"
#include "larder/internal/node.h"

namespace larder::internal {

// Of several threads that do work as it falls due only one, the watch, sleeps until then; the
// others sleep until they are woken. At most one is being woken at a time: when it is there it asks
// for the next, if there is more to do. So work wakes no more threads than it needs.
//
// Not thread-safe: belongs to its user's lock. All methods are O(1).
class Sleepers {
 public:
  // On the stack of who sleeps. Who finds itself no longer listed must wait for `woken`.
  struct Sleeper {
    Event woken;  // set by who takes it off the list, as the last
    bool is_listed = false;
    Sleeper* before = nullptr;
    Sleeper* after = nullptr;  // or the next of a list that was returned
  };

  Sleepers() = default;
  Sleepers(const Sleepers&) = delete;
  Sleepers& operator=(const Sleepers&) = delete;

  // Lists `sleeper`. Returns until when it is to sleep: until `due`, or kNever if another one does,
  // or `due` is.
  int64_t Enter(Sleeper* sleeper, int64_t due);

  // Requires: it is listed.
  void Leave(Sleeper* sleeper);

  // Something is due at `due`. Takes off the list who is to be woken for it, and returns it.
  // nullptr: nobody needs to be, or nobody sleeps. Who was woken calls Arrived first.
  Sleeper* Wake(int64_t due);
  void Arrived() { is_waking_ = false; }

  // Takes all off the list and returns them.
  Sleeper* WakeAll();

 private:
  Sleeper* first_ = nullptr;  // the latest
  Sleeper* watch_ = nullptr;
  int64_t watches_until_ = kNever;
  bool is_waking_ = false;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SLEEPERS_H_
