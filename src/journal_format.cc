// SPDX-License-Identifier: Apache-2.0
#include "src/journal_format.h"

#include <cassert>
#include <utility>

#include "src/little_endian.h"

namespace larder::internal {
namespace {

enum Kind : char { kStart = 1, kWrite = 2, kAcknowledged = 3, kLive = 4 };

constexpr size_t kStartBytes = 34;         // before the schema
constexpr size_t kAcknowledgedBytes = 17;  // before the sequences
constexpr size_t kNameDigits = 16;
constexpr std::string_view kNameEnd = ".journal";

void AppendNumber(uint64_t number, std::string* out) {
  char bytes[sizeof(number)];
  StoreLittleEndian(number, bytes);
  out->append(bytes, sizeof(bytes));
}

void AppendVarint(uint64_t number, std::string* out) {
  for (; number >= 0x80; number >>= 7) out->push_back(static_cast<char>(number | 0x80));
  out->push_back(static_cast<char>(number));
}

// Takes a varint of at most 63 bits off the front of `in`.
std::optional<uint64_t> TakeVarint(std::string_view* in) {
  uint64_t number = 0;
  for (size_t i = 0; i < in->size() && i < 9; ++i) {
    const auto byte = static_cast<uint8_t>((*in)[i]);
    number |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      in->remove_prefix(i + 1);
      return number;
    }
  }
  return std::nullopt;
}

void AppendSequences(absl::Span<const uint64_t> sequences, std::string* out) {
  uint64_t before = 0;
  for (const uint64_t sequence : sequences) {
    assert(sequence > before && sequence <= kMaxSequence);
    AppendVarint(sequence - before, out);
    before = sequence;
  }
}

std::optional<std::vector<uint64_t>> DecodeSequences(std::string_view in) {
  std::vector<uint64_t> sequences;
  uint64_t before = 0;
  while (!in.empty()) {
    const std::optional<uint64_t> difference = TakeVarint(&in);
    if (!difference.has_value() || *difference == 0 || *difference > kMaxSequence - before) {
      return std::nullopt;
    }
    before += *difference;
    sequences.push_back(before);
  }
  return sequences;
}

std::optional<JournalRecord> DecodeStart(std::string_view record) {
  if (record.size() < kStartBytes) return std::nullopt;
  JournalStartRecord start;
  start.writer = LoadLittleEndian<uint64_t>(record.data() + 1);
  start.next_sequence = LoadLittleEndian<uint64_t>(record.data() + 9);
  start.previous = LoadLittleEndian<uint64_t>(record.data() + 17);
  start.acknowledgements = LoadLittleEndian<uint64_t>(record.data() + 25);
  start.has_live = record[33] != 0;
  start.schema = record.substr(kStartBytes);
  if (start.next_sequence == 0 || start.next_sequence > kMaxSequence) return std::nullopt;
  return start;
}

std::optional<JournalRecord> DecodeWrite(std::string_view record) {
  if (record.size() < kJournalWriteBytes) return std::nullopt;
  JournalWriteRecord write;
  write.sequence = LoadLittleEndian<uint64_t>(record.data() + 1);
  write.payload = record.substr(kJournalWriteBytes);
  if (write.sequence == 0 || write.sequence > kMaxSequence) return std::nullopt;
  return write;
}

std::optional<JournalRecord> DecodeAcknowledged(std::string_view record) {
  if (record.size() < kAcknowledgedBytes) return std::nullopt;
  std::optional<std::vector<uint64_t>> sequences =
      DecodeSequences(record.substr(kAcknowledgedBytes));
  if (!sequences.has_value()) return std::nullopt;
  const auto last_sequence = LoadLittleEndian<uint64_t>(record.data() + 9);
  if (last_sequence > kMaxSequence) return std::nullopt;
  return JournalAcknowledgedRecord{LoadLittleEndian<uint64_t>(record.data() + 1), last_sequence,
                                   std::move(*sequences)};
}

std::optional<JournalRecord> DecodeLive(std::string_view record) {
  std::optional<std::vector<uint64_t>> sequences = DecodeSequences(record.substr(1));
  if (!sequences.has_value()) return std::nullopt;
  return JournalLiveRecord{std::move(*sequences)};
}

}  // namespace

std::string EncodeJournalStart(const JournalStartRecord& start) {
  std::string record(1, kStart);
  AppendNumber(start.writer, &record);
  AppendNumber(start.next_sequence, &record);
  AppendNumber(start.previous, &record);
  AppendNumber(start.acknowledgements, &record);
  record.push_back(start.has_live ? 1 : 0);
  record += start.schema;
  return record;
}

std::string EncodeJournalWrite(const JournalWriteRecord& write) {
  std::string record;
  record.reserve(kJournalWriteBytes + write.payload.size());
  record.push_back(kWrite);
  AppendNumber(write.sequence, &record);
  record += write.payload;
  return record;
}

std::string EncodeJournalAcknowledged(const JournalAcknowledgedRecord& acknowledged) {
  std::string record(1, kAcknowledged);
  AppendNumber(acknowledged.number, &record);
  AppendNumber(acknowledged.last_sequence, &record);
  AppendSequences(acknowledged.sequences, &record);
  return record;
}

std::string EncodeJournalLive(absl::Span<const uint64_t> sequences) {
  std::string record(1, kLive);
  AppendSequences(sequences, &record);
  return record;
}

std::optional<JournalRecord> DecodeJournalRecord(std::string_view record) {
  if (record.empty()) return std::nullopt;
  switch (record.front()) {
    case kStart:
      return DecodeStart(record);
    case kWrite:
      return DecodeWrite(record);
    case kAcknowledged:
      return DecodeAcknowledged(record);
    case kLive:
      return DecodeLive(record);
    default:
      return std::nullopt;
  }
}

std::string JournalSegmentName(uint64_t number) {
  std::string name = std::to_string(number);
  name.insert(0, name.size() < kNameDigits ? kNameDigits - name.size() : 0, '0');
  return name.append(kNameEnd);
}

std::optional<uint64_t> JournalSegmentNumber(std::string_view name) {
  if (name.size() != kNameDigits + kNameEnd.size() || !name.ends_with(kNameEnd)) {
    return std::nullopt;
  }
  uint64_t number = 0;
  for (const char c : name.substr(0, kNameDigits)) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  if (number == 0) return std::nullopt;
  return number;
}

}  // namespace larder::internal
