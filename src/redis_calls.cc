// SPDX-License-Identifier: Apache-2.0
#include "src/redis_calls.h"

#include <atomic>
#include <cstdint>

#include "src/redis_messages.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// What a word of a command costs on the wire beside its bytes: "$", its length, two line ends.
constexpr size_t kWordOverhead = 24;

// The longest ttl sent. Redis adds it to the time of day and refuses what overflows; this is 30,000
// years.
constexpr absl::Duration kLongestTtl = absl::Hours(int64_t{24} * 365 * 30000);

std::string TtlMillis(absl::Duration ttl) {
  return Concat(
      absl::ToInt64Milliseconds(absl::Ceil(std::min(ttl, kLongestTtl), absl::Milliseconds(1))));
}

// Unlike that of any request whose answer this one could be mistaken for.
uint64_t NextToken() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

RedisCalls::RedisCalls(RedisOptions options)
    : pool_(std::move(options)),
      publish_(pool_.options().change_notices == ChangeNotices::kPublish),
      scripts_(RedisScripts::Get(publish_)),
      channel_(Concat(prefix(), kNoticeChannel)) {}

void RedisCalls::AddScript(By by, std::string_view command, ReplyKind kind,
                           const RedisScript& script, absl::Span<const std::string_view> keys,
                           std::initializer_list<std::string_view> arguments,
                           RedisRequest* request) const {
  const uint64_t token = NextToken();
  const size_t elements = kind == ReplyKind::kStrings ? keys.size() : 0;
  request->Begin({command, kind, elements, token},
                 4 + keys.size() + arguments.size() + (publish_ ? 2 : 0));
  if (by == By::kSha1) {
    request->Word("EVALSHA").Word(script.sha1);
  } else {
    request->Word("EVAL").Word(script.text);
  }
  request->Word(Concat(keys.size()));
  for (const std::string_view key : keys) request->Word(prefix(), key);
  request->Word(Concat(token));
  for (const std::string_view argument : arguments) request->Word(argument);
  if (publish_) request->Word(channel_).Word(Concat(prefix().size()));
}

RedisRequest RedisCalls::ForKeys(std::string_view command, ReplyKind kind,
                                 absl::Span<const std::string_view> keys) const {
  size_t bytes = 0;
  for (const std::string_view key : keys) bytes += prefix().size() + key.size() + kWordOverhead;
  RedisRequest request;
  request.Reserve(bytes);
  InParts(keys, kKeysPerCommand, [&](absl::Span<const std::string_view> some) {
    const size_t elements = kind == ReplyKind::kStrings ? some.size() : 0;
    request.Begin({command, kind, elements}, 1 + some.size()).Word(command);
    for (const std::string_view key : some) request.Word(prefix(), key);
  });
  return request;
}

void RedisCalls::AddSet(const SharedTier::Change& change, bool if_absent,
                        RedisRequest* request) const {
  request->Reserve(prefix().size() + change.key.size() + change.value.size() + 6 * kWordOverhead);
  const bool expires = change.ttl != absl::InfiniteDuration();
  request->Begin({"SET", if_absent ? ReplyKind::kOkOrNil : ReplyKind::kOk},
                 3 + (expires ? 2 : 0) + (if_absent ? 1 : 0));
  request->Word("SET").Word(prefix(), change.key).Word(change.value);
  if (expires) request->Word("PX").Word(TtlMillis(change.ttl));
  if (if_absent) request->Word("NX");
}

std::string RedisCalls::ScriptTtl(absl::Duration ttl) {
  return ttl == absl::InfiniteDuration() ? "" : TtlMillis(ttl);
}

std::optional<std::string> ToValue(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_NIL) return std::nullopt;
  return std::string(ReplyText(reply));
}

std::vector<std::optional<std::string>> ToValues(const RedisReplies& replies, size_t count) {
  std::vector<std::optional<std::string>> values;
  values.reserve(count);
  for (const RedisReply& reply : replies) {
    for (size_t i = 0; i < reply->elements; ++i) values.push_back(ToValue(*reply->element[i]));
  }
  return values;
}

std::vector<bool> ToDone(const RedisReplies& replies) {
  std::vector<bool> done;
  done.reserve(replies.size());
  for (const RedisReply& reply : replies) {
    const std::string_view text = ReplyText(*reply);
    done.push_back(reply->type != REDIS_REPLY_NIL && !text.starts_with('-'));
  }
  return done;
}

size_t ToCount(const RedisReplies& replies) {
  size_t count = 0;
  for (const RedisReply& reply : replies) {
    count += static_cast<size_t>(std::max(reply->integer, 0LL));
  }
  return count;
}

}  // namespace larder::internal
