// SPDX-License-Identifier: Apache-2.0
#include "src/journal_replay.h"

#include <algorithm>
#include <utility>

#include "larder/internal/record_io.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// More at a time aren't counted one by one.
constexpr uint64_t kMostMissing = 10'000;

}  // namespace

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

  bool first = true;
  bool started = false;
  while (const std::optional<std::string_view> bytes = reader->Next()) {
    std::optional<JournalRecord> record = DecodeJournalRecord(*bytes);
    const auto* start = record.has_value() ? std::get_if<JournalStartRecord>(&*record) : nullptr;
    if (!record.has_value() || (start != nullptr && !first)) {
      damaged_bytes_ += kRecordFrameBytes + bytes->size();
    } else if (start != nullptr) {
      Start(*start);
      if (start->schema != schema_) foreign_.emplace(number, start->schema);
      started = true;
    } else {
      if (!started) incomplete_ = true;
      started = true;
      if (auto* write = std::get_if<JournalWriteRecord>(&*record)) Apply(*write);
      if (auto* live = std::get_if<JournalLiveRecord>(&*record)) Apply(*live);
      if (auto* acknowledged = std::get_if<JournalAcknowledgedRecord>(&*record)) {
        Apply(*std::move(acknowledged));
      }
    }
    first = false;
  }
  if (!started) incomplete_ = true;
  start_ends_ = false;
  damaged_bytes_ += reader->damaged_bytes();
  torn_bytes_ += reader->torn_bytes();
  older_.push_back(number);
  return absl::OkStatus();
}

absl::Status JournalReplay::CheckSchema(const Write& write) const {
  const auto found = foreign_.find(write.segment);
  if (found == foreign_.end()) return absl::OkStatus();
  return absl::FailedPreconditionError(Concat(
      JournalSegmentName(write.segment), " has writes left that were written as \"", found->second,
      "\", which isn't \"", schema_, "\": let the program that wrote them flush them"));
}

void JournalReplay::Start(const JournalStartRecord& start) {
  writer_ = start.writer;
  Seen(start.next_sequence - 1);
  if (!older_.empty()) {
    if (start.acknowledgements != next_acknowledgement_ || start.has_live) incomplete_ = true;
    Miss(last_write_ + 1, start.next_sequence - 1);
  }
  next_acknowledgement_ = start.acknowledgements;
  last_write_ = start.next_sequence - 1;
  // What was older than all there is now was deleted once it was needed no more.
  if (!older_.empty() && older_.front() < start.previous &&
      !std::binary_search(older_.begin(), older_.end(), start.previous)) {
    ++missing_files_;
    incomplete_ = true;
  }
}

void JournalReplay::Apply(const JournalWriteRecord& write) {
  StartWasSynced();
  SeenInOrder(write.sequence);
  missing_.erase(write.sequence);
  writes_[write.sequence] = {
      .sequence = write.sequence, .segment = number_, .payload = std::string(write.payload)};
}

void JournalReplay::Apply(JournalAcknowledgedRecord acknowledged) {
  StartWasSynced();
  if (acknowledged.number != next_acknowledgement_) incomplete_ = true;
  next_acknowledgement_ = acknowledged.number + 1;
  SeenInOrder(acknowledged.last_sequence);
  for (const uint64_t sequence : acknowledged.sequences) {
    Seen(sequence);
    missing_.erase(sequence);
    acknowledged_.push_back(sequence);
  }
  ApplyAcknowledged();
}

void JournalReplay::Apply(const JournalLiveRecord& live) {
  const std::vector<uint64_t>& kept = live.sequences;
  if (!kept.empty()) Seen(kept.back());
  absl::erase_if(writes_, [&kept](const auto& entry) {
    return !std::binary_search(kept.begin(), kept.end(), entry.first);
  });
  // What wasn't on the disk was written again before this record.
  for (auto& [sequence, write] : writes_) write.synced |= write.segment != number_;
  start_ends_ = true;
  incomplete_ = false;
  missing_.clear();
  acknowledged_.clear();
}

// Else nothing would follow it.
void JournalReplay::StartWasSynced() {
  if (!start_ends_) return;
  start_ends_ = false;
  for (auto& [sequence, write] : writes_) write.synced = true;
}

// All writes up to this one come before here.
void JournalReplay::SeenInOrder(uint64_t sequence) {
  Seen(sequence);
  if (sequence <= last_write_) return;
  if (last_write_ > 0) Miss(last_write_ + 1, sequence);
  last_write_ = sequence;
}

// These writes must have been there, from the first to the last one, if any.
void JournalReplay::Miss(uint64_t first, uint64_t last) {
  if (first > last) return;
  if (last - first >= kMostMissing - missing_.size()) {
    incomplete_ = true;
    return;
  }
  for (uint64_t sequence = first; sequence <= last; ++sequence) missing_.insert(sequence);
}

void JournalReplay::ApplyAcknowledged() {
  if (incomplete_) {
    acknowledged_.clear();
  } else if (missing_.empty()) {
    for (const uint64_t sequence : acknowledged_) writes_.erase(sequence);
    acknowledged_.clear();
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
