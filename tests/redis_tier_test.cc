// SPDX-License-Identifier: Apache-2.0
//
// RedisTier against a healthy redis-server: what it stores, where, and how it names errors.
#include "larder/redis_tier.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/redis_cli.h"
#include "tests/support/redis_server.h"
#include "tests/support/redis_terms.h"

namespace larder {
namespace {

using test::ExpectError;
using test::kForever;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class RedisTierTest : public ::testing::Test {
 protected:
  void SetUp() override { StartServer({}); }

  void StartServer(test::RedisServerOptions options) {
    server_.reset();
    auto server = test::RedisServer::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  RedisOptions Options() const {
    RedisOptions options;
    options.unix_socket = server_->unix_socket();
    options.connect_timeout = absl::Seconds(30);
    options.command_timeout = absl::Seconds(30);
    return options;
  }

  static std::unique_ptr<RedisTier> Tier(RedisOptions options) {
    auto tier = RedisTier::Create(std::move(options));
    EXPECT_TRUE(tier.ok()) << tier.status();
    return *std::move(tier);
  }
  std::unique_ptr<RedisTier> Tier() const { return Tier(Options()); }

  std::string Cli(std::initializer_list<std::string_view> words) const {
    auto cli = test::RedisCli::Connect(server_->unix_socket());
    if (!cli.ok()) return std::string(cli.status().message());
    return (*cli)->Run(words).value_or("(error)");
  }

  std::unique_ptr<test::RedisServer> server_;
};

void ExpectValue(RedisTier& tier, std::string_view key, std::optional<std::string> expected) {
  const auto value = tier.Get(key, kForever);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*value, expected);
}

TEST_F(RedisTierTest, SetsGetsReplacesAndErases) {
  const auto tier = Tier();
  EXPECT_EQ(tier->Ping(kForever), absl::OkStatus());
  ExpectValue(*tier, "k", std::nullopt);
  EXPECT_EQ(tier->Set("k", "v1", kForever, kForever), absl::OkStatus());
  ExpectValue(*tier, "k", "v1");
  EXPECT_EQ(tier->Set("k", "v2", kForever, kForever), absl::OkStatus());
  ExpectValue(*tier, "k", "v2");
  EXPECT_EQ(tier->Erase("k", kForever).value(), true);
  EXPECT_EQ(tier->Erase("k", kForever).value(), false);
  ExpectValue(*tier, "k", std::nullopt);
}

TEST_F(RedisTierTest, CarriesAnyBytes) {
  const auto tier = Tier();
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string crlf = "$3\r\nabc\r\n";
  for (const std::string& key : {std::string(), all, crlf, std::string(5, '\0')}) {
    for (const std::string& value : {std::string(), all, crlf, std::string(5, '\0')}) {
      ASSERT_EQ(tier->Set(key, value, kForever, kForever), absl::OkStatus());
      ExpectValue(*tier, key, value);
    }
  }
  EXPECT_EQ(Cli({"DBSIZE"}), "4");
  EXPECT_EQ(Cli({"GET", crlf}), std::string(5, '\0'));
}

TEST_F(RedisTierTest, CarriesLargeValues) {
  const auto tier = Tier();
  std::string large(64 << 20, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761u >> 13);
  ASSERT_EQ(tier->Set("large", large, kForever, kForever), absl::OkStatus());
  const auto value = tier->Get("large", kForever);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_TRUE(*value == large);  // not EXPECT_EQ, which would print both
  const auto values = tier->GetMany({"large", "none", "large"}, kForever);
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_TRUE((*values)[0] == large && !(*values)[1] && (*values)[2] == large);
  ASSERT_EQ(tier->Set("small", "x", kForever, kForever), absl::OkStatus());
  ExpectValue(*tier, "small", "x");
}

TEST_F(RedisTierTest, SetsTheTtl) {
  const auto tier = Tier();
  ASSERT_EQ(tier->Set("k", "v", absl::Hours(1), kForever), absl::OkStatus());
  const int left = std::stoi(Cli({"PTTL", "k"}));
  EXPECT_GT(left, 0);
  EXPECT_LE(left, 3600 * 1000);
  ASSERT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
  EXPECT_EQ(Cli({"PTTL", "k"}), "-1") << "an infinite ttl takes away the one before";
  ASSERT_EQ(tier->Set("k", "v", absl::Hours(int64_t{1} << 50), kForever), absl::OkStatus());
  EXPECT_GT(std::stoll(Cli({"PTTL", "k"})), 0);
  EXPECT_EQ(tier->Set("soon", "v", absl::Nanoseconds(1), kForever), absl::OkStatus());
}

TEST_F(RedisTierTest, RefusesATtlThatIsOver) {
  const auto tier = Tier();
  ExpectError(tier->Set("k", "v", absl::ZeroDuration(), kForever),
              absl::StatusCode::kInvalidArgument, "ttl is 0");
  ExpectError(tier->Set("k", "v", absl::Seconds(-3), kForever), absl::StatusCode::kInvalidArgument,
              "ttl is -3s");
  EXPECT_EQ(Cli({"DBSIZE"}), "0");
}

TEST_F(RedisTierTest, WithoutTimeNothingIsSent) {
  const auto tier = Tier();
  ASSERT_EQ(tier->Ping(kForever), absl::OkStatus());  // so that it is connected
  for (const absl::Duration timeout : {absl::ZeroDuration(), absl::Seconds(-1)}) {
    ExpectError(tier->Set("k", "v", kForever, timeout), absl::StatusCode::kDeadlineExceeded, "SET");
  }
  EXPECT_EQ(Cli({"DBSIZE"}), "0");
}

TEST_F(RedisTierTest, PrefixesKeepUsersApart) {
  RedisOptions options = Options();
  options.key_prefix = std::string("a\0:", 3);
  const auto a = Tier(options);
  options.key_prefix = "b:";
  const auto b = Tier(options);
  ASSERT_EQ(a->Set("k", "of a", kForever, kForever), absl::OkStatus());
  ExpectValue(*b, "k", std::nullopt);
  ASSERT_EQ(b->Set("k", "of b", kForever, kForever), absl::OkStatus());
  ExpectValue(*a, "k", "of a");
  EXPECT_EQ(Cli({"GET", "b:k"}), "of b");
  EXPECT_EQ(b->EraseMany({"k"}, kForever).value(), 1u);
  EXPECT_THAT(a->GetMany({"k", "x"}, kForever).value(), ElementsAre("of a", std::nullopt));
  EXPECT_EQ(Cli({"KEYS", "*"}), std::string("a\0:k", 4));
}

TEST_F(RedisTierTest, SelectsTheDatabase) {
  RedisOptions options = Options();
  for (const int database : {1, 3}) {
    options.database = database;
    const auto tier = Tier(options);
    ASSERT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
    ExpectValue(*Tier(), "k", std::nullopt);
    EXPECT_THAT(Cli({"INFO", "keyspace"}), HasSubstr(absl::StrCat("db", database, ":keys=1")));
  }
  options.database = 99;
  ExpectError(Tier(options)->Ping(kForever), absl::StatusCode::kFailedPrecondition, "SELECT");
}

TEST_F(RedisTierTest, GetManyFindsWhatIsThere) {
  const auto tier = Tier();
  ASSERT_EQ(tier->Set("a", "1", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(tier->Set("", "empty key", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(Cli({"LPUSH", "list", "x"}), "1");
  const auto values = tier->GetMany({"missing", "a", "", "list", "a"}, kForever);
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_THAT(*values, ElementsAre(std::nullopt, "1", "empty key", std::nullopt, "1"));
  EXPECT_TRUE(tier->GetMany({}, kForever)->empty());
}

TEST_F(RedisTierTest, EraseManyCountsWhatWasThere) {
  const auto tier = Tier();
  for (const char* key : {"a", "b", "c"}) {
    ASSERT_EQ(tier->Set(key, "v", kForever, kForever), absl::OkStatus());
  }
  EXPECT_EQ(tier->EraseMany({"a", "x", "c", "a"}, kForever).value(), 2u);
  EXPECT_EQ(tier->EraseMany({}, kForever).value(), 0u);
  EXPECT_EQ(Cli({"KEYS", "*"}), "b");
}

TEST_F(RedisTierTest, VeryManyKeysGoInOneRoundTrip) {
  const auto tier = Tier();
  constexpr int kKeys = 5000;
  std::vector<std::string> names;
  for (int i = 0; i < kKeys; ++i) names.push_back("key-" + std::to_string(i));
  for (int i = 0; i < kKeys; i += 2) {
    ASSERT_EQ(tier->Set(names[i], names[i], kForever, kForever), absl::OkStatus());
  }
  const std::vector<std::string_view> keys(names.begin(), names.end());
  const auto values = tier->GetMany(keys, kForever);
  ASSERT_TRUE(values.ok()) << values.status();
  ASSERT_EQ(values->size(), keys.size());
  for (int i = 0; i < kKeys; ++i) {
    EXPECT_EQ((*values)[i], i % 2 == 0 ? std::optional(names[i]) : std::nullopt);
  }
  EXPECT_EQ(tier->EraseMany(keys, kForever).value(), static_cast<size_t>(kKeys / 2));
  EXPECT_EQ(Cli({"DBSIZE"}), "0");
}

TEST_F(RedisTierTest, AKeyOfAnotherTypeIsAClearError) {
  const auto tier = Tier();
  ASSERT_EQ(Cli({"LPUSH", "list", "x"}), "1");
  const absl::Status status = tier->Get("list", kForever).status();
  ExpectError(status, absl::StatusCode::kFailedPrecondition, "GET: WRONGTYPE");
  ExpectError(status, absl::StatusCode::kFailedPrecondition, server_->unix_socket());
  EXPECT_EQ(tier->Set("list", "v", kForever, kForever), absl::OkStatus());
  ExpectValue(*tier, "list", "v");
}

TEST_F(RedisTierTest, AFullServerIsResourceExhausted) {
  const auto tier = Tier();
  ASSERT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(Cli({"CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"}), "OK");
  ExpectError(tier->Set("k2", "v", kForever, kForever), absl::StatusCode::kResourceExhausted,
              "SET: OOM");
  ExpectValue(*tier, "k", "v");
  EXPECT_EQ(tier->Erase("k", kForever).value(), true);
}

TEST_F(RedisTierTest, AReplicaRefusesWritesAndIsLeft) {
  const auto tier = Tier();
  ASSERT_EQ(Cli({"REPLICAOF", "127.0.0.1", "1"}), "OK");
  ExpectError(tier->Set("k", "v", kForever, kForever), absl::StatusCode::kFailedPrecondition,
              "SET: READONLY");
  ASSERT_EQ(Cli({"REPLICAOF", "NO", "ONE"}), "OK");
  EXPECT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
}

TEST_F(RedisTierTest, AServerWithTooManyClientsIsUnavailable) {
  const auto tier = Tier();
  auto cli = test::RedisCli::Connect(server_->unix_socket());
  ASSERT_TRUE(cli.ok()) << cli.status();
  ASSERT_EQ((*cli)->Run({"CONFIG", "SET", "maxclients", "1"}).value(), "OK");
  ExpectError(tier->Ping(kForever), absl::StatusCode::kUnavailable, "max number of clients");
  ASSERT_EQ((*cli)->Run({"CONFIG", "SET", "maxclients", "100"}).value(), "OK");
  EXPECT_EQ(tier->Ping(kForever), absl::OkStatus());
}

TEST_F(RedisTierTest, LogsIn) {
  StartServer(
      {.arguments = {"--requirepass", "s3cret", "--user", "bob", "on", ">pw", "~*", "+get"}});
  ExpectError(Tier()->Ping(kForever), absl::StatusCode::kUnauthenticated, "PING: NOAUTH");

  RedisOptions options = Options();
  options.password = "s3cret";
  EXPECT_EQ(Tier(options)->Set("k", "v", kForever, kForever), absl::OkStatus());
  options.password = "guessed";
  const absl::Status wrong = Tier(options)->Ping(kForever);
  ExpectError(wrong, absl::StatusCode::kUnauthenticated, "AUTH");
  EXPECT_THAT(std::string(wrong.message()), Not(HasSubstr("guessed")));

  options.username = "bob";
  options.password = "pw";
  const auto bob = Tier(options);
  ExpectValue(*bob, "k", "v");
  ExpectError(bob->Set("k", "v", kForever, kForever), absl::StatusCode::kPermissionDenied,
              "SET: NOPERM");
  options.password = "s3cret";
  ExpectError(Tier(options)->Ping(kForever), absl::StatusCode::kUnauthenticated, "AUTH");
}

TEST_F(RedisTierTest, APasswordNobodyAskedForIsAnError) {
  RedisOptions options = Options();
  options.password = "s3cret";
  ExpectError(Tier(options)->Ping(kForever), absl::StatusCode::kUnauthenticated, "AUTH");
}

TEST_F(RedisTierTest, TalksTcp) {
  StartServer({.tcp = true});
  RedisOptions options;
  options.port = server_->port();
  // "localhost" may mean ::1 first, where nobody listens.
  for (const char* host : {"127.0.0.1", "localhost"}) {
    options.host = host;
    const auto tier = Tier(options);
    EXPECT_EQ(tier->Set(host, "v", kForever, kForever), absl::OkStatus());
    ExpectValue(*tier, host, "v");
  }
}

}  // namespace
}  // namespace larder
