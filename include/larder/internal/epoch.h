// SPDX-License-Identifier: Apache-2.0
//
// Epochs: when may memory be freed that readers look at without a lock?

#ifndef LARDER_INTERNAL_EPOCH_H_
#define LARDER_INTERNAL_EPOCH_H_

#include <atomic>
#include <cstdint>
#include <utility>

#include "larder/internal/thread_record.h"

namespace larder::internal {

// Epoch-based reclamation (K. Fraser, "Practical lock-freedom", 2004, §5.2.3), with the reader's
// fence moved to the reclaimer.
//
// A reader holds an EpochGuard while it follows pointers into a cache; that publishes the epoch in
// which it started, in its own ThreadRecord. A reclaimer first unlinks what it wants to free, so
// that no new reader can find it, then
//   1. tag = Epoch::Advance();             everything unlinked so far belongs to epoch <= tag
//   2. if (Epoch::FreeBefore() > tag)      every reader alive started after the unlinking
//        free it;  else keep it, and ask again later, or look at the readers now:
//   3. Epoch::LookAtReaders();             moves FreeBefore() on, for all caches of the process
//
// A look is dear where other threads run, since it interrupts each of them; so those who have
// something to free share what any of them has seen.
//
// Memory ordering. The reader's store of its epoch must be visible to the reclaimer before the
// reader's first load of a pointer, which takes a full fence between the two on the reader's or on
// the reclaimer's side. A look at the readers pays for it with the membarrier system call, which
// runs a fence on every processor that runs a thread of this process; the reader then needs a
// compiler barrier only. Where the kernel has no private expedited membarrier, readers fence
// themselves. A reader that starts in epoch e > tag has loaded the epoch that Advance() stored with
// release, and so sees the unlinking. A reader's stores to its record are release, the reclaimer's
// loads acquire: what the reader did before happens before the memory is freed.
class Epoch {
 public:
  // Starts a new epoch; returns the one that has ended. Thread-safe.
  static uint64_t Advance() { return state_.now.fetch_add(1, std::memory_order_seq_cst); }

  // What was unlinked in an epoch before this one may be freed, as far as is known. Thread-safe.
  static uint64_t FreeBefore() { return state_.free_before.load(std::memory_order_acquire); }

  // Finds out what may be freed now; returns FreeBefore(). Some microseconds where other threads
  // run, and as many for each of these, else 0.1 or less. Thread-safe.
  static uint64_t LookAtReaders();

  // The epoch of the oldest guard alive in any thread, the caller's included; UINT64_MAX if there
  // is none; 0 where the kernel doesn't tell. Costs what LookAtReaders does. Thread-safe.
  static uint64_t OldestReader();

 private:
  friend class EpochGuard;
  friend class QuickGuard;

  struct alignas(64) State {
    std::atomic<uint64_t> now{1};
    bool readers_fence = true;  // cleared before main(), where membarrier works
    alignas(64) std::atomic<uint64_t> free_before{0};
  };
  static State state_;
  static const bool barrier_registered_;
  static bool RegisterBarrier();
};

// As long as it lives, its thread isn't quick (thread_record.h): for guards that know of others,
// and while a user's code, which may use caches, runs inside one that doesn't.
class NotQuick {
 public:
  NotQuick() : quick_(std::exchange(ThreadRecord::quick_, nullptr)) {}
  ~NotQuick() { ThreadRecord::quick_ = quick_; }
  NotQuick(const NotQuick&) = delete;
  NotQuick& operator=(const NotQuick&) = delete;

 private:
  ThreadRecord* const quick_;
};

// Protects what its thread reads from being freed. Nests. Must not be held while waiting: no memory
// of any cache is freed meanwhile.
class EpochGuard {
 public:
  explicit EpochGuard(ThreadRecord& record)
      : record_(record), outer_(record.epoch.load(std::memory_order_relaxed)) {
    const uint64_t now = Epoch::state_.now.load(std::memory_order_acquire);
    const uint64_t epoch = outer_ != 0 ? outer_ : now;
    record_.epoch.store(epoch, std::memory_order_release);
    if (Epoch::state_.readers_fence) [[unlikely]] {
      record_.epoch.exchange(epoch, std::memory_order_seq_cst);
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~EpochGuard() { record_.epoch.store(outer_, std::memory_order_release); }
  EpochGuard(const EpochGuard&) = delete;
  EpochGuard& operator=(const EpochGuard&) = delete;

 private:
  ThreadRecord& record_;
  const uint64_t outer_;  // the epoch of the guard around this one; 0: there is none
  const NotQuick not_quick_;
};

// The same for a thread that is quick (thread_record.h), and so inside no guard: two stores. Other
// guards may be made inside it only while there is a NotQuick.
class QuickGuard {
 public:
  explicit QuickGuard(ThreadRecord& record) : record_(record) {
    record_.epoch.store(Epoch::state_.now.load(std::memory_order_acquire),
                        std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~QuickGuard() { record_.epoch.store(0, std::memory_order_release); }
  QuickGuard(const QuickGuard&) = delete;
  QuickGuard& operator=(const QuickGuard&) = delete;

 private:
  ThreadRecord& record_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_EPOCH_H_
