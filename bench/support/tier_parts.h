// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TIER_PARTS_H_
#define LARDER_BENCH_SUPPORT_TIER_PARTS_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/delay_relay.h"
#include "bench/support/distributions.h"
#include "bench/support/slow_database.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_server.h"

namespace larder::bench {

// The shop that all stages of the main job serve.
inline constexpr uint32_t kProducts = 10'000;
inline constexpr double kZipfExponent = 0.99;
inline constexpr uint64_t kSeed = 20'250'131;
// What a round trip over the network between a service and its Redis takes.
inline constexpr absl::Duration kNetworkRoundTrip = absl::Milliseconds(1);
// Capacity of the caches: their parts fill unevenly, so room for each product takes some more.
inline constexpr uint64_t kRoomForAll = 2 * kProducts;
// How long a copy may be used.
inline constexpr absl::Duration kTimeToLive = absl::Minutes(10);
// Far longer than any call takes: a benchmark that hangs should say so.
inline constexpr absl::Duration kPatience = absl::Seconds(10);
// Threads that ask at the same time where a request mostly waits.
inline constexpr int kRequesters = 128;

// Ways to the redis-server.
enum class RedisPlace {
  kSocket,    // a Unix socket
  kLoopback,  // TCP
  kTls,       // TLS on that, to a server of its own
  kDistant,   // the same, with kNetworkRoundTrip added
};

// The real parts that the stages measure, started when first asked for and kept until the end, and
// what the stages find. For the main thread, but for Abandon().
class TierParts {
 public:
  // Unavailable if there is no place for temporary files.
  static absl::StatusOr<std::unique_ptr<TierParts>> Create();

  // Stops the servers and removes their files.
  ~TierParts();

  TierParts(const TierParts&) = delete;
  TierParts& operator=(const TierParts&) = delete;

  // kProducts rows in a new SQLite file.
  absl::StatusOr<SlowDatabase*> Database();

  // A redis-server of our own. Once it could not be started, always the same error.
  absl::StatusOr<test::RedisServer*> Server();

  // Kills it, and starts an empty one in its place.
  void KillServer();
  absl::Status RestartServer();

  // How to connect to it, with kPatience and a connection for each of kRequesters.
  absl::StatusOr<RedisOptions> RedisAt(RedisPlace place);

  // The server over TCP on loopback.
  absl::StatusOr<RedisTier*> Redis();

  // The same server with kNetworkRoundTrip added.
  absl::StatusOr<RedisTier*> DistantRedis();

  // Remembers that a stage failed, unless it was for want of a redis-server: that is told in its
  // row, and is no failure of the run.
  void NoteFailure(const absl::Status& status);

  // Whether a stage failed.
  bool failed() const { return failed_; }

  // "product:17" for 17: what the product is called in every cache.
  const std::string& Key(uint32_t product) const { return keys_[product]; }

  // `count` products in the order in which they are asked for: always the same one.
  std::vector<uint32_t> Popular(size_t count) const;

  Distributions& distributions() { return distributions_; }

  // Kills the servers and removes their files at once, for a process that is about to end. Unlike
  // all else, any thread may call this at any time; nothing else may be called afterwards.
  void Abandon();

 private:
  explicit TierParts(std::string directory);

  absl::Status StartServer();
  absl::Status StartTlsServer();
  absl::StatusOr<RedisTier*> Tier(RedisPlace place, std::unique_ptr<RedisTier>& tier);

  const std::string directory_;
  std::vector<std::string> keys_;
  Distributions distributions_;
  std::unique_ptr<SlowDatabase> database_;
  absl::Status redis_status_;
  bool failed_ = false;

  std::atomic<pid_t> redis_pid_{-1};  // for Abandon()
  std::unique_ptr<test::RedisServer> redis_server_;
  std::unique_ptr<test::RedisServer> tls_server_;
  TlsOptions tls_;  // for it
  std::unique_ptr<RedisTier> redis_;
  std::unique_ptr<DelayRelay> relay_;
  std::unique_ptr<RedisTier> distant_redis_;
};

// From then on an interrupt stops the servers, too, and says in which stage it came. Call it once,
// before other threads exist; `parts` must live as long as the process.
void CleanUpOnInterrupt(TierParts& parts);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TIER_PARTS_H_
