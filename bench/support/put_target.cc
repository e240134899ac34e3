// SPDX-License-Identifier: Apache-2.0

#include "bench/support/put_target.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace larder::bench {
namespace {

class SyncedFile : public PutTarget {
 public:
  explicit SyncedFile(int file) : file_(file) {}
  ~SyncedFile() override { close(file_); }
  SyncedFile(const SyncedFile&) = delete;
  SyncedFile& operator=(const SyncedFile&) = delete;

  absl::Status Put(const std::string& key, const std::string& value) override {
    const std::string record = absl::StrCat(key, "\t", value, "\n");
    // One call, so that records of several threads don't mix (O_APPEND).
    const ssize_t written = write(file_, record.data(), record.size());
    if (written != static_cast<ssize_t>(record.size())) {
      return absl::ErrnoToStatus(errno, "write");
    }
    if (fdatasync(file_) != 0) return absl::ErrnoToStatus(errno, "fdatasync");
    syncs_.fetch_add(1, std::memory_order_relaxed);
    return absl::OkStatus();
  }

  std::optional<std::string> Get(const std::string&) override { return std::nullopt; }

  absl::Status Flush() override { return absl::OkStatus(); }

  PutTargetStats Stats() const override {
    const uint64_t syncs = syncs_.load(std::memory_order_relaxed);
    return {.stored = syncs, .syncs = syncs};
  }

 private:
  const int file_;
  std::atomic<uint64_t> syncs_{0};
};

}  // namespace

absl::StatusOr<std::unique_ptr<PutTarget>> SyncEachPut(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("create ", path));
  return std::make_unique<SyncedFile>(file);
}

}  // namespace larder::bench
