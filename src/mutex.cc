// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/mutex.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace larder::internal {
namespace {

// About a microsecond: longer than most critical sections.
constexpr int kSpins = 64;
// In case the processor can be given to the thread that holds the lock.
constexpr int kYields = 8;
// Then something takes long, or its thread can't run while this one is ready to.
constexpr std::chrono::microseconds kFirstNap(20);
constexpr std::chrono::microseconds kLongestNap(1000);

// Lets the processor know that the caller spins.
void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void Mutex::LockSlowly() {
  for (int i = 0; i < kSpins; ++i) {
    CpuRelax();
    if (try_lock()) return;
  }
  for (int i = 0; i < kYields; ++i) {
    std::this_thread::yield();
    if (try_lock()) return;
  }
  for (auto nap = kFirstNap; !try_lock(); nap = std::min(2 * nap, kLongestNap)) {
    std::this_thread::sleep_for(nap);
  }
}

}  // namespace larder::internal
