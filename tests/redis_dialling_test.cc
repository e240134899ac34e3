// SPDX-License-Identifier: Apache-2.0
//
// How RedisTier's connections come about, or don't.
#include "src/redis_dialling.h"

#include <dirent.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/internal/event.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_terms.h"
#include "tests/support/scripted_redis.h"
#include "tests/support/scripted_server.h"

namespace larder {
namespace {

using internal::Event;
using test::BehaveWell;
using test::ExpectError;
using test::ExpectValue;
using test::kForever;
using test::kGetK;
using test::kShort;
using test::OptionsFor;
using test::ScriptedConnection;
using test::ScriptedServer;
using test::Tier;
using ::testing::HasSubstr;
using ::testing::Not;

size_t OpenFiles() {
  DIR* const folder = opendir("/proc/self/fd");
  size_t count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

TEST(RedisDiallingTest, ConnectTimeoutCoversTheLogin) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    while (!connection.Read().empty()) {
    }
  });
  RedisOptions options = OptionsFor(server);
  options.password = "s3cret";
  ExpectError(Tier(options)->Get("k", kShort).status(), absl::StatusCode::kDeadlineExceeded,
              "GET: no connection within 30ms");
  options.connect_timeout = kShort;
  const absl::Status status = Tier(options)->Get("k", kForever).status();
  ExpectError(status, absl::StatusCode::kUnavailable, "connect_timeout 30ms");
  ExpectError(status, absl::StatusCode::kUnavailable, "(for GET)");
}

TEST(RedisDiallingTest, TheTiersOwnTimeoutCoversTheWaitForAConnection) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    while (!connection.Read().empty()) {
    }
  });
  RedisOptions options = OptionsFor(server);
  options.password = "s3cret";
  options.command_timeout = kShort;
  ExpectError(Tier(options)->Get("k", kForever).status(), absl::StatusCode::kDeadlineExceeded,
              "30ms");
}

TEST(RedisDiallingTest, AConnectionThatTakesLongerThanAnyCallerWaitsComesAbout) {
  Event let_in;
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    connection.Read();
    let_in.Wait();
    connection.Write("+OK\r\n");
    BehaveWell(connection);
  });
  RedisOptions options = OptionsFor(server);
  options.password = "s3cret";
  const auto tier = Tier(options);
  for (int i = 0; i < 3; ++i) {
    ExpectError(tier->Get("k", kShort).status(), absl::StatusCode::kDeadlineExceeded,
                "no connection");
  }
  let_in.Set();
  ExpectValue(*tier, "fine");
  EXPECT_EQ(server.connections(), 1);
}

TEST(RedisDiallingTest, ATierMayEndBeforeItsConnectionCameAbout) {
  Event ended;
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    connection.Read();
    ended.Wait();
    connection.Write("+OK\r\n");
    EXPECT_EQ(connection.Read(), "") << "nobody uses it";
  });
  RedisOptions options = OptionsFor(server);
  options.password = "s3cret";
  ExpectError(Tier(options)->Get("k", kShort).status(), absl::StatusCode::kDeadlineExceeded,
              "no connection");
  ended.Set();
}

TEST(RedisDiallingTest, WhereIdentifyingEndsTheConnectionTheOptionIsNamed) {
  ScriptedServer server([](int, ScriptedConnection& connection) { connection.Read(); });
  RedisOptions options = OptionsFor(server);
  options.identify_servers = true;
  ExpectError(Tier(options)->Get("k", kForever).status(), absl::StatusCode::kUnavailable,
              "identify_servers = false");

  ScriptedServer full([](int, ScriptedConnection& connection) {
    connection.Write("-ERR max number of clients reached\r\n");
  });
  options.unix_socket = full.unix_socket();
  const absl::Status status = Tier(options)->Get("k", kForever).status();
  ExpectError(status, absl::StatusCode::kUnavailable, "max number of clients");
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("identify_servers")));
}

TEST(RedisDiallingTest, ThePasswordIsNotEchoed) {
  for (const std::string_view echo : {"with args beginning with: `s3cret`, ", "s3cret"}) {
    ScriptedServer server([&](int, ScriptedConnection& connection) {
      connection.Read();
      connection.Write("-ERR unknown command `AUTH`, " + std::string(echo) + "\r\n");
      connection.Read();
    });
    RedisOptions options = OptionsFor(server);
    options.password = "s3cret";
    const absl::Status status = Tier(options)->Ping(kForever);
    ExpectError(status, absl::StatusCode::kUnauthenticated, "unknown command `AUTH`");
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cret")));
  }
}

TEST(RedisDiallingTest, NothingThereIsUnavailable) {
  RedisOptions options;
  options.unix_socket = "/nonexistent/redis.sock";
  const absl::Status status = Tier(options)->Get("k", kForever).status();
  ExpectError(status, absl::StatusCode::kUnavailable, "redis unix:/nonexistent/redis.sock");
  ExpectError(status, absl::StatusCode::kUnavailable, "(for GET)");

  options.unix_socket.clear();
  options.port = 1;
  for (const auto& [host, address] :
       {std::pair("127.0.0.1", "redis 127.0.0.1:1"), std::pair("::1", "redis [::1]:1")}) {
    options.host = host;
    ExpectError(Tier(options)->Ping(kForever), absl::StatusCode::kUnavailable, address);
  }
}

TEST(RedisDiallingTest, FailuresLeakNoDescriptors) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    if (connection.ReadUntil(kGetK)) connection.Write("nonsense\r\n");
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kInternal, "GET");
  RedisOptions nowhere;
  nowhere.unix_socket = "/nonexistent/redis.sock";
  const auto unreachable = Tier(nowhere);
  const size_t before = OpenFiles();
  for (int i = 0; i < 200; ++i) {
    EXPECT_FALSE(tier->Get("k", kForever).ok());
    EXPECT_FALSE(unreachable->Get("k", kForever).ok());
  }
  EXPECT_LE(OpenFiles(), before + 2);
}

}  // namespace
}  // namespace larder
