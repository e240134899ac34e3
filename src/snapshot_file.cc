// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/snapshot_file.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "larder/internal/mutex.h"
#include "larder/internal/random_bits.h"
#include "src/paths.h"

namespace larder::internal {
namespace {

constexpr std::string_view kTemporary = ".tmp.";
constexpr int kMostNames = 16;

// The temporary files of this process that are being written. Never destroyed: a save may end after
// main() has.
class Unfinished {
 public:
  static Unfinished& Get() {
    static Unfinished& unfinished = *new Unfinished;
    return unfinished;
  }

  void Add(const std::string& path) {
    MutexLock lock(&mutex_);
    paths_.insert(path);
  }
  void Remove(const std::string& path) {
    MutexLock lock(&mutex_);
    paths_.erase(path);
  }
  bool Has(const std::string& path) {
    MutexLock lock(&mutex_);
    return paths_.contains(path);
  }

 private:
  Mutex mutex_;
  std::set<std::string> paths_ ABSL_GUARDED_BY(mutex_);
};

std::string_view NameOf(std::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotFile>> SnapshotFile::Create(FileSystem& files,
                                                                   const std::string& path) {
  std::unique_ptr<SnapshotFile> file(new SnapshotFile(files, path));
  file->RemoveLeftovers();
  if (absl::Status status = file->CreateTemporary(); !status.ok()) return status;
  return file;
}

SnapshotFile::~SnapshotFile() {
  if (temporary_.empty()) return;
  file_.reset();
  files_.Remove(temporary_).IgnoreError();
  Unfinished::Get().Remove(temporary_);
}

absl::Status SnapshotFile::CreateTemporary() {
  absl::Status status;
  for (int names = 0; names < kMostNames; ++names) {
    const std::string name =
        absl::StrCat(path_, std::string(kTemporary), absl::Hex(RandomBits(), absl::kZeroPad16));
    // Before it is there, so that no other save takes it for a leftover.
    Unfinished::Get().Add(name);
    absl::StatusOr<std::unique_ptr<AppendFile>> file = files_.Create(name);
    if (file.ok()) {
      temporary_ = name;
      file_ = *std::move(file);
      return absl::OkStatus();
    }
    Unfinished::Get().Remove(name);
    status = file.status();
    if (!absl::IsAlreadyExists(status)) break;
  }
  return status;
}

// As well as that can be done: what can't be removed now is the next save's.
void SnapshotFile::RemoveLeftovers() {
  const std::string directory = DirectoryOf(path_);
  const absl::StatusOr<std::vector<std::string>> names = files_.List(directory);
  if (!names.ok()) return;
  const std::string prefix = absl::StrCat(std::string(NameOf(path_)), std::string(kTemporary));
  const std::string before = path_.substr(0, path_.size() - NameOf(path_).size());
  for (const std::string& name : *names) {
    const std::string path = absl::StrCat(before, name);
    if (name.starts_with(prefix) && !Unfinished::Get().Has(path)) {
      files_.Remove(path).IgnoreError();
    }
  }
}

absl::Status SnapshotFile::Commit() {
  if (absl::Status status = file_->Sync(); !status.ok()) return status;
  if (absl::Status status = file_->Close(); !status.ok()) return status;
  if (absl::Status status = files_.Rename(temporary_, path_); !status.ok()) return status;
  Unfinished::Get().Remove(temporary_);
  temporary_.clear();
  return files_.SyncDirectory(DirectoryOf(path_));
}

}  // namespace larder::internal
