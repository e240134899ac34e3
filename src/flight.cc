// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/flight.h"

#include <utility>
#include <vector>

#include "larder/internal/mutex.h"
#include "larder/internal/node.h"

namespace larder::internal {
namespace {

// Guards ThreadRecord::waiting_for of all threads. Taken only by threads that wait for a load from
// inside another one, which is rare: no other wait can close a cycle.
Mutex& WaitGraphMutex() {
  static Mutex mutex;
  return mutex;
}

}  // namespace

bool FlightBase::TryBegin(ThreadRecord* leader) {
  Stage seen = Stage::kAskedFor;
  if (!stage_.compare_exchange_strong(seen, Stage::kBegun, std::memory_order_acq_rel)) return false;
  leader_.store(leader, std::memory_order_release);
  return true;
}

bool FlightBase::TryRefuse() {
  Stage seen = Stage::kAskedFor;
  return stage_.compare_exchange_strong(seen, Stage::kRefused);
}

bool FlightBase::TryFinish(bool* begun) {
  const Stage before = stage_.exchange(Stage::kFinished);
  if (begun != nullptr) *begun = before == Stage::kBegun;
  return before != Stage::kFinished;
}

// Follows leader -> what it waits for -> its leader ... to `thread`. A step counts only if the
// flight is still in the air after it was read whom its leader waits for: then the leader has not
// left this flight's loader, and the edge is there now. Edges appear and go under the lock, which
// is held. A flight that nobody has begun, or whose loader is asynchronous, leads nowhere.
bool FlightBase::WaitsForever(const ThreadRecord& thread) const {
  const FlightBase* flight = this;
  while (flight != nullptr) {
    const ThreadRecord* leader = flight->leader_.load(std::memory_order_acquire);
    if (leader == nullptr) return false;
    const FlightBase* next = leader->waiting_for;
    if (flight->landed()) return false;
    if (leader == &thread) return true;
    flight = next;
  }
  return false;
}

absl::Status FlightBase::Wait(ThreadRecord& thread, int64_t deadline, const Clock* clock) const {
  const bool leads = thread.loads_led != 0;
  if (leads) {
    MutexLock lock(&WaitGraphMutex());
    if (WaitsForever(thread)) {
      return absl::FailedPreconditionError(
          "a loader asked, directly or through other loads, for the key that it is loading");
    }
    thread.waiting_for = this;
  }
  const bool landed = landed_.WaitUntil(deadline, clock);
  if (leads) {
    MutexLock lock(&WaitGraphMutex());
    thread.waiting_for = nullptr;
  }
  return landed ? absl::OkStatus() : absl::DeadlineExceededError("a load took too long");
}

bool FlightBase::OnLanded(Callback&& callback) {
  MutexLock lock(&mutex_);
  if (landed()) return false;
  callbacks_.push_back(std::move(callback));
  return true;
}

void FlightBase::Land() {
  std::vector<Callback> callbacks;
  {
    MutexLock lock(&mutex_);
    callbacks.swap(callbacks_);
    landed_.Set();
  }
  for (Callback& callback : callbacks) std::move(callback)();
}

}  // namespace larder::internal
