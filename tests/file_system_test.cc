// SPDX-License-Identifier: Apache-2.0
#include "larder/file_system.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/child.h"
#include "tests/support/temporary_directory.h"

namespace larder {
namespace {

using ::larder::test::RunInChild;
using ::larder::test::TemporaryDirectory;

class FileSystemTest : public testing::Test {
 protected:
  std::unique_ptr<AppendFile> Create(const std::string& path) {
    absl::StatusOr<std::unique_ptr<AppendFile>> file = files_.Create(path);
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? *std::move(file) : nullptr;
  }

  void Write(const std::string& path, const std::string& bytes) {
    const auto file = Create(path);
    EXPECT_TRUE(file->Append(bytes).ok());
    EXPECT_TRUE(file->Close().ok());
  }

  std::string Contents(const std::string& path) {
    const absl::StatusOr<std::string> bytes = files_.Read(path);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.value_or("unreadable");
  }

  std::vector<std::string> Names(const std::string& directory) {
    auto names = files_.List(directory);
    EXPECT_TRUE(names.ok()) << names.status();
    if (!names.ok()) return {"unreadable"};
    std::sort(names->begin(), names->end());
    return *names;
  }

  // That it is of this code, and names the path.
  void ExpectError(const absl::Status& status, absl::StatusCode code, const std::string& path) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.ToString().find(path), std::string::npos) << status;
  }

  const TemporaryDirectory directory_;
  FileSystem& files_ = FileSystem::Default();
};

TEST_F(FileSystemTest, WritesWhatIsAppendedAndReadsIt) {
  const std::string path = directory_ / "file";
  const auto file = Create(path);
  EXPECT_EQ(Contents(path), "");
  EXPECT_TRUE(file->Append("one").ok());
  EXPECT_TRUE(file->Append("").ok());
  EXPECT_TRUE(file->Append(std::string("\0two", 4)).ok());
  EXPECT_EQ(Contents(path), std::string("one\0two", 7));
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_TRUE(file->Close().ok());
  EXPECT_TRUE(file->Close().ok());
  EXPECT_EQ(Contents(path), std::string("one\0two", 7));
}

TEST_F(FileSystemTest, ReadsFilesOfAllSizes) {
  for (const size_t size : {1, 4'095, 4'096, 4'097, 65'536, 65'537, 3'000'000}) {
    const std::string path = directory_ / std::to_string(size);
    std::string bytes(size, 'x');
    bytes.back() = 'y';
    Write(path, bytes);
    EXPECT_TRUE(Contents(path) == bytes) << size;
  }
}

TEST_F(FileSystemTest, ReadsWhatDoesntSayHowLongItIsWhateverInterruptsIt) {
  const std::string path = directory_ / "pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  struct sigaction action = {}, before;
  action.sa_handler = [](int) {};  // and no SA_RESTART
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  const std::string piece(10'000, 'p');
  const pid_t parent = getpid();
  const pid_t writer = fork();
  ASSERT_GE(writer, 0);
  if (writer == 0) {
    std::ofstream out(path, std::ios::binary);
    for (int i = 0; i < 20; ++i) {
      for (int signal = 0; signal < 20; ++signal) kill(parent, SIGUSR1);
      out << piece << std::flush;
    }
    out.close();
    _exit(out.good() ? 0 : 1);
  }
  EXPECT_TRUE(Contents(path) == std::string(200'000, 'p'));
  int status = 0;
  while (waitpid(writer, &status, 0) < 0 && errno == EINTR) {
  }
  EXPECT_EQ(status, 0);
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(FileSystemTest, AppendsAfterTruncating) {
  const std::string path = directory_ / "file";
  const auto file = Create(path);
  EXPECT_TRUE(file->Append("one, two").ok());
  EXPECT_TRUE(file->Truncate(3).ok());
  EXPECT_EQ(Contents(path), "one");
  EXPECT_TRUE(file->Append(" and three").ok());
  EXPECT_EQ(Contents(path), "one and three");
  EXPECT_TRUE(file->Truncate(0).ok());
  EXPECT_EQ(Contents(path), "");
}

TEST_F(FileSystemTest, AFileThatIsThereIsntCreated) {
  const std::string path = directory_ / "file";
  Write(path, "mine");
  ExpectError(files_.Create(path).status(), absl::StatusCode::kAlreadyExists, path);
  EXPECT_EQ(Contents(path), "mine");
}

TEST_F(FileSystemTest, RenameReplaces) {
  Write(directory_ / "new", "new");
  Write(directory_ / "old", "old");
  EXPECT_TRUE(files_.Rename(directory_ / "new", directory_ / "old").ok());
  EXPECT_EQ(Contents(directory_ / "old"), "new");
  EXPECT_EQ(Names(directory_.path()), std::vector<std::string>{"old"});
  EXPECT_TRUE(files_.Remove(directory_ / "old").ok());
  EXPECT_TRUE(Names(directory_.path()).empty());
}

TEST_F(FileSystemTest, WhatIsntThereIsNotFound) {
  const std::string path = directory_ / "nothing";
  constexpr auto kNotFound = absl::StatusCode::kNotFound;
  ExpectError(files_.Read(path).status(), kNotFound, path);
  ExpectError(files_.Remove(path), kNotFound, path);
  ExpectError(files_.Rename(path, directory_ / "to"), kNotFound, path);
  ExpectError(files_.List(path).status(), kNotFound, path);
  ExpectError(files_.SyncDirectory(path), kNotFound, path);
  ExpectError(files_.Create(path + "/file").status(), kNotFound, path);
  ExpectError(files_.LockFile(path + "/LOCK").status(), kNotFound, path);
  ExpectError(files_.CreateDirectory(""), kNotFound, "");
}

TEST_F(FileSystemTest, PathsThatCantBeAreFailedPreconditions) {
  const std::string file = directory_ / "file";
  Write(file, "");
  constexpr auto kFailedPrecondition = absl::StatusCode::kFailedPrecondition;
  ExpectError(files_.Create(file + "/x").status(), kFailedPrecondition, file);
  ExpectError(files_.List(file).status(), kFailedPrecondition, file);
  ExpectError(files_.SyncDirectory(file), kFailedPrecondition, file);
  ExpectError(files_.CreateDirectory(file), kFailedPrecondition, file);
  ExpectError(files_.CreateDirectory(file + "/x/y"), kFailedPrecondition, file);
  ExpectError(files_.Read(directory_.path()).status(), kFailedPrecondition, directory_.path());
  const std::string too_long = directory_ / std::string(1'000, 'n');
  ExpectError(files_.Create(too_long).status(), kFailedPrecondition, too_long);
}

TEST_F(FileSystemTest, MakesDirectoriesAndThoseAboveThem) {
  for (const std::string name : {"a/b/c", "a", "a/b/c/", "d//e/", "f"})
    EXPECT_TRUE(files_.CreateDirectory(directory_ / name).ok()) << name;
  EXPECT_EQ(Names(directory_.path()), (std::vector<std::string>{"a", "d", "f"}));
  EXPECT_EQ(Names(directory_ / "a/b"), std::vector<std::string>{"c"});
  EXPECT_EQ(Names(directory_ / "d"), std::vector<std::string>{"e"});
  EXPECT_TRUE(files_.CreateDirectory("/").ok());
  EXPECT_TRUE(files_.CreateDirectory(".").ok());
  EXPECT_TRUE(files_.SyncDirectory(directory_ / "a/b").ok());
}

TEST_F(FileSystemTest, WhatIsForbiddenIsPermissionDenied) {
  const std::string path = directory_ / "forbidden";
  ASSERT_TRUE(files_.CreateDirectory(path).ok());
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  RunInChild([&] {
    // For root nothing is forbidden, unless it gives up its capabilities.
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
    CHILD_CHECK(syscall(SYS_capset, &header, none) == 0);
    CHILD_CHECK(absl::IsPermissionDenied(files_.Create(path + "/file").status()));
    CHILD_CHECK(absl::IsPermissionDenied(files_.Read(path + "/file").status()));
    CHILD_CHECK(absl::IsPermissionDenied(files_.List(path).status()));
    CHILD_CHECK(absl::IsPermissionDenied(files_.CreateDirectory(path + "/directory")));
  });
  ASSERT_EQ(chmod(path.c_str(), 0700), 0);
}

TEST_F(FileSystemTest, AFileThatMayNotGrowIsResourceExhaustedAndHasWhatFitted) {
  const std::string path = directory_ / "file";
  const auto file = Create(path);
  RunInChild([&] {
    // Over the limit the system writes less than it was asked to, then nothing, with an error.
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {10'000, 10'000};
    CHILD_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHILD_CHECK(file->Append(std::string(9'000, 'a')).ok());
    CHILD_CHECK(absl::IsResourceExhausted(file->Append(std::string(9'000, 'b'))));
  });
  EXPECT_EQ(Contents(path), std::string(9'000, 'a') + std::string(1'000, 'b'));
}

TEST_F(FileSystemTest, TooManyOpenFilesAreResourceExhausted) {
  RunInChild([&] {
    const rlimit limit = {20, 20};
    CHILD_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    std::vector<std::unique_ptr<AppendFile>> open;
    for (int i = 0; i < 30; ++i) {
      auto file = files_.Create(directory_ / std::to_string(i));
      if (!file.ok()) {
        CHILD_CHECK(absl::IsResourceExhausted(file.status()));
        CHILD_CHECK(absl::IsResourceExhausted(files_.List(directory_.path()).status()));
        return;
      }
      open.push_back(*std::move(file));
    }
    CHILD_CHECK(!"it ran out of descriptors");
  });
}

TEST_F(FileSystemTest, LeavesNoDescriptorToProgramsThatAreStarted) {
  const auto file = Create(directory_ / "file");
  const auto lock = files_.LockFile(directory_ / "LOCK");
  ASSERT_TRUE(lock.ok());
  int ours = 0;
  for (int fd = 3; fd < 256; ++fd) {
    char target[4'096];
    const ssize_t length =
        readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof(target));
    if (length < 0 || std::string(target, length).find(directory_.path()) == std::string::npos)
      continue;
    ++ours;
    EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC) << std::string(target, length);
  }
  EXPECT_EQ(ours, 2);
}

TEST_F(FileSystemTest, ALockExcludesOthersOfTheSameProcess) {
  const std::string path = directory_ / "LOCK";
  auto lock = files_.LockFile(path);
  ASSERT_TRUE(lock.ok()) << lock.status();
  ExpectError(files_.LockFile(path).status(), absl::StatusCode::kFailedPrecondition, path);
  // Nor does reading the file, or failing to lock it, unlock it.
  EXPECT_EQ(Contents(path), "");
  EXPECT_FALSE(files_.LockFile(path).ok());
  EXPECT_TRUE(files_.LockFile(directory_ / "OTHER").ok());
  lock->reset();
  EXPECT_TRUE(files_.LockFile(path).ok());
}

TEST_F(FileSystemTest, ALockExcludesOtherProcessesUntilItsOwnIsKilled) {
  const std::string path = directory_ / "LOCK";
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t owner = fork();
  ASSERT_GE(owner, 0);
  if (owner == 0) {
    const auto lock = files_.LockFile(path);
    const char outcome = lock.ok() ? 'y' : 'n';
    if (write(pipe_ends[1], &outcome, 1) != 1) _exit(1);
    for (;;) pause();
  }
  char outcome = 0;
  EXPECT_EQ(read(pipe_ends[0], &outcome, 1), 1);
  EXPECT_EQ(outcome, 'y');
  ExpectError(files_.LockFile(path).status(), absl::StatusCode::kFailedPrecondition, path);
  ASSERT_EQ(kill(owner, SIGKILL), 0);
  ASSERT_EQ(waitpid(owner, nullptr, 0), owner);
  EXPECT_TRUE(files_.LockFile(path).ok());
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_F(FileSystemTest, AForkedChildCantUnlockWhatItsParentHolds) {
  const std::string path = directory_ / "LOCK";
  auto lock = files_.LockFile(path);
  ASSERT_TRUE(lock.ok());
  RunInChild([&] {
    lock->reset();
    CHILD_CHECK(!files_.LockFile(path).ok());
  });
  EXPECT_FALSE(files_.LockFile(path).ok());
  lock->reset();
  EXPECT_TRUE(files_.LockFile(path).ok());
}

TEST_F(FileSystemTest, UnlocksThoughAChildHasACopyOfTheDescriptor) {
  const std::string path = directory_ / "LOCK";
  auto lock = files_.LockFile(path);
  ASSERT_TRUE(lock.ok());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (;;) pause();
  }
  lock->reset();
  EXPECT_TRUE(files_.LockFile(path).ok());
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace larder
