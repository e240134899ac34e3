// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/load_control.h"

#include <utility>

namespace larder::internal {

LoadControl::LoadControl(const CacheOptions& options)
    : clock_(options.clock),
      executor_(options.executor),
      limiter_(options.max_concurrent_loads == 0
                   ? nullptr
                   : std::make_unique<LoadLimiter>(options.max_concurrent_loads,
                                                   static_cast<size_t>(options.max_queued_loads))),
      breaker_(options.circuit_breaker) {}

Executor& LoadControl::executor() const {
  return executor_ != nullptr ? *executor_ : Executor::Default();
}

std::shared_ptr<Alarms> LoadControl::alarms() {
  MutexLock lock(&mutex_);
  if (alarms_ == nullptr && !closing()) {
    alarms_ = std::make_shared<Alarms>(clock_);
    has_alarms_.store(true, std::memory_order_relaxed);
  }
  return alarms_;
}

size_t LoadControl::RunAlarms(size_t budget) {
  if (!has_alarms_.load(std::memory_order_relaxed)) return 0;
  const std::shared_ptr<Alarms> alarms = this->alarms();
  return alarms == nullptr ? 0 : alarms->RunDue(budget);
}

void LoadControl::BeginClosing() {
  MutexLock lock(&mutex_);
  closing_.store(true, std::memory_order_release);
}

void LoadControl::WaitForLoaders() {
  MutexLock lock(&mutex_);
  while (running_ > 0) changed_.Wait(&mutex_);
}

void LoadControl::Close() {
  std::shared_ptr<Alarms> alarms;
  {
    MutexLock lock(&mutex_);
    alarms.swap(alarms_);
  }
  alarms.reset();
  MutexLock lock(&mutex_);
  while (present_ > 0) changed_.Wait(&mutex_);
  closed_ = true;
}

bool LoadControl::Enter() {
  MutexLock lock(&mutex_);
  if (closed_) return false;
  ++present_;
  return true;
}

void LoadControl::Leave() {
  MutexLock lock(&mutex_);
  if (--present_ == 0) changed_.NotifyAll();
}

void LoadControl::ChangeRunning(int change) {
  MutexLock lock(&mutex_);
  running_ += change;
  if (running_ == 0) changed_.NotifyAll();
}

}  // namespace larder::internal
