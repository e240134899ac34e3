// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_SCRIPTS_H_
#define LARDER_SRC_REDIS_SCRIPTS_H_

#include <string>
#include <string_view>

namespace larder::internal {

// A script in Lua, and what EVALSHA calls it by: the SHA-1 of its text, in hexadecimal.
struct RedisScript {
  explicit RedisScript(std::string lua);

  std::string text;
  std::string sha1;
};

// What RedisTier has the server do in one step. They need Redis 5.0; no script reads a clock or
// anything else that replicas would see otherwise.
//
// KEYS are whole keys. ARGV begins with a token (a number), which an answer repeats, so that
// neither another script's answer nor flipped bits are taken for it:
//   a verdict  "+" token where the change was made, "-" token where the condition didn't hold
//   heads      [token, head, head]: twice, since the token says nothing about it; nil for none
// where `px` is an argument, it is the ttl in milliseconds, or empty for none; `channel` and
// `skipped` come last and only with publishing: where to publish, and the length of the keys'
// prefix, which notices leave away.
class RedisScripts {
 public:
  // `publish`: each change publishes a notice (redis_messages.h), after it was made.
  static const RedisScripts& Get(bool publish);

  // KEYS: key; ARGV: token, head, value, px; verdict.
  const RedisScript set_if_head;
  // KEYS: key; ARGV: token, head; verdict.
  const RedisScript erase_if_head;
  // KEYS: key; ARGV: token, bytes of the head, value, px; heads.
  const RedisScript exchange;
  // KEYS: keys; ARGV: token; verdict, always positive. Tracking tells of each key, there or not.
  const RedisScript invalidate;
  // KEYS: keys; ARGV: token, bytes of the head; an array of heads, nil where there is none.
  const RedisScript heads;

  // Only with publishing; else the commands themselves do.
  // KEYS: key; ARGV: token, value, px; verdict, always positive.
  const RedisScript set;
  // KEYS: key; ARGV: token, value, px; verdict.
  const RedisScript set_if_absent;
  // KEYS: keys; ARGV: token; how many there were.
  const RedisScript erase;

 private:
  explicit RedisScripts(bool publish);
};

// The SHA-1 of `text` in hexadecimal, by FIPS 180-4; to name scripts, not for secrets.
std::string Sha1Hex(std::string_view text);

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_SCRIPTS_H_
