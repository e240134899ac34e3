// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/clock_ticker.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <thread>

#include "larder/internal/process_clock.h"

namespace larder::internal {
namespace {

constexpr int64_t kAhead = 1'000'000'000;
constexpr timespec kPeriod = {.tv_sec = 0, .tv_nsec = 50'000'000};

}  // namespace

constinit std::atomic<int64_t> ClockTicker::horizon_{kNone};
constinit std::atomic<bool> ClockTicker::running_{false};
constinit Mutex ClockTicker::mutex_;
constinit int ClockTicker::started_ = 0;

void ClockTicker::Run() {
  for (;;) {
    {
      MutexLock lock(&mutex_);
      if (started_ == 0) {
        horizon_.store(kNone, std::memory_order_relaxed);
        running_.store(false, std::memory_order_relaxed);
        return;
      }
      horizon_.store(ProcessClock::NowNanos() + kAhead, std::memory_order_relaxed);
    }
    nanosleep(&kPeriod, nullptr);
  }
}

// What these lock and unlock no analysis can follow.
void ClockTicker::BeforeFork() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
void ClockTicker::AfterForkInParent() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
void ClockTicker::AfterForkInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  horizon_.store(kNone, std::memory_order_relaxed);
  running_.store(false, std::memory_order_relaxed);
  mutex_.unlock();
}

void ClockTicker::Launch() {
  static const bool watches_forks =
      pthread_atfork(&BeforeFork, &AfterForkInParent, &AfterForkInChild) == 0;
  // A child that inherits a horizon which doesn't move would be worse than none.
  if (!watches_forks) return;
  // The process's signals aren't for this thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread(Run).detach();
    running_.store(true, std::memory_order_relaxed);
  } catch (...) {
    // No thread, or no memory for one: without a horizon, clocks are read.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ClockTicker::KeepUp(int64_t now) {
  int64_t seen = horizon_.load(std::memory_order_relaxed);
  // Not where it was taken away, or is at this moment.
  if (seen == kNone || now < seen - kAhead / 2) return;
  horizon_.compare_exchange_strong(seen, now + kAhead, std::memory_order_relaxed);
}

void ClockTicker::Start() {
  MutexLock lock(&mutex_);
  if (!counted_) {
    counted_ = true;
    ++started_;
  }
  if (!running_.load(std::memory_order_relaxed)) Launch();
}

ClockTicker::~ClockTicker() {
  MutexLock lock(&mutex_);
  if (counted_) --started_;
}

}  // namespace larder::internal
