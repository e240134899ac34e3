// SPDX-License-Identifier: Apache-2.0
//
// Mutex: the one lock that larder uses.

#ifndef LARDER_INTERNAL_MUTEX_H_
#define LARDER_INTERNAL_MUTEX_H_

#include <atomic>
#include <condition_variable>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "larder/internal/perturbation.h"

namespace larder::internal {

// A small mutual exclusion lock: one atomic exchange to lock, a plain store to unlock. Where it is
// held by another, a short spin, then yields, then naps. Not recursive, not fair.
//
// A lock that wakes those who wait has to read, when it is released, whether there are any, in one
// atomic step with the release: that stops the processor until all stores of the critical section
// have reached memory, which for a change of a cache, whose stores miss, takes as long as much of
// the change. Critical sections here last a microsecond; whoever waits for longer waits for one
// whose thread was interrupted, and a nap does no harm then.
//
// Built on std::atomic alone, so that ThreadSanitizer understands it and clang's thread safety
// analysis checks its use. One byte.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    Perturb();
    if (held_.exchange(true, std::memory_order_acquire)) LockSlowly();
  }

  bool try_lock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    return !held_.load(std::memory_order_relaxed) &&
           !held_.exchange(true, std::memory_order_acquire);
  }

  void unlock() ABSL_UNLOCK_FUNCTION() {
    held_.store(false, std::memory_order_release);
    Perturb();
  }

 private:
  void LockSlowly() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  std::atomic<bool> held_{false};
};

// Holds a Mutex for the scope it lives in.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// A condition variable to go with Mutex. Wakeups may be spurious: wait in a loop.
class CondVar {
 public:
  void Wait(Mutex* mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { cv_.wait(*mutex); }

  // Returns true where it was woken, false where `timeout` (real time) passed first.
  bool WaitFor(Mutex* mutex, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    // The standard library adds the timeout to now(): keep the sum inside the type.
    constexpr absl::Duration kLongest = absl::Hours(24 * 365);
    const absl::Duration bounded = timeout < kLongest ? timeout : kLongest;
    return cv_.wait_for(*mutex, absl::ToChronoNanoseconds(bounded)) == std::cv_status::no_timeout;
  }

  void NotifyOne() {
    Perturb();
    cv_.notify_one();
  }
  void NotifyAll() {
    Perturb();
    cv_.notify_all();
  }

 private:
  std::condition_variable_any cv_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_MUTEX_H_
