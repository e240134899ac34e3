// SPDX-License-Identifier: Apache-2.0

#include "bench/support/cycle_timer.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace larder::bench {

const CycleTimer& CycleTimer::Get() {
  static const CycleTimer timer;
  return timer;
}

CycleTimer::CycleTimer() : use_tsc_(HasInvariantTsc()) {
  if (use_tsc_) CalibrateRate();
  MeasureCost();
}

uint64_t CycleTimer::SteadyNanos() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

bool CycleTimer::HasInvariantTsc() {
#if defined(__x86_64__)
  // Leaf 0x80000007, EDX bit 8: the counter ticks at a constant rate in every power state. Leaf
  // 0x80000001, EDX bit 27: the processor has rdtscp.
  constexpr unsigned kInvariantBit = 1u << 8;
  constexpr unsigned kRdtscpBit = 1u << 27;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) == 0 || (edx & kInvariantBit) == 0) {
    return false;
  }
  return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) != 0 && (edx & kRdtscpBit) != 0;
#else
  return false;
#endif
}

void CycleTimer::CalibrateRate() {
  const uint64_t nanos_before = SteadyNanos();
  const uint64_t ticks_before = Start();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const uint64_t ticks_after = Stop();
  const uint64_t nanos_after = SteadyNanos();
  nanos_per_tick_ = static_cast<double>(nanos_after - nanos_before) /
                    static_cast<double>(ticks_after - ticks_before);
}

void CycleTimer::MeasureCost() {
  constexpr int kReadings = 20001;
  std::vector<uint64_t> ticks(kReadings);
  for (uint64_t& sample : ticks) {
    const uint64_t start = Start();
    sample = Stop() - start;
  }
  std::nth_element(ticks.begin(), ticks.begin() + kReadings / 2, ticks.end());
  cost_nanos_ = ToNanos(ticks[kReadings / 2]);
}

}  // namespace larder::bench
