// SPDX-License-Identifier: Apache-2.0
//
// KillPoint and what kills its own process there: a file system and a store, otherwise real.

#ifndef LARDER_TESTS_SUPPORT_KILLING_H_
#define LARDER_TESTS_SUPPORT_KILLING_H_

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/file_system.h"
#include "larder/store.h"
#include "larder/write_id.h"

namespace larder::test {

enum class KillAt {
  kNowhere,
  kBeforeAppend,
  kHalfwayThroughAppend,
  kAfterAppend,
  kBeforeSync,
  kAfterSync,
  kAfterCreate,
  kAfterSyncDirectory,
  kBeforeRemove,
  kAfterRemove,
  kBeforeStore,
  kAfterStore,
};
inline constexpr int kKillPlaces = static_cast<int>(KillAt::kAfterStore) + 1;

// Counts down how often a place is passed; SIGKILL at the last time.
class KillPoint {
 public:
  KillPoint(KillAt at, int passes) : at_(at), left_(passes) {}

  // Whether the process is to end now.
  bool Passed(KillAt at) { return at == at_ && --left_ == 0; }

  void Pass(KillAt at) {
    if (Passed(at)) std::raise(SIGKILL);
  }

 private:
  const KillAt at_;
  std::atomic<int> left_;
};

// The operating system's files.
class KillingFileSystem : public FileSystem {
 public:
  explicit KillingFileSystem(KillPoint& point) : point_(point) {}

  absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path) override {
    auto file = files_.Create(path);
    if (!file.ok()) return file;
    point_.Pass(KillAt::kAfterCreate);
    return std::make_unique<File>(*std::move(file), point_);
  }
  absl::StatusOr<std::string> Read(const std::string& path) override { return files_.Read(path); }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return files_.Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override {
    point_.Pass(KillAt::kBeforeRemove);
    absl::Status status = files_.Remove(path);
    point_.Pass(KillAt::kAfterRemove);
    return status;
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override {
    return files_.List(directory);
  }
  absl::Status CreateDirectory(const std::string& path) override {
    return files_.CreateDirectory(path);
  }
  absl::Status SyncDirectory(const std::string& path) override {
    absl::Status status = files_.SyncDirectory(path);
    point_.Pass(KillAt::kAfterSyncDirectory);
    return status;
  }
  absl::StatusOr<std::unique_ptr<Lock>> LockFile(const std::string& path) override {
    return files_.LockFile(path);
  }

 private:
  class File : public AppendFile {
   public:
    File(std::unique_ptr<AppendFile> file, KillPoint& point)
        : file_(std::move(file)), point_(point) {}

    absl::Status Append(std::string_view bytes) override {
      point_.Pass(KillAt::kBeforeAppend);
      if (point_.Passed(KillAt::kHalfwayThroughAppend)) {
        file_->Append(bytes.substr(0, bytes.size() / 2)).IgnoreError();
        std::raise(SIGKILL);
      }
      absl::Status status = file_->Append(bytes);
      point_.Pass(KillAt::kAfterAppend);
      return status;
    }
    absl::Status Sync() override {
      point_.Pass(KillAt::kBeforeSync);
      absl::Status status = file_->Sync();
      point_.Pass(KillAt::kAfterSync);
      return status;
    }
    absl::Status Truncate(uint64_t size) override { return file_->Truncate(size); }
    absl::Status Close() override { return file_->Close(); }

   private:
    const std::unique_ptr<AppendFile> file_;
    KillPoint& point_;
  };

  FileSystem& files_ = FileSystem::Default();
  KillPoint& point_;
};

// Passes everything on to `store`.
class KillingStore : public Store<std::string, std::string> {
 public:
  KillingStore(Store<std::string, std::string>& store, KillPoint& point)
      : store_(store), point_(point) {}

  absl::StatusOr<std::string> Load(const std::string& key) override { return store_.Load(key); }
  absl::Status Write(const std::string& key, const std::string& value, const WriteId& id) override {
    return store_.Write(key, value, id);
  }
  absl::Status Erase(const std::string& key, const WriteId& id) override {
    return store_.Erase(key, id);
  }
  std::vector<absl::Status> WriteMany(
      std::span<const StoreWrite<std::string, std::string>> writes) override {
    point_.Pass(KillAt::kBeforeStore);
    std::vector<absl::Status> results = store_.WriteMany(writes);
    point_.Pass(KillAt::kAfterStore);
    return results;
  }

 private:
  Store<std::string, std::string>& store_;
  KillPoint& point_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_KILLING_H_
