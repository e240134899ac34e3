// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_REPLY_H_
#define LARDER_SRC_REDIS_REPLY_H_

#include <hiredis/hiredis.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "src/redis_command.h"

namespace larder::internal {

struct RedisReplyDeleter {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, RedisReplyDeleter>;
using RedisReplies = absl::InlinedVector<RedisReply, 1>;

// The bytes of a string, status or error reply.
inline std::string_view ReplyText(const redisReply& reply) { return {reply.str, reply.len}; }

// Internal, saying what came instead, unless `reply` is of the expected kind. An error reply is of
// any kind.
absl::Status CheckReplyKind(const redisReply& reply, const ExpectedReply& expected);

// What an error reply of a server means to the caller. Aborted, which no caller of a tier gets to
// see: the server doesn't know the script.
struct ErrorReplyMeaning {
  absl::StatusCode code;
  // The server closes the connection after this error, or a new connection may lead to a server
  // that does better.
  bool reconnect;
};
ErrorReplyMeaning MeaningOfErrorReply(std::string_view command, std::string_view text);

// hiredis allocates an array as soon as its length is announced. A limit keeps a server that talks
// nonsense from making us allocate gigabytes.
struct ArrayLimit {
  size_t allowed = 0;
  size_t refused = 0;  // length of the array that was refused; 0 if none was
  // Elements that arrays may have together from now on.
  size_t together = std::numeric_limits<size_t>::max();
};

// Makes `reader` refuse arrays that are longer than limit->allowed, or limit->together, at the time
// they are announced, as if out of memory. `limit` must outlive the reader. Nothing else may use
// the reader's privdata.
void LimitArrays(redisReader* reader, ArrayLimit* limit);

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_REPLY_H_
