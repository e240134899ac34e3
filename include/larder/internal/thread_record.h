// SPDX-License-Identifier: Apache-2.0
//
// ThreadRecord: what larder keeps for each thread of the process.

#ifndef LARDER_INTERNAL_THREAD_RECORD_H_
#define LARDER_INTERNAL_THREAD_RECORD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace larder::internal {

class FlightBase;

// One per thread that uses a cache, shared by all caches. Records are never freed: one whose thread
// has ended goes to the next new thread, so a pointer to a record stays valid for good. Two cache
// lines, so that no neighbour's prefetch pulls on it.
struct alignas(128) ThreadRecord {
  // The calling thread's record; registers the thread on first use.
  static ThreadRecord& Current() {
    ThreadRecord* record = current_;
    return record != nullptr ? *record : Register();
  }

  // The same where a lookup may take the short way (epoch.h, QuickGuard), else nullptr: where the
  // thread isn't registered yet, or is inside a guard, or has too high an index, or where readers
  // have to fence. One thing to check for instead of four.
  static ThreadRecord* IfQuick() { return quick_; }
  // Threads with an index from here on are never quick: others count in cells of their own
  // (stats_counters.h).
  static constexpr uint32_t kQuickThreads = 64;
  // Readers don't have to fence; before that, no thread is quick.
  static void AllowQuick() { quick_allowed_.store(true, std::memory_order_relaxed); }

  // The first of all records; follow `next`. Includes those not in use.
  static ThreadRecord* First() { return first_.load(std::memory_order_acquire); }

  // How many threads have a record now.
  static size_t InUse() { return in_use_.load(std::memory_order_seq_cst); }

  // --- Written by the owner on every lookup, read by reclaimers (epoch.h).
  std::atomic<uint64_t> epoch{0};  // 0: not inside a guard

  // --- The owner's alone.
  uint32_t index = 0;              // small and dense: 0, 1, 2, ... ; unique among records
  uint64_t recency = 0;            // a Lamport clock of this thread's accesses (lru.h)
  uint64_t random = 0;             // state of NextRandom()
  uint32_t loads_led = 0;          // loaders this thread is inside of (flight.h)
  const void* visiting = nullptr;  // the cache whose Visit callback runs; debug builds only

  // --- Guarded by the lock in flight.cc.
  const FlightBase* waiting_for = nullptr;

  // --- The registry's.
  ThreadRecord* next = nullptr;
  std::atomic<bool> taken{true};

  // A cheap pseudo-random number: splitmix64, Steele, Lea and Flood, "Fast splittable
  // pseudorandom number generators" (2014).
  uint64_t NextRandom() {
    uint64_t z = (random += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  struct Lease;
  static ThreadRecord& Register();

  friend class NotQuick;

  static constinit thread_local ThreadRecord* current_;
  static constinit thread_local ThreadRecord* quick_;
  static std::atomic<bool> quick_allowed_;
  static std::atomic<ThreadRecord*> first_;
  static std::atomic<size_t> in_use_;
};

inline constinit thread_local ThreadRecord* ThreadRecord::current_ = nullptr;
inline constinit thread_local ThreadRecord* ThreadRecord::quick_ = nullptr;

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_THREAD_RECORD_H_
