// SPDX-License-Identifier: Apache-2.0
//
// RedisTier while a real redis-server dies, stands still and comes back, and under many threads.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"
#include "tests/support/certificates.h"
#include "tests/support/redis_cli.h"
#include "tests/support/redis_server.h"
#include "tests/support/redis_terms.h"
#include "tests/support/temporary_directory.h"

namespace larder {
namespace {

using test::kForever;
using ::testing::HasSubstr;

enum class Transport { kUnix, kTcp, kTls };

class RedisFaultsTest : public ::testing::TestWithParam<Transport> {
 protected:
  void SetUp() override {
    test::RedisServerOptions served = {.tcp = GetParam() != Transport::kUnix};
    if (GetParam() == Transport::kTls) {
      const test::CertificateAuthority authority(folder_.path(), "authority");
      const test::CertificateFiles files = authority.Issue("server");
      served.tls = {files.certificate_file, files.key_file, authority.ca_file()};
      options_.tls = TlsOptions{.ca_file = authority.ca_file()};
    }
    auto server = test::RedisServer::Start(served);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    if (served.tcp) {
      options_.host = "127.0.0.1";
      options_.port = server_->port();
    } else {
      options_.unix_socket = server_->unix_socket();
    }
    options_.connect_timeout = absl::Seconds(30);
    options_.command_timeout = absl::Seconds(30);
  }

  std::unique_ptr<RedisTier> Tier(int connections) {
    options_.max_connections = connections;
    auto tier = RedisTier::Create(options_);
    EXPECT_TRUE(tier.ok()) << tier.status();
    return *std::move(tier);
  }

  test::TemporaryDirectory folder_;
  std::unique_ptr<test::RedisServer> server_;
  RedisOptions options_;
};

std::string NameOf(const ::testing::TestParamInfo<Transport>& info) {
  constexpr std::array kNames = {"Unix", "Tcp", "Tls"};
  return kNames[static_cast<size_t>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Transports, RedisFaultsTest,
                         ::testing::Values(Transport::kUnix, Transport::kTcp, Transport::kTls),
                         NameOf);

void RunThreads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

TEST_P(RedisFaultsTest, AKilledServerIsUnavailableAndARestartedOneServes) {
  const auto tier = Tier(4);
  ASSERT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
  server_->Kill();
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = tier->Get("k", kForever).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("GET"));
  }
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(server_->Restart(), absl::OkStatus());
    EXPECT_EQ(tier->Get("k", kForever).value(), std::nullopt);
    EXPECT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
  }
}

TEST_P(RedisFaultsTest, AServerKilledInTheMiddleOfMuchWork) {
  const auto tier = Tier(4);
  std::atomic<int> ended{0};
  std::atomic<int> served{0};
  std::thread killer([&] {
    while (served < 1000 && ended == 0) std::this_thread::yield();
    server_->Kill();
  });
  RunThreads(8, [&](int thread) {
    const std::string key = std::to_string(thread);
    absl::Status status;
    while (status.ok()) {
      status = tier->Set(key, key, kForever, kForever);
      if (!status.ok()) break;
      const auto value = tier->Get(key, kForever);
      status = value.status();
      if (status.ok()) {
        EXPECT_EQ(*value, key);
        ++served;
      }
    }
    ++ended;
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  });
  killer.join();
  EXPECT_GE(served, 1000);
  ASSERT_EQ(server_->Restart(), absl::OkStatus());
  EXPECT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
}

TEST_P(RedisFaultsTest, APausedServerRunsIntoTheDeadlineAndMixesNothingUp) {
  const auto tier = Tier(1);
  for (const char* key : {"a", "b", "c"}) {
    ASSERT_EQ(tier->Set(key, std::string("value of ") + key, kForever, kForever), absl::OkStatus());
  }
  for (int round = 0; round < 3; ++round) {
    server_->Pause();
    const absl::Status status = tier->Get("a", absl::Milliseconds(20)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
    EXPECT_EQ(tier->Get("c", absl::Milliseconds(20)).status().code(),
              absl::StatusCode::kDeadlineExceeded);
    server_->Resume();
    for (const char* key : {"b", "a", "c"}) {
      EXPECT_EQ(tier->Get(key, kForever).value(), std::string("value of ") + key);
    }
  }
}

TEST_P(RedisFaultsTest, WhereNoMoreConnectionsAreTakenThoseThereAreDo) {
  auto cli = test::RedisCli::Connect(server_->unix_socket());
  ASSERT_TRUE(cli.ok()) << cli.status();
  const auto tier = Tier(16);
  // So much that a connection is busy with one.
  const std::string value(300'000, 'v');
  ASSERT_EQ(tier->Set("k", value, kForever, kForever), absl::OkStatus());
  ASSERT_EQ((*cli)->Run({"CONFIG", "SET", "maxclients", "2"}).value_or("failed"), "OK");
  const absl::Time begin = absl::Now();
  RunThreads(8, [&](int) {
    for (int i = 0; i < 50; ++i) {
      const auto got = tier->Get("k", kForever);
      ASSERT_TRUE(got.ok()) << got.status();
      ASSERT_EQ(*got, value);
    }
  });
  const int64_t seconds = absl::ToInt64Seconds(absl::Now() - begin);
  const std::string stats = (*cli)->Run({"INFO", "stats"}).value_or("failed");
  constexpr std::string_view kField = "rejected_connections:";
  const size_t at = stats.find(kField);
  ASSERT_NE(at, stats.npos) << stats;
  EXPECT_LE(std::stoll(stats.substr(at + kField.size())), seconds + 1) << "tried again each second";
}

// Timeouts so short that many calls give up with their answer under way.
TEST_P(RedisFaultsTest, AnswersBelongToTheirRequestsHoweverManyGiveUp) {
  constexpr int kKeys = 50;
  constexpr int kCalls = 600;
  const auto tier = Tier(3);
  for (int key = 0; key < kKeys; ++key) {
    ASSERT_EQ(tier->Set(std::to_string(key), std::string(key * 400, 'x') + std::to_string(key),
                        kForever, kForever),
              absl::OkStatus());
  }
  std::atomic<int> answered{0};
  RunThreads(6, [&](int thread) {
    for (int i = 0; i < kCalls; ++i) {
      const int key = (thread * 31 + i * 7) % kKeys;
      const absl::Duration timeout = absl::Microseconds(20 + (i * 37) % 400);
      const auto value = tier->Get(std::to_string(key), i % 10 == 0 ? kForever : timeout);
      if (value.ok()) {
        ++answered;
        ASSERT_EQ(*value, std::string(key * 400, 'x') + std::to_string(key));
      } else {
        ASSERT_EQ(value.status().code(), absl::StatusCode::kDeadlineExceeded) << value.status();
      }
    }
  });
  EXPECT_GE(answered, 6 * kCalls / 10);
}

TEST_P(RedisFaultsTest, MoreThreadsThanConnections) {
  constexpr int kConnections = 3;
  const auto tier = Tier(kConnections);
  RunThreads(16, [&](int thread) {
    for (int i = 0; i < 200; ++i) {
      const std::string key = std::to_string(thread) + "/" + std::to_string(i % 10);
      const std::string value = key + std::string(i, 'x');
      ASSERT_EQ(tier->Set(key, value, absl::Hours(1), kForever), absl::OkStatus());
      ASSERT_EQ(tier->Get(key, kForever).value(), value);
      const auto both = tier->GetMany({"none", key}, kForever);
      ASSERT_TRUE(both.ok()) << both.status();
      ASSERT_EQ((*both)[1], value);
      ASSERT_EQ(tier->Erase(key, kForever).value(), true);
    }
  });
  auto cli = test::RedisCli::Connect(server_->unix_socket());
  ASSERT_TRUE(cli.ok()) << cli.status();
  EXPECT_EQ((*cli)->Run({"DBSIZE"}).value(), "0");
  const std::string stats = (*cli)->Run({"INFO", "clients"}).value();
  const size_t at = stats.find("connected_clients:");
  ASSERT_NE(at, std::string::npos);
  EXPECT_LE(std::stoi(stats.substr(at + 18)), kConnections + 1);
}

TEST_P(RedisFaultsTest, ConnectionsTheServerClosedWhileIdleGoUnnoticed) {
  const auto tier = Tier(8);
  auto cli = test::RedisCli::Connect(server_->unix_socket());
  ASSERT_TRUE(cli.ok()) << cli.status();
  for (int round = 0; round < 5; ++round) {
    RunThreads(8, [&](int thread) {
      ASSERT_EQ(tier->Set(std::to_string(thread), "v", kForever, kForever), absl::OkStatus());
    });
    ASSERT_TRUE((*cli)->Run({"CLIENT", "KILL", "TYPE", "normal"}).ok());
  }
  RunThreads(
      8, [&](int thread) { EXPECT_EQ(tier->Get(std::to_string(thread), kForever).value(), "v"); });
}

// Reads may be executed twice, so they go on where all connections are cut under way.
TEST_P(RedisFaultsTest, ReadsGoOnWhereConnectionsAreCut) {
  const auto tier = Tier(4);
  ASSERT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
  std::atomic<bool> stop{false};
  std::atomic<int> served{0};
  std::thread cutter([&] {
    auto cli = test::RedisCli::Connect(server_->unix_socket());
    ASSERT_TRUE(cli.ok()) << cli.status();
    for (int round = 1; round <= 20; ++round) {
      while (served < round * 50) std::this_thread::yield();
      ASSERT_TRUE((*cli)->Run({"CLIENT", "KILL", "TYPE", "normal"}).ok());
    }
    stop = true;
  });
  // A call may be cut twice, if it comes to a new connection just before the next round.
  std::atomic<int> cut_twice{0};
  RunThreads(6, [&](int) {
    while (!stop) {
      const auto value = tier->Get("k", kForever);
      if (value.ok()) {
        EXPECT_EQ(*value, "v");
        ++served;
      } else {
        EXPECT_EQ(value.status().code(), absl::StatusCode::kUnavailable) << value.status();
        ++cut_twice;
      }
    }
  });
  cutter.join();
  EXPECT_LT(cut_twice, 20 * 6);
  EXPECT_EQ(tier->Get("k", kForever).value(), "v");
}

// Requests and replies that are larger than what sockets hold, in both directions at once, from
// callers of whom some give up in the middle.
TEST_P(RedisFaultsTest, LargeValuesAmongSmallOnes) {
  const auto tier = Tier(2);
  const std::string large(1 << 20, 'x');
  ASSERT_EQ(tier->Set("large", large, kForever, kForever), absl::OkStatus());
  RunThreads(6, [&](int thread) {
    for (int i = 0; i < 10; ++i) {
      const std::string key = std::to_string(thread);
      if (thread % 3 == 0) {
        const absl::Duration timeout = absl::Microseconds(200 * i);
        const absl::Status status = tier->Set("large", large, kForever, timeout);
        ASSERT_TRUE(status.ok() || absl::IsDeadlineExceeded(status)) << status;
      } else if (thread % 3 == 1) {
        const auto value = tier->Get("large", i % 2 == 0 ? kForever : absl::Milliseconds(i));
        if (value.ok()) {
          ASSERT_TRUE(**value == large);
        } else {
          ASSERT_TRUE(absl::IsDeadlineExceeded(value.status())) << value.status();
        }
      } else {
        ASSERT_EQ(tier->Set(key, key, kForever, kForever), absl::OkStatus());
        ASSERT_EQ(tier->Get(key, kForever).value(), key);
      }
    }
  });
}

// An answer that is awaited for longer than command_timeout closes the connection, although its
// caller left long ago.
TEST_P(RedisFaultsTest, AConnectionThatStandsStillIsGivenUp) {
  options_.command_timeout = absl::Milliseconds(50);
  const auto tier = Tier(1);
  // The server, or this process, may be slower than 50 ms.
  absl::Status set = tier->Set("k", "v", kForever, kForever);
  while (absl::IsDeadlineExceeded(set)) set = tier->Set("k", "v", kForever, kForever);
  ASSERT_EQ(set, absl::OkStatus());
  server_->Pause();
  RunThreads(8, [&](int thread) {
    const absl::Status status =
        tier->Get("k", absl::Milliseconds(thread % 2 == 0 ? 1 : 1000)).status();
    EXPECT_TRUE(absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status)) << status;
  });
  server_->Resume();
  absl::StatusOr<std::optional<std::string>> value = tier->Get("k", kForever);
  while (absl::IsDeadlineExceeded(value.status())) value = tier->Get("k", kForever);
  EXPECT_EQ(value.value(), "v");
}

}  // namespace
}  // namespace larder
