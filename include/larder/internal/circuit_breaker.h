// SPDX-License-Identifier: Apache-2.0
//
// CircuitBreaker: keeps loads away from a database that fails.

#ifndef LARDER_INTERNAL_CIRCUIT_BREAKER_H_
#define LARDER_INTERNAL_CIRCUIT_BREAKER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "larder/circuit_breaker_options.h"
#include "larder/circuit_state.h"
#include "larder/internal/mutex.h"

namespace larder::internal {

// The pattern: M. Nygard, "Release It!", 2007, ch. 5.2. What it does is said in
// CircuitBreakerOptions. It reads no clock: `now` is in ns on the caller's, and one that goes back
// does no harm. What counts as a failure is the caller's decision.
//
// For each load: ask Admit; where that gives an admission, run the load and hand it back exactly
// once, with Report or Abandon.
//
//   std::optional<CircuitBreaker::Admission> admission = breaker.Admit(now);
//   if (!admission) return absl::UnavailableError(...);
//   ... load ...
//   breaker.Report(*admission, status.ok(), later);
//
// Thread-safe. While closed and with no failure in the window, Admit and Report(ok) are one atomic
// load, and write nothing; while open, Admit is two. All else takes a lock for some instructions.
// Only the constructor allocates.
class CircuitBreaker {
 public:
  // Tells in which period between two changes of state a load was admitted.
  struct Admission {
    uint64_t period = 0;
  };

  // Requires: options.Validate().ok(). With options.failures == 0 it never opens.
  explicit CircuitBreaker(const CircuitBreakerOptions& options);
  CircuitBreaker(const CircuitBreaker&) = delete;
  CircuitBreaker& operator=(const CircuitBreaker&) = delete;

  // Whether a load may run. Nothing: it must not.
  std::optional<Admission> Admit(int64_t now);

  // The load ended. Counts only if the state hasn't changed since it was admitted.
  void Report(Admission admission, bool ok, int64_t now);

  // The load ended without a verdict (was cancelled, or never ran): another probe may take its
  // place.
  void Abandon(Admission admission);

  // As Admit would find it: half-open from the moment at which a probe may run, though none has
  // been asked for yet.
  CircuitState state(int64_t now) const;

  // How often it has opened, failed probes included.
  uint64_t opens() const { return opens_.load(std::memory_order_relaxed); }

  // While open, when the first probe may run; the past if it may now. kNever in other states, and
  // where it stays open for good.
  int64_t next_probe() const;

 private:
  // The loads that ended last, in a ring: true for a failure.
  class Window {
   public:
    explicit Window(int size) : failed_(static_cast<size_t>(size)) {}
    void Add(bool failed);
    void Clear();
    int failures() const { return failures_; }

   private:
    std::vector<bool> failed_;
    size_t next_ = 0;
    int failures_ = 0;
  };

  // `word_`: the number of the period, whether the window has a failure, and the state. Zero at
  // first: period 0, closed, no failure.
  static constexpr uint64_t kStateMask = 3;
  static constexpr uint64_t kFailures = 4;
  static constexpr int kPeriodShift = 3;
  static CircuitState StateOf(uint64_t word) {
    return static_cast<CircuitState>(word & kStateMask);
  }
  static uint64_t PeriodOf(uint64_t word) { return word >> kPeriodShift; }
  // Closed, with no failure in the window: a success changes nothing.
  static bool Healthy(uint64_t word) { return (word & (kStateMask | kFailures)) == 0; }

  std::optional<Admission> AdmitUnderLock(int64_t now) ABSL_LOCKS_EXCLUDED(mutex_);
  void ReportClosed(bool ok, int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReportProbe(bool ok, int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Open(int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StoreWord(uint64_t period, CircuitState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t word() const { return word_.load(std::memory_order_acquire); }

  const int failures_;  // 0: never opens
  const int half_open_loads_;
  const int successes_;
  const int64_t open_for_;       // ns
  const int64_t most_open_for_;  // ns

  std::atomic<uint64_t> word_{0};  // written under the lock
  // ns. Stored before the word that says open: who reads it after the word reads that period's, or
  // a later one's.
  std::atomic<int64_t> open_until_{0};
  std::atomic<uint64_t> opens_{0};

  Mutex mutex_;
  Window window_ ABSL_GUARDED_BY(mutex_);
  int64_t next_open_for_ ABSL_GUARDED_BY(mutex_);  // ns; how long it stays open the next time
  int probes_running_ ABSL_GUARDED_BY(mutex_) = 0;
  int probes_succeeded_ ABSL_GUARDED_BY(mutex_) = 0;
};

// An admission until it is given back, by whoever does so first. Thread-safe.
class HeldAdmission {
 public:
  void Hold(CircuitBreaker::Admission admission) { period_.store(admission.period); }

  // What is held, which the caller must report or abandon; nothing, if there is none any more.
  std::optional<CircuitBreaker::Admission> Take() {
    const uint64_t period = period_.exchange(kNone);
    if (period == kNone) return std::nullopt;
    return CircuitBreaker::Admission{.period = period};
  }

 private:
  static constexpr uint64_t kNone = UINT64_MAX;

  std::atomic<uint64_t> period_{kNone};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CIRCUIT_BREAKER_H_
