// SPDX-License-Identifier: Apache-2.0

#include "tests/support/fault_relay.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/support/fault_relay_process.h"

namespace larder::test {

absl::StatusOr<std::unique_ptr<FaultRelay>> FaultRelay::Start(const FaultRelayOptions& options) {
  std::string folder = "/tmp/larder-relay-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return absl::InternalError("relay: no folder");
  const std::string path = options.tcp ? "" : folder + "/relay.sock";
  RelayAddress address(path, 0);
  const int listener = address.Listen();
  int ends[2] = {-1, -1};
  if (listener < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::InternalError(absl::StrCat("relay: ", std::strerror(errno)));
  }
  int port = 0;
  if (options.tcp) {
    getsockname(listener, reinterpret_cast<sockaddr*>(&address.any), &address.size);
    port = ntohs(reinterpret_cast<sockaddr_in*>(&address.any)->sin_port);
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    close(ends[0]);
    FaultRelayProcess(ends[1], listener, path, port, options).Run();
  }
  close(ends[1]);
  close(listener);
  if (pid < 0) return absl::InternalError("relay: no process");
  return std::unique_ptr<FaultRelay>(new FaultRelay(pid, ends[0], std::move(folder), path, port));
}

FaultRelay::FaultRelay(pid_t pid, int control, std::string folder, std::string socket, int port)
    : pid_(pid),
      control_(control),
      folder_(std::move(folder)),
      socket_(std::move(socket)),
      port_(port) {}

FaultRelay::~FaultRelay() {
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  close(control_);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void FaultRelay::Tell(const RelayCommand& command) {
  char done;
  if (send(control_, &command, sizeof(command), MSG_NOSIGNAL) != sizeof(command) ||
      recv(control_, &done, 1, 0) != 1) {
    std::perror("the relay has ended");
    std::abort();
  }
}

void FaultRelay::Delay(absl::Duration one_way) {
  Tell({.what = RelayCommand::kDelay, .number = absl::ToInt64Nanoseconds(one_way)});
}
void FaultRelay::Stop(Relayed which) { Tell({.what = RelayCommand::kStop, .which = which}); }
void FaultRelay::Go() { Tell({.what = RelayCommand::kGo}); }
void FaultRelay::Cut(Relayed which) { Tell({.what = RelayCommand::kCut, .which = which}); }
void FaultRelay::CutReplies(uint64_t bytes) {
  Tell({.what = RelayCommand::kCutReplies, .number = static_cast<int64_t>(bytes)});
}
void FaultRelay::CorruptValues(uint64_t n) {
  Tell({.what = RelayCommand::kCorrupt, .number = static_cast<int64_t>(n)});
}
void FaultRelay::GarbleReplies(uint64_t n) {
  Tell({.what = RelayCommand::kGarble, .number = static_cast<int64_t>(n)});
}
void FaultRelay::Refuse(bool refuses) {
  Tell({.what = RelayCommand::kRefuse, .number = refuses ? 1 : 0});
}
void FaultRelay::Retarget(const std::string& target_socket, int target_port) {
  RelayCommand command{.what = RelayCommand::kRetarget, .number = target_port};
  target_socket.copy(command.path, sizeof(command.path) - 1);
  Tell(command);
}

}  // namespace larder::test
