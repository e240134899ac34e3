// SPDX-License-Identifier: Apache-2.0
//
// Several servers, each a process with a memory of its own, and one Redis, to which all
// kinds of things happen: no server reads what was overwritten longer ago than it may be, and none
// fails a request.

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/coherence_check.h"
#include "tests/support/coherence_fixture.h"
#include "tests/support/fault_relay.h"
#include "tests/support/redis_cli.h"
#include "tests/support/redis_server.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using CutOff = CoherenceCheck::CutOff;

using CoherenceTest = CoherenceFixture;

INSTANTIATE_TEST_SUITE_P(Rounds, CoherenceTest, ::testing::Range(0, Rounds(1)));

// --- Nothing happens

TEST_P(CoherenceTest, TheCheckFindsServersThatDoNotHearOfEachOther) {
  settings_.has_tier = false;
  Start();
  // A server that seldom ran may not have come across any.
  size_t found = 0;
  for (int tries = 0; found < 3 && tries < 10; ++tries) {
    Run(800);
    check().Quiesce();
    found = check().TakeProblems().size();
  }
  EXPECT_EQ(found, 3u);
}

TEST_P(CoherenceTest, WritesThrough) {
  Live([&] { Run(300); });
}

TEST_P(CoherenceTest, WritesAround) {
  settings_.write_policy = WritePolicy::kAround;
  settings_.tcp = true;
  Live([&] { Run(300); });
}

TEST_P(CoherenceTest, WritesBehind) {
  settings_.write_policy = WritePolicy::kBehind;
  Live([&] { Run(300); });
}

TEST_P(CoherenceTest, AllWriteTheSameKeys) {
  settings_.others_write = false;
  settings_.hot_keys = 2;
  settings_.share_of_writes = 70;
  settings_.pause = absl::Microseconds(50);
  settings_.quiet = absl::Milliseconds(5);
  Start();
  for (int i = 0; i < 20; ++i) {
    Run(10);
    check().Quiesce();
  }
}

// --- Redis ends

TEST_P(CoherenceTest, RedisIsKilledAndComesBackEmpty) {
  Live(CutOff::kAll, [&] {
    check().redis().Kill();
    Run(150);
    EXPECT_TRUE(check().redis().Restart().ok());
  });
}

TEST_P(CoherenceTest, RedisIsKilledAndComesBackWithWhatItHadLongAgo) {
  settings_.others_write = false;
  Start();
  Run(100);
  EXPECT_EQ(Redis({"SAVE"}), "OK");
  Run(150);
  check().Expect(CutOff::kAll);
  check().redis().Kill();
  Run(50);
  EXPECT_TRUE(check().redis().Restart().ok());
  EXPECT_NE(Redis({"DBSIZE"}), "0");
  check().Recover();
  Run(150);
  check().Quiesce();
}

TEST_P(CoherenceTest, RedisStandsStillForAMoment) {
  Live(CutOff::kAll, [&] {
    for (int i = 0; i < 3; ++i) {
      check().redis().Pause();
      Run(30);
      check().redis().Resume();
      Run(30);
    }
  });
}

TEST_P(CoherenceTest, RedisStandsStill) {
  settings_.others_write = false;
  settings_.tcp = true;
  Live(CutOff::kAll, [&] {
    check().redis().Pause();
    Run(300);
    check().redis().Resume();
  });
}

// --- Redis is there, and yet

TEST_P(CoherenceTest, RedisClosesConnections) {
  settings_.others_write = false;
  Live(CutOff::kAll, [&] {
    for (int i = 0; i < 3; ++i) {
      EXPECT_NE(Redis({"CLIENT", "KILL", "TYPE", "normal"}), "");
      Run(30);
      EXPECT_NE(Redis({"CLIENT", "KILL", "TYPE", "pubsub"}), "");
      Run(60);
    }
  });
}

TEST_P(CoherenceTest, RedisEvicts) {
  Live([&] {
    Redis({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(Redis({"CONFIG", "SET", "maxmemory", "1"}), "OK");
      Run(40);
      EXPECT_EQ(Redis({"CONFIG", "SET", "maxmemory", "0"}), "OK");
      Run(40);
    }
  });
}

TEST_P(CoherenceTest, RedisIsFull) {
  Live(CutOff::kAll, [&] {
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(Redis({"CONFIG", "SET", "maxmemory", "1"}), "OK");
      Run(150);
      EXPECT_EQ(Redis({"CONFIG", "SET", "maxmemory", "0"}), "OK");
      Run(50);
    }
  });
}

TEST_P(CoherenceTest, RedisIsEmptied) {
  Live([&] {
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(Redis({"FLUSHALL"}), "OK");
      Run(50);
    }
  });
}

TEST_P(CoherenceTest, OtherProgramsChangeWhatIsInRedis) {
  Live([&] {
    for (int i = 0; i < 300; ++i) {
      if (i % 100 == 50) ChangeControl();
      ChangeKey();
      if (i % 10 == 0) Run(10);
    }
  });
}

// --- The network

TEST_P(CoherenceTest, TheNetworkIsSlow) {
  Live([&] {
    ToAll(&FaultRelay::Delay, absl::Milliseconds(5));
    Run(300);
    ToAll(&FaultRelay::Delay, absl::ZeroDuration());
  });
}

TEST_P(CoherenceTest, TheNetworkIsSlowerThanAnyCallMayBe) {
  Live(CutOff::kAll, [&] {
    ToAll(&FaultRelay::Delay, absl::Milliseconds(40));
    Run(300);
    ToAll(&FaultRelay::Delay, absl::ZeroDuration());
  });
}

TEST_P(CoherenceTest, ConnectionsBreakInTheMiddleOfReplies) {
  Live(CutOff::kAll, [&] {
    ToAll(&FaultRelay::CutReplies, 3000);
    Run(250);
    ToAll(&FaultRelay::CutReplies, 0);
  });
}

TEST_P(CoherenceTest, RepliesAreWrong) {
  Live(CutOff::kAll, [&] {
    ToAll(&FaultRelay::CorruptValues, 3);
    Run(150);
    ToAll(&FaultRelay::CorruptValues, 0);
    ToAll(&FaultRelay::GarbleReplies, 50);
    Run(150);
    ToAll(&FaultRelay::GarbleReplies, 0);
  });
}

TEST_P(CoherenceTest, ConnectionsAreRefused) {
  settings_.others_write = false;
  settings_.tcp = true;
  Live(CutOff::kAll, [&] {
    ToAll(&FaultRelay::Refuse, true);
    ToAll(&FaultRelay::Cut, Relayed::kAll);
    Run(200);
    ToAll(&FaultRelay::Refuse, false);
  });
}

// --- One server

TEST_P(CoherenceTest, OneServerIsCutOff) {
  settings_.others_write = false;
  Live(
      CutOff::kSome,
      [&] {
        check().relay(0).Stop();
        Run(1000);
        check().relay(0).Go();
      },
      /*alone=*/0);
}

TEST_P(CoherenceTest, OneServerIsCutOffAndFlushes) {
  settings_.others_write = false;
  settings_.when_cut_off = WhenCutOff::kFlush;
  Live(
      CutOff::kSome,
      [&] {
        check().relay(0).Refuse(true);
        check().relay(0).Cut();
        Run(300);
        check().relay(0).Refuse(false);
      },
      /*alone=*/0);
}

TEST_P(CoherenceTest, OneServerNoLongerHearsOfChanges) {
  settings_.others_write = false;
  Live(CutOff::kAll, [&] {
    check().relay(0).Stop(Relayed::kListening);
    Run(400);
    check().relay(0).Go();
  });
}

// Not for long enough for what it has to be too old.
TEST_P(CoherenceTest, OneServerDoesNotHearOfChangesForAMoment) {
  settings_.others_write = false;
  Live(CutOff::kAll, [&] {
    for (int i = 0; i < 5; ++i) {
      check().relay(0).Refuse(true);
      check().relay(0).Cut(Relayed::kListening);
      Run(20);
      check().relay(0).Refuse(false);
      Run(40);
    }
  });
}

// What others had loaded just before stays with them until the end of what it had announced.
TEST_P(CoherenceTest, AServerIsKilledBetweenItsStoreAndRedis) {
  settings_.write_lease = absl::Milliseconds(100);
  Live(CutOff::kAll, [&] {
    for (int server = 0; server < 2; ++server) {
      check().shared().servers[server].dies_in_write = true;
      Run(150);
      check().ReplaceServer(server);
    }
  });
}

// --- All of it

TEST_P(CoherenceTest, AnythingHappensAgainAndAgain) {
  Live(CutOff::kSome, [&] {
    for (int i = 0; i < 5; ++i) {
      AnyFault();
      if (random_() % 3 == 0) check().Recover();
      check().Expect(CutOff::kSome);
    }
  });
}

// --- Several Redis

// A Sentinel has another Redis take the place of one that ends; what goes to the one, by a proxy or
// a virtual address, then goes to the other. What that one has is a little old: its word of the
// last changes had not come.
TEST_P(CoherenceTest, ASentinelHasAReplicaTakeOver) {
  settings_.others_write = false;
  settings_.tcp = true;
  Start();
  EXPECT_EQ(Redis({"CONFIG", "SET", "repl-diskless-sync-delay", "0"}), "OK");
  const std::string port = absl::StrCat(check().redis().port());
  auto replica = RedisServer::Start({.tcp = true, .arguments = {"--replicaof", "127.0.0.1", port}});
  ASSERT_TRUE(replica.ok()) << replica.status();
  auto replica_cli = RedisCli::Connect((*replica)->unix_socket());
  ASSERT_TRUE(replica_cli.ok()) << replica_cli.status();
  Run(100);
  WaitUntil([&] {
    return (*replica_cli)->Run({"INFO", "replication"}).value_or("").find("link_status:up") !=
           std::string::npos;
  });
  auto sentinel = RedisServer::Start(
      {.tcp = true,
       .arguments = {"--sentinel"},
       .configuration = absl::StrCat("sentinel monitor tier 127.0.0.1 ", port,
                                     " 1\nsentinel down-after-milliseconds tier 300\n"
                                     "sentinel failover-timeout tier 1000\n")});
  ASSERT_TRUE(sentinel.ok()) << sentinel.status();
  auto sentinel_cli = RedisCli::Connect((*sentinel)->unix_socket());
  ASSERT_TRUE(sentinel_cli.ok()) << sentinel_cli.status();
  // To be quick, and to try again soon where the machine is slow. Of a replica whose master is away
  // it asks INFO each second, and lets only those take over whose answer is younger than five
  // pings.
  EXPECT_TRUE((*sentinel_cli)
                  ->Run({"SENTINEL", "DEBUG", "info-period", "100", "ping-period", "250",
                         "tilt-period", "500"})
                  .ok());
  WaitUntil([&] {
    return (*sentinel_cli)->Run({"SENTINEL", "REPLICAS", "tier"}).value_or("") != "";
  });

  (*replica)->Pause();
  Run(100);
  check().Expect(CutOff::kAll);
  check().redis().Kill();
  (*replica)->Resume();
  const std::string new_port = absl::StrCat((*replica)->port());
  WaitUntil([&] {
    return (*sentinel_cli)->Run({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", "tier"}).value_or("") ==
           "127.0.0.1 " + new_port;
  });
  // A Sentinel has connections closed.
  replica_cli = RedisCli::Connect((*replica)->unix_socket());
  ASSERT_TRUE(replica_cli.ok()) << replica_cli.status();
  EXPECT_NE((*replica_cli)->Run({"DBSIZE"}).value_or("0"), "0");
  ToAll(&FaultRelay::Retarget, std::string(), (*replica)->port());
  check().Recover();
  Run(150);
  check().Quiesce();
}

}  // namespace
}  // namespace larder::test
