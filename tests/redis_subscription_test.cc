// SPDX-License-Identifier: Apache-2.0
//
// RedisSubscription with a real redis-server: what is told, and what isn't; how it ends.
#include "src/redis_subscription.h"

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"
#include "src/redis_client.h"
#include "tests/support/redis_cli.h"
#include "tests/support/redis_server.h"
#include "tests/support/redis_terms.h"

namespace larder::internal {
namespace {

using test::kForever;
using test::kLong;
using Connections = RedisSubscription::Connections;
using Strings = std::vector<std::string>;

class RedisSubscriptionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = test::RedisServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(server)->release();
  }
  static void TearDownTestSuite() { delete server_; }

  void SetUp() override {
    ASSERT_NE(server_, nullptr);
    options_.unix_socket = server_->unix_socket();
    options_.key_prefix = "app:";
    options_.connect_timeout = kLong;
    options_.heartbeat_interval = kLong;
    options_.heartbeat_timeout = kLong;
    Reconnect();
    Run({"CONFIG", "RESETSTAT"});
  }
  void TearDown() override {
    EXPECT_EQ(Run({"CONFIG", "SET", "maxmemory", "0", "requirepass", ""}), "OK");
    EXPECT_EQ(Run({"FLUSHALL"}), "OK");
  }

  void Reconnect() {
    auto cli = test::RedisCli::Connect(options_.unix_socket);
    ASSERT_TRUE(cli.ok()) << cli.status();
    cli_ = *std::move(cli);
  }

  std::string Run(std::initializer_list<std::string_view> words) {
    const auto reply = cli_->Run(words);
    EXPECT_TRUE(reply.ok()) << *words.begin() << ": " << reply.status();
    return reply.value_or("");
  }

  absl::StatusOr<std::unique_ptr<RedisSubscription>> TryStart(
      Connections connections = Connections::kOneIfItWorks) {
    return RedisSubscription::Start(options_, RedisAddress(options_), Deadline::After(kForever),
                                    connections);
  }

  std::unique_ptr<RedisSubscription> Start(Connections connections = Connections::kOneIfItWorks) {
    auto subscription = TryStart(connections);
    EXPECT_TRUE(subscription.ok()) << subscription.status();
    return *std::move(subscription);
  }

  // All that is told until `last` is.
  static Strings Until(RedisSubscription& subscription, const std::string& last) {
    Strings told;
    while (true) {
      const auto changes = subscription.Next(kForever);
      EXPECT_TRUE(changes.ok()) << changes.status();
      if (!changes.ok()) return told;
      EXPECT_FALSE(changes->all);
      bool done = false;
      for (const std::string& key : changes->keys) done |= key == last;
      told.insert(told.end(), changes->keys.begin(), changes->keys.end());
      if (done) return told;
    }
  }

  static bool ToldOfAll(RedisSubscription& subscription) {
    while (true) {
      const auto changes = subscription.Next(kForever);
      if (!changes.ok() || changes->all) return changes.ok();
    }
  }

  static test::RedisServer* server_;  // shared, since it takes a while to start
  RedisOptions options_;
  std::unique_ptr<test::RedisCli> cli_;
};

test::RedisServer* RedisSubscriptionTest::server_ = nullptr;

// With one connection, and with two.
class RedisTrackingTest : public RedisSubscriptionTest,
                          public testing::WithParamInterface<Connections> {
 protected:
  std::unique_ptr<RedisSubscription> Start() {
    auto subscription = RedisSubscriptionTest::Start(GetParam());
    EXPECT_EQ(subscription->connections(), GetParam() == Connections::kTwo ? 2u : 1u);
    EXPECT_TRUE(subscription->tells_all());
    return subscription;
  }
};

INSTANTIATE_TEST_SUITE_P(Connections, RedisTrackingTest,
                         testing::Values(Connections::kOneIfItWorks, Connections::kTwo),
                         [](const auto& info) {
                           return info.param == Connections::kTwo ? "Two" : "One";
                         });

TEST_P(RedisTrackingTest, TellsWhatOthersDoToKeysWithThePrefix) {
  const auto subscription = Start();
  Run({"SET", "app:a", "1"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"}) << "and nothing of the probe";
  Run({"APPEND", "app:a", "2"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"});
  Run({"EXPIRE", "app:a", "100"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"});
  Run({"DEL", "app:a"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"});
  Run({"GET", "app:a"});
  Run({"SET", "other:b", "1"});
  Run({"SET", "ap", "1"});
  Run({"SET", "app:", "1"});
  EXPECT_EQ(Until(*subscription, ""), Strings{""}) << "reads and other prefixes aren't told";
}

TEST_P(RedisTrackingTest, TellsWhatHappensByItself) {
  const auto subscription = Start();
  std::string short_lived;
  bool expired_later = false;
  for (int tries = 0; !expired_later; ++tries) {
    // Each time another: of one that expired too early, word may still be to come.
    short_lived = absl::StrCat("short", tries);
    Run({"SET", "app:" + short_lived, "1", "PX", "50"});
    Until(*subscription, short_lived);
    expired_later = Run({"EXISTS", "app:" + short_lived}) == "1";
  }
  EXPECT_EQ(Until(*subscription, short_lived), Strings{short_lived});

  Run({"SET", "app:victim", "1"});
  Until(*subscription, "victim");
  Run({"CONFIG", "SET", "maxmemory-policy", "allkeys-random"});
  Run({"CONFIG", "SET", "maxmemory", "1"});
  EXPECT_EQ(Until(*subscription, "victim"), Strings{"victim"});
}

TEST_P(RedisTrackingTest, ComesAboutWhereMemoryIsFull) {
  Run({"CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"});
  const auto subscription = Start();
  Run({"CONFIG", "SET", "maxmemory", "0"});
  Run({"SET", "app:a", "1"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"});
}

TEST_P(RedisTrackingTest, TellsWhenTheServerIsEmptied) {
  const auto subscription = Start();
  for (const std::string_view command : {"FLUSHALL", "FLUSHDB"}) {
    Run({"SET", "app:a", "1"});
    Run({command});
    EXPECT_TRUE(ToldOfAll(*subscription)) << command;
  }
}

TEST_P(RedisTrackingTest, TellsVeryManyChangesAtOnce) {
  const auto subscription = Start();
  Run({"EVAL", "for i = 1, 20000 do redis.call('SET', 'app:' .. i, '') end", "0"});
  EXPECT_EQ(Until(*subscription, "20000").size(), 20000u);
  Run({"SET", "app:end", "1"});
  EXPECT_EQ(Until(*subscription, "end"), Strings{"end"});
}

TEST_P(RedisTrackingTest, GathersWhatHasCome) {
  const auto subscription = Start();
  for (int round = 0; round < 3; ++round) {
    for (const std::string_view key : {"app:a", "app:b", "app:a", "app:c"}) Run({"SET", key, "1"});
    Run({"PING"});  // a turn of the server's later, everybody has been told
    const auto changes = subscription->Next(absl::ZeroDuration());
    ASSERT_TRUE(changes.ok()) << changes.status();
    EXPECT_EQ(changes->keys, (Strings{"a", "b", "c"}));
  }
  EXPECT_EQ(subscription->Next(absl::ZeroDuration())->keys, Strings());
  EXPECT_EQ(subscription->Next(absl::Milliseconds(1))->keys, Strings());
}

TEST_P(RedisTrackingTest, IsLostWithTheConnectionThatIsSubscribed) {
  const auto subscription = Start();
  EXPECT_EQ(Run({"CLIENT", "KILL", "TYPE", "pubsub"}), "1");
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = subscription->Next(kForever).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_NE(status.message().find("connection lost"), std::string::npos);
  }
}

TEST_P(RedisTrackingTest, IsLostWithItsServer) {
  const auto subscription = Start();
  server_->Kill();
  const absl::Status status = subscription->Next(kForever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_FALSE(TryStart(GetParam()).ok());
  ASSERT_EQ(server_->Restart(), absl::OkStatus());
  Reconnect();
  const auto again = Start();
  EXPECT_NE(again->incarnation(), subscription->incarnation());
  EXPECT_EQ(Start()->incarnation(), again->incarnation());
  EXPECT_NE(Run({"INFO", "server"}).find(again->incarnation()), std::string::npos);
}

TEST_P(RedisTrackingTest, IsLostWhenTheServerStandsStill) {
  options_.heartbeat_interval = absl::Milliseconds(20);
  options_.heartbeat_timeout = absl::Milliseconds(300);
  const auto subscription = Start();
  server_->Pause();
  const absl::Status status = subscription->Next(kForever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  server_->Resume();
  EXPECT_EQ(subscription->Next(kForever).status(), status);
}

TEST_P(RedisTrackingTest, ASilentServerIsAskedWhetherItLives) {
  options_.heartbeat_interval = absl::Milliseconds(1);
  const auto subscription = Start();
  const auto asked = [&] {
    constexpr std::string_view kCalls = "cmdstat_ping:calls=";
    const std::string stats = Run({"INFO", "commandstats"});
    const size_t at = stats.find(kCalls);
    return at == std::string::npos ? 0 : std::stoi(stats.substr(at + kCalls.size()));
  };
  while (asked() < 10) {
    const auto changes = subscription->Next(absl::Milliseconds(1));
    ASSERT_TRUE(changes.ok()) << changes.status();
    EXPECT_EQ(changes->keys, Strings());
  }
}

TEST_F(RedisSubscriptionTest, IsLostWithTheConnectionThatTurnedTrackingOn) {
  const auto subscription = Start(Connections::kTwo);
  Run({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
  const absl::Status status = subscription->Next(kForever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
}

TEST_F(RedisSubscriptionTest, WithoutAPrefixTellsOfAllKeys) {
  options_.key_prefix = "";
  const auto subscription = Start();
  Run({"SET", "a", "1"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"});
}

TEST_F(RedisSubscriptionTest, AuthenticatesAndSelects) {
  Run({"CONFIG", "SET", "requirepass", "s3cret"});
  EXPECT_EQ(TryStart().status().code(), absl::StatusCode::kUnauthenticated);
  options_.password = "s3cret";
  options_.database = 3;
  const auto subscription = Start();
  Run({"SELECT", "3"});
  EXPECT_EQ(Run({"KEYS", "*"}), "") << "the probe is removed";
  Run({"SET", "app:a", "1"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"});
}

TEST_F(RedisSubscriptionTest, NeedsThePermissions) {
  options_.username = "limited";
  options_.password = "pw";
  const auto status_without = [&](std::string_view rule) {
    Run({"ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*", "+@all", rule});
    return TryStart().status();
  };
  for (const std::string_view rule :
       {"-client", "-client|tracking", "-info", "-subscribe", "resetchannels", "-set", "-eval"}) {
    const absl::Status status = status_without(rule);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << rule << ": " << status;
  }
  EXPECT_NE(status_without("-client").message().find("kPublish"), std::string::npos);
  options_.change_notices = ChangeNotices::kPublish;
  EXPECT_EQ(status_without("-client"), absl::OkStatus());
  EXPECT_EQ(status_without("-publish").code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(RedisSubscriptionTest, NeedsNoMorePermissionsThanIsSaid) {
  options_.username = "minimal";
  options_.password = "pw";
  Run({"ACL", "SETUSER", "minimal", "reset", "on", ">pw", "~app:*", "+set", "+del", "+eval",
       "+client|id", "+client|tracking", "+info", "+subscribe", "+ping", "&__redis__:invalidate"});
  for (const Connections connections : {Connections::kOneIfItWorks, Connections::kTwo}) {
    EXPECT_EQ(TryStart(connections).status(), absl::OkStatus());
  }
  options_.change_notices = ChangeNotices::kPublish;
  Run({"ACL", "SETUSER", "minimal", "reset", "on", ">pw", "+publish", "+subscribe", "+info",
       "+ping", "&app:larder.changes"});
  EXPECT_EQ(TryStart().status(), absl::OkStatus());
}

TEST_F(RedisSubscriptionTest, ListensToNotices) {
  options_.change_notices = ChangeNotices::kPublish;
  const auto subscription = Start();
  EXPECT_FALSE(subscription->tells_all());
  EXPECT_EQ(subscription->connections(), 1u);
  Run({"SET", "app:a", "1"});
  EXPECT_EQ(Run({"PUBLISH", "app:larder.changes", "kb"}), "1");
  EXPECT_EQ(Until(*subscription, "b"), Strings{"b"}) << "Redis itself doesn't tell";
  EXPECT_EQ(Run({"PUBLISH", "app:larder.changes", "a"}), "1");
  EXPECT_TRUE(ToldOfAll(*subscription));
}

TEST_F(RedisSubscriptionTest, IsWokenFromAnotherThread) {
  const auto subscription = Start();
  subscription->Wake();
  subscription->Wake();
  EXPECT_EQ(subscription->Next(kForever)->keys, Strings()) << "woken before";
  for (int round = 0; round < 100; ++round) {
    std::thread waker([&] { subscription->Wake(); });
    EXPECT_TRUE(subscription->Next(kForever).ok());
    waker.join();
  }
  Run({"SET", "app:a", "1"});
  EXPECT_EQ(Until(*subscription, "a"), Strings{"a"});
}

}  // namespace
}  // namespace larder::internal
