// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/flight.h"

#include "larder/internal/mutex.h"

namespace larder::internal {
namespace {

// Guards ThreadRecord::waiting_for of all threads. Taken only by threads that wait for a load from
// inside another one, which is rare: no other wait can close a cycle.
Mutex& WaitGraphMutex() {
  static Mutex mutex;
  return mutex;
}

}  // namespace

// Follows leader -> what it waits for -> its leader ... to `thread`. A step counts only if the
// flight is still in the air after it was read whom its leader waits for: then the leader has not
// left this flight's loader, and the edge is there now. Edges appear and go under the lock, which
// is held.
bool FlightBase::WaitsForever(const ThreadRecord& thread) const {
  const FlightBase* flight = this;
  while (flight != nullptr) {
    const ThreadRecord* leader = flight->leader_;
    const FlightBase* next = leader->waiting_for;
    if (flight->landed()) return false;
    if (leader == &thread) return true;
    flight = next;
  }
  return false;
}

absl::Status FlightBase::Wait(ThreadRecord& thread) const {
  const bool leads = thread.loads_led != 0;
  if (leads) {
    MutexLock lock(&WaitGraphMutex());
    if (WaitsForever(thread)) {
      return absl::FailedPreconditionError(
          "a loader asked, directly or through other loads, for the key that it is loading");
    }
    thread.waiting_for = this;
  }
  while (landed_.load(std::memory_order_acquire) == 0) {
    landed_.wait(0, std::memory_order_acquire);
  }
  if (leads) {
    MutexLock lock(&WaitGraphMutex());
    thread.waiting_for = nullptr;
  }
  return absl::OkStatus();
}

void FlightBase::Land() {
  landed_.store(1, std::memory_order_release);
  landed_.notify_all();
}

}  // namespace larder::internal
