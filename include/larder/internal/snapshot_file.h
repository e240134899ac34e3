// SPDX-License-Identifier: Apache-2.0
//
// SnapshotFile: a file that takes another's place when it is whole, and else leaves no trace.

#ifndef LARDER_INTERNAL_SNAPSHOT_FILE_H_
#define LARDER_INTERNAL_SNAPSHOT_FILE_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/file_system.h"

namespace larder::internal {

// Written beside `path` under a name of its own, "PATH.tmp.NUMBER", and renamed at the end. So
// whoever reads `path`, also after a crash, finds what was there before or all that was written
// here. Several at a time, for one path, don't disturb each other; the last one to be committed
// stays.
//
// Not thread-safe; the class is.
class SnapshotFile {
 public:
  // Removes what saves of the same path left that ended with their process. Those of this process
  // that go on are known; two processes that save to one path may fail for each other.
  static absl::StatusOr<std::unique_ptr<SnapshotFile>> Create(FileSystem& files,
                                                              const std::string& path);

  // Removes the file, where it wasn't committed.
  ~SnapshotFile();
  SnapshotFile(const SnapshotFile&) = delete;
  SnapshotFile& operator=(const SnapshotFile&) = delete;

  absl::Status Append(std::string_view bytes) { return file_->Append(bytes); }

  // Makes what was appended survive a crash of the system, and puts it in the place of `path`. On
  // error that is as it was; or, where it was replaced and only the directory couldn't be synced,
  // new.
  absl::Status Commit();

 private:
  SnapshotFile(FileSystem& files, const std::string& path) : files_(files), path_(path) {}
  absl::Status CreateTemporary();
  void RemoveLeftovers();

  FileSystem& files_;
  const std::string path_;
  std::string temporary_;  // empty: there is none any more
  std::unique_ptr<AppendFile> file_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SNAPSHOT_FILE_H_
