// SPDX-License-Identifier: Apache-2.0
#include "larder/redis_tier.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "src/deadline.h"
#include "src/redis_command.h"
#include "src/redis_pool.h"
#include "src/redis_reply.h"
#include "src/text.h"

namespace larder {
namespace {

using internal::Concat;
using internal::Deadline;
using internal::RedisReplies;
using internal::RedisRequest;
using internal::ReplyKind;

// A server executes a command without serving anybody else: a thousand keys take it some hundred
// microseconds.
constexpr size_t kKeysPerCommand = 1024;

// What a word of a command costs on the wire beside its bytes: "$", its length, two line ends.
constexpr size_t kWordOverhead = 24;

// The longest ttl sent. Redis adds it to the time of day and refuses what overflows; this is 30,000
// years.
constexpr absl::Duration kLongestTtl = absl::Hours(int64_t{24} * 365 * 30000);

int64_t TtlMillis(absl::Duration ttl) {
  return absl::ToInt64Milliseconds(absl::Ceil(std::min(ttl, kLongestTtl), absl::Milliseconds(1)));
}

std::optional<std::string> ToValue(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_NIL) return std::nullopt;
  return std::string(internal::ReplyText(reply));
}

}  // namespace

class RedisTier::Impl {
 public:
  explicit Impl(RedisOptions options) : pool_(std::move(options)) {}

  const std::string& prefix() const { return pool_.options().key_prefix; }

  absl::StatusOr<RedisReplies> Execute(const RedisRequest& request, absl::Duration timeout) {
    return pool_.Execute(request,
                         Deadline::After(std::min(timeout, pool_.options().command_timeout)));
  }

  // `command` with all of `keys`, in as many commands as it takes. `strings`: each is answered by
  // an array with an element per key, else by an integer.
  RedisRequest ForKeys(std::string_view command, bool strings,
                       absl::Span<const std::string_view> keys) const {
    size_t bytes = 0;
    for (const std::string_view key : keys) bytes += prefix().size() + key.size() + kWordOverhead;
    RedisRequest request;
    request.Reserve(bytes);
    while (!keys.empty()) {
      const absl::Span<const std::string_view> some =
          keys.first(std::min(keys.size(), kKeysPerCommand));
      request.Begin({command, strings ? ReplyKind::kStrings : ReplyKind::kInteger, some.size()},
                    1 + some.size());
      request.Word(command);
      for (const std::string_view key : some) request.Word(prefix(), key);
      keys.remove_prefix(some.size());
    }
    return request;
  }

 private:
  internal::RedisPool pool_;
};

RedisTier::RedisTier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

RedisTier::~RedisTier() = default;

absl::StatusOr<std::unique_ptr<RedisTier>> RedisTier::Create(RedisOptions options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return std::unique_ptr<RedisTier>(new RedisTier(std::make_unique<Impl>(std::move(options))));
}

absl::Status RedisTier::Ping(absl::Duration timeout) {
  RedisRequest request;
  request.Add({"PING", ReplyKind::kStatus}, {"PING"});
  return impl_->Execute(request, timeout).status();
}

absl::StatusOr<std::optional<std::string>> RedisTier::Get(std::string_view key,
                                                          absl::Duration timeout) {
  RedisRequest request;
  request.Begin({"GET", ReplyKind::kString}, 2).Word("GET").Word(impl_->prefix(), key);
  const absl::StatusOr<RedisReplies> replies = impl_->Execute(request, timeout);
  if (!replies.ok()) return replies.status();
  return ToValue(*replies->front());
}

absl::Status RedisTier::Set(std::string_view key, std::string_view value, absl::Duration ttl,
                            absl::Duration timeout) {
  if (ttl <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        Concat("ttl is ", absl::FormatDuration(ttl), ": must be positive"));
  }
  const bool expires = ttl != absl::InfiniteDuration();
  RedisRequest request;
  request.Reserve(impl_->prefix().size() + key.size() + value.size() + 5 * kWordOverhead);
  request.Begin({"SET", ReplyKind::kStatus}, expires ? 5 : 3);
  request.Word("SET").Word(impl_->prefix(), key).Word(value);
  if (expires) request.Word("PX").Word(Concat(TtlMillis(ttl)));
  return impl_->Execute(request, timeout).status();
}

absl::StatusOr<bool> RedisTier::Erase(std::string_view key, absl::Duration timeout) {
  RedisRequest request;
  request.Begin({"DEL", ReplyKind::kInteger}, 2).Word("DEL").Word(impl_->prefix(), key);
  const absl::StatusOr<RedisReplies> replies = impl_->Execute(request, timeout);
  if (!replies.ok()) return replies.status();
  return replies->front()->integer > 0;
}

absl::StatusOr<std::vector<std::optional<std::string>>> RedisTier::GetMany(
    absl::Span<const std::string_view> keys, absl::Duration timeout) {
  std::vector<std::optional<std::string>> values;
  if (keys.empty()) return values;
  const absl::StatusOr<RedisReplies> replies =
      impl_->Execute(impl_->ForKeys("MGET", /*strings=*/true, keys), timeout);
  if (!replies.ok()) return replies.status();
  values.reserve(keys.size());
  for (const internal::RedisReply& reply : *replies) {
    for (size_t i = 0; i < reply->elements; ++i) values.push_back(ToValue(*reply->element[i]));
  }
  return values;
}

absl::StatusOr<size_t> RedisTier::EraseMany(absl::Span<const std::string_view> keys,
                                            absl::Duration timeout) {
  size_t erased = 0;
  if (keys.empty()) return erased;
  const absl::StatusOr<RedisReplies> replies =
      impl_->Execute(impl_->ForKeys("DEL", /*strings=*/false, keys), timeout);
  if (!replies.ok()) return replies.status();
  for (const internal::RedisReply& reply : *replies) {
    erased += static_cast<size_t>(std::max(reply->integer, 0LL));
  }
  return erased;
}

}  // namespace larder
