// SPDX-License-Identifier: Apache-2.0
//
// FlightAlarm: the one alarm of something that may end, in another thread, while it is being set.

#ifndef LARDER_INTERNAL_FLIGHT_ALARM_H_
#define LARDER_INTERNAL_FLIGHT_ALARM_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "larder/internal/alarms.h"
#include "larder/internal/load_control.h"

namespace larder::internal {

// Thread safety: Cancel from any thread, also while Set runs; an alarm that was missed by that
// rings for nothing.
class FlightAlarm {
 public:
  // Once. Does nothing where the cache is being closed.
  void Set(LoadControl& control, int64_t deadline, Alarms::Task task) {
    const std::shared_ptr<Alarms> alarms = control.alarms();
    if (alarms == nullptr) return;
    deadline_.store(deadline, std::memory_order_relaxed);
    sequence_.store(alarms->Set(deadline, std::move(task)).sequence, std::memory_order_release);
  }

  void Cancel(LoadControl& control) {
    const uint64_t sequence = sequence_.load(std::memory_order_acquire);
    if (sequence == 0) return;
    const std::shared_ptr<Alarms> alarms = control.alarms();
    if (alarms == nullptr) return;
    alarms->Cancel({.deadline = deadline_.load(std::memory_order_relaxed), .sequence = sequence});
  }

 private:
  std::atomic<int64_t> deadline_{0};
  std::atomic<uint64_t> sequence_{0};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_FLIGHT_ALARM_H_
