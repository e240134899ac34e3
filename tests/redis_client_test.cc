// SPDX-License-Identifier: Apache-2.0
//
// RedisTier and its connections against servers that misbehave in ways a real one can't be brought
// to: by script, over a real socket.
#include "src/redis_client.h"

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

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

std::unique_ptr<internal::RedisConnection> Dial(const RedisOptions& options) {
  auto connection = internal::RedisConnection::Dial(options, internal::RedisAddress(options),
                                                    internal::Deadline::After(kForever));
  EXPECT_TRUE(connection.ok()) << connection.status();
  return *std::move(connection);
}

// What a server may answer to a GET although it must not. The connection is dropped each time, and
// the next call is served by a new one.
class NonsenseTest : public ::testing::TestWithParam<std::string_view> {};

TEST_P(NonsenseTest, IsRefusedAndForgotten) {
  const std::string nonsense(GetParam());
  ScriptedServer server([&](int number, ScriptedConnection& connection) {
    if (number > 0) return BehaveWell(connection);
    if (connection.ReadUntil(kGetK)) connection.Write(nonsense);
    connection.Read();  // keeps the connection open until the client closes it
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kInternal, "GET");
  ExpectValue(*tier, "fine");
  EXPECT_EQ(server.connections(), 2);
}

INSTANTIATE_TEST_SUITE_P(Replies, NonsenseTest,
                         ::testing::Values("hello\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n",
                                           "+OK\r\n", ":5\r\n", "*0\r\n", "*1\r\n$1\r\na\r\n",
                                           "*2000000000\r\n", "*99999999999999\r\n", "$-5\r\n",
                                           "$x\r\n", "$99999999999999999999\r\n",
                                           "$1\r\na\r\n$1\r\nb\r\n" /* two answers */,
                                           "$1\r\na\r\n+", std::string_view("\0\0\0\0\r\n", 6)));

TEST(RedisClientTest, NonsenseInsideAnArrayIsRefused) {
  for (const char* nonsense :
       {"*1\r\n$1\r\na\r\n", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", "*2\r\n:1\r\n:2\r\n",
        "*2\r\n*1\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n*0\r\n*0\r\n", "*-1\r\n", "$1\r\na\r\n"}) {
    ScriptedServer server([&](int, ScriptedConnection& connection) {
      if (connection.ReadUntil("$1\r\nb\r\n")) connection.Write(nonsense);
      connection.Read();
    });
    ExpectError(Tier(OptionsFor(server))->GetMany({"a", "b"}, kForever).status(),
                absl::StatusCode::kInternal, "MGET");
  }
}

TEST(RedisClientTest, AnAnswerCutShortIsAnError) {
  for (const char* part : {"$", "$4\r\n", "$4\r\nfi", "$4\r\nfine\r"}) {
    ScriptedServer server([&](int number, ScriptedConnection& connection) {
      if (number > 0) return BehaveWell(connection);
      if (connection.ReadUntil(kGetK)) connection.Write("$5\r\nfirst\r\n");
      if (connection.ReadUntil(kGetK)) connection.Write(part);
    });
    const auto tier = Tier(OptionsFor(server));
    ExpectValue(*tier, "first");
    ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kUnavailable,
                "GET: connection lost");
    EXPECT_EQ(server.connections(), 1) << "part of an answer came: nothing is repeated";
    ExpectValue(*tier, "fine");
  }
}

TEST(RedisClientTest, AKeptConnectionThatTheServerClosedIsReplaced) {
  ScriptedServer server([&](int number, ScriptedConnection& connection) {
    if (number > 0) return BehaveWell(connection);
    if (connection.ReadUntil(kGetK)) connection.Write("$5\r\nfirst\r\n");
    connection.ReadUntil(kGetK);  // and closes without a word
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, "first");
  ExpectValue(*tier, "fine");
  EXPECT_EQ(server.connections(), 2);
}

// Many, each of which a large request had for itself, and which the server closes while all idle.
TEST(RedisClientTest, HoweverManyKeptConnectionsTheServerClosedTheyAreReplaced) {
  constexpr int kConnections = 7;
  internal::Event begun[kConnections];
  internal::Event hung_up[kConnections];
  internal::Event answer;
  internal::Event hang_up;
  ScriptedServer server(
      [&](int number, ScriptedConnection& connection) {
        if (number >= kConnections) return BehaveWell(connection);
        connection.Read();
        begun[number].Set();
        answer.Wait();
        if (connection.ReadUntil("END\r\n")) connection.Write("+OK\r\n");
        hang_up.Wait();
        connection.HangUp();
        hung_up[number].Set();
      },
      ScriptedServer::Connections::kAtOnce);
  RedisOptions options = OptionsFor(server);
  options.max_connections = kConnections;
  const auto tier = Tier(options);
  const std::string large = std::string(size_t{4} << 20, 'x') + "END";
  std::vector<std::thread> writers;
  for (internal::Event& taken : begun) {
    writers.emplace_back(
        [&] { EXPECT_EQ(tier->Set("k", large, kForever, kForever), absl::OkStatus()); });
    taken.Wait();
  }
  answer.Set();
  for (std::thread& writer : writers) writer.join();
  hang_up.Set();
  for (internal::Event& gone : hung_up) gone.Wait();
  ExpectValue(*tier, "fine");
  EXPECT_EQ(server.connections(), kConnections + 1);
}

TEST(RedisClientTest, ANewConnectionThatIsLostIsNotRepeated) {
  ScriptedServer server([](int, ScriptedConnection& connection) { connection.ReadUntil(kGetK); });
  const auto tier = Tier(OptionsFor(server));
  ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kUnavailable, "connection lost");
  EXPECT_EQ(server.connections(), 1);
}

TEST(RedisClientTest, BytesNobodyAskedForAreNoAnswer) {
  std::promise<void> answered;
  std::promise<void> written;
  ScriptedServer server([&](int number, ScriptedConnection& connection) {
    if (number > 0) return BehaveWell(connection);
    if (connection.ReadUntil(kGetK)) connection.Write("$5\r\nfirst\r\n");
    answered.get_future().wait();
    connection.Write("$7\r\nforeign\r\n");
    written.set_value();
    connection.Read();
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, "first");
  answered.set_value();
  written.get_future().wait();
  ExpectValue(*tier, "fine");
  EXPECT_EQ(server.connections(), 2);
}

TEST(RedisClientTest, AReplicaIsLeftForTheNextConnectionsServer) {
  ScriptedServer server([](int number, ScriptedConnection& connection) {
    if (number > 0) return BehaveWell(connection);
    while (connection.ReadUntil(kGetK)) connection.Write("-READONLY it is\r\n");
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kFailedPrecondition,
              "GET: READONLY it is");
  ExpectValue(*tier, "fine");
}

TEST(RedisClientTest, LargeValuesDoNotLiftTheLimitOfArrays) {
  const std::string large(3 << 20, 'x');
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    if (connection.ReadUntil(kGetK)) {
      connection.Write("$" + std::to_string(large.size()) + "\r\n" + large + "\r\n");
    }
    if (connection.ReadUntil(kGetK)) connection.Write("*2000000000\r\n");
    connection.Read();
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, large);
  ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kInternal,
              "GET: bad reply: an array of 2000000000, at most 0 expected");
}

TEST(RedisClientTest, ALateAnswerNeverAnswersALaterRequest) {
  std::promise<void> gave_up;
  ScriptedServer server([&](int number, ScriptedConnection& connection) {
    if (number > 0) return BehaveWell(connection);
    if (!connection.ReadUntil(kGetK)) return;
    connection.Write("$5\r\nfirst\r\n");
    if (!connection.ReadUntil(kGetK)) return;
    gave_up.get_future().wait();
    connection.Write("$4\r\nlate\r\n");
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, "first");  // so that it is connected
  ExpectError(tier->Get("k", kShort).status(), absl::StatusCode::kDeadlineExceeded,
              "GET: no answer within 30ms");
  gave_up.set_value();
  for (int i = 0; i < 10; ++i) ExpectValue(*tier, "fine");
}

TEST(RedisClientTest, BytesThatKeepComingDoNotExtendTheTimeout) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    if (!connection.ReadUntil(kGetK)) return;
    connection.Write("$500000000\r\n");
    const std::string some(1 << 20, 'x');
    while (connection.Write(some)) {
    }
  });
  ExpectError(Tier(OptionsFor(server))->Get("k", kShort).status(),
              absl::StatusCode::kDeadlineExceeded, "GET");
}

TEST(RedisClientTest, TheTiersOwnTimeoutHoldsForAPatientCaller) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    while (!connection.Read().empty()) {
    }
  });
  RedisOptions options = OptionsFor(server);
  options.command_timeout = kShort;
  // For its connection, or for its answer.
  ExpectError(Tier(options)->Get("k", kForever).status(), absl::StatusCode::kDeadlineExceeded,
              "30ms");
}

TEST(RedisClientTest, ValuesAreNotEchoed) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    connection.Read();
    connection.Write("-ERR unknown command 'SET', with args beginning with: 'k' '4111' \r\n");
    connection.Read();
  });
  const absl::Status status = Tier(OptionsFor(server))->Set("k", "4111", kForever, kForever);
  EXPECT_THAT(std::string(status.message()), HasSubstr("unknown command 'SET'"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("4111")));
}

TEST(RedisClientTest, ACallWaitsNoLongerThanItsTimeoutForThoseBeforeIt) {
  std::promise<void> asked;
  std::promise<void> release;
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    if (!connection.ReadUntil(kGetK)) return;
    asked.set_value();
    release.get_future().wait();
    connection.Write("$4\r\nlong\r\n");
    BehaveWell(connection);  // also to the one that nobody waits for any more
  });
  const auto tier = Tier(OptionsFor(server));
  std::thread holder([&] { ExpectValue(*tier, "long"); });
  asked.get_future().wait();
  ExpectError(tier->Get("k", kShort).status(), absl::StatusCode::kDeadlineExceeded,
              "GET: no answer within 30ms");
  release.set_value();
  holder.join();
  EXPECT_EQ(server.connections(), 1);
}

TEST(RedisClientTest, AServersLastWordsAreHeardAlthoughTheRequestCouldNotBeSent) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    connection.Read();
    connection.Write("-ERR Protocol error: invalid bulk length\r\n");
  });
  const std::string large(8 << 20, 'x');
  ExpectError(Tier(OptionsFor(server))->Set("k", large, kForever, kForever),
              absl::StatusCode::kInternal, "SET: ERR Protocol error: invalid bulk length");
}

TEST(RedisClientTest, AnAnswerBeforeTheRequestIsComplete) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    connection.Read();
    connection.Write("+OK\r\n");
    connection.Read();
  });
  const std::string large(8 << 20, 'x');
  ExpectError(Tier(OptionsFor(server))->Set("k", large, kForever, kForever),
              absl::StatusCode::kInternal, "SET: answered before the request was sent");
}

TEST(RedisClientTest, WritingToAClosedConnectionRaisesNoSignal) {
  ScriptedServer server([](int, ScriptedConnection&) {});
  const auto connection = Dial(OptionsFor(server));
  while (!connection->IsStale()) std::this_thread::yield();
  internal::RedisRequest request;
  request.Add({"GET", internal::ReplyKind::kString}, {"GET", "k"});
  ExpectError(connection->Call(request, internal::Deadline::After(kForever)).status(),
              absl::StatusCode::kUnavailable, "GET: connection lost");
  EXPECT_TRUE(connection->broken());
}

TEST(RedisClientTest, AConnectionLostWhileALargeRequestIsSent) {
  ScriptedServer server([](int, ScriptedConnection& connection) { connection.Read(); });
  const std::string large(8 << 20, 'x');
  ExpectError(Tier(OptionsFor(server))->Set("k", large, kForever, kForever),
              absl::StatusCode::kUnavailable, "SET: connection lost");
}

// A server, or a relay before it, may not take the rest of a request before its answers are taken.
TEST(RedisClientTest, ReadsWhileItSends) {
  const std::string large(8 << 20, 'x');
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    connection.Read();
    connection.Write("+OK\r\n$" + std::to_string(large.size()) + "\r\n" + large);
    connection.ReadUntil(kGetK);
    connection.Write("\r\n");
    connection.Read();
  });
  const auto connection = Dial(OptionsFor(server));
  internal::RedisRequest request;
  request.Add({"SET", internal::ReplyKind::kStatus}, {"SET", "k", large});
  request.Add({"GET", internal::ReplyKind::kString}, {"GET", "k"});
  const auto replies = connection->Call(request, internal::Deadline::After(absl::Seconds(60)));
  ASSERT_TRUE(replies.ok()) << replies.status();
  ASSERT_EQ(replies->size(), 2u);
  EXPECT_TRUE(internal::ReplyText(*(*replies)[1]) == large);
  EXPECT_FALSE(connection->broken());
}

// The first error is what the caller gets, and all replies are taken, so that the connection stays
// usable.
TEST(RedisClientTest, AnErrorAmongSeveralReplies) {
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    if (!connection.ReadUntil(kGetK)) return;
    connection.Write("+OK\r\n-WRONGTYPE first\r\n-OOM second\r\n");
    BehaveWell(connection);
  });
  const auto connection = Dial(OptionsFor(server));
  internal::RedisRequest get;
  get.Add({"GET", internal::ReplyKind::kString}, {"GET", "k"});
  internal::RedisRequest three;
  three.Add({"SET", internal::ReplyKind::kStatus}, {"SET", "a", ""});
  three.Add({"INCR", internal::ReplyKind::kInteger}, {"INCR", "a"});
  three.Add({"GET", internal::ReplyKind::kString}, {"GET", "k"});
  ExpectError(connection->Call(three, internal::Deadline::After(kForever)).status(),
              absl::StatusCode::kFailedPrecondition, "INCR: WRONGTYPE first");
  EXPECT_FALSE(connection->broken());
  EXPECT_TRUE(connection->Call(get, internal::Deadline::After(kForever)).ok());
}

TEST(RedisClientTest, AnErrorThatAsksForAnotherConnectionIsHeardBeforeOthers) {
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    if (connection.ReadUntil(kGetK)) connection.Write("-READONLY it is\r\n-ERR another\r\n");
  });
  const auto connection = Dial(OptionsFor(server));
  internal::RedisRequest two;
  two.Add({"DEL", internal::ReplyKind::kInteger}, {"DEL", "k"});
  two.Add({"GET", internal::ReplyKind::kString}, {"GET", "k"});
  ExpectError(connection->Call(two, internal::Deadline::After(kForever)).status(),
              absl::StatusCode::kFailedPrecondition, "DEL: READONLY it is");
  EXPECT_TRUE(connection->broken());
}

TEST(RedisClientTest, AConnectionBreaksByMoreThanTheAnswerButNotByACallWithoutTime) {
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    if (connection.ReadUntil(kGetK)) connection.Write("$4\r\nfine\r\n$4\r\nmore\r\n");
    connection.Read();
  });
  const auto connection = Dial(OptionsFor(server));
  internal::RedisRequest get;
  get.Add({"GET", internal::ReplyKind::kString}, {"GET", "k"});
  ExpectError(connection->Call(get, internal::Deadline::After(absl::ZeroDuration())).status(),
              absl::StatusCode::kDeadlineExceeded, "GET");
  ASSERT_FALSE(connection->broken());
  ExpectError(connection->Call(get, internal::Deadline::After(kForever)).status(),
              absl::StatusCode::kInternal, "GET: more bytes came than the answer has");
  EXPECT_TRUE(connection->broken());
}

// Errors after which another connection may come to a server that does better.
TEST(RedisClientTest, SomeErrorsAskForAnotherConnection) {
  for (const std::string_view text :
       {"READONLY You can't write", "MASTERDOWN Link with MASTER is down",
        "DENIED Redis is running", "ERR max number of clients reached",
        "ERR Protocol error: invalid bulk length"}) {
    EXPECT_TRUE(internal::MeaningOfErrorReply("GET", text).reconnect) << text;
  }
  for (const std::string_view text : {"LOADING Redis is loading", "BUSY Redis is busy"}) {
    const internal::ErrorReplyMeaning meaning = internal::MeaningOfErrorReply("GET", text);
    EXPECT_FALSE(meaning.reconnect) << text;
    EXPECT_EQ(meaning.code, absl::StatusCode::kUnavailable) << text;
  }
}

TEST(RedisClientTest, RoundsTheTtlUpToMilliseconds) {
  std::promise<std::string> sent;
  ScriptedServer server([&](int number, ScriptedConnection& connection) {
    std::string all;
    while (!std::string_view(all).ends_with("END\r\n")) {
      const std::string some = connection.Read();
      if (some.empty()) break;
      all += some;
      connection.Write("+OK\r\n");
    }
    if (number == 0) sent.set_value(all);
  });
  const auto tier = Tier(OptionsFor(server));
  for (const absl::Duration ttl :
       {absl::Nanoseconds(1), absl::Milliseconds(1), absl::Microseconds(1001), absl::Seconds(2)}) {
    EXPECT_EQ(tier->Set("k", "v", ttl, kForever), absl::OkStatus());
  }
  EXPECT_EQ(tier->Set("k", "END", kForever, kForever), absl::OkStatus());
  const std::string begin = "*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nPX\r\n";
  EXPECT_EQ(sent.get_future().get(), begin + "$1\r\n1\r\n" + begin + "$1\r\n1\r\n" + begin +
                                         "$1\r\n2\r\n" + begin + "$4\r\n2000\r\n" +
                                         "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nEND\r\n");
}

}  // namespace
}  // namespace larder
