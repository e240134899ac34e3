// SPDX-License-Identifier: Apache-2.0
//
// Mutex: the one lock that larder uses.

#ifndef LARDER_INTERNAL_MUTEX_H_
#define LARDER_INTERNAL_MUTEX_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace larder::internal {

// Lets the processor know that the caller spins.
inline void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A small mutual exclusion lock: a compare-exchange to lock and an exchange to unlock where
// nobody waits, a short spin and then a futex where somebody does. Not recursive, not fair.
//
// The states and the hand-over are those of "mutex2" in U. Drepper, "Futexes Are Tricky" (2011).
// Built on std::atomic alone, so that ThreadSanitizer understands it and clang's thread safety
// analysis checks its use. 4 bytes.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    uint32_t expected = kFree;
    if (!state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
      LockSlow();
    }
  }

  bool try_lock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    uint32_t expected = kFree;
    return state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                          std::memory_order_relaxed);
  }

  void unlock() ABSL_UNLOCK_FUNCTION() {
    if (state_.exchange(kFree, std::memory_order_release) == kContended) state_.notify_one();
  }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kHeld = 1;
  static constexpr uint32_t kContended = 2;  // held, and somebody may be waiting
  // About a microsecond: critical sections are shorter than a trip to the kernel and back.
  static constexpr int kSpins = 64;

  void LockSlow() {
    for (int i = 0; i < kSpins; ++i) {
      CpuRelax();
      uint32_t expected = kFree;
      if (state_.load(std::memory_order_relaxed) == kFree &&
          state_.compare_exchange_weak(expected, kHeld, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return;
      }
    }
    while (state_.exchange(kContended, std::memory_order_acquire) != kFree) {
      state_.wait(kContended, std::memory_order_relaxed);
    }
  }

  std::atomic<uint32_t> state_{kFree};
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

  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable_any cv_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_MUTEX_H_
