// SPDX-License-Identifier: Apache-2.0
//
// WriteBehind: brings queued writes to the store.

#ifndef LARDER_INTERNAL_WRITE_BEHIND_H_
#define LARDER_INTERNAL_WRITE_BEHIND_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/clock.h"
#include "larder/internal/pending_write.h"
#include "larder/write_behind_options.h"
#include "larder/write_behind_stats.h"

namespace larder::internal {

// The engine of write-behind: knows of order, time, failures and limits, and nothing of keys,
// values, stores, journals and caches. WriteQueue has the order in which writes leave; this has the
// lock, the threads, and all waiting.
//
// A write goes through:
//
//   absl::StatusOr<WriteBehind::Reservation> room = engine.Reserve(*write);   // may wait, or
//   refuse write->set_sequence(...);                      // the journal's Append, or
//   NextSequence() engine.Enqueue(*std::move(room), std::move(write));        // or EnqueueAndWait,
//   see there
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

    // These writes were resolved, and aren't to be replayed. In no order.
    virtual void Acknowledge(std::span<const uint64_t> sequences) = 0;
  };

  // Room for one write. Gives it back when destroyed, unless it was handed to Enqueue. Must not
  // outlive the engine; Close waits for it.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept { *this = std::move(other); }
    Reservation& operator=(Reservation&& other) noexcept {
      std::swap(engine_, other.engine_);
      std::swap(entries_, other.entries_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Reservation();

    // There is no room: the write is for EnqueueAndWait.
    bool write_through() const { return entries_ == kWriteThrough; }

   private:
    friend class WriteBehind;
    static constexpr uint64_t kWriteThrough = UINT64_MAX;
    Reservation(WriteBehind* engine, uint64_t entries, uint64_t bytes)
        : engine_(engine), entries_(entries), bytes_(bytes) {}

    WriteBehind* engine_ = nullptr;
    uint64_t entries_ = 0;  // 0 for a write that is to replace another
    uint64_t bytes_ = 0;
  };

  // What Close left.
  struct Left {
    absl::Status status;           // OK: nothing
    std::vector<WritePtr> writes;  // in the order in which they were queued
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
  // What was to be replaced may be on its way to the store, or replaced, by the time of Enqueue: so
  // with n callers between Reserve and Enqueue the limits may be exceeded by n writes.
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

 private:
  using Match = bool (*)(const void* same_key, const PendingWrite& write);
  WritePtr FindMatch(uint64_t hash, Match match, const void* same_key) const;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_BEHIND_H_
