// SPDX-License-Identifier: Apache-2.0
#include "src/redis_client.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cstdint>
#include <system_error>
#include <utility>

#include "absl/time/time.h"
#include "src/socket.h"
#include "src/text.h"
#include "src/tls_stream.h"

namespace larder::internal {
namespace {

// A reader whose buffer grew beyond this is replaced after the call, lest each idle connection keep
// the memory of the largest value it ever saw.
constexpr size_t kLargeBuffer = size_t{1} << 20;

// Sends as much as goes without waiting and drops it from the front of `unsent`. False if no more
// will go.
bool SendSome(Stream& stream, std::string_view* unsent) {
  const absl::StatusOr<size_t> sent = stream.SendOne(*unsent);
  if (sent.ok()) unsent->remove_prefix(*sent);
  return sent.ok();
}

absl::StatusOr<std::unique_ptr<Stream>> Connect(const RedisOptions& options, Deadline deadline) {
  absl::StatusOr<ScopedFd> fd = options.unix_socket.empty()
                                    ? ConnectTcp(options.host, options.port, deadline)
                                    : ConnectUnix(options.unix_socket, deadline);
  if (!fd.ok()) return fd.status();
  if (!options.tls.has_value()) return std::make_unique<Stream>(*std::move(fd));
  auto stream = TlsStream::Connect(*std::move(fd), *options.tls, options.host, deadline);
  // The options were valid once: a file is being renewed, or has gone.
  if (!absl::IsInvalidArgument(stream.status())) return stream;
  return absl::UnavailableError(stream.status().message());
}

bool ToNumber(const redisReply& reply, int64_t* number) {
  const std::string_view text = ReplyText(reply);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

absl::Status RedisError(absl::StatusCode code, std::string_view address, std::string_view command,
                        std::string_view text) {
  return absl::Status(code, Concat(address, ": ", command, ": ", text));
}

absl::Status FirstErrorReply(std::string_view address, absl::Span<const ExpectedReply> expected,
                             absl::Span<const RedisReply> replies, bool* reconnect) {
  size_t errors = 0;
  absl::Status first;
  for (size_t i = 0; i < replies.size(); ++i) {
    if (replies[i]->type != REDIS_REPLY_ERROR) continue;
    ++errors;
    const std::string_view command = expected[i].command;
    std::string_view text = ReplyText(*replies[i]);
    // A server that doesn't know a command quotes its arguments after a comma: passwords and
    // values.
    if (command == "AUTH") text = text.substr(0, text.find(','));
    text = text.substr(0, text.find(", with args beginning with"));
    const ErrorReplyMeaning meaning = MeaningOfErrorReply(command, text);
    *reconnect = *reconnect || meaning.reconnect;
    if (first.ok()) first = RedisError(meaning.code, address, command, text);
  }
  // Scripts that the server forgot in the middle: what is done mustn't be done again.
  if (absl::IsAborted(first) && errors < replies.size()) {
    return absl::UnavailableError(first.message());
  }
  return first;
}

std::string RedisAddress(const RedisOptions& options) {
  if (!options.unix_socket.empty()) return Concat("redis unix:", options.unix_socket);
  const bool is_ipv6 = options.host.find(':') != std::string::npos;
  return Concat("redis ", is_ipv6 ? "[" : "", options.host, is_ipv6 ? "]" : "", ":", options.port);
}

RedisConnection::RedisConnection(std::unique_ptr<Stream> stream, Reader reader, std::string address)
    : address_(std::move(address)), stream_(std::move(stream)), reader_(std::move(reader)) {
  LimitArrays(reader_.get(), &array_limit_);
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisConnection::Dial(const RedisOptions& options,
                                                                       std::string address,
                                                                       Deadline deadline,
                                                                       Greeting greeting) {
  const Deadline own_limit = Deadline::After(options.connect_timeout);
  const bool own_limit_first = own_limit < deadline;
  const Deadline limit = own_limit_first ? own_limit : deadline;
  // Whose time ran out decides who is to blame: a server that can't be reached, or a hasty caller.
  const auto blame = [&](const absl::Status& status) {
    if (!own_limit_first || !absl::IsDeadlineExceeded(status)) return status;
    return absl::UnavailableError(Concat(status.message(), " (connect_timeout ",
                                         absl::FormatDuration(options.connect_timeout), ")"));
  };

  absl::StatusOr<std::unique_ptr<Stream>> stream = Connect(options, limit);
  if (!stream.ok()) {
    const absl::Status& status = stream.status();
    return blame(absl::Status(status.code(), Concat(address, ": ", status.message())));
  }
  Reader reader(redisReaderCreate());
  if (reader == nullptr) {
    return absl::ResourceExhaustedError(Concat(address, ": out of memory for a connection"));
  }
  std::unique_ptr<RedisConnection> connection(
      new RedisConnection(*std::move(stream), std::move(reader), std::move(address)));
  const absl::Status status = connection->Handshake(options, limit, greeting);
  if (!status.ok()) return blame(status);
  return connection;
}

absl::Status RedisConnection::Handshake(const RedisOptions& options, Deadline deadline,
                                        Greeting greeting) {
  RedisRequest request;
  const ExpectedReply auth = {"AUTH", ReplyKind::kOk};
  if (!options.username.empty()) {
    request.Add(auth, {"AUTH", options.username, options.password});
  } else if (!options.password.empty()) {
    request.Add(auth, {"AUTH", options.password});
  }
  if (options.database != 0) {
    request.Add({"SELECT", ReplyKind::kOk}, {"SELECT", Concat(options.database)});
  }
  const size_t needed = request.expected().size();
  if (greeting == Greeting::kIdentify) {
    request.Add({"TIME", ReplyKind::kStrings, 2}, {"TIME"});
    request.Add({"INFO", ReplyKind::kString}, {"INFO", "server"});
  }
  if (request.expected().empty()) return absl::OkStatus();

  const absl::Duration asked_at = Deadline::Monotonic();
  RedisReplies replies;
  bool reconnect = false;
  if (absl::Status status = Complete(request, deadline, &replies); !status.ok()) {
    const bool said_why = !FirstErrorReply(address_, request.expected(), replies, &reconnect).ok();
    const bool identifying = greeting == Greeting::kIdentify && replies.size() >= needed;
    if (!absl::IsUnavailable(status) || said_why || !identifying) return status;
    return absl::UnavailableError(
        Concat(status.message(),
               " (by a proxy that doesn't know it? RedisOptions::identify_servers = false)"));
  }
  const absl::Status all = FirstErrorReply(address_, request.expected(), replies, &reconnect);
  const absl::Status status = FirstErrorReply(address_, request.expected(),
                                              absl::MakeConstSpan(replies).first(needed), &broken_);
  if (!status.ok()) return status;
  if (reconnect) return all;
  if (greeting == Greeting::kIdentify) Identify(*replies[needed], *replies[needed + 1], asked_at);
  return absl::OkStatus();
}

// Takes what it can: a server that doesn't say, or may not, does no harm.
void RedisConnection::Identify(const redisReply& time, const redisReply& info,
                               absl::Duration asked_at) {
  int64_t seconds = 0;
  int64_t micros = 0;
  if (time.type == REDIS_REPLY_ARRAY && ToNumber(*time.element[0], &seconds) &&
      ToNumber(*time.element[1], &micros)) {
    // As if the server had looked at its clock in the middle of the round trip.
    const absl::Duration looked_at = (asked_at + Deadline::Monotonic()) / 2;
    clock_offset_ = absl::Seconds(seconds) + absl::Microseconds(micros) - looked_at;
  }
  if (info.type != REDIS_REPLY_STRING) return;
  constexpr std::string_view kField = "run_id:";
  const std::string_view text = ReplyText(info);
  const size_t at = text.find(kField);
  if (at == text.npos) return;
  const std::string_view rest = text.substr(at + kField.size());
  run_id_ = rest.substr(0, rest.find_first_of("\r\n"));
}

absl::StatusOr<RedisReplies> RedisConnection::Call(const RedisRequest& request, Deadline deadline) {
  RedisReplies replies;
  absl::Status status = Complete(request, deadline, &replies);
  if (!status.ok()) return status;
  status = FirstErrorReply(address_, request.expected(), replies, &broken_);
  if (!status.ok()) return status;
  return replies;
}

absl::Status RedisConnection::Complete(const RedisRequest& request, Deadline deadline,
                                       RedisReplies* replies) {
  assert(!broken_);
  if (deadline.Passed()) return TimedOut(request.expected()[0].command, deadline);
  // Until the last reply is in: whatever ends this call early, be it an exception for lack of
  // memory, leaves a connection that nobody must use.
  broken_ = true;
  absl::Status status = Exchange(request, deadline, replies);
  if (!status.ok()) {
    // What the server said before it closed tells more.
    const absl::Status error = FirstErrorReply(address_, request.expected(), *replies, &broken_);
    return absl::IsUnavailable(status) && !error.ok() ? error : status;
  }
  broken_ = false;
  ReleaseLargeBuffer();
  return absl::OkStatus();
}

absl::Status RedisConnection::Exchange(const RedisRequest& request, Deadline deadline,
                                       RedisReplies* replies) {
  std::string_view unsent = request.wire();
  const size_t count = request.expected().size();
  const auto command = [&] { return request.expected()[replies->size()].command; };
  bool can_send = true;
  while (replies->size() < count) {
    if (!unsent.empty() && can_send) can_send = SendSome(*stream_, &unsent);
    // Read while sending: a server, or something between, that waits until its answers are taken
    // doesn't take requests. And after an error the server's last words may still be there to read.
    const bool more_to_send = !unsent.empty() && can_send;
    const short events = static_cast<short>(POLLIN | (more_to_send ? POLLOUT : 0));
    const int ready = PollUntil(stream_->fd(), events, deadline);
    // Checked although data came, too: a server that drips bytes doesn't get longer.
    if (ready == 0 || deadline.Passed()) return TimedOut(command(), deadline);
    if ((ready & ~POLLOUT) == 0) continue;
    absl::Status status = Receive(command());
    if (status.ok()) status = Parse(request, replies);
    if (!status.ok()) return status;
  }

  const std::string_view last = request.expected().back().command;
  if (!unsent.empty()) {
    const absl::Status error = FirstErrorReply(address_, request.expected(), *replies, &broken_);
    return !error.ok()
               ? error
               : Error(absl::StatusCode::kInternal, last, "answered before the request was sent");
  }
  if (unread() != 0) {
    return Error(absl::StatusCode::kInternal, last, "more bytes came than the answer has");
  }
  return absl::OkStatus();
}

absl::Status RedisConnection::Receive(std::string_view command) {
  std::array<char, Stream::kReceiveBytes> buffer;
  const absl::StatusOr<size_t> size = stream_->Receive(absl::MakeSpan(buffer));
  if (!size.ok()) {
    return Error(size.status().code(), command,
                 Concat("connection lost: ", size.status().message()));
  }
  if (redisReaderFeed(reader_.get(), buffer.data(), *size) != REDIS_OK) {
    return Error(absl::StatusCode::kUnavailable, command,
                 Concat("connection lost: ", reader_->errstr));
  }
  received_ += *size;
  largest_buffer_ = std::max(largest_buffer_, reader_->len);
  return absl::OkStatus();
}

// Moves the replies that are complete from the reader to `replies`. Right after each read, because
// the reader moves the rest of its buffer after each reply: many replies in a large one would cost
// a quadratic time.
absl::Status RedisConnection::Parse(const RedisRequest& request, RedisReplies* replies) {
  while (replies->size() < request.expected().size()) {
    absl::StatusOr<RedisReply> reply = Next(request.expected()[replies->size()]);
    if (!reply.ok()) return reply.status();
    if (*reply == nullptr) return absl::OkStatus();
    replies->push_back(*std::move(reply));
  }
  return absl::OkStatus();
}

absl::StatusOr<RedisReply> RedisConnection::Next(const ExpectedReply& expected) {
  array_limit_ = {expected.most_elements(), 0};
  void* parsed = nullptr;
  if (redisReaderGetReply(reader_.get(), &parsed) != REDIS_OK) {
    if (array_limit_.refused > 0) {
      return Error(absl::StatusCode::kInternal, expected.command,
                   Concat("bad reply: an array of ", array_limit_.refused, ", at most ",
                          array_limit_.allowed, " expected"));
    }
    return Error(absl::StatusCode::kInternal, expected.command,
                 Concat("bad reply: ", reader_->errstr));
  }
  RedisReply reply(static_cast<redisReply*>(parsed));
  if (reply == nullptr) return reply;
  completed_ = received_ - unread();
  const absl::Status kind = CheckReplyKind(*reply, expected);
  if (!kind.ok()) return Error(kind.code(), expected.command, Concat(kind.message()));
  return reply;
}

std::unique_ptr<Stream> RedisConnection::Detach() {
  assert(!broken_);
  broken_ = true;
  return std::move(stream_);
}

void RedisConnection::ReleaseLargeBuffer() {
  if (largest_buffer_ <= kLargeBuffer) return;
  largest_buffer_ = 0;
  Reader fresh(redisReaderCreate());
  if (fresh == nullptr) return;
  reader_ = std::move(fresh);
  LimitArrays(reader_.get(), &array_limit_);
}

absl::Status RedisConnection::Error(absl::StatusCode code, std::string_view command,
                                    std::string_view text) const {
  return RedisError(code, address_, command, text);
}

absl::Status RedisConnection::TimedOut(std::string_view command, Deadline deadline) const {
  return Error(absl::StatusCode::kDeadlineExceeded, command,
               Concat("no answer within ", absl::FormatDuration(deadline.timeout())));
}

}  // namespace larder::internal
