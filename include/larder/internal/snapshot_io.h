// SPDX-License-Identifier: Apache-2.0
//
// SnapshotSaver, LoadedSnapshot: a snapshot on its way to a file, and from it.

#ifndef LARDER_INTERNAL_SNAPSHOT_IO_H_
#define LARDER_INTERNAL_SNAPSHOT_IO_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/internal/snapshot_file.h"
#include "larder/internal/snapshot_format.h"
#include "larder/snapshot_options.h"

namespace larder::internal {

// Writes a snapshot to its place. Where it isn't finished, it leaves what was there. Errors name
// the file. Not thread-safe; the class is.
class SnapshotSaver {
 public:
  // `head` but for the moment, which is now.
  static absl::StatusOr<SnapshotSaver> Begin(const std::string& path,
                                             const SnapshotOptions& options, SnapshotHead head);

  absl::Status Add(const SnapshotEntry& entry);
  absl::StatusOr<SnapshotInfo> Finish();

 private:
  SnapshotSaver(std::string path, const SnapshotHead& head, uint64_t salt,
                std::unique_ptr<SnapshotFile> file)
      : path_(std::move(path)),
        saved_at_(head.saved_at),
        writer_(head, salt),
        file_(std::move(file)) {}
  absl::Status Write();

  std::string path_;
  int64_t saved_at_;
  SnapshotWriter writer_;
  std::unique_ptr<SnapshotFile> file_;
};

// A whole snapshot in memory.
struct LoadedSnapshot {
  // Errors as SnapshotReader::Open, and FailedPrecondition for other schemas than those wanted, and
  // those of the file system; they name the file.
  static absl::StatusOr<std::unique_ptr<LoadedSnapshot>> Read(const std::string& path,
                                                              const SnapshotOptions& options,
                                                              std::string_view key_schema,
                                                              std::string_view value_schema);

  // What is left of a time that the snapshot says, <= 0: nothing. A wall clock that went backwards
  // prolongs nothing.
  int64_t Left(int64_t nanos) const { return nanos == kNever ? kNever : nanos - elapsed; }

  // `status`, with what it is about.
  absl::Status Annotated(const absl::Status& status) const;

  std::string path;
  std::string bytes;
  SnapshotReader reader;
  int64_t elapsed = 0;  // ns since it was saved; >= 0
};

// "snapshot PATH: message", with the code of `status`.
absl::Status AboutSnapshot(const std::string& path, const absl::Status& status);

// Removes a snapshot, so that it doesn't come back after a crash of the system.
absl::Status RemoveSnapshot(const std::string& path, const SnapshotOptions& options);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SNAPSHOT_IO_H_
