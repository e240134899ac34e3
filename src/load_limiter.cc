// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/load_limiter.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "larder/internal/event.h"

namespace larder::internal {
namespace {

// Callbacks that run one inside another on a thread. Far more than loads that ask for others nest,
// and few enough for a small stack.
constexpr int kMostNested = 16;

}  // namespace

LoadLimiter::LoadLimiter(int max_concurrent, size_t max_queued)
    : max_concurrent_(max_concurrent), max_queued_(max_queued) {}

bool LoadLimiter::TryAcquire() {
  MutexLock lock(&mutex_);
  if (running_ == max_concurrent_) return false;
  ++running_;
  return true;
}

LoadLimiter::Answer LoadLimiter::Acquire(Callback&& granted, Ticket* ticket) {
  return Enter(std::move(granted), /*wakes_only=*/false, ticket);
}

LoadLimiter::Answer LoadLimiter::Enter(Callback&& granted, bool wakes_only, Ticket* ticket) {
  MutexLock lock(&mutex_);
  if (running_ < max_concurrent_) {
    ++running_;
    return Answer::kGranted;
  }
  if (queue_.size() >= max_queued_) {
    ++refused_;
    return Answer::kRefused;
  }
  // The memory first, so that the callback is the caller's still where there is none.
  Waiter& waiter = queue_.try_emplace(queue_.end(), next_ticket_)->second;
  waiter.granted = std::move(granted);
  waiter.wakes_only = wakes_only;
  *ticket = next_ticket_++;
  return Answer::kQueued;
}

bool LoadLimiter::Cancel(Ticket ticket) {
  Queue::node_type cancelled;
  MutexLock lock(&mutex_);
  cancelled = queue_.extract(ticket);
  return !cancelled.empty();
}

absl::Status LoadLimiter::Wait(int64_t deadline, const Clock* clock) {
  if (TryAcquire()) return absl::OkStatus();
  // Not on the stack: the slot may be granted after this thread has given up on the event; and in a
  // forked child, where this thread isn't, its stack may be another one's.
  const auto woken = std::make_shared<Event>();
  Ticket ticket;
  const Answer answer = Enter([woken] { woken->Set(); }, /*wakes_only=*/true, &ticket);
  if (answer == Answer::kGranted) return absl::OkStatus();
  if (answer == Answer::kRefused) return RefusedError();
  if (woken->WaitUntil(deadline, clock) || !Cancel(ticket)) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat("the deadline came before one of the ",
                                                  max_concurrent_,
                                                  " loads that may run at once ended"));
}

void LoadLimiter::Release() {
  Queue::node_type next;
  {
    MutexLock lock(&mutex_);
    if (queue_.empty()) {
      --running_;
      return;
    }
    next = queue_.extract(queue_.begin());
  }
  if (next.mapped().wakes_only) {
    std::move(next.mapped().granted)();
  } else {
    Run(std::move(next));
  }
}

// A callback whose load runs at once, inside of it, releases the slot to the next one, which does
// the same: a long queue would use up the stack. So at some depth callbacks wait until the one that
// runs there has returned. Not at the first: a load that runs there may have released a slot of a
// load inside of it, and go on to ask for one that the next in the queue is to release.
void LoadLimiter::Run(Queue::node_type waiter) {
  thread_local int nested = 0;
  thread_local Queue* later = nullptr;  // those that wait for the callback at the greatest depth
  if (later != nullptr) {
    // Keys needn't be tickets here: they may come from several limiters.
    waiter.key() = later->empty() ? 0 : later->rbegin()->first + 1;
    later->insert(later->end(), std::move(waiter));
    return;
  }
  ++nested;
  if (nested < kMostNested) {
    std::move(waiter.mapped().granted)();
  } else {
    Queue waiting;
    later = &waiting;
    std::move(waiter.mapped().granted)();
    while (!waiting.empty()) std::move(waiting.extract(waiting.begin()).mapped().granted)();
    later = nullptr;
  }
  --nested;
}

absl::Status LoadLimiter::RefusedError() const {
  return absl::ResourceExhaustedError(absl::StrCat("all ", max_concurrent_,
                                                   " loads that may run at once run, and ",
                                                   max_queued_, " more wait already"));
}

LoadLimiter::Stats LoadLimiter::stats() const {
  MutexLock lock(&mutex_);
  return {.running = running_, .queued = queue_.size(), .refused = refused_};
}

}  // namespace larder::internal
