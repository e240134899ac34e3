// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_CALLS_H_
#define LARDER_SRC_REDIS_CALLS_H_

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "larder/redis_tier.h"
#include "larder/shared_tier.h"
#include "src/deadline.h"
#include "src/redis_command.h"
#include "src/redis_pool.h"
#include "src/redis_reply.h"
#include "src/redis_scripts.h"

namespace larder::internal {

// What RedisTier's calls are made of: requests, and what their replies mean. Thread-safe.
class RedisCalls {
 public:
  // A server executes a command without serving anybody else: a thousand keys take it some hundred
  // microseconds, and a script as long for an eighth of them.
  static constexpr size_t kKeysPerCommand = 1024;
  static constexpr size_t kKeysPerScript = 128;

  // `options` must be valid.
  explicit RedisCalls(RedisOptions options);

  RedisPool& pool() { return pool_; }
  bool publish() const { return publish_; }
  const RedisScripts& scripts() const { return scripts_; }
  const std::string& prefix() const { return pool_.options().key_prefix; }

  absl::StatusOr<RedisReplies> Execute(RedisRequest request, absl::Duration timeout) {
    return pool_.Execute(std::move(request), DeadlineFor(timeout));
  }

  // Whether a script is called by its hash, which is short, or sent: a server that executed it once
  // knows it, until it restarts.
  enum class By { kSha1, kText };

  // Executes what add(By, RedisRequest*) makes: calls of a script, by its hash first.
  template <class Add>
  absl::StatusOr<RedisReplies> RunScript(absl::Duration timeout, const Add& add) {
    const Deadline deadline = DeadlineFor(timeout);
    RedisRequest by_sha1;
    add(By::kSha1, &by_sha1);
    absl::StatusOr<RedisReplies> replies = pool_.Execute(std::move(by_sha1), deadline);
    if (!absl::IsAborted(replies.status())) return replies;
    RedisRequest by_text;
    add(By::kText, &by_text);
    return pool_.Execute(std::move(by_text), deadline);
  }

  // Adds a call of `script`. `command`, the call's name for messages, goes with the kind of its
  // reply.
  void AddScript(By by, std::string_view command, ReplyKind kind, const RedisScript& script,
                 absl::Span<const std::string_view> keys,
                 std::initializer_list<std::string_view> arguments, RedisRequest* request) const;

  // Calls add(some of the keys) until all had their turn.
  template <class Add>
  static void InParts(absl::Span<const std::string_view> keys, size_t most, const Add& add) {
    for (size_t at = 0; at < keys.size(); at += most) add(keys.subspan(at, most));
  }

  // `command` with all of `keys`, in as many commands as it takes.
  RedisRequest ForKeys(std::string_view command, ReplyKind kind,
                       absl::Span<const std::string_view> keys) const;

  // Adds SET, with NX or without.
  void AddSet(const SharedTier::Change& change, bool if_absent, RedisRequest* request) const;

  // How scripts are told a ttl: in milliseconds, rounded up; empty where it is infinite.
  static std::string ScriptTtl(absl::Duration ttl);

 private:
  Deadline DeadlineFor(absl::Duration timeout) const {
    return Deadline::After(std::min(timeout, pool_.options().command_timeout));
  }

  RedisPool pool_;
  const bool publish_;
  const RedisScripts& scripts_;
  const std::string channel_;
};

// A bulk string, or nil.
std::optional<std::string> ToValue(const redisReply& reply);

// The elements of all replies, which are arrays; `count` in all.
std::vector<std::optional<std::string>> ToValues(const RedisReplies& replies, size_t count);

// Whether each change was made, as ReplyKind::kOkOrNil or kVerdict says.
std::vector<bool> ToDone(const RedisReplies& replies);

// The sum of the replies, which are integers.
size_t ToCount(const RedisReplies& replies);

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_CALLS_H_
