// SPDX-License-Identifier: Apache-2.0
#include "src/journal_format.h"

#include <cassert>
#include <utility>

#include "larder/internal/bytes.h"

namespace larder::internal {
namespace {

enum Kind : char { kStart = 1, kWrite = 2, kAcknowledged = 3, kLive = 4 };

constexpr size_t kNameDigits = 16;
constexpr std::string_view kNameEnd = ".journal";

void AppendSequences(absl::Span<const uint64_t> sequences, std::string* out) {
  uint64_t before = 0;
  for (const uint64_t sequence : sequences) {
    assert(sequence > before && sequence <= kMaxSequence);
    AppendVarint(sequence - before, out);
    before = sequence;
  }
}

bool IsSequence(uint64_t number) { return number > 0 && number <= kMaxSequence; }

// All that is left.
std::optional<std::vector<uint64_t>> DecodeSequences(ByteReader& reader) {
  std::vector<uint64_t> sequences;
  uint64_t before = 0;
  while (reader.ok() && !reader.rest().empty()) {
    const uint64_t difference = reader.Varint();
    if (difference == 0 || difference > kMaxSequence - before) return std::nullopt;
    before += difference;
    sequences.push_back(before);
  }
  if (!reader.ok()) return std::nullopt;
  return sequences;
}

std::optional<JournalRecord> DecodeStart(ByteReader& reader) {
  JournalStartRecord start;
  start.writer = reader.Fixed<uint64_t>();
  start.next_sequence = reader.Fixed<uint64_t>();
  start.previous = reader.Fixed<uint64_t>();
  start.acknowledgements = reader.Fixed<uint64_t>();
  start.has_live = reader.Fixed<uint8_t>() != 0;
  start.schema = reader.rest();
  if (!reader.ok() || !IsSequence(start.next_sequence)) return std::nullopt;
  return start;
}

std::optional<JournalRecord> DecodeWrite(ByteReader& reader) {
  JournalWriteRecord write;
  write.sequence = reader.Fixed<uint64_t>();
  write.payload = reader.rest();
  if (!reader.ok() || !IsSequence(write.sequence)) return std::nullopt;
  return write;
}

std::optional<JournalRecord> DecodeAcknowledged(ByteReader& reader) {
  const auto number = reader.Fixed<uint64_t>();
  const auto last_sequence = reader.Fixed<uint64_t>();
  if (!reader.ok() || last_sequence > kMaxSequence) return std::nullopt;
  std::optional<std::vector<uint64_t>> sequences = DecodeSequences(reader);
  if (!sequences.has_value()) return std::nullopt;
  return JournalAcknowledgedRecord{number, last_sequence, *std::move(sequences)};
}

std::optional<JournalRecord> DecodeLive(ByteReader& reader) {
  std::optional<std::vector<uint64_t>> sequences = DecodeSequences(reader);
  if (!sequences.has_value()) return std::nullopt;
  return JournalLiveRecord{*std::move(sequences)};
}

}  // namespace

std::string EncodeJournalStart(const JournalStartRecord& start) {
  std::string record(1, kStart);
  AppendFixed(start.writer, &record);
  AppendFixed(start.next_sequence, &record);
  AppendFixed(start.previous, &record);
  AppendFixed(start.acknowledgements, &record);
  record.push_back(start.has_live ? 1 : 0);
  record += start.schema;
  return record;
}

std::string EncodeJournalWrite(const JournalWriteRecord& write) {
  std::string record;
  record.reserve(kJournalWriteBytes + write.payload.size());
  record.push_back(kWrite);
  AppendFixed(write.sequence, &record);
  record += write.payload;
  return record;
}

std::string EncodeJournalAcknowledged(const JournalAcknowledgedRecord& acknowledged) {
  std::string record(1, kAcknowledged);
  AppendFixed(acknowledged.number, &record);
  AppendFixed(acknowledged.last_sequence, &record);
  AppendSequences(acknowledged.sequences, &record);
  return record;
}

std::string EncodeJournalLive(absl::Span<const uint64_t> sequences) {
  std::string record(1, kLive);
  AppendSequences(sequences, &record);
  return record;
}

std::optional<JournalRecord> DecodeJournalRecord(std::string_view record) {
  ByteReader reader(record);
  switch (reader.Fixed<uint8_t>()) {
    case kStart:
      return DecodeStart(reader);
    case kWrite:
      return DecodeWrite(reader);
    case kAcknowledged:
      return DecodeAcknowledged(reader);
    case kLive:
      return DecodeLive(reader);
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
