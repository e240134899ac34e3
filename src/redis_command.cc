// SPDX-License-Identifier: Apache-2.0
#include "src/redis_command.h"

#include "src/text.h"

namespace larder::internal {

RedisRequest& RedisRequest::Add(ExpectedReply expected,
                                std::initializer_list<std::string_view> words) {
  Begin(expected, words.size());
  for (const std::string_view word : words) Word(word);
  return *this;
}

RedisRequest& RedisRequest::Begin(ExpectedReply expected, size_t words) {
  expected_.push_back(expected);
  wire_.append(Concat("*", words, "\r\n"));
  return *this;
}

RedisRequest& RedisRequest::Word(std::string_view head, std::string_view tail) {
  wire_.append(Concat("$", head.size() + tail.size(), "\r\n"));
  wire_.append(head).append(tail).append("\r\n");
  return *this;
}

}  // namespace larder::internal
