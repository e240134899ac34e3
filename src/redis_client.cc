// SPDX-License-Identifier: Apache-2.0
#include "src/redis_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/time/time.h"
#include "src/socket.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// A reader whose buffer grew beyond this is replaced after the call, lest each idle connection keep
// the memory of the largest value it ever saw.
constexpr size_t kLargeBuffer = size_t{1} << 20;

// Sends as much as goes without waiting and drops it from the front of `unsent`. Returns errno, 0
// if there is none to report.
int SendSome(int fd, std::string_view* unsent) {
  while (true) {
    const ssize_t sent = send(fd, unsent->data(), unsent->size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      unsent->remove_prefix(static_cast<size_t>(sent));
      return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    if (errno != EINTR) return errno;
  }
}

}  // namespace

std::string RedisAddress(const RedisOptions& options) {
  if (!options.unix_socket.empty()) return Concat("redis unix:", options.unix_socket);
  const bool is_ipv6 = options.host.find(':') != std::string::npos;
  return Concat("redis ", is_ipv6 ? "[" : "", options.host, is_ipv6 ? "]" : "", ":", options.port);
}

RedisConnection::RedisConnection(Context context, std::string address)
    : address_(std::move(address)), context_(std::move(context)) {
  context_->flags &= ~REDIS_BLOCK;  // redisConnectFd assumes a blocking socket; this one isn't
  LimitArrays(context_->reader, &array_limit_);
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisConnection::Dial(const RedisOptions& options,
                                                                       std::string address,
                                                                       Deadline deadline) {
  const Deadline own_limit = Deadline::After(options.connect_timeout);
  const bool own_limit_first = own_limit < deadline;
  const Deadline limit = own_limit_first ? own_limit : deadline;
  // Whose time ran out decides who is to blame: a server that can't be reached, or a hasty caller.
  const auto blame = [&](const absl::Status& status) {
    if (!own_limit_first || !absl::IsDeadlineExceeded(status)) return status;
    return absl::UnavailableError(Concat(status.message(), " (connect_timeout ",
                                         absl::FormatDuration(options.connect_timeout), ")"));
  };

  absl::StatusOr<ScopedFd> fd = options.unix_socket.empty()
                                    ? ConnectTcp(options.host, options.port, limit)
                                    : ConnectUnix(options.unix_socket, limit);
  if (!fd.ok()) {
    return blame(absl::Status(fd.status().code(), Concat(address, ": ", fd.status().message())));
  }
  Context context(redisConnectFd(fd->get()));
  if (context == nullptr) {
    return absl::ResourceExhaustedError(Concat(address, ": out of memory for a connection"));
  }
  fd->Release();  // the context closes it now
  std::unique_ptr<RedisConnection> connection(
      new RedisConnection(std::move(context), std::move(address)));
  const absl::Status status = connection->Handshake(options, limit);
  if (!status.ok()) return blame(status);
  return connection;
}

absl::Status RedisConnection::Handshake(const RedisOptions& options, Deadline deadline) {
  RedisRequest request;
  const ExpectedReply auth = {"AUTH", ReplyKind::kStatus};
  if (!options.username.empty()) {
    request.Add(auth, {"AUTH", options.username, options.password});
  } else if (!options.password.empty()) {
    request.Add(auth, {"AUTH", options.password});
  }
  if (options.database != 0) {
    request.Add({"SELECT", ReplyKind::kStatus}, {"SELECT", Concat(options.database)});
  }
  if (request.expected().empty()) return absl::OkStatus();
  return Call(request, deadline).status();
}

absl::StatusOr<RedisReplies> RedisConnection::Call(const RedisRequest& request, Deadline deadline) {
  assert(!broken_);
  lost_before_answer_ = false;
  if (deadline.Passed()) return TimedOut(request.expected()[0].command, deadline);
  // Until the last reply is in: whatever ends this call early, be it an exception for lack of
  // memory, leaves a connection that nobody must use.
  broken_ = true;
  answered_ = false;
  RedisReplies replies;
  absl::Status status = Exchange(request, deadline, &replies);
  if (!status.ok()) return status;
  broken_ = false;
  ReleaseLargeBuffer();
  status = FirstError(request, replies);
  if (!status.ok()) return status;
  return replies;
}

absl::Status RedisConnection::Exchange(const RedisRequest& request, Deadline deadline,
                                       RedisReplies* replies) {
  std::string_view unsent = request.wire();
  const size_t count = request.expected().size();
  const auto command = [&] { return request.expected()[replies->size()].command; };
  int send_error = 0;
  while (replies->size() < count) {
    if (!unsent.empty() && send_error == 0) send_error = SendSome(context_->fd, &unsent);
    // Read while sending: a server, or something between, that waits until its answers are taken
    // doesn't take requests. And after an error the server's last words may still be there to read.
    const bool more_to_send = !unsent.empty() && send_error == 0;
    const short events = static_cast<short>(POLLIN | (more_to_send ? POLLOUT : 0));
    const int ready = PollUntil(context_->fd, events, deadline);
    // Checked although data came, too: a server that drips bytes doesn't get longer.
    if (ready == 0 || deadline.Passed()) return TimedOut(command(), deadline);
    if ((ready & ~POLLOUT) == 0) continue;
    absl::Status status = Receive(command());
    if (status.ok()) status = Parse(request, replies);
    if (!status.ok()) return status;
  }

  const std::string_view last = request.expected().back().command;
  if (!unsent.empty()) {
    const absl::Status error = FirstError(request, *replies);
    return !error.ok()
               ? error
               : Error(absl::StatusCode::kInternal, last, "answered before the request was sent");
  }
  if (context_->reader->pos != context_->reader->len) {
    return Error(absl::StatusCode::kInternal, last, "more bytes came than the answer has");
  }
  return absl::OkStatus();
}

// Takes what has arrived, without waiting.
absl::Status RedisConnection::Receive(std::string_view command) {
  const size_t before = context_->reader->len;
  if (redisBufferRead(context_.get()) != REDIS_OK) {
    lost_before_answer_ = !answered_;
    return Error(absl::StatusCode::kUnavailable, command,
                 Concat("connection lost: ", context_->errstr));
  }
  answered_ = answered_ || context_->reader->len > before;
  largest_buffer_ = std::max(largest_buffer_, context_->reader->len);
  return absl::OkStatus();
}

// Moves the replies that are complete from the reader to `replies`. Right after each read, because
// the reader moves the rest of its buffer after each reply: many replies in a large one would cost
// a quadratic time.
absl::Status RedisConnection::Parse(const RedisRequest& request, RedisReplies* replies) {
  while (replies->size() < request.expected().size()) {
    const ExpectedReply& expected = request.expected()[replies->size()];
    array_limit_ = {expected.elements, 0};
    void* parsed = nullptr;
    if (redisGetReplyFromReader(context_.get(), &parsed) != REDIS_OK) {
      if (array_limit_.refused > 0) {
        return Error(absl::StatusCode::kInternal, expected.command,
                     Concat("bad reply: an array of ", array_limit_.refused, ", at most ",
                            array_limit_.allowed, " expected"));
      }
      return Error(absl::StatusCode::kInternal, expected.command,
                   Concat("bad reply: ", context_->errstr));
    }
    if (parsed == nullptr) return absl::OkStatus();
    RedisReply reply(static_cast<redisReply*>(parsed));
    const absl::Status kind = CheckReplyKind(*reply, expected);
    if (!kind.ok()) return Error(kind.code(), expected.command, Concat(kind.message()));
    replies->push_back(std::move(reply));
  }
  return absl::OkStatus();
}

absl::Status RedisConnection::FirstError(const RedisRequest& request, const RedisReplies& replies) {
  for (size_t i = 0; i < replies.size(); ++i) {
    if (replies[i]->type != REDIS_REPLY_ERROR) continue;
    const std::string_view command = request.expected()[i].command;
    std::string_view text = ReplyText(*replies[i]);
    // A server that doesn't know AUTH quotes its arguments, the password, after a comma.
    if (command == "AUTH") text = text.substr(0, text.find(','));
    const ErrorReplyMeaning meaning = MeaningOfErrorReply(command, text);
    broken_ = broken_ || meaning.reconnect;
    return Error(meaning.code, command, text);
  }
  return absl::OkStatus();
}

ScopedFd RedisConnection::Detach() {
  assert(!broken_);
  broken_ = true;
  return ScopedFd(std::exchange(context_->fd, -1));
}

bool RedisConnection::IsStale() const {
  char byte;
  ssize_t peeked;
  do {
    peeked = recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  } while (peeked < 0 && errno == EINTR);
  return peeked >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

void RedisConnection::ReleaseLargeBuffer() {
  if (largest_buffer_ <= kLargeBuffer) return;
  largest_buffer_ = 0;
  redisReader* const fresh = redisReaderCreate();
  if (fresh == nullptr) return;
  redisReaderFree(context_->reader);
  context_->reader = fresh;
  LimitArrays(context_->reader, &array_limit_);
}

absl::Status RedisConnection::Error(absl::StatusCode code, std::string_view command,
                                    std::string_view text) const {
  return absl::Status(code, Concat(address_, ": ", command, ": ", text));
}

absl::Status RedisConnection::TimedOut(std::string_view command, Deadline deadline) const {
  return Error(absl::StatusCode::kDeadlineExceeded, command,
               Concat("no answer within ", absl::FormatDuration(deadline.timeout())));
}

}  // namespace larder::internal
