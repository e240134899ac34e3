// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/maintenance_thread.h"

#include <chrono>
#include <utility>

namespace larder::internal {

MaintenanceThread::MaintenanceThread(absl::Duration interval, std::function<void()> work)
    : interval_(interval), work_(std::move(work)), thread_([this] { Run(); }) {}

MaintenanceThread::~MaintenanceThread() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  stop_changed_.NotifyAll();
  thread_.join();
}

void MaintenanceThread::Run() {
  for (;;) {
    {
      MutexLock lock(&mutex_);
      const auto start = std::chrono::steady_clock::now();
      while (!stop_) {
        const absl::Duration passed = absl::FromChrono(std::chrono::steady_clock::now() - start);
        if (passed >= interval_) break;
        stop_changed_.WaitFor(&mutex_, interval_ - passed);
      }
      if (stop_) return;
    }
    work_();
  }
}

}  // namespace larder::internal
