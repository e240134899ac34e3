// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_COMMAND_H_
#define LARDER_SRC_REDIS_COMMAND_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"

namespace larder::internal {

// What a command's reply has to be. An error reply is always possible beside it.
enum class ReplyKind {
  kStatus,   // a simple string, such as +PONG
  kOk,       // +OK
  kOkOrNil,  // +OK, or nil
  kString,   // a bulk string, or nil
  kInteger,  // an integer
  kStrings,  // an array of bulk strings or nils, of a length known beforehand
  kVerdict,  // "+" or "-", then the token (redis_scripts.h)
  kHeads,    // the token and, twice the same, a bulk string or nil (redis_scripts.h)
  kAny,      // for commands the caller looks at by itself; arrays up to a length
};

struct ExpectedReply {
  std::string_view command;  // for messages; outlives the request (a literal)
  ReplyKind kind;
  size_t elements = 0;  // kStrings: exactly that many; kAny: at most
  uint64_t token = 0;   // kVerdict, kHeads

  // The longest array that the reply may be.
  size_t most_elements() const { return kind == ReplyKind::kHeads ? 3 : elements; }
};

// One or more commands, encoded for the wire (RESP arrays of bulk strings, so that any bytes pass),
// that are sent together and answered in order. A whole request may be sent once more where its
// connection was lost, unless it says that it must not. Not thread-safe; constant once built.
class RedisRequest {
 public:
  RedisRequest() = default;

  // Adds a whole command. words must not be empty; the first is the command's name.
  RedisRequest& Add(ExpectedReply expected, std::initializer_list<std::string_view> words);

  // Adds a command in steps: `words` calls of Word() have to follow.
  RedisRequest& Begin(ExpectedReply expected, size_t words);
  // Appends the word `head` + `tail`. Amortized O(length).
  RedisRequest& Word(std::string_view head, std::string_view tail = {});

  // Makes room for `bytes` more, where it is known that much will be added.
  void Reserve(size_t bytes) { wire_.reserve(wire_.size() + bytes); }

  // The request must not be executed twice.
  void ExecuteOnce() { once_ = true; }
  bool once() const { return once_; }

  const std::string& wire() const { return wire_; }
  const absl::InlinedVector<ExpectedReply, 1>& expected() const { return expected_; }

 private:
  std::string wire_;
  absl::InlinedVector<ExpectedReply, 1> expected_;
  bool once_ = false;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_COMMAND_H_
