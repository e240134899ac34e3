// SPDX-License-Identifier: Apache-2.0
#include "src/redis_scripts.h"

#include <openssl/evp.h>

#include <array>
#include <utility>

#include "absl/types/span.h"
#include "src/openssl.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// Publishes the notice of the key `key`; `channel` is the index of that argument.
std::string Tell(bool publish, std::string_view key, int channel) {
  if (!publish) return "";
  return Concat("redis.call('PUBLISH',ARGV[", channel, "],'k'..string.sub(", key, ",ARGV[",
                channel + 1, "]+1))\n");
}

// SET's arguments, with PX or without; `value` is the index of that argument, before that of px.
std::string Set(int value) {
  const std::string set = Concat("redis.call('SET',KEYS[1],ARGV[", value, "]");
  return Concat("if ARGV[", value + 1, "]=='' then ", set, ") else ", set, ",'PX',ARGV[", value + 1,
                "]) end\n");
}

// TYPE first, so that a key of another type is no error, and every error is one: a user who may not
// use GETRANGE must not seem to find nothing.
constexpr std::string_view kUnlessHead = R"(local h=ARGV[2]
local has=redis.call('TYPE',KEYS[1]).ok=='string'
if has and h~='' then has=redis.call('GETRANGE',KEYS[1],0,#h-1)==h end
if not has then return '-'..ARGV[1] end
)";

// One byte more is asked for lest no byte mean all of them.
constexpr std::string_view kHeadOf = R"(local function head(k)
if redis.call('TYPE',k).ok~='string' then return false end
return string.sub(redis.call('GETRANGE',k,0,ARGV[2]),1,ARGV[2])
end
)";

constexpr std::string_view kDone = "return '+'..ARGV[1]";

// A key that isn't there is set and deleted: only what changes is told of. DEL comes first: after a
// write, however little it did, a script may go on where memory is full.
constexpr std::string_view kDeleteEach = R"(for _,k in ipairs(KEYS) do
if redis.call('DEL',k)==0 then redis.call('SET',k,'') redis.call('DEL',k) end
end
)";

std::string SetIfAbsent() {
  return Concat("local done\n", "if ARGV[3]=='' then done=redis.call('SET',KEYS[1],ARGV[2],'NX')\n",
                "else done=redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3],'NX') end\n",
                "if not done then return '-'..ARGV[1] end\n", Tell(true, "KEYS[1]", 4), kDone);
}

std::string Erase() {
  return Concat("local n=0\nfor _,k in ipairs(KEYS) do\nn=n+redis.call('DEL',k)\n",
                Tell(true, "k", 2), "end\nreturn n");
}

std::string Invalidate(bool publish) {
  if (!publish) return Concat(kDeleteEach, kDone);
  return Concat("for _,k in ipairs(KEYS) do\nredis.call('DEL',k)\n", Tell(true, "k", 2), "end\n",
                kDone);
}

}  // namespace

std::string Sha1Hex(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned int size = 0;
  // Where OpenSSL may not, the name is nobody's: servers don't know such a script, and are given
  // it.
  if (InitializeOpenSsl()) {
    EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  }
  std::string hex;
  for (const unsigned char byte : absl::MakeConstSpan(digest).first(size)) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 0xf];
  }
  return hex;
}

RedisScript::RedisScript(std::string lua) : text(std::move(lua)), sha1(Sha1Hex(text)) {}

RedisScripts::RedisScripts(bool publish)
    : set_if_head(Concat(kUnlessHead, Set(3), Tell(publish, "KEYS[1]", 5), kDone)),
      erase_if_head(
          Concat(kUnlessHead, "redis.call('DEL',KEYS[1])\n", Tell(publish, "KEYS[1]", 3), kDone)),
      exchange(Concat(kHeadOf, "local v=head(KEYS[1])\n", Set(3), Tell(publish, "KEYS[1]", 5),
                      "return {ARGV[1],v,v}")),
      invalidate(Invalidate(publish)),
      heads(Concat(kHeadOf, "local r={}\nfor i,k in ipairs(KEYS) do r[i]=head(k) end\nreturn r")),
      set(Concat(Set(2), Tell(true, "KEYS[1]", 4), kDone)),
      set_if_absent(SetIfAbsent()),
      erase(Erase()) {}

const RedisScripts& RedisScripts::Get(bool publish) {
  static const auto* const quiet = new RedisScripts(false);  // never destroyed: no order at exit
  static const auto* const telling = new RedisScripts(true);
  return publish ? *telling : *quiet;
}

}  // namespace larder::internal
