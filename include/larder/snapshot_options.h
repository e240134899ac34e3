// SPDX-License-Identifier: Apache-2.0
//
// SnapshotOptions, SnapshotInfo: what saving and loading a snapshot is told, and what it tells.

#ifndef LARDER_SNAPSHOT_OPTIONS_H_
#define LARDER_SNAPSHOT_OPTIONS_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"

namespace larder {

class FileSystem;

struct SnapshotOptions {
  FileSystem* file_system = nullptr;  // nullptr: FileSystem::Default()

  // Wall-clock time, by which a time to live goes on between saving and loading: the one clock that
  // two processes share. Empty: absl::Now.
  std::function<absl::Time()> now = nullptr;
};

// Of a snapshot that was saved or loaded.
struct SnapshotInfo {
  absl::Time saved_at = absl::InfinitePast();  // on the wall clock of who saved it
  uint64_t bytes = 0;                          // the file's length
  uint64_t entries = 0;                        // that were written; that are now in the cache

  // Of those in the file that weren't loaded:
  uint64_t expired = 0;  // their time ran out since they were saved
  uint64_t present = 0;  // the cache had something for their keys already
  uint64_t no_room = 0;  // the cache had no room for them; the least recently used ones
  uint64_t refused = 0;  // by who loaded the snapshot
};

}  // namespace larder

#endif  // LARDER_SNAPSHOT_OPTIONS_H_
