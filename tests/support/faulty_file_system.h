// SPDX-License-Identifier: Apache-2.0
//
// FaultyFileSystem: files in memory, with all that can go wrong.

#ifndef LARDER_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_
#define LARDER_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/file_system.h"
#include "larder/internal/mutex.h"

namespace larder::test {

enum class FileCall {
  kCreate,
  kAppend,
  kSync,
  kTruncate,
  kClose,
  kRead,
  kRename,
  kRemove,
  kList,
  kCreateDirectory,
  kSyncDirectory,
  kLock,
};

enum class CrashKind {
  kProcess,   // the process is killed: all that it wrote is there
  kUnsynced,  // the power fails: all that wasn't synced is gone
  // The power fails: of what wasn't synced anything may be there. Of directories any of the
  // changes; of a file any prefix of what was appended, perhaps followed by zeros or garbage, or
  // with zeros or garbage in place of some blocks.
  kTorn,
};

// A disk that is as bad as POSIX allows: what isn't synced may be lost in a crash, file by file and
// change by change; syncing a file doesn't keep its name; and what wasn't synced when a sync failed
// can still be read, but may be lost though a later sync succeeds.
//
// Calls are counted, so that a test can let each of them fail:
//
//   for (uint64_t n = 1;; ++n) {
//     FaultyFileSystem files(seed);
//     files.FailCall(n, FaultyFileSystem::NoSpace());
//     Run(files);
//     Check(*files.Crash(CrashKind::kTorn, seed));
//     if (files.failed_calls() == 0) break;  // there are fewer than n
//   }
//
// What happens in part happens as the seed says: a failed Append appends some of the bytes, after a
// failed Sync any part is synced, after a failed SyncDirectory any changes are, a failed Truncate
// may have truncated. Create, Rename, Remove, CreateDirectory and LockFile that fail do nothing.
//
// Paths are compared as they are, but for slashes too many. "", "." and "/" are directories. Must
// outlive its files and locks.
//
// Thread safety: all methods may be called from any thread.
class FaultyFileSystem : public FileSystem {
 public:
  // Called at the beginning of each call, before it is counted and without a lock: may wait for
  // something, or crash the system.
  using Observer = std::function<void(FileCall, const std::string& path)>;

  explicit FaultyFileSystem(uint64_t seed = 1);
  ~FaultyFileSystem() override;

  static absl::Status NoSpace();  // ENOSPC
  static absl::Status IoError();  // EIO

  // How many calls of this file system's and of its files' methods there were, failed ones
  // included.
  uint64_t calls() const ABSL_LOCKS_EXCLUDED(mutex_);
  // How many of them failed as they were told to.
  uint64_t failed_calls() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Lets the n-th call fail, counted from 1. More than one can be told to.
  void FailCall(uint64_t n, absl::Status error) ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets the n-th call and all later ones fail, until Heal.
  void FailCallsFrom(uint64_t n, absl::Status error) ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets all of these calls fail whose path has `part` in it, until Heal.
  void FailAll(FileCall call, absl::Status error, std::string part = "")
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets Append fail with NoSpace, once it has appended what fits, where all files together would
  // have more than `bytes`. Until Heal.
  void LimitSpace(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // From now on nothing goes wrong.
  void Heal() ABSL_LOCKS_EXCLUDED(mutex_);

  void SetObserver(Observer observer) ABSL_LOCKS_EXCLUDED(mutex_);

  // Another file system, with what is on the disk after a crash at this moment. Nothing is locked
  // there, no calls were counted, and none fails. This one stays as it is, so that many crashes can
  // be tried at one moment, and whoever uses it can end.
  std::unique_ptr<FaultyFileSystem> Crash(CrashKind kind, uint64_t seed = 1) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // All files by path, with their bytes. Neither this nor SetFile is counted, or fails.
  std::map<std::string, std::string> Files() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Puts a file there, synced, in a directory that is made if need be; nullopt removes it.
  void SetFile(const std::string& path, std::optional<std::string> bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path) override;
  absl::StatusOr<std::string> Read(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override;
  absl::Status CreateDirectory(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<Lock>> LockFile(const std::string& path) override;

 private:
  class File;
  class HeldLock;

  // What a file's name stands for.
  struct Contents {
    std::string bytes;    // that are read
    std::string durable;  // that were there when it was last synced
    // Places in `bytes` that a failed sync dropped: they are zeros on the disk.
    std::vector<std::pair<size_t, size_t>> dropped;
  };
  using Names = std::map<std::string, std::shared_ptr<Contents>>;

  // A change of names that wasn't synced yet.
  struct Change {
    std::string directory;
    std::string removed;  // a path, or ""
    std::string added;
    std::shared_ptr<Contents> contents;  // of `added`
  };

  struct Failure {
    FileCall call;
    absl::Status error;
    std::string part;
  };

  void Observe(FileCall call, const std::string& path) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Counts a call and says how it is to fail, if it is.
  absl::Status Count(FileCall call, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t Draw(uint64_t bound) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsDirectory(const std::string& path) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  uint64_t UsedSpace() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Changes names_, not yet on the disk.
  void Make(Change change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What is on the disk once all of a file is, but for what failed syncs dropped.
  static std::string OnDisk(const Contents& contents);
  static void Apply(const Change& change, Names* names);
  static std::string Torn(const Contents& contents, std::mt19937_64& random);
  static Names TornNames(Names durable, const std::vector<Change>& changes,
                         std::mt19937_64& random);

  absl::Status AppendTo(Contents& contents, const std::string& path, std::string_view bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Sync(Contents& contents, const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  void SyncInPart(Contents& contents) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Truncate(Contents& contents, const std::string& path, uint64_t size)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Close(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  void Unlock(const std::shared_ptr<Contents>& contents) ABSL_LOCKS_EXCLUDED(mutex_);

  mutable internal::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  uint64_t calls_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failed_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, absl::Status> failing_calls_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::pair<uint64_t, absl::Status>> failing_from_ ABSL_GUARDED_BY(mutex_);
  std::vector<Failure> failing_ ABSL_GUARDED_BY(mutex_);
  std::optional<uint64_t> space_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const Observer> observer_ ABSL_GUARDED_BY(mutex_);

  std::set<std::string> directories_ ABSL_GUARDED_BY(mutex_);
  Names names_ ABSL_GUARDED_BY(mutex_);
  Names durable_names_ ABSL_GUARDED_BY(mutex_);
  std::vector<Change> changes_ ABSL_GUARDED_BY(mutex_);  // from durable_names_ to names_, in order
  std::set<std::shared_ptr<Contents>> locked_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_
