// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_MANUAL_EXECUTOR_H_
#define LARDER_TESTS_SUPPORT_MANUAL_EXECUTOR_H_

#include <cstddef>
#include <deque>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "larder/executor.h"
#include "larder/internal/mutex.h"

namespace larder::test {

// Keeps tasks until it is told to run them, on the thread that says so. What is left at its end is
// destroyed without having run.
//
// Thread-safe.
class ManualExecutor final : public Executor {
 public:
  bool Execute(absl::AnyInvocable<void() &&> task) override {
    internal::MutexLock lock(&mutex_);
    if (refuses_) return false;
    tasks_.push_back(std::move(task));
    return true;
  }

  // Whether tasks are refused from now on.
  void Refuse(bool refuses = true) {
    internal::MutexLock lock(&mutex_);
    refuses_ = refuses;
  }

  // Runs the task that came first. False: there is none.
  bool RunOne() {
    absl::AnyInvocable<void() &&> task;
    {
      internal::MutexLock lock(&mutex_);
      if (tasks_.empty()) return false;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    std::move(task)();
    return true;
  }

  // Runs all, what they add included. Returns how many.
  size_t RunAll() {
    size_t ran = 0;
    while (RunOne()) ++ran;
    return ran;
  }

  // Destroys all without running them, as an executor does that ends. Returns how many.
  size_t Drop() {
    std::deque<absl::AnyInvocable<void() &&>> dropped;
    internal::MutexLock lock(&mutex_);
    dropped.swap(tasks_);
    return dropped.size();
  }

  size_t queued() const {
    internal::MutexLock lock(&mutex_);
    return tasks_.size();
  }

 private:
  mutable internal::Mutex mutex_;
  bool refuses_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<absl::AnyInvocable<void() &&>> tasks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_MANUAL_EXECUTOR_H_
