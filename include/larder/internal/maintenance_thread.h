// SPDX-License-Identifier: Apache-2.0
//
// MaintenanceThread: calls something at regular intervals.

#ifndef LARDER_INTERNAL_MAINTENANCE_THREAD_H_
#define LARDER_INTERNAL_MAINTENANCE_THREAD_H_

#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "larder/internal/mutex.h"

namespace larder::internal {

// Runs `work` every `interval` of real time, first after one interval. The destructor waits for a
// call that is running, and stops.
class MaintenanceThread {
 public:
  // Throws std::system_error where no thread can be started.
  MaintenanceThread(absl::Duration interval, std::function<void()> work);
  ~MaintenanceThread();
  MaintenanceThread(const MaintenanceThread&) = delete;
  MaintenanceThread& operator=(const MaintenanceThread&) = delete;

 private:
  void Run();

  const absl::Duration interval_;
  const std::function<void()> work_;
  Mutex mutex_;
  CondVar stop_changed_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_MAINTENANCE_THREAD_H_
