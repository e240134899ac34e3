// SPDX-License-Identifier: Apache-2.0
//
// JournalLog: a journal's files, as one thread at a time writes them.

#ifndef LARDER_SRC_JOURNAL_LOG_H_
#define LARDER_SRC_JOURNAL_LOG_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "larder/file_system.h"
#include "larder/internal/journal.h"
#include "larder/internal/record_io.h"
#include "src/journal_format.h"
#include "src/journal_segments.h"

namespace larder::internal {

// What Journal promises but for threads. The file that is written to is called active; it is the
// newest segment. There is none after the journal was opened and after an error: the next write
// begins one.
//
// After an error, what the active file held and wasn't known to be synced is as if it hadn't been
// written: acknowledgements are in the next segment's live record, writes that had been reported as
// appended (kJournalSyncInterval) are written again. After a crash of the process that goes for the
// newest segment, too.
//
// Not thread-safe.
class JournalLog {
 public:
  // What was found on the disk.
  struct Found {
    uint64_t writer = 0;
    uint64_t next_sequence = 1;  // none from here on has been used
    JournalSegments segments;
    std::vector<JournalWrite> unsynced;  // those that need replay and may not be on the disk
  };

  JournalLog(const JournalSettings& settings, Found found);

  // Appends writes, synced if that is due. After an error none of them counts. Sequences ascend
  // from call to call.
  absl::Status Append(absl::Span<const JournalWriteRecord> writes);

  // For a call that memory ran out in, whatever it has done: nobody knows what the active file has,
  // so it isn't used again. Returns `error`.
  absl::Status Abandon(absl::Status error);
  // The same for a write of an Append: it doesn't count.
  void Forget(uint64_t sequence) { segments_.Acknowledge(sequence); }

  // These need no replay; goes to the file with what is written next.
  void NoteAcknowledged(absl::Span<const uint64_t> sequences);

  // Writes what was noted, if anything. Errors aren't returned since it is tried again with the
  // next call; stats() has them.
  void WriteAcknowledged();

  // Deletes what is needed no more, likewise. Where few writes keep many files, those of the oldest
  // file are written again to the newest, a file in each call, so that all files together have at
  // most about kMostDead times the bytes of the writes that are needed.
  void TidyUp();

  // Syncs all that was written, writing it again if that fails.
  absl::Status Sync();

  // Whether Sync would have anything to do.
  bool unsynced() const { return unsynced_ || StartIsDue(); }

  // Writes and syncs what is left. Nothing else may be called afterwards.
  absl::Status Close();

  // But for `appends` and `failed_appends`.
  JournalStats stats() const;

 private:
  // Whether something is to be in the next segment's start that isn't on the disk.
  bool StartIsDue() const {
    return given_up_ || !unsynced_writes_.empty() || !acknowledged_.empty();
  }
  absl::Status MakeActive();
  absl::Status StartSegment();
  void DropUnsyncedAcknowledged();
  std::string SegmentStart(RecordWriter* writer, bool with_live) const;
  absl::Status WriteFirst(AppendFile& file, const std::string& bytes);
  absl::Status SyncActive();
  absl::Status SealActive();
  void AddAcknowledged(RecordWriter* writer, std::string* out) const;
  void ForgetAcknowledged();
  absl::Status GiveUpActive(absl::Status error);
  absl::Status Failed(absl::Status error);
  absl::Status NextSegment();
  void DeleteSegments();
  bool HasFewLive() const;
  absl::Status MoveOldest();
  absl::Status RemoveOldest();
  std::string PathOf(uint64_t number) const;

  const JournalSettings settings_;
  FileSystem& files_;
  const uint64_t writer_id_;
  uint64_t next_sequence_;
  uint64_t last_sequence_ = 0;  // that was appended
  uint64_t next_number_;        // of a segment
  uint64_t last_begun_ = 0;     // the newest segment that was used; 0: none
  JournalSegments segments_;

  std::unique_ptr<AppendFile> active_;
  std::optional<RecordWriter> writer_;  // with active_; knows its length
  uint64_t first_bytes_ = 0;            // of the active file, its start and what was written again
  bool unsynced_ = false;               // the active file has bytes that aren't synced
  bool live_record_due_ = true;         // the next segment must begin with one
  bool given_up_ = false;               // as the file before it failed
  uint64_t moved_with_ = 0;             // last_begun_ when the oldest's writes were to be moved
  bool moved_ = false;                  // a write is in a newer segment than later ones of its key
  bool directory_unsynced_ = false;     // a segment was removed
  std::vector<uint64_t> acknowledged_;  // not written yet
  uint64_t acknowledgements_ = 0;       // records of them that were written
  // Appended or found, but not known to be synced: with kJournalSyncInterval, and after opening.
  std::vector<JournalWrite> unsynced_writes_;
  uint64_t unsynced_bytes_ = 0;

  uint64_t groups_ = 0;
  uint64_t syncs_ = 0;
  uint64_t failed_files_ = 0;
  absl::Status last_error_;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_JOURNAL_LOG_H_
