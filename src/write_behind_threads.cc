// SPDX-License-Identifier: Apache-2.0
//
// The threads of WriteBehind: how batches are taken, sent and done with.

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "larder/internal/write_behind.h"
#include "src/background_thread.h"
#include "src/write_behind_calls.h"

namespace larder::internal {
namespace {

// How many chains are looked at under the lock before others may have it.
constexpr size_t kSlice = 64;
constexpr int64_t kNow = std::numeric_limits<int64_t>::min();

// As Store says.
bool IsPermanentByCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::Status WriteBehind::Start() {
  for (int i = 0; i < options_.threads; ++i) {
    pthread_t thread;
    if (!StartThread(&RunThread, this, &thread)) break;
    threads_.push_back(thread);
  }
  if (threads_.empty()) return absl::ResourceExhaustedError("no thread could be started");
  MutexLock lock(&mutex_);
  has_threads_ = true;
  return absl::OkStatus();
}

void* WriteBehind::RunThread(void* engine) {
  WriteBehind& self = *static_cast<WriteBehind*>(engine);
  std::vector<WriteChain*> batch;
  while (self.TakeOrSleep(&batch)) self.Send(batch);
  return nullptr;
}

// False: the thread is to end.
bool WriteBehind::TakeOrSleep(std::vector<WriteChain*>* batch) {
  for (bool was_woken = false;;) {
    Sleepers::Sleeper sleeper;
    int64_t sleeps_until = kNow;
    if (!Take(batch, was_woken, &sleeper, &sleeps_until)) return false;
    if (!batch->empty()) return true;
    was_woken = sleeper.woken.WaitUntil(sleeps_until, nullptr);
    if (was_woken) continue;
    {
      MutexLock lock(&mutex_);
      if (sleeper.is_listed) {
        sleepers_.Leave(&sleeper);
        continue;
      }
    }
    sleeper.woken.Wait();
    was_woken = true;
  }
}

// Takes a batch, if one is due. Else enters `sleeper`, where there is one. False: no more batches
// are to be written.
bool WriteBehind::Take(std::vector<WriteChain*>* batch, bool was_woken, Sleepers::Sleeper* sleeper,
                       int64_t* sleeps_until) {
  const int64_t now = NowNanos();
  batch->clear();
  for (size_t taken = kSlice; taken == kSlice;) {
    Afterwards afterwards;
    {
      MutexLock lock(&mutex_);
      if (was_woken) sleepers_.Arrived();
      was_woken = false;
      const bool is_first = batch->empty();
      if (stopping_ && is_first) return false;
      latest_now_ = std::max(latest_now_, now);
      taken = TakeSlice(latest_now_, batch);
      if (taken > 0 && is_first) ++sending_;
      if (!batch->empty()) {
        if (taken < kSlice) WakeWorker(now, &afterwards);
      } else if (sleeper != nullptr) {
        *sleeps_until = sleepers_.Enter(sleeper, clock_ == nullptr ? queue_.NextDue() : kNever);
      }
    }
    Finish(afterwards);
  }
  return true;
}

size_t WriteBehind::TakeSlice(int64_t now, std::vector<WriteChain*>* batch) {
  const size_t before = batch->size();
  try {
    queue_.Take(now, kSlice, batch);
  } catch (const std::bad_alloc&) {
    // What has been taken will do. If that is nothing, it is tried again.
  }
  return batch->size() - before;
}

size_t WriteBehind::RunOnce() {
  std::vector<WriteChain*> batch;
  if (!Take(&batch, /*was_woken=*/false, nullptr, nullptr) || batch.empty()) return 0;
  Send(batch);
  return batch.size();
}

void WriteBehind::RunDue() {
  if (clock_ != nullptr) WakeIfDue();
}

void WriteBehind::WakeIfDue() {
  const int64_t now = NowNanos();
  Afterwards afterwards;
  {
    MutexLock lock(&mutex_);
    WakeWorker(now, &afterwards);
  }
  Finish(afterwards);
}

// Sees to it that somebody is awake for what is due next.
void WriteBehind::WakeWorker(int64_t now, Afterwards* afterwards) {
  latest_now_ = std::max(latest_now_, now);
  int64_t due = queue_.NextDue();
  if (clock_ != nullptr) due = due <= latest_now_ ? kNow : kNever;
  if (Sleepers::Sleeper* const sleeper = sleepers_.Wake(due)) {
    sleeper->after = afterwards->woken;
    afterwards->woken = sleeper;
  }
}

// After a change of what is queued or reserved.
void WriteBehind::MakeRoom(Afterwards* afterwards) {
  if (!room_.has_waiters()) return;
  afterwards->granted = room_.Grant(Queued());
  for (const WriteRoom::Waiter* waiter = afterwards->granted; waiter != nullptr;
       waiter = waiter->after) {
    ++reservations_;
  }
}

// Of a call of Target::Write.
struct WriteBehind::Results {
  std::vector<absl::Status> each;
  absl::Status all;  // where not OK: that of each

  const absl::Status& of(size_t i) const { return all.ok() ? each[i] : all; }
};

void WriteBehind::Send(std::vector<WriteChain*>& batch) {
  const auto first_to_give_up = std::stable_partition(
      batch.begin(), batch.end(),
      [](const WriteChain* chain) { return !WriteQueue::InFlight(chain).failed_for_good; });
  const std::span<WriteChain*> to_write(batch.begin(), first_to_give_up);
  if (!to_write.empty()) {
    const Results results = CallWrite(to_write);
    for (size_t i = 0; i < to_write.size(); i += kSlice) Complete(to_write, i, results);
  }
  GiveUp(batch);
  MutexLock lock(&mutex_);
  if (!to_write.empty()) ++batches_;
  if (--sending_ == 0 && stopping_) closing_goes_on_.NotifyAll();
}

WriteBehind::Results WriteBehind::CallWrite(std::span<WriteChain* const> chains) {
  const TargetCall call(this);
  Results results;
  try {
    std::vector<WritePtr> writes;
    writes.reserve(chains.size());
    for (const WriteChain* chain : chains) writes.push_back(WriteQueue::InFlight(chain).write);
    results.each = target_->Write(writes);
    if (results.each.size() != chains.size()) {
      results.all = absl::InternalError(absl::StrCat("the store returned ", results.each.size(),
                                                     " results of ", chains.size(), " writes"));
    }
  } catch (...) {
    results.all = ExceptionError();
  }
  return results;
}

// Of the exception that is being handled.
absl::Status WriteBehind::ExceptionError() const {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return store_threw_;
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the store threw: ", e.what()));
  } catch (...) {
    return store_threw_;
  }
}

WriteQueue::Outcome WriteBehind::OutcomeOf(const absl::Status& result) const {
  if (result.ok()) return WriteQueue::Outcome::kStored;
  bool is_permanent = IsPermanentByCode(result.code());
  if (options_.is_permanent != nullptr) {
    const TargetCall call(this);
    try {
      is_permanent = options_.is_permanent(result);
    } catch (...) {
      // As if there were no such function.
    }
  }
  return is_permanent ? WriteQueue::Outcome::kFailedForGood : WriteQueue::Outcome::kFailed;
}

// Completes one slice of the chains, from `begin` on. Leaves those that are to be given up; of the
// others this thread mustn't know any more.
void WriteBehind::Complete(std::span<WriteChain*> chains, size_t begin, const Results& results) {
  const size_t size = std::min(kSlice, chains.size() - begin);
  std::array<WriteQueue::Outcome, kSlice> outcomes;
  for (size_t i = 0; i < size; ++i) outcomes[i] = OutcomeOf(results.of(begin + i));
  const int64_t now = NowNanos();
  Afterwards afterwards;
  {
    MutexLock lock(&mutex_);
    for (size_t i = 0; i < size; ++i) {
      WriteChain*& chain = chains[begin + i];
      const bool is_to_give_up =
          queue_.Complete(chain, outcomes[i], results.of(begin + i), now, &resolved_);
      if (!is_to_give_up) chain = nullptr;
    }
    AfterCompletion(now, &afterwards);
  }
  Finish(afterwards);
}

// Gives up the writes of those chains that are left.
void WriteBehind::GiveUp(std::span<WriteChain* const> chains) {
  for (WriteChain* const chain : chains) {
    if (chain == nullptr) continue;
    const QueuedWrite& write = WriteQueue::InFlight(chain);
    const absl::Status status = CallGiveUp(write, write.error);
    const int64_t now = NowNanos();
    Afterwards afterwards;
    {
      MutexLock lock(&mutex_);
      queue_.CompleteGiveUp(chain, status, now, &resolved_);
      AfterCompletion(now, &afterwards);
    }
    Finish(afterwards);
  }
}

absl::Status WriteBehind::CallGiveUp(const QueuedWrite& write, const absl::Status& reason) {
  const TargetCall call(this);
  try {
    return target_->GiveUp(*write.write, reason, write.attempts);
  } catch (...) {
    return ExceptionError();
  }
}

void WriteBehind::AfterCompletion(int64_t now, Afterwards* afterwards) {
  NoteResolved(afterwards);
  MakeRoom(afterwards);
  queue_.set_hurries(room_.has_waiters());
  WakeWorker(now, afterwards);
}

void WriteBehind::NoteResolved(Afterwards* afterwards) {
  afterwards->has_resolved = !resolved_.empty() && !finishing_;
}

void WriteBehind::Finish(const Afterwards& afterwards) {
  // Whoever is woken takes its element of the list with it.
  for (WriteRoom::Waiter* waiter = afterwards.granted; waiter != nullptr;) {
    std::exchange(waiter, waiter->after)->done.Set();
  }
  for (Sleepers::Sleeper* sleeper = afterwards.woken; sleeper != nullptr;) {
    std::exchange(sleeper, sleeper->after)->woken.Set();
  }
  if (afterwards.has_resolved) FinishResolved();
}

// One thread at a time, so that acknowledgements come in the order in which writes were resolved:
// if one came before that of an older write of its key, and then a crash, the older write would be
// replayed alone. Who finds another thread at it leaves to that what it has resolved itself.
void WriteBehind::FinishResolved() {
  for (;;) {
    WriteQueue::Resolved resolved;
    {
      MutexLock lock(&mutex_);
      if (finishing_ || resolved_.empty()) return;
      resolved = std::exchange(resolved_, {});
      finishing_ = true;
    }
    Finish(resolved);
    {
      MutexLock lock(&mutex_);
      finishing_ = false;
      if (closing_) closing_goes_on_.NotifyAll();
    }
    CallAfterAcknowledge();
    for (WriteQueue::FlushMark* mark = resolved.flushes; mark != nullptr;) {
      static_cast<FlushCall*>(std::exchange(mark, mark->next))->done.Set();
    }
  }
}

// Acknowledges writes, tells those who wait for them, and frees them. Acknowledges first: who has
// waited for a write finds it acknowledged.
void WriteBehind::Finish(const WriteQueue::Resolved& resolved) {
  std::array<uint64_t, kSlice> sequences;
  size_t size = 0;
  for (const QueuedWrite* write = resolved.writes; write != nullptr; write = write->newer) {
    sequences[size++] = write->write->sequence();
    if (size < kSlice && write->newer != nullptr) continue;
    CallAcknowledge({sequences.data(), size});
    size = 0;
  }
  for (QueuedWrite* write = resolved.writes; write != nullptr;) {
    if (write->through != nullptr) {
      auto* const call = static_cast<ThroughCall*>(write->through);
      call->status = write->error;
      call->done.Set();
    }
    delete std::exchange(write, write->newer);
  }
}

void WriteBehind::CallAcknowledge(std::span<const uint64_t> sequences) {
  const TargetCall call(this);
  try {
    target_->Acknowledge(sequences);
  } catch (...) {
    // They are replayed, then; stores know them by their sequences.
  }
}

void WriteBehind::CallAfterAcknowledge() {
  const TargetCall call(this);
  try {
    target_->AfterAcknowledge();
  } catch (...) {
    // It has done what it could.
  }
}

// Returns once no batch is being written, and no thread is left.
void WriteBehind::Stop() {
  Afterwards afterwards;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    has_threads_ = false;
    afterwards.woken = sleepers_.WakeAll();
  }
  Finish(afterwards);
  for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  MutexLock lock(&mutex_);
  while (sending_ > 0) closing_goes_on_.Wait(&mutex_);
}

}  // namespace larder::internal
