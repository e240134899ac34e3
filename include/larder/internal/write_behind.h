// SPDX-License-Identifier: Apache-2.0
//
// WriteBehind: brings queued writes to the store.

#ifndef LARDER_INTERNAL_WRITE_BEHIND_H_
#define LARDER_INTERNAL_WRITE_BEHIND_H_

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/clock.h"
#include "larder/internal/mutex.h"
#include "larder/internal/pending_write.h"
#include "larder/internal/sleepers.h"
#include "larder/internal/write_chain.h"
#include "larder/internal/write_queue.h"
#include "larder/internal/write_room.h"
#include "larder/write_behind_options.h"
#include "larder/write_behind_stats.h"

namespace larder::internal {

// The engine of write-behind: knows of order, time, failures and limits, and nothing of keys,
// values, stores, journals and caches. WriteQueue has the order in which writes leave; this has the
// lock, the threads, and all waiting.
//
// A write goes through:
//
//   absl::StatusOr<WriteBehind::Reservation> room = engine.Reserve(*write);  // may wait, or refuse
//   write->set_sequence(...);  // the journal's, or NextSequence()
//   engine.Enqueue(*std::move(room), std::move(write));  // or EnqueueAndWait, see there
//
// and stays until it is *resolved*, exactly once: stored; replaced by a later write of its key
// (Coalescing::kLatest); given up; or, if it was written through, failed. Then it is acknowledged.
// Until it is resolved Find finds it, unless a later write of the key is queued.
//
// Order: writes of one key reach the store in the order of their Enqueue calls, one at a time, the
// next one only after the one before was resolved. The caller sees to it that of one key this is
// the order of their sequences, too: a lock by key around Reserve to Enqueue, say.
//
// Time: batch_delay, backoffs and ages follow the clock. On the process's own, threads wake when
// something falls due. Another clock tells nobody when it has moved: threads look at it when
// something is queued or resolved, and in RunDue. Callers that wait (Reserve, Flush, Close) do so
// by the process's clock always, so that no wait depends on somebody to move time.
//
// Locks: one, never held while Target is called, a write destroyed, or a thread waits.
//
// A thread that is inside a call of Target is never made to wait for this engine: where it would,
// Reserve fails with ResourceExhausted, and EnqueueAndWait, Flush and Close with
// FailedPrecondition.
//
// Not to be used in a child of fork(): it has the queue, which is the parent's to write, and not
// the threads.
//
// Thread safety: all methods may be called from any thread at any time, but Restore and Start
// before all others, and the destructor after them.
class WriteBehind {
 public:
  using WritePtr = std::shared_ptr<const PendingWrite>;

  // Where writes go. Methods are called from many threads at once, under no lock, and never for two
  // writes of one key. What they throw counts as Internal.
  class Target {
   public:
    virtual ~Target() = default;

    // Writes all of `batch`, of different keys: element i of the result belongs to batch[i]. A
    // result of another size counts as Internal for each.
    virtual std::vector<absl::Status> Write(std::span<const WritePtr> batch) = 0;

    // `write` failed for good, after so many attempts (0: none, as the engine was closed before).
    // OK: it may be forgotten. Else it stays queued, and this is called again after a backoff.
    virtual absl::Status GiveUp(const PendingWrite& write, const absl::Status& reason,
                                int attempts) = 0;

    // These writes were resolved, and aren't to be replayed. In the order in which they were
    // resolved, also over several calls, of which there is one at a time; so it must not wait for
    // anything but the disk.
    virtual void Acknowledge(std::span<const uint64_t> sequences) = 0;

    // Called after Acknowledge, for whatever else is to follow, and may take its time; by several
    // threads at once. A Flush that waits for these writes returns after it.
    virtual void AfterAcknowledge() {}
  };

  // Room for one write. Gives it back when destroyed, unless it was handed to Enqueue. Must not
  // outlive the engine; Close waits for it.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept { *this = std::move(other); }
    Reservation& operator=(Reservation&& other) noexcept {
      std::swap(engine_, other.engine_);
      std::swap(amount_, other.amount_);
      std::swap(write_through_, other.write_through_);
      return *this;
    }
    ~Reservation();

    // There is no room: the write is for EnqueueAndWait.
    bool write_through() const { return write_through_; }

   private:
    friend class WriteBehind;
    Reservation(WriteBehind* engine, const WriteAmount& amount, bool write_through)
        : engine_(engine), amount_(amount), write_through_(write_through) {}

    WriteBehind* engine_ = nullptr;  // nullptr: used up
    WriteAmount amount_;
    bool write_through_ = false;
  };

  // What Close left.
  struct Left {
    absl::Status status;           // OK: all was in the store when the threads stopped
    std::vector<WritePtr> writes;  // in the order in which they were queued
    bool is_refused = false;       // called from inside a call of Target: nothing was closed
  };

  // `options` are valid; of these, what concerns journal and files isn't looked at. nullptr as
  // clock: the process's. Clock and target must outlive this. `seed`: for the backoffs' jitter.
  WriteBehind(const WriteBehindOptions& options, const Clock* clock, Target* target, uint64_t seed);

  // Close(0, false), where Close wasn't called.
  ~WriteBehind();

  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  // Queues what a journal had, whatever the limits. Sequences ascend.
  void Restore(std::vector<WritePtr> writes);

  // Starts the threads. ResourceExhausted where not even one can be started. Without Start nothing
  // is written but by RunOnce, and by Flush, Close and EnqueueAndWait on their callers' threads.
  absl::Status Start();

  // 1, 2, 3, ...: for writes without a journal.
  uint64_t NextSequence();

  // Takes room for `write`: what it needs beyond the write that it is about to replace. If there is
  // not enough, as options.when_full says:
  //   kBlock         waits, first come first served; DeadlineExceeded after full_timeout
  //   kReject        ResourceExhausted
  //   kWriteThrough  OK, without room: see Reservation::write_through
  // A write of more than max_bytes will never have room: ResourceExhausted (but kWriteThrough).
  // FailedPrecondition once Close was called, also for those that wait.
  // What was to be replaced may be on its way to the store by the time of Enqueue: so the limits
  // may be exceeded, by at most one write for each batch under way and each caller that was between
  // Reserve and Enqueue when it set out.
  absl::StatusOr<Reservation> Reserve(const PendingWrite& write);

  // Queues `write` as the newest of its key. With kLatest it takes the place in line of the newest
  // that is queued, if that isn't in flight or written through. O(1). std::bad_alloc, or what
  // SameKey throws: it isn't queued, and the reservation is given back.
  void Enqueue(Reservation room, WritePtr write);

  // Queues `write`, over the limits, as the newest of its key, and waits until it is resolved:
  // returns what the store says. Neither replaces nor is replaced. It is due at once, as are all
  // writes of its key before it, and gets one attempt; if the one of a write before it fails, and
  // is to be repeated, or Close ends first, it gets none, and that error. Find doesn't find it.
  absl::Status EnqueueAndWait(Reservation room, WritePtr write);

  // The newest write of a key that isn't resolved, in flight or not; nullptr: none. O(1), under the
  // lock. same_key(const PendingWrite&) tells whether a write of this hash is of the key, and does
  // nothing else.
  template <class SameKey>
  WritePtr Find(uint64_t hash, const SameKey& same_key) const {
    return FindMatch(
        hash,
        [](const void* f, const PendingWrite& write) -> bool {
          return (*static_cast<const SameKey*>(f))(write);
        },
        &same_key);
  }

  // All that is queued now is due at once, also what failed before and waits to be tried again.
  // Waits until it is resolved, at most `timeout`: then DeadlineExceeded, which says how many
  // writes and bytes of it are left, and the last error. Without threads: the same, but waits for
  // nothing but the writes themselves.
  absl::Status Flush(absl::Duration timeout);

  // Refuses further writes, flushes, and stops the threads. Waits at most `timeout` for what it can
  // give up on, and then for writers that hold reservations and for calls of the store that are
  // under way. What is left then is given up where `give_up_rest` is set (reason: DeadlineExceeded,
  // or the last error of the write); else, or where Target::GiveUp returns an error, it stays
  // queued for Find, isn't acknowledged, and is in `Left`. Further calls return the same.
  Left Close(absl::Duration timeout, bool give_up_rest);

  // Lets the threads look at a clock that isn't the process's. Cheap if nothing is due.
  void RunDue();

  // Writes one batch, if one is due, on the caller's thread. Returns the number of its writes.
  size_t RunOnce();

  WriteBehindStats Stats() const;

  // Whether the calling thread is inside a call of the target.
  bool IsInsideTarget() const;

 private:
  using Match = bool (*)(const void* same_key, const PendingWrite& write);
  struct Afterwards;
  struct FlushCall;
  struct ThroughCall;
  struct Results;
  class TargetCall;

  // What callers need: write_behind.cc.
  absl::Status AwaitRoom(WriteRoom::Waiter& waiter) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status FullError(const WriteAmount& needs) const;
  void Release(Reservation& room, Afterwards* afterwards) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Add(Reservation& room, std::unique_ptr<QueuedWrite> write) ABSL_LOCKS_EXCLUDED(mutex_);
  WritePtr FindMatch(uint64_t hash, Match match, const void* same_key) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status FlushUntil(int64_t deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  Left TakeLeft(bool give_up_rest) ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t NowNanos() const;
  WriteAmount Queued() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What threads do: write_behind_threads.cc.
  static void* RunThread(void* engine);
  bool TakeOrSleep(std::vector<WriteChain*>* batch) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Take(std::vector<WriteChain*>* batch, bool was_woken, Sleepers::Sleeper* sleeper,
            int64_t* sleeps_until) ABSL_LOCKS_EXCLUDED(mutex_);
  size_t TakeSlice(int64_t now, std::vector<WriteChain*>* batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Send(std::vector<WriteChain*>& batch) ABSL_LOCKS_EXCLUDED(mutex_);
  void Complete(std::span<WriteChain*> chains, size_t begin, const Results& results)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveUp(std::span<WriteChain* const> chains) ABSL_LOCKS_EXCLUDED(mutex_);
  void AfterCompletion(int64_t now, Afterwards* afterwards) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakeRoom(Afterwards* afterwards) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeIfDue() ABSL_LOCKS_EXCLUDED(mutex_);
  void WakeWorker(int64_t now, Afterwards* afterwards) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteResolved(Afterwards* afterwards) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Finish(const Afterwards& afterwards) ABSL_LOCKS_EXCLUDED(mutex_);
  void FinishResolved() ABSL_LOCKS_EXCLUDED(mutex_);
  void CallAfterAcknowledge();
  void Finish(const WriteQueue::Resolved& resolved) ABSL_LOCKS_EXCLUDED(mutex_);
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  Results CallWrite(std::span<WriteChain* const> chains);
  absl::Status CallGiveUp(const QueuedWrite& write, const absl::Status& reason);
  void CallAcknowledge(std::span<const uint64_t> sequences);
  absl::Status ExceptionError() const;
  WriteQueue::Outcome OutcomeOf(const absl::Status& result) const;

  const WriteBehindOptions options_;
  const Clock* const clock_;  // nullptr: the process's
  Target* const target_;
  const absl::Status store_threw_ = absl::InternalError("the store threw");  // made in time
  std::atomic<uint64_t> last_sequence_{0};

  mutable Mutex mutex_;
  WriteQueue queue_ ABSL_GUARDED_BY(mutex_);
  WriteQueue::Resolved resolved_ ABSL_GUARDED_BY(mutex_);
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;  // some thread sees to resolved_
  WriteRoom room_ ABSL_GUARDED_BY(mutex_);
  Sleepers sleepers_ ABSL_GUARDED_BY(mutex_);
  // The latest time that any thread has brought. One that read the clock and was held up before it
  // got the lock must not go to sleep over what another one saw fall due meanwhile.
  int64_t latest_now_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<int64_t>::min();
  uint64_t reservations_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t sending_ ABSL_GUARDED_BY(mutex_) = 0;  // batches taken and not yet done with
  uint64_t batches_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t rejected_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t blocked_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t timeouts_ ABSL_GUARDED_BY(mutex_) = 0;

  std::vector<pthread_t> threads_;  // of Start's and Close's callers
  bool has_threads_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;   // no more reservations
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;  // no more batches
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  CondVar closing_goes_on_;  // reservations_, sending_, finishing_ or closed_ is as Close waits for
  Left left_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_BEHIND_H_
