// SPDX-License-Identifier: Apache-2.0

#include "tests/support/fault_relay.h"

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_server.h"
#include "tests/support/resp_scanner.h"

namespace larder::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

class FaultRelayTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    auto server = RedisServer::Start({.tcp = GetParam()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto relay = FaultRelay::Start({.target_socket = GetParam() ? "" : server_->unix_socket(),
                                    .target_port = server_->port(),
                                    .tcp = GetParam()});
    ASSERT_TRUE(relay.ok()) << relay.status();
    relay_ = *std::move(relay);
    RedisOptions options;
    options.unix_socket = relay_->unix_socket();
    if (GetParam()) {
      options.host = "127.0.0.1";
      options.port = relay_->port();
    }
    options.connect_timeout = kLong;
    options.command_timeout = kLong;
    auto tier = RedisTier::Create(options);
    ASSERT_TRUE(tier.ok()) << tier.status();
    tier_ = *std::move(tier);
    ASSERT_TRUE(tier_->Set("key", value_, kLong, kLong).ok());
  }

  // OK for the right value, DataLoss for another one.
  absl::Status Get(absl::Duration timeout = kLong) {
    const auto value = tier_->Get("key", timeout);
    if (!value.ok()) return value.status();
    return **value == value_ ? absl::OkStatus() : absl::DataLossError(**value);
  }

  const std::string value_ = std::string(2000, 'v');
  std::unique_ptr<RedisServer> server_;
  std::unique_ptr<FaultRelay> relay_;
  std::unique_ptr<RedisTier> tier_;
};

INSTANTIATE_TEST_SUITE_P(Sockets, FaultRelayTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tcp" : "Unix"; });

TEST_P(FaultRelayTest, Passes) { EXPECT_EQ(Get(), absl::OkStatus()); }

TEST_P(FaultRelayTest, Delays) {
  relay_->Delay(absl::Milliseconds(20));
  const absl::Time begin = absl::Now();
  EXPECT_EQ(Get(), absl::OkStatus());
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(40));
}

TEST_P(FaultRelayTest, StandsStill) {
  relay_->Stop();
  EXPECT_TRUE(absl::IsDeadlineExceeded(Get(absl::Milliseconds(30))));
  relay_->Go();
  EXPECT_EQ(Get(), absl::OkStatus());
}

TEST_P(FaultRelayTest, StandsStillForListenersAlone) {
  relay_->Stop(Relayed::kListening);
  EXPECT_EQ(Get(), absl::OkStatus());
  relay_->Stop(Relayed::kOthers);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Get(absl::Milliseconds(30))));
}

TEST_P(FaultRelayTest, CutsConnectionsAndRefusesNewOnes) {
  relay_->Cut();
  EXPECT_EQ(Get(), absl::OkStatus());
  relay_->Refuse(true);
  EXPECT_EQ(Get(), absl::OkStatus());
  relay_->Cut();
  EXPECT_TRUE(absl::IsUnavailable(Get()));
  relay_->Refuse(false);
  EXPECT_EQ(Get(), absl::OkStatus());
}

TEST_P(FaultRelayTest, CutsReplies) {
  relay_->CutReplies(1000);
  EXPECT_TRUE(absl::IsUnavailable(Get()));
  relay_->CutReplies(0);
  EXPECT_EQ(Get(), absl::OkStatus());
}

TEST_P(FaultRelayTest, CorruptsValues) {
  relay_->CorruptValues(2);
  EXPECT_EQ(Get(), absl::OkStatus());
  EXPECT_TRUE(absl::IsDataLoss(Get()));
  EXPECT_EQ(Get(), absl::OkStatus());
  relay_->CorruptValues(0);
  EXPECT_EQ(Get(), absl::OkStatus());
}

TEST_P(FaultRelayTest, GarblesReplies) {
  relay_->GarbleReplies(1);
  EXPECT_FALSE(Get().ok());
  relay_->GarbleReplies(0);
  EXPECT_EQ(Get(), absl::OkStatus());
}

TEST_P(FaultRelayTest, GoesToAnotherServer) {
  auto other = RedisServer::Start({.tcp = GetParam()});
  ASSERT_TRUE(other.ok()) << other.status();
  relay_->Retarget(GetParam() ? "" : (*other)->unix_socket(), (*other)->port());
  EXPECT_EQ(Get(), absl::OkStatus());
  relay_->Cut();
  EXPECT_EQ(tier_->Get("key", kLong).value(), std::nullopt);
}

TEST(RespScannerTest, KnowsWhereRepliesAndValuesAre) {
  const std::string bytes =
      "+OK\r\n*2\r\n$4\r\nabcd\r\n:12\r\n$-1\r\n$0\r\n\r\n*0\r\n$5\r\n*1\r\n+\r\n";
  std::string starts, middles;
  RespScanner scanner;
  for (const char byte : bytes) {
    scanner.Add(byte);
    if (scanner.begins_reply()) starts += byte;
    if (scanner.is_midst_of_value(4)) middles += byte;
  }
  EXPECT_EQ(starts, "+*$$*$");
  EXPECT_EQ(middles, "b\r");
}

}  // namespace
}  // namespace larder::test
