// SPDX-License-Identifier: Apache-2.0
//
// TieredSnapshots: with what a cache that has a store begins, and what it leaves to the next one.

#ifndef LARDER_INTERNAL_TIERED_SNAPSHOTS_H_
#define LARDER_INTERNAL_TIERED_SNAPSHOTS_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "larder/codec.h"
#include "larder/internal/snapshot_io.h"
#include "larder/snapshot.h"
#include "larder/snapshot_options.h"
#include "larder/snapshot_timer.h"
#include "larder/tiered_stats.h"

namespace larder::internal {

// As in TieredCache::Options.
struct TieredSnapshotSettings {
  std::string path;  // empty: there are none
  absl::Duration interval;
  absl::Duration max_age;
  SnapshotOptions options;
};

// Thread safety: all methods may be called from any thread, Start before all others.
template <class K, class V, class Memory>
class TieredSnapshots {
 public:
  using Settings = TieredSnapshotSettings;

  explicit TieredSnapshots(Settings settings) : settings_(std::move(settings)) {}

  // InvalidArgument names the option and its value.
  static absl::Status Check(const Settings& settings) {
    if (!kCodable && !settings.path.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "snapshot_path is ", settings.path, ": a snapshot needs a Codec of keys and of values"));
    }
    absl::Status status = CheckPositive("snapshot_interval", settings.interval);
    status.Update(CheckPositive("snapshot_max_age", settings.max_age));
    return status;
  }

  // Loads the snapshot that there is, and removes it, since it is out of date from now on; then
  // saves one every so often. Of keys for which `is_stored` is false neither knows anything.
  // `memory` must outlive this.
  void Start(Memory& memory, std::function<bool(const K&)> is_stored) {
    if constexpr (kCodable) {
      if (settings_.path.empty()) return;
      loaded_ = Load(memory, is_stored);
      timer_ = std::make_unique<SnapshotTimer>(
          settings_.interval, [&memory, path = settings_.path, options = settings_.options,
                               is_stored = std::move(is_stored)] {
            return memory.SaveSnapshot(path, options, is_stored);
          });
    }
  }

  // What became of the one that Start was to load.
  const absl::StatusOr<SnapshotInfo>& loaded() const { return loaded_; }

  // FailedPrecondition where there are to be none.
  absl::StatusOr<SnapshotInfo> Save() { return timer_ == nullptr ? None() : timer_->SaveNow(); }
  // The same, where it is OK that there are none.
  absl::Status SaveLast() {
    return timer_ == nullptr ? absl::OkStatus() : timer_->SaveNow().status();
  }

  void AddTo(TieredStats& stats) const {
    if (timer_ == nullptr) return;
    stats.snapshots = timer_->counts();
    if (stats.snapshots.saved + stats.snapshots.failed > 0) {
      stats.last_snapshot = timer_->LastSave().status();
    }
  }

 private:
  static constexpr bool kCodable = Codable<K> && Codable<V>;

  static absl::Status None() { return absl::FailedPreconditionError("no snapshot_path is set"); }

  static absl::Status CheckPositive(const char* field, absl::Duration value) {
    if (value > absl::ZeroDuration()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be positive, is ", absl::FormatDuration(value)));
  }

  absl::StatusOr<SnapshotInfo> Load(Memory& memory,
                                    const std::function<bool(const K&)>& is_stored) {
    const std::string& path = settings_.path;
    const SnapshotOptions& options = settings_.options;
    absl::StatusOr<SnapshotInfo> loaded = memory.LoadSnapshot(path, options, is_stored);
    if (!loaded.ok()) return loaded;
    const absl::Duration age = (options.now ? options.now() : absl::Now()) - loaded->saved_at;
    absl::Status status;
    if (age > settings_.max_age) {
      status = absl::FailedPreconditionError(
          absl::StrCat(path, ": was saved ", absl::FormatDuration(age), " ago"));
    }
    status.Update(RemoveSnapshot(path, options));
    if (status.ok()) return loaded;
    memory.Clear();
    return status;
  }

  const Settings settings_;
  absl::StatusOr<SnapshotInfo> loaded_ = None();
  std::unique_ptr<SnapshotTimer> timer_;  // nullptr where there are to be none
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_TIERED_SNAPSHOTS_H_
