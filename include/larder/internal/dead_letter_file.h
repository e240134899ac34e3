// SPDX-License-Identifier: Apache-2.0
//
// DeadLetterFile: where writes go that failed for good.

#ifndef LARDER_INTERNAL_DEAD_LETTER_FILE_H_
#define LARDER_INTERNAL_DEAD_LETTER_FILE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/file_system.h"
#include "larder/internal/mutex.h"
#include "larder/internal/record_io.h"
#include "larder/write_id.h"

namespace larder::internal {

// One write that failed for good, its key and value as bytes.
struct DeadLetterRecord {
  WriteId id;
  absl::Status reason;
  int attempts = 0;
  std::string payload;  // as EncodeWrite makes it
};

// Appends to a file PATH.N, with a number above those that are there. It is made with the first
// record; after an error the next record begins another one, and one without a record is removed.
//
// Thread safety: all methods may be called from any thread. One thread at a time waits for the
// disk, others for it.
class DeadLetterFile {
 public:
  // `schema`: what payloads mean. `files` must outlive this.
  DeadLetterFile(std::string path, std::string schema, FileSystem& files);

  // Finds out which files there are, and whether another can be made. The file system's errors. To
  // be called before the others.
  absl::Status Open();

  // Errors: InvalidArgument for a record of more than 1 GiB; those of the file system: the record
  // may have been written.
  absl::Status Append(const DeadLetterRecord& record);

  // OK: all that was appended survives the end of the system.
  absl::Status Sync();

 private:
  struct Output {
    std::unique_ptr<AppendFile> file;
    RecordWriter writer;
    bool has_records = false;
    bool is_synced = false;
  };

  std::string NumberedPath() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Create() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(const DeadLetterRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const std::string schema_;
  FileSystem& files_;

  Mutex mutex_;
  uint64_t number_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last file that is there
  std::optional<Output> output_ ABSL_GUARDED_BY(mutex_);
};

// The records of all files of a DeadLetterFile(path, ...). Adds up in `damaged_bytes` what of them
// isn't intact. FailedPrecondition where the schema of one is another one.
absl::StatusOr<std::vector<DeadLetterRecord>> ReadDeadLetterFiles(const std::string& path,
                                                                  std::string_view schema,
                                                                  FileSystem& files,
                                                                  uint64_t* damaged_bytes);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_DEAD_LETTER_FILE_H_
