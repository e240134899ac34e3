// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/dead_letter_file.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"

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

// Of the files that are there, ascending.
absl::StatusOr<std::vector<uint64_t>> Numbers(const std::string& path, FileSystem& files) {
  const absl::StatusOr<std::vector<std::string>> names = files.List(DirectoryOf(path));
  if (!names.ok()) return names.status();
  const std::string start = path.substr(path.rfind('/') + 1) + ".";
  std::vector<uint64_t> numbers;
  for (const std::string& name : *names) {
    uint64_t number = 0;
    if (name.starts_with(start) && absl::SimpleAtoi(name.substr(start.size()), &number)) {
      numbers.push_back(number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// Appends to `records` those of one file.
absl::Status ReadFile(const std::string& path, std::string_view schema, FileSystem& files,
                      std::vector<DeadLetterRecord>* records, uint64_t* damaged_bytes) {
  const absl::StatusOr<std::string> bytes = files.Read(path);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<RecordReader> reader =
      RecordReader::Open(RecordFileKind::kDeadLetters, kVersion, *bytes);
  if (absl::IsDataLoss(reader.status())) *damaged_bytes += bytes->size();
  if (!reader.ok()) {
    return absl::IsDataLoss(reader.status()) ? absl::OkStatus() : reader.status();
  }
  const std::optional<std::string_view> written_schema = reader->Next();
  // Without the schema nobody knows what the other records mean.
  if (!written_schema.has_value() || reader->damaged_bytes() > 0) {
    *damaged_bytes += bytes->size() - kRecordFileHeaderBytes;
    return absl::OkStatus();
  }
  if (*written_schema != schema) {
    return absl::FailedPreconditionError(
        Concat("holds \"", *written_schema, "\", not \"", schema, "\""));
  }
  while (const std::optional<std::string_view> next = reader->Next()) {
    std::optional<DeadLetterRecord> record = Decoded(*next);
    if (record.has_value()) {
      records->push_back(*std::move(record));
    } else {
      *damaged_bytes += next->size();
    }
  }
  *damaged_bytes += reader->damaged_bytes() + reader->torn_bytes();
  return absl::OkStatus();
}

}  // namespace

DeadLetterFile::DeadLetterFile(std::string path, std::string schema, FileSystem& files)
    : path_(std::move(path)), schema_(std::move(schema)), files_(files) {}

absl::Status DeadLetterFile::Open() {
  MutexLock lock(&mutex_);
  const absl::StatusOr<std::vector<uint64_t>> numbers = Numbers(path_, files_);
  if (!numbers.ok()) return numbers.status();
  if (!numbers->empty()) number_ = numbers->back();
  absl::Status status = Create();
  Drop();
  return status;
}

std::string DeadLetterFile::NumberedPath() const { return Concat(path_, ".", number_); }

absl::Status DeadLetterFile::Create() {
  absl::StatusOr<std::unique_ptr<AppendFile>> file;
  do {
    ++number_;
    file = files_.Create(NumberedPath());
  } while (absl::IsAlreadyExists(file.status()));
  if (!file.ok()) {
    --number_;
    return file.status();
  }
  output_.emplace(
      Output{.file = *std::move(file),
             .writer = RecordWriter(RecordFileKind::kDeadLetters, kVersion, RandomBits())});
  std::string bytes = output_->writer.Header();
  output_->writer.Add(schema_, &bytes);
  if (absl::Status status = output_->file->Append(bytes); !status.ok()) return status;
  return files_.SyncDirectory(DirectoryOf(path_));
}

// Nobody knows what is in the file after an error.
void DeadLetterFile::Drop() {
  if (!output_.has_value()) return;
  const bool is_empty = !output_->has_records;
  output_.reset();
  if (is_empty && files_.Remove(NumberedPath()).ok()) --number_;
}

absl::Status DeadLetterFile::Append(const DeadLetterRecord& record) {
  MutexLock lock(&mutex_);
  absl::Status status = Write(record);
  if (!status.ok()) Drop();
  return status;
}

absl::Status DeadLetterFile::Write(const DeadLetterRecord& record) {
  if (!output_.has_value()) {
    if (absl::Status status = Create(); !status.ok()) return status;
  }
  const std::string encoded = Encoded(record);
  if (encoded.size() > kMaxRecordBytes) {
    return absl::InvalidArgumentError(
        Concat("a dead letter of ", encoded.size(), " bytes is more than a file takes"));
  }
  std::string bytes;
  output_->writer.Add(encoded, &bytes);
  output_->is_synced = false;
  if (absl::Status status = output_->file->Append(bytes); !status.ok()) return status;
  output_->has_records = true;
  return absl::OkStatus();
}

absl::Status DeadLetterFile::Sync() {
  MutexLock lock(&mutex_);
  if (!output_.has_value() || output_->is_synced) return absl::OkStatus();
  absl::Status status = output_->file->Sync();
  output_->is_synced = true;
  if (!status.ok()) Drop();
  return status;
}

absl::StatusOr<std::vector<DeadLetterRecord>> ReadDeadLetterFiles(const std::string& path,
                                                                  std::string_view schema,
                                                                  FileSystem& files,
                                                                  uint64_t* damaged_bytes) {
  const absl::StatusOr<std::vector<uint64_t>> numbers = Numbers(path, files);
  if (!numbers.ok()) return numbers.status();
  std::vector<DeadLetterRecord> records;
  for (uint64_t number : *numbers) {
    const std::string file = Concat(path, ".", number);
    if (absl::Status status = ReadFile(file, schema, files, &records, damaged_bytes);
        !status.ok()) {
      return absl::Status(status.code(), Concat(file, ": ", status.message()));
    }
  }
  return records;
}

}  // namespace larder::internal
