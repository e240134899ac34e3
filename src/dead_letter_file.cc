// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/dead_letter_file.h"

#include <utility>

#include "larder/internal/bytes.h"
#include "larder/internal/random_bits.h"
#include "src/paths.h"
#include "src/text.h"

namespace larder::internal {
namespace {

constexpr uint32_t kVersion = 1;

std::string Encoded(const DeadLetterRecord& record) {
  std::string bytes;
  AppendFixed(record.id.writer, &bytes);
  AppendVarint(record.id.sequence, &bytes);
  AppendVarint(static_cast<uint64_t>(record.attempts), &bytes);
  AppendVarint(static_cast<uint64_t>(record.reason.raw_code()), &bytes);
  AppendString(std::string_view(record.reason.message().data(), record.reason.message().size()),
               &bytes);
  bytes.append(record.payload);
  return bytes;
}

std::optional<DeadLetterRecord> Decoded(std::string_view bytes) {
  ByteReader reader(bytes);
  DeadLetterRecord record;
  record.id.writer = reader.Fixed<uint64_t>();
  record.id.sequence = reader.Varint();
  record.attempts = static_cast<int>(reader.Varint());
  const auto code = static_cast<absl::StatusCode>(reader.Varint());
  const std::string_view message = reader.String();
  if (!reader.ok()) return std::nullopt;
  record.reason = absl::Status(code, absl::string_view(message.data(), message.size()));
  record.payload = reader.rest();
  return record;
}

}  // namespace

DeadLetterFile::DeadLetterFile(std::string path, std::string schema, FileSystem& files)
    : path_(std::move(path)), schema_(std::move(schema)), files_(files) {}

absl::StatusOr<DeadLetterFile::Output> DeadLetterFile::Create() {
  for (;;) {
    const std::string path = Concat(path_, ".", ++number_);
    absl::StatusOr<std::unique_ptr<AppendFile>> file = files_.Create(path);
    if (absl::IsAlreadyExists(file.status())) continue;
    if (!file.ok()) {
      --number_;
      return file.status();
    }
    Output output{.file = *std::move(file),
                  .writer = RecordWriter(RecordFileKind::kDeadLetters, kVersion, RandomBits())};
    std::string bytes = output.writer.Header();
    output.writer.Add(schema_, &bytes);
    if (absl::Status status = output.file->Append(bytes); !status.ok()) return status;
    if (absl::Status status = files_.SyncDirectory(DirectoryOf(path)); !status.ok()) return status;
    return output;
  }
}

absl::Status DeadLetterFile::Append(const DeadLetterRecord& record) {
  MutexLock lock(&mutex_);
  absl::Status status = Write(record);
  // Nobody knows what of it is there.
  if (!status.ok()) output_.reset();
  return status;
}

absl::Status DeadLetterFile::Write(const DeadLetterRecord& record) {
  if (!output_.has_value()) {
    absl::StatusOr<Output> output = Create();
    if (!output.ok()) return output.status();
    output_.emplace(*std::move(output));
  }
  std::string bytes;
  output_->writer.Add(Encoded(record), &bytes);
  if (absl::Status status = output_->file->Append(bytes); !status.ok()) return status;
  return output_->file->Sync();
}

absl::StatusOr<std::vector<DeadLetterRecord>> ReadDeadLetterFile(const std::string& path,
                                                                 std::string_view schema,
                                                                 FileSystem& files) {
  absl::StatusOr<std::string> bytes = files.Read(path);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<RecordReader> reader =
      RecordReader::Open(RecordFileKind::kDeadLetters, kVersion, *bytes);
  if (!reader.ok()) {
    return absl::Status(reader.status().code(), Concat(path, ": ", reader.status().message()));
  }
  const std::optional<std::string_view> written_schema = reader->Next();
  if (!written_schema.has_value()) {
    return absl::DataLossError(Concat(path, ": does not say what it holds"));
  }
  if (*written_schema != schema) {
    return absl::FailedPreconditionError(
        Concat(path, ": holds \"", *written_schema, "\", not \"", schema, "\""));
  }
  std::vector<DeadLetterRecord> records;
  while (const std::optional<std::string_view> next = reader->Next()) {
    std::optional<DeadLetterRecord> record = Decoded(*next);
    if (!record.has_value()) {
      return absl::DataLossError(Concat(path, ": a record is no dead letter"));
    }
    records.push_back(*std::move(record));
  }
  if (reader->damaged_bytes() > 0) {
    return absl::DataLossError(
        Concat(path, ": ", reader->damaged_bytes(), " bytes are damaged, of ", bytes->size()));
  }
  return records;
}

}  // namespace larder::internal
