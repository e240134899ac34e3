// SPDX-License-Identifier: Apache-2.0
//
// What writers and readers call of WriteBehind, and how it ends; its threads are in
// write_behind_threads.cc.

#include "larder/internal/write_behind.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "larder/internal/nanos.h"
#include "larder/internal/process_clock.h"
#include "src/write_behind_calls.h"

namespace larder::internal {
namespace {

// For durations that may be zero.
int64_t NanosOf(absl::Duration duration) {
  return duration <= absl::ZeroDuration() ? 0 : ToNanos(duration);
}

// That much from now on the process's clock, by which callers wait.
int64_t DeadlineAfter(absl::Duration timeout) {
  return SaturatingAdd(ProcessClock::NowNanos(), NanosOf(timeout));
}

WriteQueue::Options QueueOptions(const WriteBehindOptions& options, uint64_t seed) {
  return {.batch_size = options.batch_size,
          .batch_delay = NanosOf(options.batch_delay),
          .first_backoff = ToNanos(options.first_backoff),
          .max_backoff = ToNanos(options.max_backoff),
          .max_attempts = options.max_attempts,
          .keeps_all = options.coalescing == Coalescing::kNone,
          .seed = seed};
}

absl::Status ClosedError() { return absl::FailedPreconditionError("write-behind is closed"); }

absl::Status InsideTargetError() {
  return absl::FailedPreconditionError("the store waits for its own call to return");
}

absl::Status LeftError(uint64_t entries, uint64_t bytes, const absl::Status& last_error) {
  std::string text =
      absl::StrCat(entries, " writes (", bytes, " bytes) had not reached the store in time");
  if (!last_error.ok()) absl::StrAppend(&text, "; its last error: ", last_error.ToString());
  return absl::DeadlineExceededError(text);
}

}  // namespace

WriteBehind::WriteBehind(const WriteBehindOptions& options, const Clock* clock, Target* target,
                         uint64_t seed)
    : options_(options),
      clock_(clock == &Clock::Monotonic() ? nullptr : clock),
      target_(target),
      queue_(QueueOptions(options, seed)),
      room_({.entries = options.max_entries, .bytes = options.max_bytes}) {}

WriteBehind::~WriteBehind() { Close(absl::ZeroDuration(), /*give_up_rest=*/false); }

int64_t WriteBehind::NowNanos() const {
  return clock_ != nullptr ? clock_->NowNanos() : ProcessClock::NowNanos();
}

WriteAmount WriteBehind::Queued() const {
  return {.entries = queue_.counts().queued, .bytes = queue_.counts().queued_bytes};
}

uint64_t WriteBehind::NextSequence() {
  return last_sequence_.fetch_add(1, std::memory_order_relaxed) + 1;
}

void WriteBehind::Restore(std::vector<WritePtr> writes) {
  const int64_t now = NowNanos();
  for (WritePtr& write : writes) {
    auto queued = std::make_unique<QueuedWrite>(std::move(write));
    Afterwards afterwards;
    {
      MutexLock lock(&mutex_);
      queue_.Add(queued, now, &resolved_);
      NoteResolved(&afterwards);
    }
    Finish(afterwards);
  }
}

absl::StatusOr<WriteBehind::Reservation> WriteBehind::Reserve(const PendingWrite& write) {
  const bool is_through = options_.when_full == WhenFull::kWriteThrough;
  WriteRoom::Waiter waiter;
  bool waits;
  {
    MutexLock lock(&mutex_);
    if (closing_) return ClosedError();
    waiter.needs = queue_.NeedsOf(write);
    if (room_.TryTake(waiter.needs, Queued())) {
      ++reservations_;
      return Reservation(this, waiter.needs, /*write_through=*/false);
    }
    if (is_through && TargetCall::IsInside(this)) return InsideTargetError();
    waits = options_.when_full == WhenFull::kBlock && room_.CanEverFit(waiter.needs) &&
            !TargetCall::IsInside(this);
    if (is_through) ++reservations_;
    if (waits) room_.Enter(&waiter);
    if (!is_through) ++(waits ? blocked_ : rejected_);
    if (room_.CanEverFit(waiter.needs)) queue_.set_hurries(true);
  }
  WakeIfDue();
  if (is_through) return Reservation(this, {}, /*write_through=*/true);
  if (!waits) return FullError(waiter.needs);
  if (absl::Status status = AwaitRoom(waiter); !status.ok()) return status;
  return Reservation(this, waiter.needs, /*write_through=*/false);
}

// OK: the reservation is counted.
absl::Status WriteBehind::AwaitRoom(WriteRoom::Waiter& waiter) {
  if (!waiter.done.WaitUntil(DeadlineAfter(options_.full_timeout), nullptr)) {
    Afterwards afterwards;
    bool gave_up;
    {
      MutexLock lock(&mutex_);
      gave_up = waiter.is_listed;
      if (gave_up) {
        room_.Leave(&waiter);
        ++timeouts_;
        MakeRoom(&afterwards);
      }
    }
    Finish(afterwards);
    if (gave_up) {
      return absl::DeadlineExceededError(
          absl::StrCat("no room among the writes that wait for the store within ",
                       absl::FormatDuration(options_.full_timeout)));
    }
    waiter.done.Wait();
  }
  return waiter.status;
}

absl::Status WriteBehind::FullError(const WriteAmount& needs) const {
  if (needs.bytes > options_.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a write of ", needs.bytes, " bytes is more than max_bytes, ", options_.max_bytes));
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no room among the writes that wait for the store: at most ",
                   options_.max_entries, " writes and ", options_.max_bytes, " bytes"));
}

// After this `room` holds nothing.
void WriteBehind::Release(Reservation& room, Afterwards* afterwards) {
  room.engine_ = nullptr;
  room_.GiveBack(room.amount_);
  if (--reservations_ == 0 && closing_) closing_goes_on_.NotifyAll();
  MakeRoom(afterwards);
}

WriteBehind::Reservation::~Reservation() {
  if (engine_ == nullptr) return;
  WriteBehind& engine = *engine_;
  Afterwards afterwards;
  {
    MutexLock lock(&engine.mutex_);
    engine.Release(*this, &afterwards);
  }
  engine.Finish(afterwards);
}

void WriteBehind::Enqueue(Reservation room, WritePtr write) {
  Add(room, std::make_unique<QueuedWrite>(std::move(write)));
}

absl::Status WriteBehind::EnqueueAndWait(Reservation room, WritePtr write) {
  if (TargetCall::IsInside(this)) return InsideTargetError();
  ThroughCall call;
  const bool has_threads = Add(room, std::make_unique<QueuedWrite>(std::move(write), &call));
  while (!has_threads && !call.done.IsSet() && RunOnce() > 0) {
  }
  call.done.Wait();
  return call.status;
}

// Returns whether there are threads to write it.
bool WriteBehind::Add(Reservation& room, std::unique_ptr<QueuedWrite> write) {
  const int64_t now = NowNanos();
  Afterwards afterwards;
  bool has_threads;
  {
    MutexLock lock(&mutex_);
    queue_.Add(write, now, &resolved_);
    NoteResolved(&afterwards);
    Release(room, &afterwards);
    WakeWorker(now, &afterwards);
    has_threads = has_threads_;
  }
  Finish(afterwards);
  return has_threads;
}

WriteBehind::WritePtr WriteBehind::FindMatch(uint64_t hash, Match match,
                                             const void* same_key) const {
  MutexLock lock(&mutex_);
  return queue_.Find(
      hash, [match, same_key](const PendingWrite& write) { return match(same_key, write); });
}

absl::Status WriteBehind::Flush(absl::Duration timeout) {
  if (TargetCall::IsInside(this)) return InsideTargetError();
  return FlushUntil(DeadlineAfter(timeout));
}

absl::Status WriteBehind::FlushUntil(int64_t deadline) {
  const int64_t now = NowNanos();
  FlushCall call;
  Afterwards afterwards;
  bool has_threads;
  {
    MutexLock lock(&mutex_);
    queue_.BeginFlush(&call, now);
    if (call.entries == 0) return absl::OkStatus();
    WakeWorker(now, &afterwards);
    has_threads = has_threads_;
  }
  Finish(afterwards);
  if (has_threads) {
    call.done.WaitUntil(deadline, nullptr);
  } else {
    while (!call.done.IsSet() && RunOnce() > 0) {
    }
  }
  bool was_listed = false;
  if (!call.done.IsSet()) {
    MutexLock lock(&mutex_);
    was_listed = queue_.EndFlush(&call);
  }
  if (!was_listed) call.done.Wait();
  if (!was_listed && !call.is_cut_off) return absl::OkStatus();
  MutexLock lock(&mutex_);
  return LeftError(call.entries, call.bytes, queue_.last_error());
}

WriteBehind::Left WriteBehind::Close(absl::Duration timeout, bool give_up_rest) {
  if (TargetCall::IsInside(this)) {
    return {.status = InsideTargetError(), .writes = {}, .is_refused = true};
  }
  const int64_t deadline = DeadlineAfter(timeout);
  Afterwards afterwards;
  {
    MutexLock lock(&mutex_);
    if (closing_) {
      while (!closed_) closing_goes_on_.Wait(&mutex_);
      return left_;
    }
    closing_ = true;
    afterwards.granted = room_.Refuse(ClosedError());
  }
  Finish(afterwards);
  {
    MutexLock lock(&mutex_);
    while (reservations_ > 0) closing_goes_on_.Wait(&mutex_);
  }
  FlushUntil(deadline).IgnoreError();
  Stop();
  Left left = TakeLeft(give_up_rest);
  Afterwards cut_off;
  {
    MutexLock lock(&mutex_);
    queue_.CutOffFlushes(&resolved_);
    NoteResolved(&cut_off);
  }
  Finish(cut_off);
  MutexLock lock(&mutex_);
  while (finishing_) closing_goes_on_.Wait(&mutex_);
  closed_ = true;
  closing_goes_on_.NotifyAll();
  left_ = left;
  return left;
}

// Requires: there are no reservations, no threads, and no batches.
WriteBehind::Left WriteBehind::TakeLeft(bool give_up_rest) {
  const absl::Status too_late =
      absl::DeadlineExceededError("write-behind was closed before the store had the write");
  Left left;
  Afterwards afterwards;
  QueuedWrite* write;
  {
    MutexLock lock(&mutex_);
    for (write = queue_.FirstQueued(); write != nullptr;) {
      QueuedWrite* const next = WriteQueue::NextQueued(write);
      if (write->through != nullptr) queue_.Remove(write, too_late, &resolved_);
      write = next;
    }
    NoteResolved(&afterwards);
    write = queue_.FirstQueued();
    const WriteAmount queued = Queued();
    if (queued.entries > 0) {
      left.status = LeftError(queued.entries, queued.bytes, queue_.last_error());
    }
  }
  Finish(afterwards);
  // Nobody else changes the queue any more, so it may be walked without the lock.
  while (write != nullptr) {
    const absl::Status reason = write->error.ok() ? too_late : write->error;
    const bool given_up = give_up_rest && CallGiveUp(*write, reason).ok();
    if (!given_up) left.writes.push_back(write->write);
    Afterwards removed;
    {
      MutexLock lock(&mutex_);
      QueuedWrite* const next = WriteQueue::NextQueued(write);
      if (given_up) queue_.Remove(write, reason, &resolved_);
      NoteResolved(&removed);
      write = next;
    }
    Finish(removed);
  }
  return left;
}

bool WriteBehind::IsInsideTarget() const { return TargetCall::IsInside(this); }

WriteBehindStats WriteBehind::Stats() const {
  const int64_t now = NowNanos();
  MutexLock lock(&mutex_);
  const WriteQueue::Counts& counts = queue_.counts();
  const int64_t age = counts.queued == 0 ? 0 : now - queue_.oldest_queued_at();
  return {.queued = counts.queued,
          .queued_bytes = counts.queued_bytes,
          .in_flight = counts.in_flight,
          .oldest_age = absl::Nanoseconds(age > 0 ? age : 0),
          .stored = counts.stored,
          .batches = batches_,
          .failures = counts.failures,
          .coalesced = counts.coalesced,
          .given_up = counts.given_up,
          .rejected = rejected_,
          .blocked = blocked_,
          .timeouts = timeouts_,
          .write_through = counts.write_through,
          .through_failures = counts.through_failures,
          .last_error = queue_.last_error()};
}

}  // namespace larder::internal
