// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_CYCLE_TIMER_H_
#define LARDER_BENCH_SUPPORT_CYCLE_TIMER_H_

#include <cstdint>
#include <string_view>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace larder::bench {

// Times single operations: the processor's time stamp counter where it ticks at a constant rate,
// else std::chrono::steady_clock.
//
//   const CycleTimer& timer = CycleTimer::Get();
//   const uint64_t start = timer.Start();
//   Operation();
//   const double nanos = timer.ToNanos(timer.Stop() - start);
//
// A reading is fenced, so that the operation can neither begin before Start() nor end after
// Stop(). Thread-safe. What one Start() and Stop() pair measures when nothing lies between them
// is CostNanos(): every sample contains it, and nothing here subtracts it.
class CycleTimer {
 public:
  // Calibrates on first use, which takes about 50 ms.
  static const CycleTimer& Get();

  uint64_t Start() const {
#if defined(__x86_64__)
    if (use_tsc_) {
      _mm_lfence();
      const uint64_t ticks = __rdtsc();
      _mm_lfence();
      return ticks;
    }
#endif
    return SteadyNanos();
  }

  uint64_t Stop() const {
#if defined(__x86_64__)
    if (use_tsc_) {
      unsigned processor;
      const uint64_t ticks = __rdtscp(&processor);
      _mm_lfence();
      return ticks;
    }
#endif
    return SteadyNanos();
  }

  double ToNanos(uint64_t ticks) const { return static_cast<double>(ticks) * nanos_per_tick_; }

  // The median of what an empty Start() and Stop() pair measures.
  double CostNanos() const { return cost_nanos_; }

  // Nanoseconds in one tick: nothing finer can be told apart.
  double ResolutionNanos() const { return nanos_per_tick_; }

  // "rdtsc" or "steady_clock".
  std::string_view name() const { return use_tsc_ ? "rdtsc" : "steady_clock"; }

 private:
  CycleTimer();

  static uint64_t SteadyNanos();
  static bool HasInvariantTsc();
  void CalibrateRate();
  void MeasureCost();

  bool use_tsc_;
  double nanos_per_tick_ = 1;
  double cost_nanos_ = 0;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_CYCLE_TIMER_H_
