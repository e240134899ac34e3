// SPDX-License-Identifier: Apache-2.0
#include "src/redis_listener.h"

#include <array>
#include <utility>

#include "absl/types/span.h"
#include "src/redis_command.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// As much as is read at a time before those who wait are told of what came.
constexpr size_t kMostBytes = size_t{1} << 24;

constexpr std::string_view kPing = "*1\r\n$4\r\nPING\r\n";

}  // namespace

RedisListener::RedisListener(std::unique_ptr<Stream> stream, RedisMessages::From from,
                             const RedisOptions& options, std::string address)
    : stream_(std::move(stream)),
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
  std::array<char, Stream::kReceiveBytes> buffer;
  for (size_t total = 0; total < kMostBytes;) {
    const absl::StatusOr<size_t> size = stream_->Receive(absl::MakeSpan(buffer));
    if (!size.ok()) {
      return Error(size.status().code(), Concat("connection lost: ", size.status().message()));
    }
    if (*size == 0) break;
    total += *size;
    asked_ = false;
    next_beat_ = Deadline::After(interval_);
    const absl::Status status = messages_.Feed(std::string_view(buffer.data(), *size));
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
  const absl::StatusOr<size_t> sent = stream_->SendOne(wire);
  if (sent.ok() && *sent == wire.size()) return absl::OkStatus();
  return Error(
      absl::StatusCode::kUnavailable,
      Concat("connection lost: ", sent.ok() ? "nothing can be sent" : sent.status().message()));
}

absl::Status RedisListener::Error(absl::StatusCode code, std::string_view text) const {
  return absl::Status(code, Concat(address_, ": subscription: ", text));
}

}  // namespace larder::internal
