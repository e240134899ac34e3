// SPDX-License-Identifier: Apache-2.0

#include "bench/support/child_process.h"

#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace larder::bench {

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::vector<std::string>& words) {
  const std::string& program = words.front();
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  // Sockets rather than pipes: a write to one whose reader is gone needn't raise SIGPIPE.
  int input[2];
  int output[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, output) != 0) {
    const int error = errno;
    close(input[0]);
    close(input[1]);
    return absl::ErrnoToStatus(error, "socketpair");
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  pid_t child = -1;
  const int error =
      posix_spawnp(&child, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(input[1]);
  close(output[1]);
  if (error == 0) {
    return std::unique_ptr<ChildProcess>(new ChildProcess(program, child, input[0], output[0]));
  }
  close(input[0]);
  close(output[0]);
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat(program, " is not installed"));
  return absl::ErrnoToStatus(error, absl::StrCat("start ", program));
}

ChildProcess::ChildProcess(std::string program, pid_t pid, int input, int output)
    : program_(std::move(program)), input_(input), output_(output), pid_(pid) {}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    Wait().IgnoreError();
  }
  close(input_);
  close(output_);
}

absl::Status ChildProcess::WriteLine(std::string_view line) {
  const std::string text = absl::StrCat(std::string(line), "\n");
  const ssize_t written = send(input_, text.data(), text.size(), MSG_NOSIGNAL);
  if (written == static_cast<ssize_t>(text.size())) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(program_, " doesn't listen"));
}

absl::StatusOr<std::string> ChildProcess::ReadLine() {
  size_t end = unread_.find('\n');
  while (end == unread_.npos) {
    if (!Fill()) return absl::OutOfRangeError(absl::StrCat(program_, " says nothing more"));
    end = unread_.find('\n');
  }
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return line;
}

std::string ChildProcess::ReadAll() {
  while (Fill()) {
  }
  return std::exchange(unread_, "");
}

bool ChildProcess::Fill() {
  char chunk[4096];
  for (;;) {
    const ssize_t length = read(output_, chunk, sizeof(chunk));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return false;
    unread_.append(chunk, static_cast<size_t>(length));
    return true;
  }
}

absl::Status ChildProcess::Wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(program_, " ended with status ", status));
}

absl::StatusOr<std::string> OutputOf(const std::vector<std::string>& words) {
  const absl::StatusOr<std::unique_ptr<ChildProcess>> child = ChildProcess::Start(words);
  if (!child.ok()) return child.status();
  std::string output = (*child)->ReadAll();
  if (absl::Status ended = (*child)->Wait(); !ended.ok()) {
    return absl::InternalError(absl::StrCat(std::string(ended.message()), ": ", output));
  }
  return output;
}

}  // namespace larder::bench
