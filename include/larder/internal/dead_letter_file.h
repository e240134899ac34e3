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

// Appends to a file PATH.1, or the first of PATH.2, PATH.3, ... that isn't there yet. It is made
// with the first record; after an error the next record begins another one.
//
// Thread safety: all methods may be called from any thread. One thread at a time waits for the
// disk, others for it.
class DeadLetterFile {
 public:
  // `schema`: what payloads mean. `files` must outlive this.
  DeadLetterFile(std::string path, std::string schema, FileSystem& files);

  // OK: the record survives the end of the system. Else those of the file system: it may have been
  // written.
  absl::Status Append(const DeadLetterRecord& record);

 private:
  struct Output {
    std::unique_ptr<AppendFile> file;
    RecordWriter writer;
  };

  absl::StatusOr<Output> Create() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(const DeadLetterRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const std::string schema_;
  FileSystem& files_;

  Mutex mutex_;
  uint64_t number_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last file that was there or was made
  std::optional<Output> output_ ABSL_GUARDED_BY(mutex_);
};

// All records of such a file. DataLoss where bytes in it are damaged, naming how many, but not for
// a last record that wasn't finished; FailedPrecondition where its schema is another one.
absl::StatusOr<std::vector<DeadLetterRecord>> ReadDeadLetterFile(const std::string& path,
                                                                 std::string_view schema,
                                                                 FileSystem& files);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_DEAD_LETTER_FILE_H_
