// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/thread_record.h"

#include <pthread.h>

#include "larder/internal/mutex.h"

namespace larder::internal {
namespace {

// Registration is rare; a lock keeps it simple, and hands what the last owner of a record wrote
// over to the next.
Mutex& RegistryMutex() {
  static Mutex mutex;
  return mutex;
}

}  // namespace

std::atomic<ThreadRecord*> ThreadRecord::first_{nullptr};
std::atomic<size_t> ThreadRecord::in_use_{0};
std::atomic<bool> ThreadRecord::quick_allowed_{false};

// Gives the record back when its thread ends, with or without a word: the child of a fork has one
// thread, but the records of all its parent's, some of which may be inside a guard. As they would
// never leave it, nothing that is removed in the child could be freed.
struct ThreadRecord::Lease {
  ThreadRecord* record = nullptr;
  ~Lease() {
    if (record == nullptr) return;
    MutexLock lock(&RegistryMutex());
    current_ = nullptr;
    quick_ = nullptr;
    record->taken.store(false, std::memory_order_release);
    in_use_.fetch_sub(1, std::memory_order_seq_cst);
  }

  // Idempotent. Where it fails memory is out, and a child may keep what it removes.
  static void WatchForks() {
    [[maybe_unused]] static const int watches = pthread_atfork(BeforeFork, InParent, InChild);
  }

 private:
  static void BeforeFork() ABSL_NO_THREAD_SAFETY_ANALYSIS { RegistryMutex().lock(); }
  static void InParent() ABSL_NO_THREAD_SAFETY_ANALYSIS { RegistryMutex().unlock(); }
  static void InChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (ThreadRecord* lost = First(); lost != nullptr; lost = lost->next) {
      if (lost == current_) continue;
      lost->epoch.store(0, std::memory_order_relaxed);
      lost->loads_led = 0;
      lost->visiting = nullptr;
      lost->waiting_for = nullptr;
      lost->taken.store(false, std::memory_order_relaxed);
    }
    in_use_.store(current_ != nullptr ? 1 : 0, std::memory_order_relaxed);
    RegistryMutex().unlock();
  }
};

ThreadRecord& ThreadRecord::Register() {
  thread_local Lease lease;
  MutexLock lock(&RegistryMutex());
  Lease::WatchForks();
  ThreadRecord* record = first_.load(std::memory_order_relaxed);
  uint32_t records = 0;
  while (record != nullptr && record->taken.load(std::memory_order_relaxed)) {
    record = record->next;
    ++records;
  }
  if (record == nullptr) {
    record = new ThreadRecord;
    record->index = records;
    record->random = records;
    record->next = first_.load(std::memory_order_relaxed);
    first_.store(record, std::memory_order_release);
  }
  record->taken.store(true, std::memory_order_relaxed);
  // Before this thread's first guard: a reclaimer that doesn't see this count yet has unlinked
  // what it frees where this thread, later, can't find it.
  in_use_.fetch_add(1, std::memory_order_seq_cst);
  lease.record = record;
  current_ = record;
  const bool quick =
      record->index < kQuickThreads && quick_allowed_.load(std::memory_order_relaxed);
  quick_ = quick ? record : nullptr;
  return *record;
}

}  // namespace larder::internal
