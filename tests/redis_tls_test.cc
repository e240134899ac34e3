// SPDX-License-Identifier: Apache-2.0
//
// RedisTier and a redis-server that talk TLS: who believes whom, and that nothing else changes.
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
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

using test::CertificateAuthority;
using test::CertificateFiles;
using test::ExpectError;
using test::kForever;
using test::kLong;

class RedisTls : public ::testing::Test {
 protected:
  RedisTls() : authority_(folder_.path(), "authority") {
    options_.connect_timeout = kLong;
    options_.command_timeout = kLong;
    options_.tls = TlsOptions{.ca_file = authority_.ca_file()};
  }

  void StartServer(const CertificateFiles& files, bool asks_clients = false,
                   const std::string& versions = "TLSv1.2 TLSv1.3") {
    server_.reset();
    auto server = test::RedisServer::Start(
        {.tcp = true,
         .tls = test::RedisServerTls{files.certificate_file, files.key_file, authority_.ca_file(),
                                     asks_clients},
         .arguments = {"--tls-protocols", versions}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    options_.host = "localhost";
    options_.port = server_->port();
  }
  void StartServer() { StartServer(authority_.Issue("server")); }

  std::unique_ptr<RedisTier> Tier() const {
    auto tier = RedisTier::Create(options_);
    EXPECT_TRUE(tier.ok()) << tier.status();
    return *std::move(tier);
  }
  absl::Status Ping() const { return Tier()->Ping(kForever); }

  void ExpectInvalid(const std::string& field, const std::string& value,
                     const std::string& why) const {
    const absl::Status status = RedisTier::Create(options_).status();
    ExpectError(status, absl::StatusCode::kInvalidArgument, "TlsOptions::" + field);
    ExpectError(status, absl::StatusCode::kInvalidArgument, '"' + value + '"');
    ExpectError(status, absl::StatusCode::kInvalidArgument, why);
  }

  test::TemporaryDirectory folder_;
  const CertificateAuthority authority_;
  std::unique_ptr<test::RedisServer> server_;
  RedisOptions options_;
};

class RedisTlsVersions : public RedisTls, public ::testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(Versions, RedisTlsVersions, ::testing::Values("TLSv1.2", "TLSv1.3"));

TEST_P(RedisTlsVersions, CallsAreWhatTheyAreWithoutIt) {
  StartServer(authority_.Issue("server", {.rsa = true}), /*asks_clients=*/false, GetParam());
  const auto tier = Tier();
  EXPECT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
  EXPECT_EQ(tier->Get("k", kForever).value(), "v");
  EXPECT_EQ(tier->SetIfAbsent("k", "w", kForever, kForever).value(), false);
  EXPECT_EQ(tier->Exchange("k", "w", kForever, 1, kForever).value(), "v");
  const std::vector<std::string_view> keys = {"k", "l"};
  EXPECT_THAT(tier->GetMany(keys, kForever).value(), ::testing::ElementsAre("w", std::nullopt));
  EXPECT_EQ(tier->Erase("k", kForever).value(), true);
}

TEST_F(RedisTls, LargeValuesTakeManyRecords) {
  StartServer();
  const auto tier = Tier();
  std::string value(size_t{24} << 20, 'v');
  for (size_t i = 0; i < value.size(); i += 4093) value[i] = static_cast<char>(i);
  ASSERT_EQ(tier->Set("k", value, kForever, kForever), absl::OkStatus());
  EXPECT_TRUE(tier->Get("k", kForever).value() == value);
}

TEST_F(RedisTls, AnIdleConnectionIsUsedAgain) {
  StartServer();
  options_.identify_servers = false;
  const auto tier = Tier();
  auto cli = test::RedisCli::Connect(server_->unix_socket());
  ASSERT_TRUE(cli.ok()) << cli.status();
  ASSERT_EQ(tier->Ping(kForever), absl::OkStatus());
  ASSERT_EQ((*cli)->Run({"CONFIG", "RESETSTAT"}).value(), "OK");
  for (int i = 0; i < 10; ++i) ASSERT_EQ(tier->Ping(kForever), absl::OkStatus());
  EXPECT_THAT((*cli)->Run({"INFO", "stats"}).value(),
              ::testing::HasSubstr("total_connections_received:0\r\n"));
}

TEST_F(RedisTls, ChangesAreHeardOf) {
  StartServer();
  options_.key_prefix = "app:";
  const auto tier = Tier();
  auto subscription = tier->Subscribe(kForever);
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  ASSERT_EQ(tier->Set("k", "v", kForever, kForever), absl::OkStatus());
  SharedTier::Changes changes;
  while (changes.keys.empty()) {
    auto next = (*subscription)->Next(kLong);
    ASSERT_TRUE(next.ok()) << next.status();
    changes = *std::move(next);
  }
  EXPECT_THAT(changes.keys, ::testing::ElementsAre("k"));
  server_->Kill();
  absl::Status lost;
  while (lost.ok()) lost = (*subscription)->Next(kLong).status();
  ExpectError(lost, absl::StatusCode::kUnavailable, "connection lost");
}

TEST_F(RedisTls, AServerThatNobodyVouchesForIsNotBelieved) {
  const CertificateAuthority other(folder_.path(), "other");
  StartServer(other.Issue("server"));
  ExpectError(Ping(), absl::StatusCode::kUnauthenticated, "not a certificate for \"localhost\"");
  options_.tls->ca_file.clear();  // the system's don't either
  ExpectError(Ping(), absl::StatusCode::kUnauthenticated,
              "redis localhost:" + std::to_string(server_->port()) + ": TLS: ");
  options_.tls->verify_server = false;
  EXPECT_EQ(Ping(), absl::OkStatus());
  options_.tls = TlsOptions{.ca_file = other.ca_file()};
  EXPECT_EQ(Ping(), absl::OkStatus());
}

TEST_F(RedisTls, AServerOfAnotherNameIsNotBelieved) {
  StartServer(authority_.Issue("server", {.names = "DNS:cache-1.example,IP:127.0.0.9"}));
  ExpectError(Ping(), absl::StatusCode::kUnauthenticated, "ostname mismatch");
  for (const char* name : {"cache-1.example", "cache-1.example."}) {
    options_.tls->server_name = name;
    EXPECT_EQ(Ping(), absl::OkStatus());
  }
  options_.tls->server_name = "127.0.0.9";
  EXPECT_EQ(Ping(), absl::OkStatus());
  options_.tls->server_name = "127.0.0.1";
  ExpectError(Ping(), absl::StatusCode::kUnauthenticated, "IP address mismatch");
}

TEST_F(RedisTls, ACertificateThatHasExpiredIsNoProof) {
  StartServer(authority_.Issue("server", {.validity = -absl::Hours(1)}));
  ExpectError(Ping(), absl::StatusCode::kUnauthenticated, "certificate has expired");
}

TEST_F(RedisTls, AServerMayAskWhoCalls) {
  StartServer(authority_.Issue("server"), /*asks_clients=*/true);
  EXPECT_EQ(Ping().code(), absl::StatusCode::kUnavailable);
  const CertificateFiles ours = authority_.Issue("client", {.names = ""});
  options_.tls->certificate_file = ours.certificate_file;
  options_.tls->key_file = ours.key_file;
  EXPECT_EQ(Ping(), absl::OkStatus());
  const CertificateFiles others =
      CertificateAuthority(folder_.path(), "other").Issue("stranger", {.names = ""});
  options_.tls->certificate_file = others.certificate_file;
  options_.tls->key_file = others.key_file;
  EXPECT_EQ(Ping().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RedisTls, FilesAreReadForEachConnection) {
  const CertificateAuthority next(folder_.path(), "next");
  StartServer(next.Issue("server"));
  const auto tier = Tier();
  ExpectError(tier->Ping(kForever), absl::StatusCode::kUnauthenticated, "certificate");
  std::ofstream(authority_.ca_file()) << std::ifstream(next.ca_file()).rdbuf();
  EXPECT_EQ(tier->Ping(kForever), absl::OkStatus());
}

// Which is no fault of the call's.
TEST_F(RedisTls, WithoutAFileThereIsNoConnection) {
  StartServer();
  const auto tier = Tier();
  ASSERT_EQ(std::remove(authority_.ca_file().c_str()), 0);
  ExpectError(tier->Ping(kForever), absl::StatusCode::kUnavailable, authority_.ca_file());
}

TEST_F(RedisTls, ThoseWhoDoAndThoseWhoDoNotTalkTlsPartUnharmed) {
  StartServer();
  options_.tls.reset();
  EXPECT_EQ(Ping().code(), absl::StatusCode::kUnavailable);

  auto plain = test::RedisServer::Start({.tcp = true});
  ASSERT_TRUE(plain.ok()) << plain.status();
  options_.port = (*plain)->port();
  options_.tls = TlsOptions{.ca_file = authority_.ca_file()};
  options_.connect_timeout = absl::Seconds(2);
  ExpectError(Ping(), absl::StatusCode::kUnavailable, ": TLS: ");
}

TEST_F(RedisTls, FilesThatCanNotBeUsedAreNamed) {
  options_.host = "localhost";
  const std::string missing = folder_ / "missing";
  options_.tls->ca_file = missing;
  ExpectInvalid("ca_file", missing, "No such file");

  const CertificateFiles ours = authority_.Issue("client");
  options_.tls = TlsOptions{.certificate_file = ours.certificate_file};
  ExpectInvalid("key_file", "", "certificate_file");
  options_.tls = TlsOptions{.key_file = ours.key_file};
  ExpectInvalid("certificate_file", "", "key_file");
  options_.tls->certificate_file = missing;
  ExpectInvalid("certificate_file", missing, "No such file");

  options_.tls->certificate_file = authority_.Issue("another").certificate_file;
  ExpectInvalid("key_file", ours.key_file, "key values mismatch");
  options_.tls->certificate_file =
      authority_.Issue("of_another_kind", {.rsa = true}).certificate_file;
  ExpectInvalid("key_file", ours.key_file, "not the key of");
  const CertificateFiles locked = authority_.Issue("locked", {.passphrase = "secret"});
  options_.tls =
      TlsOptions{.certificate_file = locked.certificate_file, .key_file = locked.key_file};
  ExpectInvalid("key_file", locked.key_file, "it has a passphrase");
  options_.tls = TlsOptions{.ca_file = ours.key_file};
  ExpectInvalid("ca_file", ours.key_file, "no certificate");
}

TEST_F(RedisTls, NamesThatMatchTooMuchAreRefused) {
  options_.host = "localhost";
  options_.tls->server_name = ".example";
  ExpectInvalid("server_name", ".example", "dot");
  options_.tls->server_name = std::string("a\0b", 3);
  ExpectInvalid("server_name", "a", "NUL");
}

TEST_F(RedisTls, UnixSocketsHaveNone) {
  options_.unix_socket = "/run/redis.sock";
  ExpectError(options_.Validate(), absl::StatusCode::kInvalidArgument, "/run/redis.sock");
}

}  // namespace
}  // namespace larder
