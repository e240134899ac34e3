// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_CLIENT_H_
#define LARDER_SRC_REDIS_CLIENT_H_

#include <hiredis/hiredis.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/redis_tier.h"
#include "src/deadline.h"
#include "src/redis_command.h"
#include "src/redis_reply.h"
#include "src/socket.h"

namespace larder::internal {

// How messages name the server of `options`: "redis unix:/run/redis.sock", "redis cache-1:6379".
std::string RedisAddress(const RedisOptions& options);

// One connection to a Redis server. hiredis parses what comes in; sending and waiting are done
// here, because hiredis's blocking calls can't be given a deadline and carried on with afterwards,
// its writes raise SIGPIPE, and it moves the whole rest of a large request after each partial
// write.
//
// A connection serves until broken() says so; then only its destruction is left. It is broken by
// everything after which it isn't certain that the next bytes to arrive belong to the next request:
// a deadline that passed, a lost connection, bytes nobody asked for, a reply of the wrong kind.
//
// Not thread-safe: one user at a time.
class RedisConnection {
 public:
  // Connects, and authenticates and selects the database if the options say so. `address` is
  // RedisAddress(options); it goes into messages. Takes at most options.connect_timeout and no
  // longer than `deadline`: Unavailable if the former is what ended it, DeadlineExceeded if the
  // latter.
  static absl::StatusOr<std::unique_ptr<RedisConnection>> Dial(const RedisOptions& options,
                                                               std::string address,
                                                               Deadline deadline);

  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  // Sends all commands of `request` at once and returns their replies, in order, each of the
  // expected kind and none an error. If the server answered a command with an error, the first such
  // is returned, as the Status it means (redis_reply.h), and the other replies are dropped.
  // Requires !broken().
  absl::StatusOr<RedisReplies> Call(const RedisRequest& request, Deadline deadline);

  bool broken() const { return broken_; }

  // After a failed Call: the connection was lost before a single byte of an answer arrived. On a
  // connection that lay idle before, most likely the server had closed it and never saw the
  // request.
  bool lost_before_answer() const { return lost_before_answer_; }

  // Gives the connection away, for other uses than calls. Requires !broken(); only destruction is
  // left.
  ScopedFd Detach();

  // True if a connection nobody is using is closed or holds bytes nobody asked for. One system
  // call, never waits.
  bool IsStale() const;

 private:
  struct ContextDeleter {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  using Context = std::unique_ptr<redisContext, ContextDeleter>;

  RedisConnection(Context context, std::string address);

  absl::Status Handshake(const RedisOptions& options, Deadline deadline);
  absl::Status Exchange(const RedisRequest& request, Deadline deadline, RedisReplies* replies);
  absl::Status Receive(std::string_view command);
  absl::Status Parse(const RedisRequest& request, RedisReplies* replies);
  absl::Status FirstError(const RedisRequest& request, const RedisReplies& replies);
  absl::Status Error(absl::StatusCode code, std::string_view command, std::string_view text) const;
  absl::Status TimedOut(std::string_view command, Deadline deadline) const;
  void ReleaseLargeBuffer();

  const std::string address_;
  ArrayLimit array_limit_;  // before context_, whose reader points here
  Context context_;
  size_t largest_buffer_ = 0;  // of the reader, during the current Call
  bool answered_ = false;      // any byte arrived during the current Call
  bool broken_ = false;
  bool lost_before_answer_ = false;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_CLIENT_H_
