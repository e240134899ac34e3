// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/journal.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "larder/internal/maintenance_thread.h"
#include "larder/internal/mutex.h"
#include "larder/internal/process_clock.h"
#include "larder/internal/random_bits.h"
#include "larder/internal/record_io.h"
#include "src/group_commit.h"
#include "src/journal_format.h"
#include "src/journal_log.h"
#include "src/journal_replay.h"
#include "src/journal_segments.h"
#include "src/text.h"

namespace larder::internal {
namespace {

constexpr size_t kMaxPayloadBytes = kMaxRecordBytes - kJournalWriteBytes;

// Of a group's payloads, more or less: what the first one of a group waits for is limited, and so
// is the memory that it takes.
constexpr size_t kMaxGroupBytes = size_t{4} << 20;

// Sequences that a crash lost, as they hadn't been synced, are fewer than this.
constexpr uint64_t kSequenceGap = uint64_t{1} << 32;

constexpr std::string_view kLockName = "LOCK";

// The numbers of a directory's segments, ascending.
absl::StatusOr<std::vector<uint64_t>> ListSegments(FileSystem& files,
                                                   const std::string& directory) {
  const absl::StatusOr<std::vector<std::string>> names = files.List(directory);
  if (!names.ok()) return names.status();
  std::vector<uint64_t> numbers;
  for (const std::string& name : *names) {
    if (const std::optional<uint64_t> number = JournalSegmentNumber(name)) {
      numbers.push_back(*number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// What part of a group's time the next one waits for its members.
constexpr int64_t kPatience = 8;
// So many members share a sync well enough.
constexpr size_t kEnough = 16;

// More than one process makes.
constexpr uint64_t kSegmentGap = uint64_t{1} << 40;

absl::StatusOr<JournalLog::Found> Recover(const JournalSettings& settings, FileSystem& files,
                                          JournalRecovery* recovery) {
  const absl::StatusOr<std::vector<uint64_t>> numbers = ListSegments(files, settings.directory);
  if (!numbers.ok()) return numbers.status();
  JournalLog::Found found;
  JournalReplay replay(settings.schema);
  *recovery = {};
  for (const uint64_t number : *numbers) {
    const std::string path = Concat(settings.directory, "/", JournalSegmentName(number));
    const absl::StatusOr<std::string> file = files.Read(path);
    if (!file.ok()) return file.status();
    if (absl::Status status = replay.Add(number, path, *file); !status.ok()) return status;
    found.segments.Add(number, file->size());
    ++recovery->files;
    recovery->bytes += file->size();
  }
  if (replay.last_sequence() > kMaxSequence - 2 * kSequenceGap) {
    return absl::ResourceExhaustedError(Concat(settings.directory, ": no sequences are left"));
  }
  if (!numbers->empty() && numbers->back() > kMaxJournalSegment - kSegmentGap) {
    return absl::ResourceExhaustedError(Concat(settings.directory, ": no segments are left after ",
                                               JournalSegmentName(numbers->back())));
  }
  found.writer = replay.writer().has_value() ? *replay.writer() : RandomBits();
  found.next_sequence = numbers->empty() ? 1 : replay.last_sequence() + kSequenceGap;
  for (JournalReplay::Write& write : replay.TakeWrites()) {
    if (absl::Status status = replay.CheckSchema(write); !status.ok()) {
      return absl::Status(status.code(), Concat(settings.directory, "/", status.message()));
    }
    found.segments.AddWrite(write.sequence, write.segment, write.payload.size());
    if (!write.synced) found.unsynced.push_back({write.sequence, write.payload});
    recovery->writes.push_back({write.sequence, std::move(write.payload)});
  }
  recovery->unacknowledged = recovery->writes.size();
  recovery->damaged_bytes = replay.damaged_bytes();
  recovery->torn_bytes = replay.torn_bytes();
  recovery->missing_files = replay.missing_files();
  return found;
}

}  // namespace

// GroupCommit decides who may use the log. Appends and what was acknowledged meanwhile gather.
class Journal::Impl {
 public:
  Impl(const JournalSettings& settings, std::unique_ptr<FileSystem::Lock> lock,
       JournalLog::Found found)
      : writer_(found.writer),
        directory_lock_(std::move(lock)),
        commits_(found.next_sequence),
        log_(settings, std::move(found)),
        awaits_group_(settings.durability == Durability::kJournalSync) {
    Publish();
  }

  // Throws std::system_error where no thread can be started.
  void StartSyncing(absl::Duration interval) {
    syncing_.emplace(interval, [this] {
      try {
        if (unsynced_.load(std::memory_order_relaxed)) Sync().IgnoreError();
      } catch (...) {
        // What wasn't synced will be, by the next file.
      }
    });
  }

  uint64_t writer() const { return writer_; }

  absl::StatusOr<uint64_t> Append(std::string_view payload) {
    if (payload.size() > kMaxPayloadBytes) {
      return absl::InvalidArgumentError(
          Concat("a payload of ", payload.size(), " bytes is more than a journal takes"));
    }
    GroupCommit::Member member(payload);
    const GroupCommit::Joined joined = commits_.Join(&member);
    if (joined == GroupCommit::Joined::kClosed) {
      return absl::FailedPreconditionError("the journal is closed");
    }
    if (joined == GroupCommit::Joined::kLeads) Lead(&member);
    if (!member.outcome().ok()) return member.outcome();
    return member.number();
  }

  void Acknowledge(absl::Span<const uint64_t> sequences) {
    if (sequences.empty() || !acknowledges_.load(std::memory_order_relaxed)) return;
    try {
      MutexLock lock(&mutex_);
      acknowledged_.insert(acknowledged_.end(), sequences.begin(), sequences.end());
    } catch (const std::bad_alloc&) {
      acknowledges_.store(false, std::memory_order_relaxed);
      return;
    }
    WriteAcknowledged();
  }

  absl::Status Sync() {
    absl::Status status = absl::OkStatus();
    commits_.Enter();
    {
      const Turn turn(*this);
      if (!closed_) {
        log_.NoteAcknowledged(TakeAcknowledged());
        log_.WriteAcknowledged();
        status = log_.Sync();
      }
    }
    WriteAcknowledged();
    return status;
  }

  absl::Status Close() {
    MutexLock closing(&close_mutex_);
    commits_.Close();
    syncing_.reset();
    commits_.Enter();
    const Turn turn(*this);
    if (!closed_) {
      closed_ = true;
      try {
        log_.NoteAcknowledged(TakeAcknowledged());
        close_status_ = log_.Close();
      } catch (...) {
        close_status_ = RunOut();
      }
      directory_lock_.reset();
    }
    return close_status_;
  }

  JournalStats Stats() const {
    MutexLock lock(&mutex_);
    return stats_;
  }

 private:
  // Gives the turn, which the caller has, away at its end, whatever is thrown.
  class Turn {
   public:
    explicit Turn(Impl& impl) : impl_(impl), exceptions_(std::uncaught_exceptions()) {}
    ~Turn() {
      // Only memory that runs out throws.
      if (std::uncaught_exceptions() > exceptions_) impl_.RunOut().IgnoreError();
      impl_.Publish();
      impl_.commits_.Leave();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Impl& impl_;
    const int exceptions_;
  };

  // The caller has the turn, and `own` is its own append.
  void Lead(GroupCommit::Member* own) {
    {
      const Turn turn(*this);
      std::vector<GroupCommit::Member*> group;
      absl::Status status;
      try {
        AwaitGroup(*own);
        const int64_t start = ProcessClock::NowNanos();
        group = commits_.Take(kMaxGroupBytes);
        status = AppendGroup(group);
        last_group_ = group.size();
        last_nanos_ = ProcessClock::NowNanos() - start;
      } catch (...) {
        // They would wait for ever.
        status = GiveUp(group);
      }
      (status.ok() ? appends_ : failed_appends_) += std::max<size_t>(group.size(), 1);
      Publish();
      if (group.empty()) commits_.Refuse(own, status);
      commits_.Finish(group, status, own);
      TidyUp();
    }
    WriteAcknowledged();
  }

  // Threads whose appends were synced together come back together, and those that one has had to
  // wait for come back, too. Without a short wait for them two threads would take turns, each
  // waiting for the other's sync and then for its own. (PostgreSQL's commit_delay has the same
  // purpose.)
  void AwaitGroup(const GroupCommit::Member& own) const {
    if (!awaits_group_) return;
    const size_t expected = std::min(last_group_ + (own.has_waited() ? 1 : 0), kEnough);
    const int64_t deadline = ProcessClock::NowNanos() + last_nanos_ / kPatience;
    while (commits_.gathering() < expected && ProcessClock::NowNanos() < deadline) {
      std::this_thread::yield();
    }
  }

  absl::Status AppendGroup(absl::Span<GroupCommit::Member* const> group) {
    std::vector<JournalWriteRecord> writes;
    for (const GroupCommit::Member* member : group) {
      writes.push_back({member->number(), member->payload()});
    }
    if (closed_) return absl::FailedPreconditionError("the journal is closed");
    log_.NoteAcknowledged(TakeAcknowledged());
    return log_.Append(writes);
  }

  // Memory has run out, or a file system has thrown. An acknowledgement that is lost makes all
  // later ones wrong: an older write would be replayed without the newer ones of its key. So from
  // now on everything is kept.
  absl::Status RunOut() {
    acknowledges_.store(false, std::memory_order_relaxed);
    return log_.Abandon(out_of_memory_);
  }

  absl::Status GiveUp(absl::Span<GroupCommit::Member* const> group) {
    for (const GroupCommit::Member* member : group) log_.Forget(member->number());
    return RunOut();
  }

  // The caller has the turn. What is done by then stays so, whatever is thrown.
  void TidyUp() {
    try {
      log_.TidyUp();
    } catch (...) {
      RunOut().IgnoreError();
    }
  }

  // What is acknowledged while nobody has the turn is written at once, and while somebody has it,
  // by that thread.
  void WriteAcknowledged() {
    while (HasAcknowledged() && commits_.TryEnter()) {
      const Turn turn(*this);
      try {
        log_.NoteAcknowledged(TakeAcknowledged());
        if (closed_) continue;
        log_.WriteAcknowledged();
      } catch (...) {
        RunOut().IgnoreError();
      }
      TidyUp();
    }
  }

  bool HasAcknowledged() const {
    MutexLock lock(&mutex_);
    return !acknowledged_.empty();
  }

  std::vector<uint64_t> TakeAcknowledged() {
    MutexLock lock(&mutex_);
    std::vector<uint64_t> taken = std::exchange(acknowledged_, {});
    if (!acknowledges_.load(std::memory_order_relaxed)) taken.clear();
    return taken;
  }

  // The caller has the turn.
  void Publish() {
    JournalStats stats = log_.stats();
    stats.appends = appends_;
    stats.failed_appends = failed_appends_;
    unsynced_.store(log_.unsynced(), std::memory_order_relaxed);
    MutexLock lock(&mutex_);
    stats_ = std::move(stats);
  }

  const uint64_t writer_;
  Mutex close_mutex_;  // held while the journal is closed, by whoever is first
  mutable Mutex mutex_;
  std::vector<uint64_t> acknowledged_ ABSL_GUARDED_BY(mutex_);
  JournalStats stats_ ABSL_GUARDED_BY(mutex_);
  const absl::Status out_of_memory_ =  // made while there is some
      absl::ResourceExhaustedError("no memory to write to the journal");
  std::atomic<bool> acknowledges_{true};  // false once one was lost
  std::atomic<bool> unsynced_{false};     // a hint for the thread that syncs

  // Whoever has the turn of commits_ may use these.
  std::unique_ptr<FileSystem::Lock> directory_lock_;
  GroupCommit commits_;
  JournalLog log_;
  const bool awaits_group_;  // since a sync takes long
  size_t last_group_ = 0;    // of the last group: its members
  int64_t last_nanos_ = 0;   // and the time that it took
  uint64_t appends_ = 0;
  uint64_t failed_appends_ = 0;
  bool closed_ = false;
  absl::Status close_status_;

  std::optional<MaintenanceThread> syncing_;
};

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const JournalSettings& settings,
                                                       JournalRecovery* recovery) {
  assert(settings.durability != Durability::kMemory);
  FileSystem& files =
      settings.file_system != nullptr ? *settings.file_system : FileSystem::Default();
  if (absl::Status status = files.CreateDirectory(settings.directory); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<FileSystem::Lock>> lock =
      files.LockFile(Concat(settings.directory, "/", kLockName));
  if (!lock.ok()) return lock.status();
  absl::StatusOr<JournalLog::Found> found = Recover(settings, files, recovery);
  if (!found.ok()) return found.status();
  auto impl = std::make_unique<Impl>(settings, *std::move(lock), *std::move(found));
  if (settings.durability == Durability::kJournalSyncInterval) {
    try {
      impl->StartSyncing(settings.sync_interval);
    } catch (const std::system_error& error) {
      return absl::ResourceExhaustedError(Concat("no thread to sync a journal: ", error.what()));
    }
  }
  return std::unique_ptr<Journal>(new Journal(std::move(impl)));
}

Journal::Journal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Journal::~Journal() { Close().IgnoreError(); }

uint64_t Journal::writer() const { return impl_->writer(); }

absl::StatusOr<uint64_t> Journal::Append(std::string_view payload) {
  return impl_->Append(payload);
}

void Journal::Acknowledge(absl::Span<const uint64_t> sequences) { impl_->Acknowledge(sequences); }

absl::Status Journal::Sync() { return impl_->Sync(); }

absl::Status Journal::Close() { return impl_->Close(); }

JournalStats Journal::Stats() const { return impl_->Stats(); }

}  // namespace larder::internal
