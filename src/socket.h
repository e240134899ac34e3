// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_SOCKET_H_
#define LARDER_SRC_SOCKET_H_

#include <poll.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/deadline.h"
#include "src/host_lookup.h"

namespace larder::internal {

// Owns a file descriptor.
class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd();
  ScopedFd(ScopedFd&& other) noexcept : fd_(other.Release()) {}
  ScopedFd& operator=(ScopedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// An eventfd(2) that counts from 0: non-blocking, closed on exec. ResourceExhausted where there
// can't be one.
absl::StatusOr<ScopedFd> MakeEventFd();

// Connects a stream socket: non-blocking, closed on exec. hiredis's own connect functions leave the
// socket open to every child process, try but one address family, and may block in ways their
// timeout doesn't cover.
//
// Unavailable if it can't be reached, with the reason; DeadlineExceeded if nothing answers in time.
absl::StatusOr<ScopedFd> ConnectUnix(const std::string& path, Deadline deadline);

// As above, the look-up of the host's name included. Tries every address of the name in turn, each
// with a fair share of the time left.
absl::StatusOr<ScopedFd> ConnectTcp(const std::string& host, int port, Deadline deadline,
                                    HostLookup& lookup = HostLookup::ForProcess());

// Waits until one of the poll(2) events is there and returns what poll reports: errors and hang-ups
// too, 0 if the deadline passed first. Finer than poll's millisecond.
int PollUntil(int fd, short events, Deadline deadline);

// As above, until one of `fds` has something to report in `revents`. True if one has.
bool PollAnyUntil(absl::Span<pollfd> fds, Deadline deadline);

}  // namespace larder::internal

#endif  // LARDER_SRC_SOCKET_H_
