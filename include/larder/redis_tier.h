// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_REDIS_TIER_H_
#define LARDER_REDIS_TIER_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "larder/shared_tier.h"
#include "larder/tls_options.h"

namespace larder {

// How servers that share a Redis hear of changes; all of them must have the same. What is told,
// what isn't, and what a Redis user has to be allowed to do, is in docs/semantics.md.
enum class ChangeNotices {
  // By Redis itself (client tracking, Redis 6 or newer), which tells of every change, expiry and
  // eviction, whoever is the cause. Where Redis can't or may not, Subscribe fails.
  kTracking,
  // By RedisTier, which publishes each change that it makes on the channel key_prefix +
  // "larder.changes". Nobody tells of expiry, eviction, or what other programs change.
  kPublish,
};

// Where a Redis server is and how to talk to it.
struct RedisOptions {
  // Exactly one of the two must be set: the path of a Unix socket, or a host name or IP address.
  std::string unix_socket;
  std::string host;
  // TCP port, 1 to 65535. Only used with `host`.
  int port = 6379;

  // Talks TLS; only with `host`.
  std::optional<TlsOptions> tls;

  // Sent with AUTH on each new connection if either is set. A password alone is that of the default
  // user (`requirepass`); a user name needs Redis 6 or newer.
  std::string username;
  std::string password;

  // Number of the logical database, >= 0.
  int database = 0;

  // Put in front of every key, so that several users can share one database. Any bytes.
  std::string key_prefix;

  // Longest time for one connection to come about, TLS's handshake, AUTH, SELECT and the look-up of
  // the host's name included. > 0; a minute at most. It comes about beside the calls, one at a
  // time: a call whose own timeout is shorter fails, and the connection is for later ones. The
  // system's look-up can't be interrupted: one that takes longer goes on in a thread of its own
  // (one for each host and port), and its answer is for the next connection.
  absl::Duration connect_timeout = absl::Seconds(1);

  // Longest time for a call, everything included; a call's own timeout can only shorten it. > 0;
  // absl::InfiniteDuration() sets no limit.
  absl::Duration command_timeout = absl::Seconds(1);

  // Connections are made when needed and kept, at most this many, beside those of a subscription.
  // >= 1. Concurrent calls share connections: another is made where those there are have very many
  // calls under way, or are busy with a large value.
  int max_connections = 16;

  // Ask each new connection's server who it is and what time it has (INFO server, TIME), which
  // SharedTier's rule about incarnations and Now() need. A server that refuses does no harm: then
  // nothing is compared, and Now() is this machine's clock. Off is for proxies that close the
  // connection at commands they don't know.
  bool identify_servers = true;

  // What a subscription listens to and, with kPublish, what each change sends besides.
  ChangeNotices change_notices = ChangeNotices::kTracking;

  // A subscription whose server has been silent for heartbeat_interval asks for a sign of life, and
  // is lost if none comes within heartbeat_timeout: the sum is how long a server that stands still
  // goes unnoticed. > 0; an infinite interval never asks.
  absl::Duration heartbeat_interval = absl::Seconds(1);
  absl::Duration heartbeat_timeout = absl::Seconds(1);

  // OK, or InvalidArgument naming the field and its value (never the password's). Reads tls's
  // files.
  absl::Status Validate() const;
};

// A SharedTier in a Redis server (or what speaks its protocol, RESP2), version 5.0 or newer;
// ChangeNotices::kTracking needs 6.0.
//
// Values are stored as plain Redis strings under `key_prefix` + key: what other programs wrote can
// be read, and they can read what larder wrote.
//
// No connection is made before the first call, so a Redis that is down does not keep a server from
// starting; Ping() tells whether it answers. A connection that breaks is closed, and the next call
// makes a new one. A reply is either that of the request, complete and of the kind which the
// command promises, or the connection is closed: an answer that comes too late never answers
// another request.
//
// Calls of several threads share a connection: what they send goes out together, and answers are
// awaited by one of the callers for all. A caller whose time is up leaves; the connection stays
// until the answer came, or has been awaited for command_timeout: then it is closed, and all calls
// on it fail. Answers come in the order of the requests, so a call waits for those before it on its
// connection.
//
// A call whose connection is lost before any byte of its answer came is repeated once on a new one,
// if it was sent on a connection that had been there before, and may be executed twice: reads, Set,
// Erase, EraseMany and Invalidate. Still, if the server executed an Erase and died before it
// answered, the repeated one returns false. The other changes are repeated only where nothing of
// them was sent.
//
// Changes that depend on what is there are Lua scripts (EVALSHA; EVAL where the server doesn't know
// the script yet). With ChangeNotices::kPublish all changes are.
//
// Errors are those of RemoteTier; each names the server's address and the command. No call raises
// SIGPIPE. Thread-safe.
class RedisTier : public SharedTier {
 public:
  // InvalidArgument if Validate() says so. Doesn't connect.
  static absl::StatusOr<std::unique_ptr<RedisTier>> Create(RedisOptions options);

  // No call may be under way, and no subscription left.
  ~RedisTier() override;

  RedisTier(const RedisTier&) = delete;
  RedisTier& operator=(const RedisTier&) = delete;

  // OK if the server answers and accepts the credentials and the database number.
  absl::Status Ping(absl::Duration timeout) override;

  // GET.
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key,
                                                 absl::Duration timeout) override;

  // SET, with PX unless ttl is infinite. Redis counts in milliseconds: 1 ms is the shortest ttl.
  absl::Status Set(std::string_view key, std::string_view value, absl::Duration ttl,
                   absl::Duration timeout) override;

  // DEL. True whatever kind of value the key held.
  absl::StatusOr<bool> Erase(std::string_view key, absl::Duration timeout) override;

  // MGET: one round trip, for very many keys in several commands sent at once, so that the server
  // can serve others in between. A key that holds something other than a string counts as absent,
  // which is MGET's own way.
  absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(
      absl::Span<const std::string_view> keys, absl::Duration timeout) override;

  // DEL: one round trip, as in GetMany.
  absl::StatusOr<size_t> EraseMany(absl::Span<const std::string_view> keys,
                                   absl::Duration timeout) override;

  // One round trip, as in GetMany. A key that holds something other than a string counts as absent;
  // so it does where a change depends on a head.
  absl::StatusOr<std::vector<std::optional<std::string>>> GetHeads(
      absl::Span<const std::string_view> keys, size_t bytes, absl::Duration timeout) override;

  // PTTL.
  absl::StatusOr<absl::Duration> TimeToLive(std::string_view key, absl::Duration timeout) override;

  // As of the newest connection's TIME, carried on with this machine's monotonic clock.
  absl::Time Now() const override;

  // SET NX. False also where the key holds something other than a string.
  absl::StatusOr<bool> SetIfAbsent(std::string_view key, std::string_view value, absl::Duration ttl,
                                   absl::Duration timeout) override;
  absl::StatusOr<bool> SetIfHead(std::string_view key, std::string_view head,
                                 std::string_view value, absl::Duration ttl,
                                 absl::Duration timeout) override;
  absl::StatusOr<bool> EraseIfHead(std::string_view key, std::string_view head,
                                   absl::Duration timeout) override;
  absl::StatusOr<std::optional<std::string>> Exchange(std::string_view key, std::string_view value,
                                                      absl::Duration ttl, size_t head_bytes,
                                                      absl::Duration timeout) override;

  // One round trip each, a command for each change.
  absl::StatusOr<std::vector<bool>> SetManyIfAbsent(absl::Span<const Change> changes,
                                                    absl::Duration timeout) override;
  absl::StatusOr<std::vector<bool>> SetManyIfHead(absl::Span<const Change> changes,
                                                  absl::Duration timeout) override;
  absl::StatusOr<std::vector<std::optional<std::string>>> ExchangeMany(
      absl::Span<const Change> changes, size_t head_bytes, absl::Duration timeout) override;

  // One round trip, as in GetMany. Works where the server's memory is full, too.
  absl::Status Invalidate(absl::Span<const std::string_view> keys, absl::Duration timeout) override;

  // The incarnation is the server's run_id. While a subscription lives, a
  // connection to a server with another one is closed, and its calls fail with Unavailable.
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(absl::Duration timeout) override;

 private:
  class Impl;
  explicit RedisTier(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace larder

#endif  // LARDER_REDIS_TIER_H_
