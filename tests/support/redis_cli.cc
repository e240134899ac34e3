// SPDX-License-Identifier: Apache-2.0
#include "tests/support/redis_cli.h"

#include <utility>

#include "absl/time/time.h"
#include "src/deadline.h"
#include "src/redis_command.h"
#include "src/redis_reply.h"

namespace larder::test {
namespace {

constexpr size_t kMostElements = 100000;

internal::Deadline Soon() { return internal::Deadline::After(absl::Seconds(30)); }

std::string ToText(const redisReply& reply) {
  switch (reply.type) {
    case REDIS_REPLY_NIL:
      return "(nil)";
    case REDIS_REPLY_INTEGER:
      return std::to_string(reply.integer);
    case REDIS_REPLY_ARRAY: {
      std::string joined;
      for (size_t i = 0; i < reply.elements; ++i) {
        if (i > 0) joined += ' ';
        joined += ToText(*reply.element[i]);
      }
      return joined;
    }
    default:
      return std::string(internal::ReplyText(reply));
  }
}

}  // namespace

RedisCli::RedisCli(std::unique_ptr<internal::RedisConnection> connection)
    : connection_(std::move(connection)) {}

absl::StatusOr<std::unique_ptr<RedisCli>> RedisCli::Connect(const RedisOptions& options) {
  absl::StatusOr<std::unique_ptr<internal::RedisConnection>> connection =
      internal::RedisConnection::Dial(options, internal::RedisAddress(options), Soon());
  if (!connection.ok()) return connection.status();
  return std::unique_ptr<RedisCli>(new RedisCli(*std::move(connection)));
}

absl::StatusOr<std::unique_ptr<RedisCli>> RedisCli::Connect(const std::string& unix_socket) {
  RedisOptions options;
  options.unix_socket = unix_socket;
  options.connect_timeout = absl::Seconds(30);
  return Connect(options);
}

absl::StatusOr<std::string> RedisCli::Run(std::initializer_list<std::string_view> words) {
  internal::RedisRequest request;
  request.Add({*words.begin(), internal::ReplyKind::kAny, kMostElements}, words);
  const absl::StatusOr<internal::RedisReplies> replies = connection_->Call(request, Soon());
  if (!replies.ok()) return replies.status();
  return ToText(*replies->front());
}

}  // namespace larder::test
