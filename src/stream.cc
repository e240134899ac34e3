// SPDX-License-Identifier: Apache-2.0
#include "src/stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "absl/status/status.h"

namespace larder::internal {
namespace {

// What a call that failed with `error`, an errno, took or brought: nothing yet, or the connection
// is lost.
absl::StatusOr<size_t> Failed(int error) {
  if (error == EAGAIN || error == EWOULDBLOCK) return size_t{0};
  return absl::UnavailableError(std::generic_category().message(error));
}

}  // namespace

absl::StatusOr<size_t> Stream::Send(absl::Span<const iovec> parts) {
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  ssize_t sent;
  do {
    sent = sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Failed(errno);
  return static_cast<size_t>(sent);
}

absl::StatusOr<size_t> Stream::Receive(absl::Span<char> buffer) {
  ssize_t received;
  do {
    received = recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return Failed(errno);
  if (received == 0) return absl::UnavailableError("the server closed it");
  return static_cast<size_t>(received);
}

bool Stream::IsStale() {
  char byte;
  ssize_t peeked;
  do {
    peeked = recv(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  } while (peeked < 0 && errno == EINTR);
  return peeked >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

void Stream::ShutDownSending() { shutdown(fd(), SHUT_WR); }

}  // namespace larder::internal
