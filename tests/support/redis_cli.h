// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_REDIS_CLI_H_
#define LARDER_TESTS_SUPPORT_REDIS_CLI_H_

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "larder/redis_tier.h"
#include "src/redis_client.h"

namespace larder::test {

// Any command on a connection of its own: to look at a server past the code under test, and to
// bring it into the state a test needs. Not thread-safe.
class RedisCli {
 public:
  static absl::StatusOr<std::unique_ptr<RedisCli>> Connect(const RedisOptions& options);
  static absl::StatusOr<std::unique_ptr<RedisCli>> Connect(const std::string& unix_socket);

  // The reply as text: a string's bytes, an integer's digits, "(nil)", and an array's elements
  // joined by spaces. An error reply is an error.
  absl::StatusOr<std::string> Run(std::initializer_list<std::string_view> words);

 private:
  explicit RedisCli(std::unique_ptr<internal::RedisConnection> connection);

  std::unique_ptr<internal::RedisConnection> connection_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_REDIS_CLI_H_
