// SPDX-License-Identifier: Apache-2.0
//
// Two servers that share a Redis: what one loads the other finds, what one writes the other
// forgets.
//
// Starts a redis-server of its own, and ends it.

#include <spawn.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "docs/examples/sqlite_store.h"
#include "larder/redis_tier.h"
#include "larder/tiered_cache.h"

namespace {

using Users = larder::TieredCache<std::string, std::string>;

// A process would have one of these.
struct Server {
  std::unique_ptr<larder::RedisTier> tier;
  std::unique_ptr<Users> users;
};

absl::StatusOr<Server> Start(const std::string& socket, larder::examples::SqliteStore* database) {
  larder::RedisOptions redis;
  redis.unix_socket = socket;
  redis.key_prefix = "users:";
  auto tier = larder::RedisTier::Create(redis);
  if (!tier.ok()) return tier.status();

  Users::Options options;
  options.cache.capacity = 100'000;
  options.cache.ttl = absl::Minutes(5);
  options.store = database;
  options.remote.tier = tier->get();
  options.remote.ttl = absl::Hours(1);
  options.remote.stale_if_error = absl::Hours(24);  // for a database that is down
  auto users = Users::Create(options);
  if (!users.ok()) return users.status();
  return Server{*std::move(tier), *std::move(users)};
}

// Whether that is so within some seconds. Word travels; a service has no need to wait for it.
bool Soon(const std::function<bool()>& condition) {
  for (int i = 0; i < 10'000 && !condition(); ++i) absl::SleepFor(absl::Milliseconds(1));
  return condition();
}

void Show(const char* what, Server& server) {
  const auto user = server.users->Get("42");
  const larder::RemoteStats stats = server.users->Stats().remote;
  std::cout << what << (user.ok() ? *user : user.status().ToString()) << " (Redis "
            << larder::RemoteHealthName(stats.health) << ", " << stats.hits << " hits)\n";
}

bool Run(const std::string& folder) {
  auto database = larder::examples::SqliteStore::Open(folder + "/users.sqlite");
  if (!database.ok()) return false;
  auto a = Start(folder + "/redis.sock", database->get());
  auto b = Start(folder + "/redis.sock", database->get());
  if (!a.ok() || !b.ok()) return false;
  const auto is_up = [](Server& server) {
    return server.users->Stats().remote.health == larder::RemoteHealth::kUp;
  };
  // They serve from the first moment on; Redis joins them when it answers.
  if (!Soon([&] { return is_up(*a) && is_up(*b); })) return false;

  if (!a->users->Put("42", "Ada").ok()) return false;
  Show("a has what it wrote: ", *a);
  Show("b finds it in Redis: ", *b);
  if (!b->users->Put("42", "Grace").ok()) return false;
  const bool is_told = Soon([&] { return a->users->Get("42").value() == "Grace"; });
  Show("b wrote, a was told: ", *a);
  return is_told;
}

}  // namespace

int main() {
  char folder[] = "/tmp/larder-shared-XXXXXX";
  if (mkdtemp(folder) == nullptr) return 1;
  std::string socket = std::string(folder) + "/redis.sock";
  std::string words[] = {"redis-server", "--port", "0", "--unixsocket", socket, "--save", ""};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                       words[4].data(), words[5].data(), words[6].data(), nullptr};
  pid_t redis;
  if (posix_spawnp(&redis, arguments[0], nullptr, nullptr, arguments, environ) != 0) {
    std::cerr << "redis-server can't be started\n";
    return 1;
  }
  const bool ok = Run(folder);
  kill(redis, SIGTERM);
  waitpid(redis, nullptr, 0);
  std::filesystem::remove_all(folder);
  return ok ? 0 : 1;
}
