// SPDX-License-Identifier: Apache-2.0
//
// LoadControl: whether a load may run, where, and until when.

#ifndef LARDER_INTERNAL_LOAD_CONTROL_H_
#define LARDER_INTERNAL_LOAD_CONTROL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "larder/circuit_state.h"
#include "larder/clock.h"
#include "larder/executor.h"
#include "larder/internal/alarms.h"
#include "larder/internal/circuit_breaker.h"
#include "larder/internal/load_limiter.h"
#include "larder/internal/mutex.h"
#include "larder/options.h"

namespace larder::internal {

// What the loads of one cache share, and its end: after that no load touches the cache.
//
// Thread safety: all methods may be called from any thread.
class LoadControl {
 public:
  explicit LoadControl(const CacheOptions& options);
  LoadControl(const LoadControl&) = delete;
  LoadControl& operator=(const LoadControl&) = delete;

  Executor& executor() const;
  // nullptr: no limit.
  LoadLimiter* limiter() const { return limiter_.get(); }
  CircuitBreaker& breaker() { return breaker_; }
  const CircuitBreaker& breaker() const { return breaker_; }

  // Made when first asked for. nullptr once the cache is being closed.
  std::shared_ptr<Alarms> alarms();
  // Runs alarms that are due on the caller's thread; see Alarms::RunDue.
  size_t RunAlarms(size_t budget);

  // Held by whoever works on the cache for a load without a caller that the cache's end waits for.
  // Empty once the cache has ended.
  class Presence {
   public:
    explicit Presence(LoadControl& control) : control_(control.Enter() ? &control : nullptr) {}
    ~Presence() {
      if (control_ != nullptr) control_->Leave();
    }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;
    explicit operator bool() const { return control_ != nullptr; }

   private:
    LoadControl* const control_;
  };

  // Held while a loader runs that isn't called by a caller's thread.
  class Running {
   public:
    explicit Running(LoadControl& control) : control_(control) { control.ChangeRunning(1); }
    ~Running() { control_.ChangeRunning(-1); }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    LoadControl& control_;
  };

  // --- The end, in this order.

  // No alarm is set from now on.
  void BeginClosing();
  bool closing() const { return closing_.load(std::memory_order_acquire); }
  void WaitForLoaders();
  // Ends the alarms, then waits until nobody is present, and lets nobody in from then on.
  void Close();

 private:
  bool Enter();
  void Leave();
  void ChangeRunning(int change);

  const Clock* const clock_;
  Executor* const executor_;
  const std::unique_ptr<LoadLimiter> limiter_;
  CircuitBreaker breaker_;
  std::atomic<bool> closing_{false};
  std::atomic<bool> has_alarms_{false};

  mutable Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<Alarms> alarms_ ABSL_GUARDED_BY(mutex_);
  int present_ ABSL_GUARDED_BY(mutex_) = 0;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOAD_CONTROL_H_
