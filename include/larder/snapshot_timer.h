// SPDX-License-Identifier: Apache-2.0
//
// SnapshotTimer: saves a snapshot again and again.

#ifndef LARDER_SNAPSHOT_TIMER_H_
#define LARDER_SNAPSHOT_TIMER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"
#include "larder/snapshot_options.h"

namespace larder {

namespace internal {
class MaintenanceThread;
}

// Calls `save` every `interval` on a thread of its own, the first time after one interval, until it
// is destroyed:
//
//   larder::SnapshotTimer timer(absl::Minutes(5), [&] { return cache->SaveSnapshot(path); });
//
// What a save returns, or throws (Internal), ends neither the timer nor the program: ask for it, or
// have `told` called with it, on the thread that saved; that must not throw.
//
// Thread safety: all methods but the destructor from any thread. Not to be used by a child of a
// fork.
class SnapshotTimer {
 public:
  using Save = std::function<absl::StatusOr<SnapshotInfo>()>;
  using Told = std::function<void(const absl::StatusOr<SnapshotInfo>&)>;

  // An infinite interval: only SaveNow saves. Nothing is saved by itself, either, where the
  // interval isn't positive (LastSave is InvalidArgument) or no thread can be started
  // (ResourceExhausted).
  SnapshotTimer(absl::Duration interval, Save save, Told told = nullptr);

  // Waits for the save that is under way, if there is one. Saves nothing: call SaveNow for that.
  ~SnapshotTimer();
  SnapshotTimer(const SnapshotTimer&) = delete;
  SnapshotTimer& operator=(const SnapshotTimer&) = delete;

  // Saves, on the calling thread, once the save that is under way is over. Returns how it went.
  absl::StatusOr<SnapshotInfo> SaveNow();

  // How the last save went; Unavailable where there was none.
  absl::StatusOr<SnapshotInfo> LastSave() const;

  struct Counts {
    uint64_t saved = 0;
    uint64_t failed = 0;
  };
  Counts counts() const;

 private:
  const Save save_;
  const Told told_;
  mutable internal::Mutex mutex_;
  internal::CondVar saved_;
  bool saving_ ABSL_GUARDED_BY(mutex_) = false;
  absl::StatusOr<SnapshotInfo> last_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<internal::MaintenanceThread> thread_;
};

}  // namespace larder

#endif  // LARDER_SNAPSHOT_TIMER_H_
