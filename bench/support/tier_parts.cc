// SPDX-License-Identifier: Apache-2.0

#include "bench/support/tier_parts.h"

#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "bench/support/delay_relay.h"
#include "bench/support/interrupt.h"
#include "bench/support/progress.h"
#include "bench/support/slow_database.h"
#include "bench/support/zipf.h"
#include "larder/redis_tier.h"
#include "tests/support/certificates.h"
#include "tests/support/redis_server.h"

namespace larder::bench {
namespace {

absl::StatusOr<std::unique_ptr<RedisTier>> Connect(RedisOptions options) {
  absl::StatusOr<std::unique_ptr<RedisTier>> redis = RedisTier::Create(std::move(options));
  if (!redis.ok()) return redis.status();
  if (const absl::Status answers = (*redis)->Ping(kPatience); !answers.ok()) return answers;
  return redis;
}

void RemoveAll(const std::string& directory) {
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TierParts>> TierParts::Create() {
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  if (error) return absl::UnavailableError(absl::StrCat("no temporary folder: ", error.message()));
  std::string directory = (temporary / "larder-bench-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot make ", directory, ": ", strerror(errno)));
  }
  // The server's folder, too, is to be in ours, so that one removal is enough.
  setenv("TMPDIR", directory.c_str(), /*overwrite=*/1);
  return std::unique_ptr<TierParts>(new TierParts(std::move(directory)));
}

TierParts::TierParts(std::string directory) : directory_(std::move(directory)) {
  keys_.reserve(kProducts);
  for (uint32_t product = 0; product < kProducts; ++product) {
    keys_.push_back(absl::StrCat("product:", product));
  }
}

TierParts::~TierParts() {
  distant_redis_.reset();
  redis_.reset();
  relay_.reset();
  redis_pid_.store(-1);
  redis_server_.reset();
  tls_server_.reset();
  database_.reset();
  RemoveAll(directory_);
}

absl::StatusOr<SlowDatabase*> TierParts::Database() {
  if (database_ == nullptr) {
    absl::StatusOr<std::unique_ptr<SlowDatabase>> database =
        SlowDatabase::Create(absl::StrCat(directory_, "/products.sqlite3"), kProducts, kSeed);
    if (!database.ok()) return database.status();
    database_ = *std::move(database);
  }
  return database_.get();
}

absl::StatusOr<test::RedisServer*> TierParts::Server() {
  if (redis_server_ == nullptr && redis_status_.ok()) redis_status_ = StartServer();
  if (!redis_status_.ok()) return redis_status_;
  return redis_server_.get();
}

absl::Status TierParts::StartServer() {
  absl::StatusOr<std::unique_ptr<test::RedisServer>> server =
      test::RedisServer::Start({.tcp = true, .arguments = {}});
  if (!server.ok()) return server.status();
  redis_pid_.store((*server)->pid());
  redis_server_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status TierParts::StartTlsServer() {
  const test::CertificateAuthority authority(directory_, "authority");
  const test::CertificateFiles files = authority.Issue("server");
  absl::StatusOr<std::unique_ptr<test::RedisServer>> server = test::RedisServer::Start(
      {.tcp = true,
       .tls = test::RedisServerTls{files.certificate_file, files.key_file, authority.ca_file()}});
  if (!server.ok()) return server.status();
  tls_server_ = *std::move(server);
  tls_.ca_file = authority.ca_file();
  return absl::OkStatus();
}

void TierParts::KillServer() {
  redis_pid_.store(-1);
  redis_server_->Kill();
}

absl::Status TierParts::RestartServer() {
  if (absl::Status restarted = redis_server_->Restart(); !restarted.ok()) return restarted;
  redis_pid_.store(redis_server_->pid());
  return absl::OkStatus();
}

absl::StatusOr<RedisOptions> TierParts::RedisAt(RedisPlace place) {
  const absl::StatusOr<test::RedisServer*> server = Server();
  if (!server.ok()) return server.status();
  RedisOptions options;
  options.connect_timeout = kPatience;
  options.command_timeout = kPatience;
  // Nobody should wait for a connection: that would be the client's time, not the network's.
  options.max_connections = kRequesters;
  if (place == RedisPlace::kSocket) {
    options.unix_socket = (*server)->unix_socket();
    return options;
  }
  options.host = "127.0.0.1";
  options.port = (*server)->port();
  if (place == RedisPlace::kLoopback) return options;
  if (place == RedisPlace::kTls) {
    if (absl::Status status = tls_server_ == nullptr ? StartTlsServer() : absl::OkStatus();
        !status.ok()) {
      return status;
    }
    options.port = tls_server_->port();
    options.tls = tls_;
    return options;
  }
  if (relay_ == nullptr) {
    absl::StatusOr<std::unique_ptr<DelayRelay>> relay =
        DelayRelay::Start((*server)->port(), kNetworkRoundTrip / 2);
    if (!relay.ok()) return relay.status();
    relay_ = *std::move(relay);
  }
  options.port = relay_->port();
  return options;
}

absl::StatusOr<RedisTier*> TierParts::Redis() { return Tier(RedisPlace::kLoopback, redis_); }

absl::StatusOr<RedisTier*> TierParts::DistantRedis() {
  return Tier(RedisPlace::kDistant, distant_redis_);
}

absl::StatusOr<RedisTier*> TierParts::Tier(RedisPlace place, std::unique_ptr<RedisTier>& tier) {
  absl::StatusOr<RedisOptions> options = RedisAt(place);
  if (!options.ok()) return options.status();
  if (tier == nullptr) {
    absl::StatusOr<std::unique_ptr<RedisTier>> redis = Connect(*std::move(options));
    if (!redis.ok()) return redis.status();
    tier = *std::move(redis);
  }
  return tier.get();
}

void TierParts::NoteFailure(const absl::Status& status) {
  if (status != redis_status_) failed_ = true;
}

std::vector<uint32_t> TierParts::Popular(size_t count) const {
  return ZipfKeys(kProducts, kZipfExponent, count, kSeed);
}

void TierParts::Abandon() {
  if (const pid_t server = redis_pid_.exchange(-1); server > 0) {
    kill(server, SIGKILL);
    waitpid(server, nullptr, 0);
  }
  RemoveAll(directory_);
}

void CleanUpOnInterrupt(TierParts& parts) {
  OnInterrupt([&parts](int signal) {
    Stage::Mute();
    const std::string stage = Stage::Current();
    absl::FPrintF(stderr, "\nlarder: interrupted by signal %d (%s)%s%s; stopping the servers\n",
                  signal, strsignal(signal), stage.empty() ? "" : " in ", stage);
    parts.Abandon();
  });
}

}  // namespace larder::bench
