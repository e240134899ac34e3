// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_CLIENT_H_
#define LARDER_SRC_REDIS_CLIENT_H_

#include <hiredis/hiredis.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "larder/redis_tier.h"
#include "src/deadline.h"
#include "src/redis_command.h"
#include "src/redis_reply.h"
#include "src/stream.h"

namespace larder::internal {

// An error's status, of which the message says where and of what.
absl::Status RedisError(absl::StatusCode code, std::string_view address, std::string_view command,
                        std::string_view text);

// The Status that the first error among `replies`, the answers to `expected`, means; OK if there is
// none. *reconnect becomes true where one of them says that another connection may do better.
absl::Status FirstErrorReply(std::string_view address, absl::Span<const ExpectedReply> expected,
                             absl::Span<const RedisReply> replies, bool* reconnect);

// How messages name the server of `options`: "redis unix:/run/redis.sock", "redis cache-1:6379".
std::string RedisAddress(const RedisOptions& options);

// One connection to a Redis server. hiredis parses what comes in; sending, receiving and waiting
// are done here, because hiredis's blocking calls can't be given a deadline and carried on with
// afterwards, its writes raise SIGPIPE, and it moves the whole rest of a large request after each
// partial write.
//
// A connection serves until broken() says so; then only its destruction is left. It is broken by
// everything after which it isn't certain that the next bytes to arrive belong to the next request:
// a deadline that passed, a lost connection, bytes nobody asked for, a reply of the wrong kind.
//
// There are two ways to use it. Call() does all of one request. Or somebody else sends on stream()
// and keeps account of what is to come, as RedisChannel does: Receive(), Next() and unread(); this
// is for one thread at a time, while others may send.
//
// Not thread-safe otherwise: one user at a time.
class RedisConnection {
 public:
  // What Dial has to find out.
  enum class Greeting {
    kLogIn,     // no more than it takes
    kIdentify,  // which server it is and what time it has, too, where that says so
  };

  // Connects, by TLS if the options say so, and authenticates and selects the database if the
  // options say so, in one round trip. `address` is RedisAddress(options); it goes into messages.
  // Takes at most options.connect_timeout and no longer than `deadline`: Unavailable if the former
  // is what ended it, DeadlineExceeded if the latter.
  static absl::StatusOr<std::unique_ptr<RedisConnection>> Dial(
      const RedisOptions& options, std::string address, Deadline deadline,
      Greeting greeting = Greeting::kLogIn);

  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  // Sends all commands of `request` at once and returns their replies, in order, each of the
  // expected kind and none an error. If the server answered a command with an error, the first such
  // is returned, as the Status it means (redis_reply.h), and the other replies are dropped.
  // Requires !broken().
  absl::StatusOr<RedisReplies> Call(const RedisRequest& request, Deadline deadline);

  bool broken() const { return broken_; }

  // Gives the connection away, for other uses than calls. Requires !broken(); only destruction is
  // left.
  std::unique_ptr<Stream> Detach();

  // The server's run_id, another one for each process; empty where it wasn't asked or didn't say.
  const std::string& run_id() const { return run_id_; }

  // What the server's clock is ahead of the monotonic one (Deadline's), counted from 1970. Nothing
  // where it wasn't asked or didn't say.
  std::optional<absl::Duration> clock_offset() const { return clock_offset_; }

  // --- For who sends by himself

  Stream& stream() const { return *stream_; }

  // Takes what has arrived, without waiting. Unavailable if the connection is lost.
  absl::Status Receive(std::string_view command);

  // The next reply if it has arrived completely, else null. Internal if it is not of the expected
  // kind.
  absl::StatusOr<RedisReply> Next(const ExpectedReply& expected);

  // Bytes that were received and not asked for by Next, or belong to a reply that isn't complete.
  size_t unread() const { return reader_->len - reader_->pos; }

  // Whether a part of a reply has been received that isn't complete.
  bool in_a_reply() const { return received_ > completed_; }

  // Gives back the memory that a large reply took. To be called when unread() is 0.
  void ReleaseLargeBuffer();

  // True if a connection nobody is using is closed or holds bytes nobody asked for. Never waits.
  bool IsStale() const { return stream_->IsStale(); }

 private:
  struct ReaderDeleter {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };
  using Reader = std::unique_ptr<redisReader, ReaderDeleter>;

  RedisConnection(std::unique_ptr<Stream> stream, Reader reader, std::string address);

  absl::Status Handshake(const RedisOptions& options, Deadline deadline, Greeting greeting);
  void Identify(const redisReply& time, const redisReply& info, absl::Duration asked_at);
  // Call, but for what error replies mean.
  absl::Status Complete(const RedisRequest& request, Deadline deadline, RedisReplies* replies);
  absl::Status Exchange(const RedisRequest& request, Deadline deadline, RedisReplies* replies);
  absl::Status Parse(const RedisRequest& request, RedisReplies* replies);
  absl::Status Error(absl::StatusCode code, std::string_view command, std::string_view text) const;
  absl::Status TimedOut(std::string_view command, Deadline deadline) const;

  const std::string address_;
  ArrayLimit array_limit_;  // before reader_, which points here
  std::unique_ptr<Stream> stream_;
  Reader reader_;
  size_t largest_buffer_ = 0;  // of the reader, since it was made
  uint64_t received_ = 0;      // bytes
  uint64_t completed_ = 0;     // bytes, up to the end of the last reply
  bool broken_ = false;
  std::string run_id_;
  std::optional<absl::Duration> clock_offset_;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_CLIENT_H_
