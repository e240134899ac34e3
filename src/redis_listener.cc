// SPDX-License-Identifier: Apache-2.0
#include "src/redis_listener.h"

#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "src/redis_command.h"
#include "src/text.h"

namespace larder::internal {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 14;

// As much as is read at a time before those who wait are told of what came.
constexpr size_t kMostBytes = size_t{1} << 24;

constexpr std::string_view kPing = "*1\r\n$4\r\nPING\r\n";

}  // namespace

RedisListener::RedisListener(ScopedFd fd, RedisMessages::From from, const RedisOptions& options,
                             std::string address)
    : fd_(std::move(fd)),
      messages_(from, options.key_prefix),
      interval_(options.heartbeat_interval),
      timeout_(options.heartbeat_timeout),
      address_(std::move(address)),
      next_beat_(Deadline::After(interval_)) {}

absl::Status RedisListener::Subscribe() {
  RedisRequest request;
  request.Add({"SUBSCRIBE", ReplyKind::kAny}, {"SUBSCRIBE", messages_.channel()});
  return Send(request.wire());
}

absl::Status RedisListener::Read() {
  // Fails if an exception, for lack of memory, ended an earlier call.
  if (absl::Status status = messages_.Feed({}); !status.ok()) {
    return Error(status.code(), Concat(status.message()));
  }
  char buffer[kBufferBytes];
  for (size_t total = 0; total < kMostBytes;) {
    const ssize_t length = recv(fd(), buffer, sizeof(buffer), 0);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      return Error(absl::StatusCode::kUnavailable,
                   Concat("connection lost: ", std::generic_category().message(errno)));
    }
    if (length == 0) {
      return Error(absl::StatusCode::kUnavailable, "connection lost: the server closed it");
    }
    total += static_cast<size_t>(length);
    asked_ = false;
    next_beat_ = Deadline::After(interval_);
    const absl::Status status =
        messages_.Feed(std::string_view(buffer, static_cast<size_t>(length)));
    if (!status.ok()) return Error(status.code(), Concat(status.message()));
  }
  if (messages_.pongs() > pings_) {
    return Error(absl::StatusCode::kInternal, "an answer to a PING that nobody sent");
  }
  return absl::OkStatus();
}

absl::Status RedisListener::Beat() {
  if (!next_beat_.Passed()) return absl::OkStatus();
  if (asked_) {
    return Error(absl::StatusCode::kDeadlineExceeded,
                 Concat("no sign of life within ", absl::FormatDuration(timeout_)));
  }
  return Ask();
}

absl::Status RedisListener::Ask() {
  asked_ = true;
  ++pings_;
  next_beat_ = Deadline::After(timeout_);
  return Send(kPing);
}

// What is sent is so little that a connection which doesn't take it is as good as lost.
absl::Status RedisListener::Send(std::string_view wire) {
  ssize_t sent;
  do {
    sent = send(fd(), wire.data(), wire.size(), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(wire.size())) return absl::OkStatus();
  return Error(absl::StatusCode::kUnavailable,
               Concat("connection lost: ",
                      sent < 0 ? std::generic_category().message(errno) : "nothing can be sent"));
}

absl::Status RedisListener::Error(absl::StatusCode code, std::string_view text) const {
  return absl::Status(code, Concat(address_, ": subscription: ", text));
}

}  // namespace larder::internal
