// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/snapshot_format.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "larder/internal/bytes.h"

namespace larder::internal {
namespace {

constexpr size_t kBlockBytes = size_t{64} << 10;
constexpr size_t kFewestEntryBytes = 4;  // flags, rank, and two lengths

// The first byte of a record.
enum class RecordType : char { kHead = 1, kEntries = 2, kEnd = 3 };

// Which of an entry's fields there are.
constexpr uint64_t kHasStanding = 1;
constexpr uint64_t kHasTtl = 2;
constexpr uint64_t kHasIdleTtl = 4;
constexpr uint64_t kHasWeight = 8;
constexpr uint64_t kHasTerms = 16;
constexpr uint64_t kAllFlags = 31;

void AppendTime(int64_t nanos, std::string* out) {
  AppendVarint(static_cast<uint64_t>(nanos), out);
}

// What is later than any time is never.
int64_t ReadTime(ByteReader& reader) {
  return static_cast<int64_t>(std::min(reader.Varint(), uint64_t{INT64_MAX}));
}

uint32_t ReadUint32(ByteReader& reader) {
  return static_cast<uint32_t>(std::min(reader.Varint(), uint64_t{UINT32_MAX}));
}

uint64_t FlagsOf(const SnapshotEntry& entry) {
  return (entry.standing != 0 ? kHasStanding : 0) | (entry.ttl_left != kNever ? kHasTtl : 0) |
         (entry.idle_ttl != kNever ? kHasIdleTtl : 0) |
         (entry.weight.has_value() ? kHasWeight : 0) | (entry.terms.has_value() ? kHasTerms : 0);
}

void AppendTerms(const SnapshotTerms& terms, std::string* out) {
  AppendTime(terms.age, out);
  AppendTime(terms.kept_for, out);
  AppendVarint(terms.refresh_in == kNever ? 0 : static_cast<uint64_t>(terms.refresh_in) + 1, out);
  AppendVarint(terms.load_micros, out);
  AppendVarint(terms.tags.size(), out);
  for (const std::string_view tag : terms.tags) AppendString(tag, out);
}

void ReadTerms(ByteReader& reader, SnapshotTerms& terms) {
  terms.age = ReadTime(reader);
  terms.kept_for = ReadTime(reader);
  const int64_t refresh = ReadTime(reader);
  terms.refresh_in = refresh == 0 ? kNever : refresh - 1;
  terms.load_micros = ReadUint32(reader);
  for (uint64_t tags = reader.Varint(); tags > 0 && reader.ok(); --tags) {
    terms.tags.push_back(reader.String());
  }
}

void AppendEntry(const SnapshotEntry& entry, std::string* out) {
  AppendVarint(FlagsOf(entry), out);
  AppendVarint(entry.rank, out);
  if (entry.standing != 0) AppendVarint(entry.standing, out);
  if (entry.ttl_left != kNever) AppendTime(entry.ttl_left, out);
  if (entry.idle_ttl != kNever) {
    AppendTime(entry.idle_ttl, out);
    AppendTime(entry.idle_left, out);
  }
  if (entry.weight.has_value()) AppendVarint(*entry.weight, out);
  if (entry.terms.has_value()) AppendTerms(*entry.terms, out);
  AppendString(entry.key, out);
  AppendString(entry.value, out);
}

// False for what AppendEntry can't have made.
bool ReadEntry(ByteReader& reader, SnapshotEntry* entry) {
  *entry = {};
  const uint64_t flags = reader.Varint();
  entry->rank = reader.Varint();
  if ((flags & kHasStanding) != 0) entry->standing = ReadUint32(reader);
  if ((flags & kHasTtl) != 0) entry->ttl_left = ReadTime(reader);
  if ((flags & kHasIdleTtl) != 0) {
    entry->idle_ttl = ReadTime(reader);
    entry->idle_left = ReadTime(reader);
  }
  if ((flags & kHasWeight) != 0) entry->weight = reader.Varint();
  if ((flags & kHasTerms) != 0) ReadTerms(reader, entry->terms.emplace());
  entry->key = reader.String();
  entry->value = reader.String();
  return reader.ok() && flags <= kAllFlags;
}

absl::Status Damaged(std::string_view what) {
  return absl::DataLossError(absl::StrCat("the snapshot is damaged: ", std::string(what)));
}

}  // namespace

SnapshotWriter::SnapshotWriter(const SnapshotHead& head, uint64_t salt)
    : records_(RecordFileKind::kSnapshot, kSnapshotVersion, salt), bytes_(records_.Header()) {
  std::string record(1, static_cast<char>(RecordType::kHead));
  AppendFixed(static_cast<uint64_t>(head.saved_at), &record);
  AppendString(head.key_schema, &record);
  AppendString(head.value_schema, &record);
  AppendString(head.policy, &record);
  records_.Add(record, &bytes_);
}

absl::Status SnapshotWriter::Add(const SnapshotEntry& entry) {
  constexpr size_t kMost = kMaxRecordBytes / 2;
  if (entry.key.size() > kMost || entry.value.size() > kMost) {
    return absl::ResourceExhaustedError(absl::StrCat("an entry of ", entry.key.size(), " + ",
                                                     entry.value.size(),
                                                     " bytes is too large for a snapshot"));
  }
  if (block_.empty()) block_.push_back(static_cast<char>(RecordType::kEntries));
  const size_t before = block_.size();
  AppendEntry(entry, &block_);
  ++entries_;
  if (block_.size() < kBlockBytes) return absl::OkStatus();
  if (block_.size() > kMaxRecordBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("an entry of ", block_.size() - before, " bytes is too large for a snapshot"));
  }
  EndBlock();
  return absl::OkStatus();
}

void SnapshotWriter::EndBlock() {
  if (block_.empty()) return;
  records_.Add(block_, &bytes_);
  block_.clear();
}

void SnapshotWriter::Finish() {
  EndBlock();
  std::string record(1, static_cast<char>(RecordType::kEnd));
  AppendFixed(entries_, &record);
  records_.Add(record, &bytes_);
}

absl::StatusOr<SnapshotReader> SnapshotReader::Open(std::string_view file) {
  absl::StatusOr<RecordReader> records =
      RecordReader::Open(RecordFileKind::kSnapshot, kSnapshotVersion, file);
  if (!records.ok()) return records.status();
  if (records->version() != kSnapshotVersion) {
    return absl::UnimplementedError(absl::StrCat("snapshot version ", records->version()));
  }
  SnapshotReader reader;
  reader.file_ = file;
  if (absl::Status status = reader.ReadRecords(*records); !status.ok()) return status;
  return reader;
}

absl::Status SnapshotReader::ReadRecords(RecordReader& records) {
  bool headed = false;
  bool ended = false;
  while (std::optional<std::string_view> record = records.Next()) {
    if (record->empty() || ended) return Damaged("a record that is none of a snapshot's");
    const auto type = static_cast<RecordType>(record->front());
    const std::string_view rest = record->substr(1);
    if ((type == RecordType::kHead) == headed) return Damaged("its head isn't its first record");
    if (type == RecordType::kHead) {
      if (absl::Status status = ReadHead(rest); !status.ok()) return status;
      headed = true;
    } else if (type == RecordType::kEntries) {
      blocks_.push_back(rest);
    } else if (type == RecordType::kEnd) {
      ByteReader reader(rest);
      entries_ = reader.Fixed<uint64_t>();
      if (!reader.Finished()) return Damaged("its end");
      ended = true;
    } else {
      return Damaged("a record that is none of a snapshot's");
    }
  }
  if (records.damaged_bytes() + records.torn_bytes() > 0) {
    return Damaged(absl::StrCat(records.damaged_bytes() + records.torn_bytes(), " bytes"));
  }
  if (!ended) return Damaged("its end is missing");
  // Memory for this many is going to be asked for.
  if (entries_ > file_.size() / kFewestEntryBytes) return Damaged("entries are missing");
  return absl::OkStatus();
}

absl::Status SnapshotReader::ReadHead(std::string_view record) {
  ByteReader reader(record);
  head_.saved_at = static_cast<int64_t>(reader.Fixed<uint64_t>());
  head_.key_schema = reader.String();
  head_.value_schema = reader.String();
  head_.policy = reader.String();
  return reader.Finished() ? absl::OkStatus() : Damaged("its head");
}

bool SnapshotReader::Next(SnapshotEntry* entry) {
  while (block_.empty() && next_block_ < blocks_.size()) block_ = blocks_[next_block_++];
  if (block_.empty()) {
    if (entries_read_ != entries_) status_ = Damaged("entries are missing");
    return false;
  }
  position_ = static_cast<uint64_t>(block_.data() - file_.data());
  ByteReader reader(block_);
  if (!ReadEntry(reader, entry)) {
    status_ = Damaged("an entry");
    return false;
  }
  block_ = reader.rest();
  ++entries_read_;
  return true;
}

void SnapshotReader::ReadAt(uint64_t position, SnapshotEntry* entry) const {
  ByteReader reader(file_.substr(position));
  ReadEntry(reader, entry);
}

void SnapshotReader::Prefetch(uint64_t position) const {
  constexpr uint64_t kLine = 64;
  const uint64_t end = std::min<uint64_t>(file_.size(), position + 3 * kLine);
  for (; position < end; position += kLine) __builtin_prefetch(file_.data() + position);
}

}  // namespace larder::internal
