// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/record_io.h"

#include <cassert>

#include "larder/internal/bytes.h"
#include "src/crc32c.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// Bytes are documented in docs/formats.md.
constexpr std::string_view kMagic = "LRDR";
constexpr size_t kKindAt = 4;
constexpr size_t kVersionAt = 8;
constexpr size_t kSaltAt = 12;
constexpr size_t kHeaderCrcAt = 20;

constexpr size_t kLengthCrcAt = 4;  // in a frame
constexpr size_t kRecordCrcAt = 8;

uint32_t LengthCrc(uint64_t salt, uint64_t offset, uint32_t length) {
  char bytes[16];
  StoreFixed(static_cast<uint32_t>(salt), bytes);
  StoreFixed(offset, bytes + 4);
  StoreFixed(length, bytes + 12);
  return ExtendCrc32c(0, {bytes, sizeof(bytes)});
}

uint32_t RecordCrc(uint64_t salt, uint64_t offset, std::string_view record) {
  char bytes[12];
  StoreFixed(static_cast<uint32_t>(salt >> 32), bytes);
  StoreFixed(offset, bytes + 4);
  return ExtendCrc32c(ExtendCrc32c(0, {bytes, sizeof(bytes)}), record);
}

// As it is written: "JRNL", or with a stranger's bytes as "\x00".
std::string KindName(std::string_view characters) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string name;
  for (const char c : characters) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      name += c;
    } else {
      name += Concat("\\x", kHex.substr(byte >> 4, 1), kHex.substr(byte & 15, 1));
    }
  }
  return name;
}

}  // namespace

RecordWriter::RecordWriter(RecordFileKind kind, uint32_t version, uint64_t salt)
    : salt_(salt), size_(kRecordFileHeaderBytes), kind_(kind), version_(version) {}

std::string RecordWriter::Header() const {
  std::string header(kMagic);
  header.resize(kRecordFileHeaderBytes);
  StoreFixed(static_cast<uint32_t>(kind_), header.data() + kKindAt);
  StoreFixed(version_, header.data() + kVersionAt);
  StoreFixed(salt_, header.data() + kSaltAt);
  StoreFixed(ExtendCrc32c(0, std::string_view(header).substr(0, kHeaderCrcAt)),
             header.data() + kHeaderCrcAt);
  return header;
}

void RecordWriter::Add(std::string_view record, std::string* out) {
  assert(record.size() <= kMaxRecordBytes);
  const auto length = static_cast<uint32_t>(record.size());
  char frame[kRecordFrameBytes];
  StoreFixed(length, frame);
  StoreFixed(LengthCrc(salt_, size_, length), frame + kLengthCrcAt);
  StoreFixed(RecordCrc(salt_, size_, record), frame + kRecordCrcAt);
  out->append(frame, sizeof(frame));
  out->append(record);
  size_ += sizeof(frame) + record.size();
}

absl::StatusOr<RecordReader> RecordReader::Open(RecordFileKind kind, uint32_t newest_version,
                                                std::string_view file) {
  if (file.size() < kRecordFileHeaderBytes) {
    return absl::DataLossError(Concat("a file of ", file.size(), " bytes has no whole header"));
  }
  const char* header = file.data();
  if (file.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError("the file doesn't begin as larder's do");
  }
  if (LoadFixed<uint32_t>(header + kHeaderCrcAt) != ExtendCrc32c(0, file.substr(0, kHeaderCrcAt))) {
    return absl::DataLossError("the file's header is damaged");
  }
  char expected[sizeof(uint32_t)];
  StoreFixed(static_cast<uint32_t>(kind), expected);
  const std::string_view expected_kind(expected, sizeof(expected));
  const std::string_view actual_kind = file.substr(kKindAt, sizeof(expected));
  if (actual_kind != expected_kind) {
    return absl::DataLossError(
        Concat("the file is of kind ", KindName(actual_kind), ", not ", KindName(expected_kind)));
  }
  RecordReader reader;
  reader.file_ = file;
  reader.salt_ = LoadFixed<uint64_t>(header + kSaltAt);
  reader.version_ = LoadFixed<uint32_t>(header + kVersionAt);
  if (reader.version_ > newest_version) {
    return absl::UnimplementedError(Concat("the file's format is version ", reader.version_,
                                           "; the newest that is known here is ", newest_version));
  }
  return reader;
}

std::optional<uint32_t> RecordReader::IntactLength(size_t offset) const {
  const char* frame = file_.data() + offset;
  const auto length = LoadFixed<uint32_t>(frame);
  if (length > kMaxRecordBytes || length > file_.size() - offset - kRecordFrameBytes) return {};
  if (LoadFixed<uint32_t>(frame + kLengthCrcAt) != LengthCrc(salt_, offset, length)) return {};
  return length;
}

std::optional<std::string_view> RecordReader::Next() {
  // While it searches, a right length alone proves too little to pass over that many bytes: among
  // 2^32 places there is one by chance.
  bool searching = false;
  while (file_.size() - position_ >= kRecordFrameBytes) {
    const std::optional<uint32_t> length = IntactLength(position_);
    if (!length.has_value()) {
      searching = true;
      ++position_;
      continue;
    }
    const std::string_view record = file_.substr(position_ + kRecordFrameBytes, *length);
    const size_t end = position_ + kRecordFrameBytes + *length;
    if (LoadFixed<uint32_t>(file_.data() + position_ + kRecordCrcAt) ==
        RecordCrc(salt_, position_, record)) {
      damaged_bytes_ += position_ - intact_end_;
      position_ = intact_end_ = end;
      return record;
    }
    position_ = searching ? position_ + 1 : end;
  }
  return std::nullopt;
}

}  // namespace larder::internal
