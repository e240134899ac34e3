// SPDX-License-Identifier: Apache-2.0
#include "src/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/text.h"

namespace larder::internal {
namespace {

absl::Status Unreachable(std::string_view what, int error) {
  return absl::UnavailableError(Concat(what, ": ", std::generic_category().message(error)));
}

absl::Status NobodyAnswered() {
  return absl::DeadlineExceededError("can't connect: nobody answered in time");
}

// Lets requests leave at once, and notices peers that vanished without a word while a connection
// lies idle. Best effort: a connection works without.
void TuneTcp(int fd) {
  const int on = 1;
  const int idle_seconds = 30;
  const int probe_seconds = 10;
  const int probes = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof(idle_seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe_seconds, sizeof(probe_seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

absl::StatusOr<ScopedFd> ConnectAddress(const addrinfo& address, Deadline deadline) {
  ScopedFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return Unreachable("can't make a socket", errno);
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    // Interrupted or not, a non-blocking connect goes on by itself.
    if (errno != EINPROGRESS && errno != EINTR) return Unreachable("can't connect", errno);
    if (PollUntil(fd.get(), POLLOUT, deadline) == 0) return NobodyAnswered();
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
    if (error != 0) return Unreachable("can't connect", error);
  }
  TuneTcp(fd.get());
  return fd;
}

// How long a blocking connect may wait; a zero timeval would mean forever.
timeval ConnectTimeval(Deadline deadline) {
  const absl::Duration remaining = deadline.Remaining();
  if (remaining == absl::InfiniteDuration()) return timeval{0, 0};
  return absl::ToTimeval(std::max(remaining, absl::Microseconds(1)));
}

}  // namespace

ScopedFd::~ScopedFd() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<ScopedFd> MakeEventFd() {
  ScopedFd fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (fd.get() >= 0) return fd;
  return absl::ResourceExhaustedError(
      Concat("can't make an eventfd: ", std::generic_category().message(errno)));
}

absl::StatusOr<ScopedFd> ConnectUnix(const std::string& path, Deadline deadline) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(Concat("Unix socket path too long: ", path));
  }
  std::memcpy(address.sun_path, path.data(), path.size());

  // When the server's backlog is full, a non-blocking connect of a Unix socket fails at once and
  // can't be waited for; a blocking one waits as long as the send timeout says.
  ScopedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return Unreachable("can't make a socket", errno);
  int error = EINTR;
  while (error == EINTR) {
    if (deadline.Passed()) return NobodyAnswered();
    const timeval timeout = ConnectTimeval(deadline);
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    error = connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0
                ? 0
                : errno;
  }
  if (error == EAGAIN) return NobodyAnswered();
  if (error != 0) return Unreachable("can't connect", error);
  if (fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) return Unreachable("can't set O_NONBLOCK", errno);
  return fd;
}

absl::StatusOr<ScopedFd> ConnectTcp(const std::string& host, int port, Deadline deadline,
                                    HostLookup& lookup) {
  const absl::StatusOr<HostAddresses> found = lookup.Find(host, port, deadline);
  if (!found.ok()) return found.status();

  int left = 0;
  for (const addrinfo* address = found->get(); address != nullptr; address = address->ai_next) {
    ++left;
  }
  absl::StatusOr<ScopedFd> fd = absl::UnavailableError("the host has no address");
  for (const addrinfo* address = found->get(); address != nullptr;
       address = address->ai_next, --left) {
    fd = ConnectAddress(*address, Deadline::After(deadline.Remaining() / left));
    if (fd.ok() || deadline.Passed()) break;
  }
  return fd;
}

int PollUntil(int fd, short events, Deadline deadline) {
  pollfd waited = {fd, events, 0};
  return PollAnyUntil(absl::MakeSpan(&waited, 1), deadline) ? waited.revents : 0;
}

bool PollAnyUntil(absl::Span<pollfd> fds, Deadline deadline) {
  while (true) {
    const absl::Duration remaining = deadline.Remaining();
    const timespec timeout = absl::ToTimespec(remaining);
    const int ready = ppoll(fds.data(), fds.size(),
                            remaining == absl::InfiniteDuration() ? nullptr : &timeout, nullptr);
    if (ready >= 0) return ready > 0;
    if (errno == EINTR) continue;
    // Anything but an interruption (out of kernel memory) is left to the read or write that
    // follows.
    for (pollfd& each : fds) each.revents = POLLERR;
    return true;
  }
}

}  // namespace larder::internal
