// SPDX-License-Identifier: Apache-2.0
#include "src/journal_replay.h"

#include <algorithm>
#include <utility>

#include "larder/internal/record_io.h"
#include "src/text.h"

namespace larder::internal {

absl::Status JournalReplay::Add(uint64_t number, std::string_view path, std::string_view file) {
  number_ = number;
  absl::StatusOr<RecordReader> reader =
      RecordReader::Open(RecordFileKind::kJournal, kJournalVersion, file);
  if (absl::IsUnimplemented(reader.status())) {
    return absl::UnimplementedError(Concat(path, ": ", reader.status().message()));
  }
  if (!reader.ok()) {
    // A header that wasn't finished has no records after it.
    (file.size() <= kRecordFileHeaderBytes ? torn_bytes_ : damaged_bytes_) += file.size();
    incomplete_ = true;
    older_.push_back(number);
    return absl::OkStatus();
  }

  uint64_t damaged = 0;
  bool first = true;
  while (const std::optional<std::string_view> bytes = reader->Next()) {
    if (reader->damaged_bytes() != damaged) incomplete_ = true;
    damaged = reader->damaged_bytes();
    std::optional<JournalRecord> record = DecodeJournalRecord(*bytes);
    const auto* start = record.has_value() ? std::get_if<JournalStartRecord>(&*record) : nullptr;
    if (!record.has_value() || (start != nullptr && !first)) {
      damaged_bytes_ += kRecordFrameBytes + bytes->size();
      incomplete_ = true;
    } else if (start != nullptr) {
      if (absl::Status status = Start(*start, path); !status.ok()) return status;
    } else {
      Apply(*std::move(record));
    }
    first = false;
  }
  damaged_bytes_ += damaged;
  torn_bytes_ += reader->torn_bytes();
  if (reader->torn_bytes() > 0) incomplete_ = true;
  older_.push_back(number);
  return absl::OkStatus();
}

absl::Status JournalReplay::Start(const JournalStartRecord& start, std::string_view path) {
  if (start.schema != schema_) {
    return absl::FailedPreconditionError(Concat(path, " was written with schema \"", start.schema,
                                                "\", which isn't \"", schema_, "\""));
  }
  writer_ = start.writer;
  Seen(start.next_sequence - 1);
  // What was older than all there is now was deleted once it was needed no more.
  if (!older_.empty() && older_.front() < start.previous &&
      !std::binary_search(older_.begin(), older_.end(), start.previous)) {
    ++missing_files_;
    incomplete_ = true;
  }
  return absl::OkStatus();
}

void JournalReplay::Apply(JournalRecord record) {
  if (const auto* write = std::get_if<JournalWriteRecord>(&record)) {
    Seen(write->sequence);
    writes_[write->sequence] = Write{write->sequence, number_, std::string(write->payload)};
  } else if (const auto* acknowledged = std::get_if<JournalAcknowledgedRecord>(&record)) {
    for (const uint64_t sequence : acknowledged->sequences) {
      Seen(sequence);
      if (!incomplete_) writes_.erase(sequence);
    }
  } else if (const auto* live = std::get_if<JournalLiveRecord>(&record)) {
    const std::vector<uint64_t>& kept = live->sequences;
    if (!kept.empty()) Seen(kept.back());
    absl::erase_if(writes_, [&kept](const auto& entry) {
      return !std::binary_search(kept.begin(), kept.end(), entry.first);
    });
    incomplete_ = false;
    last_complete_ = number_;
  }
}

std::vector<JournalReplay::Write> JournalReplay::TakeWrites() {
  std::vector<Write> writes;
  writes.reserve(writes_.size());
  for (auto& [sequence, write] : writes_) writes.push_back(std::move(write));
  writes_.clear();
  std::sort(writes.begin(), writes.end(),
            [](const Write& a, const Write& b) { return a.sequence < b.sequence; });
  return writes;
}

}  // namespace larder::internal
