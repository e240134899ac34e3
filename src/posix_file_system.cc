// SPDX-License-Identifier: Apache-2.0
//
// FileSystem::Default, on POSIX.

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "larder/file_system.h"
#include "src/paths.h"
#include "src/text.h"

namespace larder {
namespace {

using internal::Concat;

// macOS refuses more at once, Linux writes less.
constexpr size_t kMostBytesAtOnce = size_t{1} << 30;

// The process's umask takes from them.
constexpr mode_t kFilePermissions = 0666;
constexpr mode_t kDirectoryPermissions = 0777;

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case EROFS:
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case EXDEV:
    case EINVAL:
    case EBADF:
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

absl::Status Failed(std::string_view operation, std::string_view path, int error) {
  const std::string message =
      Concat("can't ", operation, " ", path, ": ", std::generic_category().message(error));
  return absl::Status(CodeOf(error), message);
}

// Calls again what a signal interrupted.
template <class Call>
auto Uninterrupted(Call&& call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() { Close(); }

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }

  // Returns errno, or 0. It is closed whatever that is: a second attempt could close another file
  // that was given the same number. So, an interrupted one has closed it, too.
  int Close() {
    if (fd_ < 0) return 0;
    return close(std::exchange(fd_, -1)) == 0 || errno == EINTR ? 0 : errno;
  }

 private:
  int fd_;
};

Descriptor Open(const std::string& path, int flags) {
  return Descriptor(
      Uninterrupted([&] { return open(path.c_str(), flags | O_CLOEXEC, kFilePermissions); }));
}

// Of the file's bytes, and of what is needed to find them again: its length.
int SyncData(int fd) {
#ifdef __APPLE__
  // fsync leaves them in the device's cache.
  return Uninterrupted([&] { return fcntl(fd, F_FULLFSYNC); });
#else
  return Uninterrupted([&] { return fdatasync(fd); });
#endif
}

class PosixAppendFile : public AppendFile {
 public:
  PosixAppendFile(std::string path, Descriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = Uninterrupted([&] {
        return write(file_.get(), bytes.data(), std::min(bytes.size(), kMostBytesAtOnce));
      });
      if (written < 0) return Failed("write", path_, errno);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    return SyncData(file_.get()) == 0 ? absl::OkStatus() : Failed("sync", path_, errno);
  }

  absl::Status Truncate(uint64_t size) override {
    const int result =
        Uninterrupted([&] { return ftruncate(file_.get(), static_cast<off_t>(size)); });
    return result == 0 ? absl::OkStatus() : Failed("truncate", path_, errno);
  }

  absl::Status Close() override {
    const int error = file_.Close();
    return error == 0 ? absl::OkStatus() : Failed("close", path_, error);
  }

 private:
  const std::string path_;
  Descriptor file_;
};

// flock's, not fcntl's: those keep no other of the same process out, and are gone as soon as it
// closes any descriptor of the file.
class PosixLock : public FileSystem::Lock {
 public:
  explicit PosixLock(Descriptor file) : file_(std::move(file)), owner_(getpid()) {}

  // A child of fork() has a copy of the descriptor, so that closing this one wouldn't unlock; and
  // what it does with its copy of this must not unlock what its parent has.
  ~PosixLock() override {
    if (getpid() == owner_) flock(file_.get(), LOCK_UN);
  }

 private:
  Descriptor file_;
  const pid_t owner_;
};

class PosixFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path) override {
    Descriptor file = Open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL);
    if (!file.is_open()) return Failed("create", path, errno);
    return std::make_unique<PosixAppendFile>(path, std::move(file));
  }

  absl::StatusOr<std::string> Read(const std::string& path) override {
    const Descriptor file = Open(path, O_RDONLY);
    struct stat status;
    if (!file.is_open() || fstat(file.get(), &status) != 0) return Failed("read", path, errno);
    try {
      return ReadToTheEnd(path, file, static_cast<size_t>(std::max<off_t>(status.st_size, 0)));
    } catch (const std::bad_alloc&) {
      return Failed("read", path, ENOMEM);
    } catch (const std::length_error&) {
      return Failed("read", path, ENOMEM);
    }
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return Failed("rename", Concat(from, " to ", to), errno);
  }

  absl::Status Remove(const std::string& path) override {
    return unlink(path.c_str()) == 0 ? absl::OkStatus() : Failed("remove", path, errno);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(directory.c_str()), closedir);
    if (listing == nullptr) return Failed("list", directory, errno);
    std::vector<std::string> names;
    for (;;) {
      errno = 0;
      const dirent* entry = readdir(listing.get());
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return Failed("list", directory, errno);
    return names;
  }

  absl::Status CreateDirectory(const std::string& path) override {
    if (path.empty()) return Failed("create directory", path, ENOENT);
    const std::string parent = internal::DirectoryOf(path);
    int result = mkdir(path.c_str(), kDirectoryPermissions);
    if (result != 0 && errno == ENOENT && parent != path) {
      if (absl::Status status = CreateDirectory(parent); !status.ok()) return status;
      result = mkdir(path.c_str(), kDirectoryPermissions);
    }
    if (result == 0) return SyncDirectory(parent);
    const int error = errno;
    struct stat status;
    // Whatever the error was: "/" may be one that can't be created on a read-only file system.
    if (stat(path.c_str(), &status) != 0) return Failed("create directory", path, error);
    if (!S_ISDIR(status.st_mode)) return Failed("create directory", path, ENOTDIR);
    // Perhaps made a moment ago by a process that was killed before it could sync the one above;
    // mostly made long ago by others, in a directory that isn't ours to open.
    SyncDirectory(parent).IgnoreError();
    return absl::OkStatus();
  }

  absl::Status SyncDirectory(const std::string& path) override {
    const Descriptor directory = Open(path, O_RDONLY | O_DIRECTORY);
    if (!directory.is_open()) return Failed("sync directory", path, errno);
    // EINVAL: a file system that has no such thing.
    if (Uninterrupted([&] { return fsync(directory.get()); }) == 0 || errno == EINVAL)
      return absl::OkStatus();
    return Failed("sync directory", path, errno);
  }

  absl::StatusOr<std::unique_ptr<Lock>> LockFile(const std::string& path) override {
    Descriptor file = Open(path, O_RDWR | O_CREAT);
    if (!file.is_open()) return Failed("lock", path, errno);
    if (Uninterrupted([&] { return flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno != EWOULDBLOCK) return Failed("lock", path, errno);
      return absl::FailedPreconditionError(Concat(
          "can't lock ", path, ": somebody else, here or in another process, has it locked"));
    }
    return std::make_unique<PosixLock>(std::move(file));
  }

 private:
  // `size` is what to expect: the file may be shorter or longer by now.
  static absl::StatusOr<std::string> ReadToTheEnd(const std::string& path, const Descriptor& file,
                                                  size_t size) {
    constexpr size_t kStep = 64 << 10;
    std::string bytes;
    size_t filled = 0;
    for (;;) {
      // One byte more than expected, to see the end without another buffer.
      if (filled == bytes.size()) bytes.resize(filled < size ? size + 1 : filled + kStep);
      const ssize_t got = Uninterrupted([&] {
        return read(file.get(), bytes.data() + filled,
                    std::min(bytes.size() - filled, kMostBytesAtOnce));
      });
      if (got < 0) return Failed("read", path, errno);
      if (got == 0) break;
      filled += static_cast<size_t>(got);
    }
    bytes.resize(filled);
    return bytes;
  }
};

}  // namespace

FileSystem& FileSystem::Default() {
  static FileSystem& file_system = *new PosixFileSystem;
  return file_system;
}

}  // namespace larder
