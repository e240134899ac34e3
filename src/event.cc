// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/event.h"

#include <time.h>

#include <algorithm>
#include <limits>

// A 32-bit Linux has another structure for times, or another call.
#if defined(__linux__) && defined(__LP64__)
#define LARDER_HAS_FUTEX 1
#else
#define LARDER_HAS_FUTEX 0
#endif

#if LARDER_HAS_FUTEX
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "larder/internal/nanos.h"
#include "larder/internal/node.h"
#include "larder/internal/perturbation.h"
#include "larder/internal/process_clock.h"

namespace larder::internal {
namespace {

// How long to sleep before looking at a user's clock again, and where the kernel has no futex, at
// anything.
constexpr int64_t kSlice = 1'000'000;

#if LARDER_HAS_FUTEX

// Sleeps until `word` may not be `expected` any more, or CLOCK_MONOTONIC is at `deadline` (>= 0).
void Sleep(std::atomic<uint32_t>& word, uint32_t expected, int64_t deadline) {
  const timespec time = {.tv_sec = deadline / 1'000'000'000, .tv_nsec = deadline % 1'000'000'000};
  // This one of the futex's waits takes a point in time rather than a duration.
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected,
          deadline == kNever ? nullptr : &time, nullptr, FUTEX_BITSET_MATCH_ANY);
}

// Looks at nothing but the address: should the word be gone, the call does nothing, or wakes a
// thread that sleeps on what came there after it, and looks again why it woke.
void WakeAll(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, std::numeric_limits<int>::max(), nullptr, nullptr,
          0);
}

#else

void Sleep(std::atomic<uint32_t>&, uint32_t, int64_t deadline) {
  const int64_t nanos = std::min(deadline - ProcessClock::NowNanos(), kSlice);
  const timespec nap = {.tv_sec = 0, .tv_nsec = std::max<int64_t>(nanos, 0)};
  nanosleep(&nap, nullptr);
}

void WakeAll(std::atomic<uint32_t>*) {}

#endif

}  // namespace

void Event::Set() {
  Perturb();
  // Awaited events alone need a call of the kernel.
  if (state_.exchange(kSet, std::memory_order_release) == kAwaited) WakeAll(&state_);
  Perturb();
}

void Event::Wait() const { SleepUntil(kNever); }

bool Event::WaitUntil(int64_t deadline, const Clock* clock) const {
  if (IsSet()) return true;
  if (clock == nullptr || clock == &Clock::Monotonic() || deadline == kNever)
    return SleepUntil(deadline);
  while (clock->NowNanos() < deadline) {
    if (SleepUntil(SaturatingAdd(ProcessClock::NowNanos(), kSlice))) return true;
  }
  return IsSet();
}

// Until it is set, or CLOCK_MONOTONIC is at `deadline`. Returns whether it is set.
bool Event::SleepUntil(int64_t deadline) const {
  uint32_t state = state_.load(std::memory_order_acquire);
  while (state != kSet) {
    if (deadline != kNever && ProcessClock::NowNanos() >= deadline) return IsSet();
    if (state == kNotSet &&
        !state_.compare_exchange_weak(state, kAwaited, std::memory_order_acquire)) {
      continue;
    }
    Sleep(state_, kAwaited, deadline);
    state = state_.load(std::memory_order_acquire);
  }
  return true;
}

}  // namespace larder::internal
