// SPDX-License-Identifier: Apache-2.0
//
// Calls that share a connection, with servers that answer when and what a test wants.
#include "src/redis_channel.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
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
using test::OptionsFor;
using test::ScriptedConnection;
using test::ScriptedServer;
using test::Tier;

// Reads until so many GETs of "k" have come. False when the other side closed before.
bool ReadGets(ScriptedConnection& connection, int count) {
  std::string read;
  for (size_t at = 0; count > 0;) {
    const size_t found = read.find(kGetK, at);
    if (found != read.npos) {
      at = found + kGetK.size();
      --count;
      continue;
    }
    const std::string some = connection.Read();
    if (some.empty()) return false;
    read += some;
  }
  return true;
}

// What two GETs of "k" at the same time come to.
std::vector<absl::StatusOr<std::optional<std::string>>> GetTwice(RedisTier& tier) {
  std::vector<absl::StatusOr<std::optional<std::string>>> values(2);
  std::thread other([&] { values[1] = tier.Get("k", kForever); });
  values[0] = tier.Get("k", kForever);
  other.join();
  return values;
}

// Answers a first GET of "k", and says `words` when so many more have come; other connections
// behave well.
auto SayingAfter(int gets, std::string words) {
  return [gets, words](int number, ScriptedConnection& connection) {
    if (number > 0) return BehaveWell(connection);
    if (ReadGets(connection, 1)) connection.Write("$5\r\nfirst\r\n");
    if (ReadGets(connection, gets)) connection.Write(words);
    connection.Read();
  };
}

// Answers a first GET of "k" and nothing more; other connections behave well.
void FallSilent(int number, ScriptedConnection& connection) {
  if (number > 0) return BehaveWell(connection);
  if (ReadGets(connection, 1)) connection.Write("$5\r\nfirst\r\n");
  while (!connection.Read().empty()) {
  }
}

void LeaveBehind(RedisTier& tier) { (void)tier.Get("k", absl::Milliseconds(1)); }

// Whether a call is, sooner or later; with fewer that give up than would be too many by themselves.
bool IsServed(RedisTier& tier) {
  for (int i = 0; i < 50; ++i) {
    if (tier.Get("k", absl::Milliseconds(100)).ok()) return true;
  }
  return false;
}

TEST(RedisChannelTest, RequestsAreSentWhileAnEarlierOneIsAwaited) {
  constexpr int kRounds = 3;
  Event asked[kRounds];
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    for (Event& once : asked) {
      if (!ReadGets(connection, 1)) return;
      once.Set();
      // Both wait, and are woken together; and then again.
      if (ReadGets(connection, 1)) connection.Write("$4\r\nfine\r\n$4\r\nfine\r\n");
    }
    connection.Read();
  });
  const auto tier = Tier(OptionsFor(server));
  for (Event& once : asked) {
    std::thread first([&] { ExpectValue(*tier, "fine"); });
    once.Wait();
    ExpectValue(*tier, "fine");
    first.join();
  }
}

// The one that was answered by nonsense isn't repeated; the one behind it is.
TEST(RedisChannelTest, WhoIsBehindNonsenseIsServedByAnotherConnection) {
  ScriptedServer server(SayingAfter(2, "hello\r\n"));
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, "first");
  auto values = GetTwice(*tier);
  if (values[0].ok()) std::swap(values[0], values[1]);
  ExpectError(values[0].status(), absl::StatusCode::kInternal, "GET");
  ASSERT_TRUE(values[1].ok()) << values[1].status();
  EXPECT_EQ(*values[1], "fine");
  EXPECT_EQ(server.connections(), 2);
}

// It was made, and answered, if not as it should be.
TEST(RedisChannelTest, WhoIsAnsweredWithAnotherKindOfReplyIsNotRepeated) {
  ScriptedServer server(SayingAfter(1, ":5\r\n"));
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, "first");
  ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kInternal, "GET");
  EXPECT_EQ(server.connections(), 1);
}

// What came with it can't be told from an answer that is one place too early.
TEST(RedisChannelTest, AnAnswerThatCameWithNonsenseIsNoneEither) {
  for (const std::string_view nonsense : {"hello\r\n", ":5\r\n"}) {
    ScriptedServer server(SayingAfter(2, "$4\r\nfine\r\n" + std::string(nonsense)));
    const auto tier = Tier(OptionsFor(server));
    ExpectValue(*tier, "first");
    for (const auto& value : GetTwice(*tier)) {
      ExpectError(value.status(), absl::StatusCode::kInternal, "GET");
    }
    EXPECT_EQ(server.connections(), 1) << nonsense;
  }
}

// Two seconds after the first call left, its answer is overdue; the second would have waited
// longer.
TEST(RedisChannelTest, AnOverdueAnswerEndsTheConnectionForWhoIsBehindIt) {
  ScriptedServer server([](int number, ScriptedConnection& connection) {
    if (number > 0) return BehaveWell(connection);
    if (ReadGets(connection, 1)) connection.Write("$5\r\nfirst\r\n");
    while (!connection.Read().empty()) {
    }
  });
  RedisOptions options = OptionsFor(server);
  options.command_timeout = absl::Seconds(4);
  const auto tier = Tier(options);
  ExpectValue(*tier, "first");
  ExpectError(tier->Get("k", absl::Seconds(2)).status(), absl::StatusCode::kDeadlineExceeded,
              "GET: no answer within 2s");
  ExpectError(tier->Get("k", kForever).status(), absl::StatusCode::kUnavailable,
              "GET: connection lost before the answer to an earlier request came");
  EXPECT_EQ(server.connections(), 1) << "nor is it repeated: it has waited long enough";
  ExpectValue(*tier, "fine");
}

// Changes that depend on what is there: made once, or perhaps not at all.
TEST(RedisChannelTest, WhatMustNotBeDoneTwiceIsNotRepeated) {
  const std::vector<std::function<absl::Status(RedisTier&)>> calls = {
      [](RedisTier& tier) { return tier.SetIfAbsent("k", "v", kForever, kForever).status(); },
      [](RedisTier& tier) { return tier.SetIfHead("k", "h", "v", kForever, kForever).status(); },
      [](RedisTier& tier) { return tier.EraseIfHead("k", "h", kForever).status(); },
      [](RedisTier& tier) { return tier.Exchange("k", "v", kForever, 1, kForever).status(); },
  };
  for (const ChangeNotices notices : {ChangeNotices::kTracking, ChangeNotices::kPublish}) {
    for (size_t i = 0; i < calls.size(); ++i) {
      ScriptedServer server([](int number, ScriptedConnection& connection) {
        if (number == 0 && connection.ReadUntil(kGetK)) connection.Write("$5\r\nfirst\r\n");
        connection.Read();  // and closes without a word
      });
      RedisOptions options = OptionsFor(server);
      options.change_notices = notices;
      const auto tier = Tier(options);
      ExpectValue(*tier, "first");
      ExpectError(calls[i](*tier), absl::StatusCode::kUnavailable, "connection lost");
      EXPECT_EQ(server.connections(), 1) << "call " << i;
    }
  }
}

TEST(RedisChannelTest, NorIsItWhereOnlyAPartWasSent) {
  ScriptedServer server([](int number, ScriptedConnection& connection) {
    if (number == 0 && connection.ReadUntil(kGetK)) connection.Write("$5\r\nfirst\r\n");
    connection.Read();
  });
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, "first");
  const std::string large(8 << 20, 'x');
  ExpectError(tier->SetIfAbsent("k", large, kForever, kForever).status(),
              absl::StatusCode::kUnavailable, "connection lost");
  EXPECT_EQ(server.connections(), 1);
}

// Calls that follow each other keep no connection busy, however much they send.
TEST(RedisChannelTest, OneAfterTheOtherUseOneConnection) {
  ScriptedServer server(
      [](int, ScriptedConnection& connection) {
        while (connection.ReadUntil("END\r\n")) connection.Write("+OK\r\n");
      },
      ScriptedServer::Connections::kAtOnce);
  RedisOptions options = OptionsFor(server);
  options.max_connections = 2;
  const auto tier = Tier(options);
  const std::string value = std::string(1000, 'x') + "END";
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(tier->Set("k", value, kForever, kForever), absl::OkStatus());
  }
  EXPECT_EQ(server.connections(), 1);
}

// The first connection's server stops to answer: those who give up leave their calls there.
TEST(RedisChannelTest, WithManyCallsBeforeItACallGoesAnotherWay) {
  ScriptedServer server(FallSilent, ScriptedServer::Connections::kAtOnce);
  RedisOptions options = OptionsFor(server);
  options.max_connections = 2;
  const auto tier = Tier(options);
  ExpectValue(*tier, "first");
  for (int i = 0; i < 300; ++i) LeaveBehind(*tier);
  EXPECT_TRUE(IsServed(*tier));
}

TEST(RedisChannelTest, NorDoesACallWaitForALargeAnswerToAnother) {
  ScriptedServer server(
      [](int number, ScriptedConnection& connection) {
        if (number > 0) return BehaveWell(connection);
        if (ReadGets(connection, 1)) connection.Write("$5\r\nfirst\r\n");
        if (ReadGets(connection, 1)) connection.Write("$1000000\r\n" + std::string(500'000, 'x'));
        while (!connection.Read().empty()) {
        }
      },
      ScriptedServer::Connections::kAtOnce);
  RedisOptions options = OptionsFor(server);
  options.max_connections = 2;
  const auto tier = Tier(options);
  ExpectValue(*tier, "first");
  EXPECT_TRUE(IsServed(*tier));
}

// A connection that doesn't come about takes half of the time, and the one that was busy is free.
TEST(RedisChannelTest, ThereIsTimeLeftForTheConnectionThatWasBusy) {
  Event begun;
  Event dialled;
  ScriptedServer server(
      [&](int number, ScriptedConnection& connection) {
        connection.Read();
        if (number > 0) {
          dialled.Set();
          connection.Read();
          return;
        }
        connection.Write("+OK\r\n");
        connection.Read();
        begun.Set();
        dialled.Wait();
        // Both, as the second may come with the end of the first.
        if (connection.ReadUntil(kGetK)) connection.Write("+OK\r\n$4\r\nfine\r\n");
        connection.Read();
      },
      ScriptedServer::Connections::kAtOnce);
  RedisOptions options = OptionsFor(server);
  options.password = "s3cret";
  options.max_connections = 2;
  const auto tier = Tier(options);
  const std::string large = std::string(size_t{4} << 20, 'x') + "END";
  std::thread writer(
      [&] { EXPECT_EQ(tier->Set("k", large, kForever, kForever), absl::OkStatus()); });
  begun.Wait();
  const auto value = tier->Get("k", absl::Seconds(4));
  writer.join();
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*value, "fine");
}

// Each that is left behind holds memory until it is answered.
TEST(RedisChannelTest, AConnectionIsLeftBehindWithTooManyCalls) {
  ScriptedServer server(FallSilent, ScriptedServer::Connections::kAtOnce);
  const auto tier = Tier(OptionsFor(server));
  ExpectValue(*tier, "first");
  for (int i = 0; i < 1200; ++i) LeaveBehind(*tier);
  EXPECT_TRUE(IsServed(*tier));
}

// Those that were answered meanwhile don't count any more.
TEST(RedisChannelTest, AConnectionIsKeptHoweverManyGaveUpInAll) {
  ScriptedServer server(
      [](int, ScriptedConnection& connection) {
        std::string read;
        for (std::string some = connection.Read(); !some.empty(); some = connection.Read()) {
          read += some;
          if (!read.ends_with("PING\r\n")) continue;
          for (size_t at = read.find(kGetK); at != read.npos; at = read.find(kGetK, at + 1)) {
            connection.Write("$4\r\nfine\r\n");
          }
          connection.Write("+PONG\r\n");
          read.clear();
        }
      },
      ScriptedServer::Connections::kAtOnce);
  const auto tier = Tier(OptionsFor(server));
  ASSERT_EQ(tier->Ping(kForever), absl::OkStatus());
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 600; ++i) LeaveBehind(*tier);
    ASSERT_EQ(tier->Ping(kForever), absl::OkStatus());
  }
  EXPECT_EQ(tier->Ping(kForever), absl::OkStatus());
  EXPECT_EQ(server.connections(), 1);
}

}  // namespace
}  // namespace larder
