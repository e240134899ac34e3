// SPDX-License-Identifier: Apache-2.0
//
// Which server's connections RedisPool uses, with servers that say by script who they are.
#include "src/redis_pool.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/event.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_terms.h"
#include "tests/support/scripted_redis.h"
#include "tests/support/scripted_server.h"

namespace larder::internal {
namespace {

using test::BehaveWell;
using test::ExpectError;
using test::kForever;
using test::kGetK;
using test::kShort;
using test::OptionsFor;
using test::ScriptedConnection;
using test::ScriptedServer;
using test::Word;

RedisOptions Identifying(const ScriptedServer& server) {
  RedisOptions options = OptionsFor(server);
  options.identify_servers = true;
  return options;
}

// Answers TIME and INFO.
bool Identify(ScriptedConnection& connection, std::string_view info) {
  return connection.ReadUntil(Word("INFO") + Word("server")) &&
         connection.Write("*2\r\n" + Word("1000000000") + Word("250000") + Word(info));
}

absl::Status Get(RedisPool& pool, absl::Duration timeout = kForever) {
  RedisRequest request;
  request.Add({"GET", ReplyKind::kString}, {"GET", "k"});
  return pool.Execute(std::move(request), Deadline::After(timeout)).status();
}

TEST(RedisPoolTest, ACallThatWaitsForAnotherServerFailsAtOnce) {
  Event asked;
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    if (!Identify(connection, "run_id:abc\r\n") || !connection.ReadUntil(kGetK)) return;
    asked.Set();
    while (!connection.Read().empty()) {
    }
  });
  RedisPool pool(Identifying(server));
  std::thread caller([&] {
    ExpectError(Get(pool), absl::StatusCode::kUnavailable,
                "GET: connection closed: it led to another server");
  });
  asked.Wait();
  // While the other one waits.
  EXPECT_EQ(Get(pool, kShort).code(), absl::StatusCode::kDeadlineExceeded);
  pool.Pin("def");
  caller.join();
}

TEST(RedisPoolTest, TheLatestPinCountsUntilItIsTakenOut) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    if (Identify(connection, "run_id:abc\r\n")) BehaveWell(connection);
  });
  RedisPool pool(Identifying(server));
  const uint64_t other = pool.Pin("def");
  ExpectError(Get(pool), absl::StatusCode::kUnavailable, "server abc answers, not def");
  const uint64_t own = pool.Pin("abc");
  EXPECT_EQ(Get(pool), absl::OkStatus());
  pool.Unpin(own);
  ExpectError(Get(pool), absl::StatusCode::kUnavailable, "server abc answers, not def");
  pool.Unpin(other);
  const uint64_t any = pool.Pin("");
  EXPECT_EQ(Get(pool), absl::OkStatus());
  pool.Unpin(any);
  EXPECT_EQ(Get(pool), absl::OkStatus());
}

TEST(RedisPoolTest, AServerThatDoesNotSayWhichItIsMayBeAny) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    if (Identify(connection, "redis_version:0\r\n")) BehaveWell(connection);
  });
  RedisPool pool(Identifying(server));
  pool.Pin("def");
  EXPECT_EQ(Get(pool), absl::OkStatus());
}

TEST(RedisPoolTest, TheClockIsTheServersToTheMicrosecond) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    if (Identify(connection, "run_id:abc\r\n")) BehaveWell(connection);
  });
  RedisPool pool(Identifying(server));
  const absl::Duration begin = Deadline::Monotonic();
  ASSERT_EQ(Get(pool), absl::OkStatus());
  const absl::Duration passed = pool.ServersNow() - absl::FromUnixMillis(1'000'000'000'250);
  EXPECT_GE(passed, absl::ZeroDuration());
  EXPECT_LE(passed, Deadline::Monotonic() - begin);
}

// What a server says about a connection that TIME or INFO came to, although they aren't needed.
TEST(RedisPoolTest, AConnectionThatIsToBeLeftIsNotUsed) {
  ScriptedServer server([](int number, ScriptedConnection& connection) {
    if (number > 0) {
      if (Identify(connection, "run_id:abc\r\n")) BehaveWell(connection);
      return;
    }
    if (connection.ReadUntil(Word("INFO") + Word("server"))) {
      connection.Write("-MASTERDOWN Link with MASTER is down\r\n-ERR unknown command\r\n");
    }
    connection.Read();
  });
  RedisPool pool(Identifying(server));
  ExpectError(Get(pool), absl::StatusCode::kUnavailable, "TIME: MASTERDOWN");
  EXPECT_EQ(Get(pool), absl::OkStatus());
}

}  // namespace
}  // namespace larder::internal
