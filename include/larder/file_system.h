// SPDX-License-Identifier: Apache-2.0
//
// FileSystem: how larder reads and writes files.

#ifndef LARDER_FILE_SYSTEM_H_
#define LARDER_FILE_SYSTEM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder {

// A file that is written from its beginning to its end. One thread at a time.
class AppendFile {
 public:
  // Closes it, where Close wasn't called; what wasn't synced may be lost in a crash of the system.
  virtual ~AppendFile() = default;

  // Appends all of `bytes`. After an error any part of them may have been appended.
  virtual absl::Status Append(std::string_view bytes) = 0;

  // OK: all that was appended, and the file's length, survive a crash of the system. After an error
  // nobody knows what does, and a later OK says nothing of what was appended before the error.
  virtual absl::Status Sync() = 0;

  // Cuts the file to its first `size` bytes, to which Append then adds. Not synced.
  virtual absl::Status Truncate(uint64_t size) = 0;

  virtual absl::Status Close() = 0;
};

// What a journal, a dead-letter file and snapshots need of files. Replace the default one to keep
// them elsewhere, or to let things go wrong in a test.
//
// Errors name the operation, the path and the reason: NotFound, AlreadyExists, PermissionDenied,
// ResourceExhausted (no space, no quota, no memory, too many open files), FailedPrecondition (not a
// directory, a name that is too long, a read-only file system), else Unavailable for what the
// device or the system failed to do.
//
// Thread safety: all methods may be called from any thread.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // A new, empty file; AlreadyExists if there is one. That it is there survives a crash of the
  // system only once SyncDirectory has returned OK; likewise for Rename and Remove.
  virtual absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path) = 0;

  // All bytes of a file.
  virtual absl::StatusOr<std::string> Read(const std::string& path) = 0;

  // Replaces `to`, if that is there, in one step: whoever looks finds the one or the other.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;

  // Of a file. Those who read it, or have it open, keep it until they are done.
  virtual absl::Status Remove(const std::string& path) = 0;

  // The names of what is in a directory, without "." and "..", in no order.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& directory) = 0;

  // Makes a directory, and those above it, where they aren't there. Once this has returned OK, they
  // survive a crash of the system.
  virtual absl::Status CreateDirectory(const std::string& path) = 0;

  virtual absl::Status SyncDirectory(const std::string& path) = 0;

  // Keeps all others, of this process and of others, from locking the same path until it is
  // destroyed or the process ends, however it does. (A child that was forked meanwhile, and didn't
  // call exec, keeps it locked if it outlives a parent that was killed.)
  class Lock {
   public:
    virtual ~Lock() = default;
  };
  // Creates the file where it isn't there. Doesn't wait: FailedPrecondition where another has it.
  virtual absl::StatusOr<std::unique_ptr<Lock>> LockFile(const std::string& path) = 0;

  // The operating system's. Never destroyed.
  static FileSystem& Default();
};

}  // namespace larder

#endif  // LARDER_FILE_SYSTEM_H_
