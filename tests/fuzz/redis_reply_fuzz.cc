// SPDX-License-Identifier: Apache-2.0
//
// What a Redis answers. The first byte of an input says what is expected, the rest is what comes.

#include <hiredis/hiredis.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/redis_command.h"
#include "src/redis_reply.h"
#include "tests/fuzz/fuzz_target.h"

namespace larder::fuzz {
namespace {

using internal::ExpectedReply;
using internal::RedisReply;
using internal::ReplyKind;

constexpr uint64_t kToken = 42;
constexpr ReplyKind kKinds[] = {ReplyKind::kStatus,  ReplyKind::kOk,      ReplyKind::kOkOrNil,
                                ReplyKind::kString,  ReplyKind::kInteger, ReplyKind::kStrings,
                                ReplyKind::kVerdict, ReplyKind::kHeads,   ReplyKind::kAny};

struct ReaderDeleter {
  void operator()(redisReader* reader) const { redisReaderFree(reader); }
};

ExpectedReply ExpectedOf(uint8_t byte) {
  const ReplyKind kind = kKinds[byte % std::size(kKinds)];
  const bool has_elements = kind == ReplyKind::kStrings || kind == ReplyKind::kAny;
  return {"GET", kind, has_elements ? size_t{byte} / 64 : 0, kToken};
}

std::string TextOf(const redisReply& reply) {
  std::string text = std::to_string(reply.type) + ":";
  if (reply.type == REDIS_REPLY_INTEGER) return text + std::to_string(reply.integer);
  if (reply.type != REDIS_REPLY_ARRAY) return text.append(internal::ReplyText(reply));
  for (size_t i = 0; i < reply.elements; ++i) text += TextOf(*reply.element[i]) + ",";
  return text;
}

// What is accepted must be what the command promises, seen by itself.
void CheckAccepted(const redisReply& reply, const ExpectedReply& expected) {
  if (reply.type == REDIS_REPLY_ERROR) {
    const auto meaning = internal::MeaningOfErrorReply("GET", internal::ReplyText(reply));
    FUZZ_CHECK(meaning.code != absl::StatusCode::kOk);
    return;
  }
  const std::string text = TextOf(reply);
  switch (expected.kind) {
    case ReplyKind::kStatus:
      FUZZ_CHECK(text.starts_with("5:"));
      break;
    case ReplyKind::kOk:
      FUZZ_CHECK(text == "5:OK");
      break;
    case ReplyKind::kOkOrNil:
      FUZZ_CHECK(text == "5:OK" || text == "4:");
      break;
    case ReplyKind::kString:
      FUZZ_CHECK(text == "4:" || text.starts_with("1:"));
      break;
    case ReplyKind::kInteger:
      FUZZ_CHECK(reply.type == REDIS_REPLY_INTEGER);
      break;
    case ReplyKind::kStrings:
      FUZZ_CHECK(reply.type == REDIS_REPLY_ARRAY && reply.elements == expected.elements);
      for (size_t i = 0; i < reply.elements; ++i) {
        const int type = reply.element[i]->type;
        FUZZ_CHECK(type == REDIS_REPLY_STRING || type == REDIS_REPLY_NIL);
      }
      break;
    case ReplyKind::kVerdict:
      FUZZ_CHECK(text == "1:+42" || text == "1:-42");
      break;
    case ReplyKind::kHeads:
      FUZZ_CHECK(reply.type == REDIS_REPLY_ARRAY && reply.elements == 3);
      FUZZ_CHECK(TextOf(*reply.element[0]) == "1:42");
      FUZZ_CHECK(TextOf(*reply.element[1]) == TextOf(*reply.element[2]));
      break;
    case ReplyKind::kAny:
      break;
  }
}

// All replies up to the first that is refused, "!" for that one. Fed `piece` bytes at a time.
std::string OutcomeOf(const ExpectedReply& expected, std::string_view bytes, size_t piece) {
  internal::ArrayLimit limit;
  const std::unique_ptr<redisReader, ReaderDeleter> reader(redisReaderCreate());
  internal::LimitArrays(reader.get(), &limit);
  std::string outcome;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const std::string_view some = bytes.substr(at, piece);
    FUZZ_CHECK(redisReaderFeed(reader.get(), some.data(), some.size()) == REDIS_OK);
    while (true) {
      limit = {expected.most_elements(), 0};
      void* parsed = nullptr;
      if (redisReaderGetReply(reader.get(), &parsed) != REDIS_OK) return outcome + "!";
      if (parsed == nullptr) break;
      const RedisReply reply(static_cast<redisReply*>(parsed));
      if (!internal::CheckReplyKind(*reply, expected).ok()) return outcome + "!";
      CheckAccepted(*reply, expected);
      outcome += TextOf(*reply) + ";";
    }
  }
  return outcome;
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {""};
  const std::string_view replies[] = {
      "+OK\r\n",
      "$-1\r\n",
      "$3\r\nabc\r\n",
      ":12\r\n",
      "*2\r\n$1\r\na\r\n$-1\r\n",
      "$3\r\n+42\r\n$3\r\n-42\r\n",
      "*3\r\n$2\r\n42\r\n$1\r\na\r\n$1\r\na\r\n*3\r\n$2\r\n42\r\n$-1\r\n$-1\r\n",
      "-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM no\r\n",
      "*2000000000\r\n",
      "*1\r\n*1\r\n*0\r\n"};
  for (size_t kind = 0; kind < std::size(kKinds); ++kind) {
    for (const std::string_view reply : replies) {
      seeds.push_back(std::string(1, static_cast<char>(128 + (kind + 7) % 9)).append(reply));
    }
  }
  return seeds;
}

}  // namespace larder::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace larder::fuzz;  // NOLINT
  if (size == 0) return 0;
  const auto expected = ExpectedOf(data[0]);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = OutcomeOf(expected, bytes, size);
  for (const size_t piece : {1, 7}) FUZZ_CHECK(OutcomeOf(expected, bytes, piece) == whole);
  return 0;
}
