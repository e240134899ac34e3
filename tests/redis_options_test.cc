// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"

namespace larder {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

RedisOptions Valid() {
  RedisOptions options;
  options.unix_socket = "/run/redis.sock";
  return options;
}

void ExpectInvalid(const RedisOptions& options, const std::string& field,
                   const std::string& value) {
  const absl::Status status = options.Validate();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(field), HasSubstr(value)));
  EXPECT_EQ(RedisTier::Create(options).status(), status);
}

TEST(RedisOptionsTest, AcceptsAUnixSocketOrAHost) {
  EXPECT_EQ(Valid().Validate(), absl::OkStatus());
  RedisOptions options;
  options.host = "localhost";
  EXPECT_EQ(options.Validate(), absl::OkStatus());
}

TEST(RedisOptionsTest, WantsExactlyOnePlace) {
  ExpectInvalid(RedisOptions(), "unix_socket", "host");
  RedisOptions options = Valid();
  options.host = "cache-1";
  ExpectInvalid(options, "/run/redis.sock", "cache-1");
}

TEST(RedisOptionsTest, ChecksTheSocketPath) {
  RedisOptions options = Valid();
  options.unix_socket = std::string(107, 'x');
  EXPECT_EQ(options.Validate(), absl::OkStatus());
  options.unix_socket += 'y';
  ExpectInvalid(options, "unix_socket", options.unix_socket);
  options.unix_socket = std::string("/run/a\0b", 8);
  ExpectInvalid(options, "unix_socket", "NUL");
}

TEST(RedisOptionsTest, ChecksHostAndPort) {
  RedisOptions options;
  options.host = std::string("a\0b", 3);
  ExpectInvalid(options, "host", "NUL");
  options.host = "localhost";
  for (const int port : {0, -1, 65536}) {
    options.port = port;
    ExpectInvalid(options, "port", std::to_string(port));
  }
  for (const int port : {1, 65535}) {
    options.port = port;
    EXPECT_EQ(options.Validate(), absl::OkStatus());
  }
}

TEST(RedisOptionsTest, ChecksNumbersAndTimeouts) {
  RedisOptions options = Valid();
  options.database = -1;
  ExpectInvalid(options, "database", "-1");
  options = Valid();
  options.max_connections = 0;
  ExpectInvalid(options, "max_connections", "0");
  options = Valid();
  options.connect_timeout = absl::ZeroDuration();
  ExpectInvalid(options, "connect_timeout", "0");
  options = Valid();
  options.command_timeout = absl::Milliseconds(-5);
  ExpectInvalid(options, "command_timeout", "-5ms");
  options.command_timeout = absl::InfiniteDuration();
  options.connect_timeout = absl::InfiniteDuration();
  EXPECT_EQ(options.Validate(), absl::OkStatus());
}

TEST(RedisOptionsTest, ChecksHowChangesAreHeardOf) {
  RedisOptions options = Valid();
  options.change_notices = ChangeNotices::kPublish;
  options.heartbeat_interval = absl::InfiniteDuration();
  EXPECT_EQ(options.Validate(), absl::OkStatus());
  options.heartbeat_interval = absl::ZeroDuration();
  ExpectInvalid(options, "heartbeat_interval", "0");
  options = Valid();
  options.heartbeat_timeout = absl::Milliseconds(-5);
  ExpectInvalid(options, "heartbeat_timeout", "-5ms");
  options = Valid();
  options.change_notices = static_cast<ChangeNotices>(7);
  ExpectInvalid(options, "change_notices", "7");
}

TEST(RedisOptionsTest, NeverTellsThePassword) {
  RedisOptions options = Valid();
  options.password = "hunter2";
  options.max_connections = -1;
  EXPECT_THAT(std::string(options.Validate().message()), Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace larder
