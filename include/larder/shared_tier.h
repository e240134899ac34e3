// SPDX-License-Identifier: Apache-2.0
//
// SharedTier: a RemoteTier that several servers can keep coherent.

#ifndef LARDER_SHARED_TIER_H_
#define LARDER_SHARED_TIER_H_

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
#include "larder/remote_tier.h"

namespace larder {

// A RemoteTier with what it takes for servers that share it to agree: changes that depend on what
// is there, each atomic, and word of every change, whoever made it.
//
// What is there is told by its head: its first bytes. "Has the head H" means: is there, and begins
// with H.
//
// Errors and timeouts are those of RemoteTier; after Unavailable, DeadlineExceeded or Internal a
// change may or may not have happened, and a change that is repeated may find itself already made.
//
// While somebody is subscribed, all calls go to the incarnation (below) that the latest
// subscription watches, or fail with Unavailable: a value is never read from a server whose changes
// nobody hears of.
class SharedTier : public RemoteTier {
 public:
  // --- Reads

  // The first `bytes` bytes, or all there are, of each key's value; nullopt where there is none.
  // One round trip.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> GetHeads(
      absl::Span<const std::string_view> keys, size_t bytes, absl::Duration timeout) = 0;

  // How long `key` stays. Infinite where it doesn't expire; zero where it isn't there.
  virtual absl::StatusOr<absl::Duration> TimeToLive(std::string_view key,
                                                    absl::Duration timeout) = 0;

  // The tier's own clock, for points in time that all servers share. Answers without a round trip,
  // as of the last one that said (before any did, this machine's wall clock): it may be late or
  // early by about a round trip.
  virtual absl::Time Now() const = 0;

  // --- Changes

  // As Set, where `key` has no value. True if it did.
  virtual absl::StatusOr<bool> SetIfAbsent(std::string_view key, std::string_view value,
                                           absl::Duration ttl, absl::Duration timeout) = 0;

  // As Set, where `key` has the head `head`. True if it did.
  virtual absl::StatusOr<bool> SetIfHead(std::string_view key, std::string_view head,
                                         std::string_view value, absl::Duration ttl,
                                         absl::Duration timeout) = 0;

  // As Erase, where `key` has the head `head`. True if it did.
  virtual absl::StatusOr<bool> EraseIfHead(std::string_view key, std::string_view head,
                                           absl::Duration timeout) = 0;

  // As Set; returns the first `head_bytes` bytes of the value that it replaced, nullopt for none.
  virtual absl::StatusOr<std::optional<std::string>> Exchange(std::string_view key,
                                                              std::string_view value,
                                                              absl::Duration ttl, size_t head_bytes,
                                                              absl::Duration timeout) = 0;

  // --- Many of these in one round trip; element i of the result is that of changes[i]. All or
  // nothing as for GetMany: after an error some may have been made. By default they are made one by
  // one, all within one `timeout`.

  struct Change {
    std::string_view key;
    std::string_view value;
    absl::Duration ttl;
    std::string_view head = {};  // SetManyIfHead only
  };

  virtual absl::StatusOr<std::vector<bool>> SetManyIfAbsent(absl::Span<const Change> changes,
                                                            absl::Duration timeout);
  virtual absl::StatusOr<std::vector<bool>> SetManyIfHead(absl::Span<const Change> changes,
                                                          absl::Duration timeout);
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> ExchangeMany(
      absl::Span<const Change> changes, size_t head_bytes, absl::Duration timeout);

  // Removes each key, and has every subscription told of it, also where it wasn't there.
  virtual absl::Status Invalidate(absl::Span<const std::string_view> keys,
                                  absl::Duration timeout) = 0;

  // --- Word of changes

  struct Changes {
    // Keys that were set, removed, expired or evicted since the last Changes; each once.
    std::vector<std::string> keys;
    // Anything may have changed: the whole tier was emptied.
    bool all = false;
  };

  // Tells of every change of any key, also of this server's own. Changes are told in an order in
  // which they may have happened, soon after; several of one key may be told as one.
  //
  // Not thread-safe, but for Wake.
  class Subscription {
   public:
    virtual ~Subscription() = default;

    // Waits up to `timeout` for changes; none when it passed, or after Wake. An error means that
    // the subscription is lost, and that changes since the last call may be.
    virtual absl::StatusOr<Changes> Next(absl::Duration timeout) = 0;

    // Has a Next that is under way, or the next one, return at once. From any thread.
    virtual void Wake() = 0;

    // Names the running server: another one, or the same after a restart, has another.
    virtual const std::string& incarnation() const = 0;

    // Whether changes that other programs made, expiry and eviction are told, too. If not, only
    // those made through a SharedTier.
    virtual bool tells_all() const = 0;
  };

  // Starts listening; a change made after this returned will be told. Errors as for other calls;
  // FailedPrecondition or PermissionDenied where the server can't or may not tell of changes.
  // Subscriptions must be gone before the tier is.
  virtual absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(absl::Duration timeout) = 0;

  // Whether a server answers, and would serve. One round trip.
  virtual absl::Status Ping(absl::Duration timeout) = 0;
};

}  // namespace larder

#endif  // LARDER_SHARED_TIER_H_
