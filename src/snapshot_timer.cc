// SPDX-License-Identifier: Apache-2.0

#include "larder/snapshot_timer.h"

#include <exception>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "larder/internal/maintenance_thread.h"

namespace larder {
namespace {

absl::StatusOr<SnapshotInfo> SaveQuietly(const SnapshotTimer::Save& save) {
  try {
    return save();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("saving a snapshot threw: ", e.what()));
  } catch (...) {
    return absl::InternalError("saving a snapshot threw");
  }
}

}  // namespace

SnapshotTimer::SnapshotTimer(absl::Duration interval, Save save, Told told)
    : save_(std::move(save)),
      told_(std::move(told)),
      last_(absl::UnavailableError("no snapshot was saved yet")) {
  if (interval == absl::InfiniteDuration()) return;
  if (interval <= absl::ZeroDuration()) {
    const internal::MutexLock lock(&mutex_);
    last_ = absl::InvalidArgumentError(
        absl::StrCat("interval must be positive, is ", absl::FormatDuration(interval)));
    return;
  }
  try {
    thread_ = std::make_unique<internal::MaintenanceThread>(
        interval, [this] { static_cast<void>(SaveNow()); });
  } catch (const std::system_error& e) {
    const internal::MutexLock lock(&mutex_);
    last_ = absl::ResourceExhaustedError(absl::StrCat("no thread to save snapshots: ", e.what()));
  }
}

SnapshotTimer::~SnapshotTimer() = default;

absl::StatusOr<SnapshotInfo> SnapshotTimer::SaveNow() {
  {
    const internal::MutexLock lock(&mutex_);
    while (saving_) saved_.Wait(&mutex_);
    saving_ = true;
  }
  absl::StatusOr<SnapshotInfo> result = SaveQuietly(save_);
  {
    const internal::MutexLock lock(&mutex_);
    last_ = result;
    ++(result.ok() ? counts_.saved : counts_.failed);
    saving_ = false;
  }
  saved_.NotifyOne();
  if (told_) told_(result);
  return result;
}

absl::StatusOr<SnapshotInfo> SnapshotTimer::LastSave() const {
  const internal::MutexLock lock(&mutex_);
  return last_;
}

SnapshotTimer::Counts SnapshotTimer::counts() const {
  const internal::MutexLock lock(&mutex_);
  return counts_;
}

}  // namespace larder
