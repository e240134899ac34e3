// SPDX-License-Identifier: Apache-2.0
#include "src/journal_log.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "larder/internal/random_bits.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// With kJournalSyncInterval, what isn't synced is kept in memory: once it is that much, whoever
// appends has to sync.
constexpr uint64_t kMaxUnsyncedBytes = uint64_t{16} << 20;

// A segment with nothing left to replay is left for the next one, so that it can be deleted, once
// it is this part of a full one: files don't stay large, and few are made.
constexpr uint64_t kIdlePartOfSegment = 8;

// A live record that needn't be there is written if it takes less than this part of a segment.
constexpr uint64_t kLivePartOfSegment = 16;
constexpr uint64_t kBytesOfLiveWrite = 2;  // in a live record, about

// Files are kept that have this many times the bytes of the writes that are needed, but at least
// this many full ones.
constexpr uint64_t kMostDead = 4;

}  // namespace

JournalLog::JournalLog(const JournalSettings& settings, Found found)
    : settings_(settings),
      files_(settings.file_system != nullptr ? *settings.file_system : FileSystem::Default()),
      writer_id_(found.writer),
      next_sequence_(found.next_sequence),
      next_number_(found.segments.segments().empty() ? 1
                                                     : found.segments.segments().back().number + 1),
      last_begun_(next_number_ - 1),
      segments_(std::move(found.segments)),
      unsynced_writes_(std::move(found.unsynced)) {}

absl::Status JournalLog::Append(absl::Span<const JournalWriteRecord> writes) {
  // The start of a new segment names what was used before these.
  absl::Status made = MakeActive();
  next_sequence_ = writes.back().sequence + 1;
  if (!made.ok()) return made;
  RecordWriter writer = *writer_;
  std::string bytes;
  AddAcknowledged(&writer, &bytes);
  for (const JournalWriteRecord& write : writes) writer.Add(EncodeJournalWrite(write), &bytes);
  // What allocates comes before the file is written to: from then on nothing throws.
  segments_.Reserve(writes.size());
  std::vector<JournalWrite> kept;
  if (settings_.durability == Durability::kJournalSyncInterval) {
    for (const JournalWriteRecord& write : writes) {
      kept.push_back({write.sequence, std::string(write.payload)});
    }
    unsynced_writes_.reserve(unsynced_writes_.size() + kept.size());
  }

  absl::Status status = active_->Append(bytes);
  unsynced_ = true;
  if (status.ok() && (settings_.durability == Durability::kJournalSync ||
                      (!kept.empty() && unsynced_bytes_ + bytes.size() > kMaxUnsyncedBytes))) {
    status = SyncActive();
  }
  if (!status.ok()) return GiveUpActive(std::move(status));
  if (unsynced_ && !kept.empty()) {
    std::move(kept.begin(), kept.end(), std::back_inserter(unsynced_writes_));
    unsynced_bytes_ += bytes.size();
  }
  ForgetAcknowledged();
  writer_ = writer;
  const uint64_t active = segments_.segments().back().number;
  segments_.SetNewestBytes(writer.size());
  for (const JournalWriteRecord& write : writes) {
    segments_.AddWrite(write.sequence, active, write.payload.size());
  }
  last_sequence_ = writes.back().sequence;
  ++groups_;
  return absl::OkStatus();
}

void JournalLog::NoteAcknowledged(absl::Span<const uint64_t> sequences) {
  acknowledged_.reserve(acknowledged_.size() + sequences.size());
  for (const uint64_t sequence : sequences) {
    if (segments_.Acknowledge(sequence)) acknowledged_.push_back(sequence);
  }
}

void JournalLog::WriteAcknowledged() {
  if (acknowledged_.empty()) return;
  if (!MakeActive().ok() || acknowledged_.empty()) return;
  RecordWriter writer = *writer_;
  std::string bytes;
  AddAcknowledged(&writer, &bytes);
  const absl::Status status = active_->Append(bytes);
  if (!status.ok()) {
    GiveUpActive(status).IgnoreError();
    return;
  }
  unsynced_ = true;
  ForgetAcknowledged();
  writer_ = writer;
  segments_.SetNewestBytes(writer.size());
}

void JournalLog::AddAcknowledged(RecordWriter* writer, std::string* out) const {
  if (acknowledged_.empty()) return;
  std::vector<uint64_t> sorted = acknowledged_;
  std::sort(sorted.begin(), sorted.end());
  writer->Add(EncodeJournalAcknowledged({acknowledgements_, last_sequence_, std::move(sorted)}),
              out);
}

// They are in the active file.
void JournalLog::ForgetAcknowledged() {
  if (!acknowledged_.empty()) ++acknowledgements_;
  acknowledged_.clear();
}

// Sees to it that there is an active file, with room in it.
absl::Status JournalLog::MakeActive() {
  if (active_ != nullptr) {
    if (writer_->size() - first_bytes_ < settings_.segment_bytes) return absl::OkStatus();
    SealActive().IgnoreError();
  }
  absl::Status status = StartSegment();
  // A full disk may be full of what isn't needed any more. Nothing newer than what is deleted is
  // waiting to be synced: it would be lost with what it took the place of.
  if (absl::IsResourceExhausted(status) && unsynced_writes_.empty()) {
    const size_t before = segments_.segments().size();
    while (!segments_.segments().empty() && segments_.segments().front().live == 0) {
      if (!RemoveOldest().ok()) break;
    }
    if (segments_.segments().size() < before) status = StartSegment();
  }
  return status;
}

// Begins the next segment and makes it active.
absl::Status JournalLog::StartSegment() {
  DropUnsyncedAcknowledged();
  const uint64_t number = next_number_++;
  const std::string path = PathOf(number);
  RecordWriter writer(RecordFileKind::kJournal, kJournalVersion, RandomBits());
  const bool with_live = live_record_due_ || segments_.live() * kBytesOfLiveWrite <
                                                 settings_.segment_bytes / kLivePartOfSegment;
  const std::string bytes = SegmentStart(&writer, with_live);
  absl::StatusOr<std::unique_ptr<AppendFile>> file = files_.Create(path);
  if (!file.ok()) return Failed(file.status());
  active_.reset();
  if (absl::Status status = WriteFirst(**file, bytes); !status.ok()) {
    // If it stays it does no harm, but it is to go one day.
    const absl::Status removed = files_.Remove(path);
    if (!removed.ok() && !absl::IsNotFound(removed)) segments_.Add(number, bytes.size());
    return Failed(std::move(status));
  }
  segments_.Add(number, bytes.size());
  for (const JournalWrite& write : unsynced_writes_) {
    segments_.AddWrite(write.sequence, number, write.payload.size());
  }
  active_ = *std::move(file);  // after all that may throw
  writer_ = writer;
  first_bytes_ = bytes.size();
  last_begun_ = number;
  unsynced_ = false;
  unsynced_writes_.clear();
  unsynced_bytes_ = 0;
  live_record_due_ = false;
  given_up_ = false;
  if (with_live) acknowledged_.clear();
  return absl::OkStatus();
}

void JournalLog::DropUnsyncedAcknowledged() {
  std::erase_if(unsynced_writes_,
                [this](const JournalWrite& write) { return !segments_.IsLive(write.sequence); });
}

// The bytes with which a segment begins.
std::string JournalLog::SegmentStart(RecordWriter* writer, bool with_live) const {
  std::string bytes = writer->Header();
  writer->Add(EncodeJournalStart({.writer = writer_id_,
                                  .next_sequence = next_sequence_,
                                  .previous = last_begun_,
                                  .acknowledgements = acknowledgements_,
                                  .has_live = with_live,
                                  .schema = settings_.schema}),
              &bytes);
  for (const JournalWrite& write : unsynced_writes_) {
    writer->Add(EncodeJournalWrite({write.sequence, write.payload}), &bytes);
  }
  // The last one: where it is, all of them are.
  if (with_live) writer->Add(EncodeJournalLive(segments_.LiveSequences()), &bytes);
  return bytes;
}

// Takes a new file, with these bytes, to the disk.
absl::Status JournalLog::WriteFirst(AppendFile& file, const std::string& bytes) {
  if (absl::Status status = file.Append(bytes); !status.ok()) return status;
  ++syncs_;
  if (absl::Status status = file.Sync(); !status.ok()) return status;
  absl::Status status = files_.SyncDirectory(settings_.directory);
  if (status.ok()) directory_unsynced_ = false;
  return status;
}

absl::Status JournalLog::SyncActive() {
  ++syncs_;
  if (absl::Status status = active_->Sync(); !status.ok()) return status;
  unsynced_ = false;
  unsynced_writes_.clear();
  unsynced_bytes_ = 0;
  return absl::OkStatus();
}

// Syncs the active file and closes it.
absl::Status JournalLog::SealActive() {
  if (unsynced_) {
    if (absl::Status status = SyncActive(); !status.ok()) return GiveUpActive(std::move(status));
  }
  // What was synced is safe, whatever closing the file says.
  if (absl::Status status = active_->Close(); !status.ok()) last_error_ = std::move(status);
  active_.reset();
  return absl::OkStatus();
}

// Closes the active file, cut to what was there before the write that failed. Whether that succeeds
// doesn't matter once there is a next segment.
absl::Status JournalLog::GiveUpActive(absl::Status error) {
  active_->Truncate(writer_->size()).IgnoreError();
  active_.reset();
  unsynced_ = false;
  given_up_ = true;
  return Failed(std::move(error));
}

absl::Status JournalLog::Abandon(absl::Status error) {
  active_.reset();
  unsynced_ = false;
  given_up_ = true;
  return Failed(std::move(error));
}

absl::Status JournalLog::Failed(absl::Status error) {
  live_record_due_ = true;
  ++failed_files_;
  last_error_ = error;
  return error;
}

absl::Status JournalLog::Sync() {
  if (unsynced_) {
    absl::Status status = SyncActive();
    if (status.ok()) return status;
    status = GiveUpActive(std::move(status));
    // Otherwise nothing is kept to be written again.
    if (settings_.durability == Durability::kJournal) return status;
  }
  return active_ == nullptr && StartIsDue() ? StartSegment() : absl::OkStatus();
}

void JournalLog::TidyUp() {
  if (active_ == nullptr) return;
  if (segments_.live() == 0 &&
      writer_->size() - first_bytes_ >= settings_.segment_bytes / kIdlePartOfSegment) {
    if (!NextSegment().ok()) return;
  }
  DeleteSegments();
  // If it failed, not again before another segment is there.
  if (active_ == nullptr || moved_with_ == last_begun_ || !HasFewLive()) return;
  moved_with_ = last_begun_;
  if (MoveOldest().ok()) DeleteSegments();
}

// Begins another segment after the active one.
absl::Status JournalLog::NextSegment() {
  SealActive().IgnoreError();
  return StartSegment();
}

void JournalLog::DeleteSegments() {
  const auto& segments = segments_.segments();
  if (segments.size() < 2 || segments.front().live > 0) return;
  // Without the later ones, a write that was moved must not come back where its acknowledgement is
  // damaged: the live record says a second time that it isn't needed.
  if (moved_) {
    live_record_due_ = true;
    if (!NextSegment().ok()) return;
    moved_ = segments_.live() > 0;
  }
  while (segments.size() > 1 && segments.front().live == 0) {
    // A write that took the place of an older one must not be lost after that is gone.
    if (unsynced_) {
      if (absl::Status status = SyncActive(); !status.ok()) {
        GiveUpActive(std::move(status)).IgnoreError();
        return;
      }
    }
    if (!RemoveOldest().ok()) return;
  }
}

bool JournalLog::HasFewLive() const {
  if (segments_.segments().size() < 2) return false;
  return segments_.bytes() - writer_->size() >
         kMostDead * std::max(settings_.segment_bytes, segments_.live_bytes());
}

// Takes what is needed of the oldest segment to the next one.
absl::Status JournalLog::MoveOldest() {
  const absl::StatusOr<std::string> file = files_.Read(PathOf(segments_.segments().front().number));
  if (!file.ok()) {
    last_error_ = file.status();
    return file.status();
  }
  const absl::StatusOr<RecordReader> opened =
      RecordReader::Open(RecordFileKind::kJournal, kJournalVersion, *file);
  std::vector<JournalWrite> moved;
  if (opened.ok()) {
    RecordReader reader = *opened;
    while (const std::optional<std::string_view> bytes = reader.Next()) {
      const std::optional<JournalRecord> record = DecodeJournalRecord(*bytes);
      const auto* write = record.has_value() ? std::get_if<JournalWriteRecord>(&*record) : nullptr;
      if (write == nullptr || !segments_.IsInOldest(write->sequence)) continue;
      moved.push_back({write->sequence, std::string(write->payload)});
    }
  }
  SealActive().IgnoreError();
  std::move(moved.begin(), moved.end(), std::back_inserter(unsynced_writes_));
  live_record_due_ = true;
  moved_ = true;
  if (absl::Status status = StartSegment(); !status.ok()) return status;
  // What is left there was damaged since it was written: it can't be replayed, and needn't be kept.
  if (segments_.segments().front().live > 0) {
    last_error_ = absl::DataLossError(
        Concat(PathOf(segments_.segments().front().number), " has been damaged"));
    for (const uint64_t sequence : segments_.LiveSequences()) {
      if (segments_.IsInOldest(sequence)) segments_.Acknowledge(sequence);
    }
  }
  return absl::OkStatus();
}

// Removes one after the other: if a crash brought back an older segment and not the next one, its
// writes would be replayed without those that came after them.
absl::Status JournalLog::RemoveOldest() {
  absl::Status status = absl::OkStatus();
  if (directory_unsynced_) status = files_.SyncDirectory(settings_.directory);
  if (status.ok()) {
    directory_unsynced_ = false;
    status = files_.Remove(PathOf(segments_.segments().front().number));
    if (absl::IsNotFound(status)) status = absl::OkStatus();
  }
  if (!status.ok()) {
    last_error_ = status;
    return status;
  }
  segments_.RemoveOldest();
  directory_unsynced_ = true;
  return absl::OkStatus();
}

absl::Status JournalLog::Close() {
  WriteAcknowledged();
  if (absl::Status status = Sync(); !status.ok()) return status;
  if (active_ != nullptr) {
    if (absl::Status status = SealActive(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

JournalStats JournalLog::stats() const {
  JournalStats stats;
  stats.groups = groups_;
  stats.syncs = syncs_;
  stats.failed_files = failed_files_;
  stats.files = segments_.segments().size();
  stats.bytes = segments_.bytes();
  stats.live_writes = segments_.live();
  stats.last_error = last_error_;
  return stats;
}

std::string JournalLog::PathOf(uint64_t number) const {
  return Concat(settings_.directory, "/", JournalSegmentName(number));
}

}  // namespace larder::internal
