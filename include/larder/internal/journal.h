// SPDX-License-Identifier: Apache-2.0
//
// Journal: writes that have to survive until a store has them.

#ifndef LARDER_INTERNAL_JOURNAL_H_
#define LARDER_INTERNAL_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "larder/file_system.h"
#include "larder/journal_report.h"
#include "larder/journal_stats.h"
#include "larder/write_behind_options.h"

namespace larder::internal {

// As in WriteBehindOptions, which has checked them.
struct JournalSettings {
  std::string directory;
  // What payloads mean: a journal that has writes of another schema left isn't opened.
  std::string schema;
  Durability durability = Durability::kJournalSync;  // not kMemory
  absl::Duration sync_interval = absl::Milliseconds(100);
  uint64_t segment_bytes = uint64_t{64} << 20;
  FileSystem* file_system = nullptr;  // nullptr: FileSystem::Default()
};

// One write that a journal holds.
struct JournalWrite {
  uint64_t sequence = 0;
  std::string payload;

  friend bool operator==(const JournalWrite&, const JournalWrite&) = default;
};

// What was found when a journal was opened.
struct JournalRecovery : JournalReport {
  std::vector<JournalWrite> writes;  // those that weren't acknowledged, by ascending sequence
};

// An append-only log of writes, in a directory of its own, in files of about segment_bytes
// ("segments") that are deleted when all their writes, and those of all older ones, have been
// acknowledged. docs/formats.md has every byte.
//
// Durability. What Append has returned OK for is found by the next Open unless it was acknowledged:
//   kJournal              whatever becomes of the process
//   kJournalSyncInterval  and of the system, once sync_interval has passed
//   kJournalSync          and of the system
// With kJournal, the end of the system may take older writes along, too, if newer ones superseded
// them.
// Writes whose Append was under way in a crash may be found or not. Those for which Append returned
// an error are not found, unless the process ends before any later Append or Acknowledge succeeds;
// then a crash may leave them, as it may leave those that were under way.
//
// At least once: acknowledgements aren't synced, so a crash may undo the latest of them. The writes
// that Open returns are then more, but never so that an older one comes without the newer ones of
// its key, as long as writes of one key were appended and acknowledged in order: an acknowledgement
// counts only where none before it is missing. So applying the writes in order always ends with the
// newest of each key. Where few writes keep many files, they are written again, and the files go:
// all together have about four times the bytes of the writes that are needed, or four segments.
//
// Group commit: threads that append at the same time share one write and one sync. The first one
// becomes the group's leader, and writes and syncs for all that have gathered; meanwhile the next
// group gathers.
//
// Errors. A file whose write or sync failed is never used again, since after a failed sync a later
// one may report success for bytes that the system has dropped (A. Rebello et al.: "Can
// Applications Recover from fsync Failures?", USENIX ATC 2020). All appends of the group get the
// error. The next Append begins a new file, which says which writes of the older ones count; if it
// can't, it fails, and the one after it tries again. So a journal works again as soon as the disk
// does. In kJournalSyncInterval, what wasn't synced when a sync failed is kept in memory and
// written again to the new file.
//
// Thread safety: all methods may be called from any thread. They wait for the disk; the lock is
// never held meanwhile. Not for use in a child after fork(): the parent has the lock.
class Journal {
 public:
  // Opens the journal in settings.directory, which is made if it isn't there, and tells what it
  // holds. The files stay as they are until their writes are acknowledged. Errors:
  // FailedPrecondition where another journal, of this process or of another, is open in the
  // directory, or has writes of another schema left (naming both); Unimplemented for files
  // of a newer version; those of the file system: a file that can't be read isn't passed over.
  // Damage is no error: `recovery` says how many bytes of what is lost.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const JournalSettings& settings,
                                                       JournalRecovery* recovery);

  // Closes, where Close wasn't called, and forgets the error.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Drawn at random when the journal was made, the same after each Open (WriteId::writer). Another
  // one only if every file was lost.
  uint64_t writer() const;

  // Appends a write and returns its sequence once it is as durable as settings.durability says.
  // Sequences ascend in the order in which Append was called, those of one thread and of threads
  // that wait for one another; none is used twice, also after failures and after crashes that lost
  // what wasn't synced. Errors: InvalidArgument for a payload of 1 GiB or more; FailedPrecondition
  // after Close; those of the file system, ResourceExhausted among them for a full disk.
  absl::StatusOr<uint64_t> Append(std::string_view payload);

  // These writes, appended or recovered, need no replay: they are in the store, or given up, or a
  // newer one of their key has taken their place. In order for each key; unknown ones are ignored.
  // Written at once if the file isn't in use, else with the next group; deletes files whose time
  // has come. Best effort: errors show in Stats only, and it is tried again later. After Close
  // nothing happens.
  void Acknowledge(absl::Span<const uint64_t> sequences);

  // Syncs what was appended and acknowledged before the call, whatever the durability.
  absl::Status Sync();

  // Waits for the calls under way, writes what Acknowledge was told, syncs, and lets others open
  // the directory. An error says that the latest acknowledgements, or with less than kJournalSync
  // the latest writes, may not survive the end of the system. Idempotent.
  absl::Status Close();

  JournalStats Stats() const;

 private:
  class Impl;

  explicit Journal(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_JOURNAL_H_
