// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/snapshot_io.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "larder/file_system.h"
#include "larder/internal/random_bits.h"
#include "src/paths.h"

namespace larder::internal {
namespace {

constexpr size_t kWriteBytes = size_t{1} << 20;

FileSystem& FilesOf(const SnapshotOptions& options) {
  return options.file_system != nullptr ? *options.file_system : FileSystem::Default();
}

int64_t NowOf(const SnapshotOptions& options) {
  return absl::ToUnixNanos(options.now ? options.now() : absl::Now());
}

absl::Status OtherSchema(const char* what, std::string_view found, std::string_view wanted) {
  return absl::FailedPreconditionError(absl::StrCat("the snapshot's ", what, " are '",
                                                    std::string(found), "', the cache's '",
                                                    std::string(wanted), "'"));
}

}  // namespace

absl::Status AboutSnapshot(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("snapshot ", path, ": ", status.message()));
}

absl::StatusOr<SnapshotSaver> SnapshotSaver::Begin(const std::string& path,
                                                   const SnapshotOptions& options,
                                                   SnapshotHead head) {
  head.saved_at = NowOf(options);
  absl::StatusOr<std::unique_ptr<SnapshotFile>> file = SnapshotFile::Create(FilesOf(options), path);
  if (!file.ok()) return AboutSnapshot(path, file.status());
  return SnapshotSaver(path, head, RandomBits(), *std::move(file));
}

absl::Status SnapshotSaver::Add(const SnapshotEntry& entry) {
  if (absl::Status status = writer_.Add(entry); !status.ok()) return status;
  return writer_.bytes().size() < kWriteBytes ? absl::OkStatus() : Write();
}

absl::Status SnapshotSaver::Write() {
  absl::Status status = file_->Append(writer_.bytes());
  writer_.bytes().clear();
  return status;
}

absl::StatusOr<SnapshotInfo> SnapshotSaver::Finish() {
  writer_.Finish();
  absl::Status status = Write();
  if (status.ok()) status = file_->Commit();
  if (!status.ok()) return AboutSnapshot(path_, status);
  SnapshotInfo info;
  info.saved_at = absl::FromUnixNanos(saved_at_);
  info.bytes = writer_.size();
  info.entries = writer_.entries();
  return info;
}

absl::StatusOr<std::unique_ptr<LoadedSnapshot>> LoadedSnapshot::Read(
    const std::string& path, const SnapshotOptions& options, std::string_view key_schema,
    std::string_view value_schema) {
  auto snapshot = std::make_unique<LoadedSnapshot>();
  snapshot->path = path;
  absl::StatusOr<std::string> bytes = FilesOf(options).Read(path);
  if (!bytes.ok()) return snapshot->Annotated(bytes.status());
  snapshot->bytes = *std::move(bytes);
  absl::StatusOr<SnapshotReader> reader = SnapshotReader::Open(snapshot->bytes);
  if (!reader.ok()) return snapshot->Annotated(reader.status());
  snapshot->reader = *std::move(reader);
  const SnapshotHead& head = snapshot->reader.head();
  if (head.key_schema != key_schema) {
    return snapshot->Annotated(OtherSchema("keys", head.key_schema, key_schema));
  }
  if (head.value_schema != value_schema) {
    return snapshot->Annotated(OtherSchema("values", head.value_schema, value_schema));
  }
  int64_t elapsed;
  if (__builtin_sub_overflow(NowOf(options), head.saved_at, &elapsed)) {
    elapsed = head.saved_at < 0 ? INT64_MAX : 0;
  }
  snapshot->elapsed = std::max<int64_t>(0, elapsed);
  return snapshot;
}

absl::Status LoadedSnapshot::Annotated(const absl::Status& status) const {
  return AboutSnapshot(path, status);
}

absl::Status RemoveSnapshot(const std::string& path, const SnapshotOptions& options) {
  FileSystem& files = FilesOf(options);
  if (absl::Status status = files.Remove(path); !status.ok()) return status;
  return files.SyncDirectory(DirectoryOf(path));
}

}  // namespace larder::internal
