// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_SUBSCRIPTION_H_
#define LARDER_SRC_REDIS_SUBSCRIPTION_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/redis_tier.h"
#include "larder/shared_tier.h"
#include "src/deadline.h"
#include "src/redis_listener.h"
#include "src/socket.h"

namespace larder::internal {

// Word of changes in a Redis, over a connection of its own, from client tracking or by notices
// (ChangeNotices).
//
// With client tracking, Redis sends the names of changed keys to a connection that is subscribed to
// "__redis__:invalidate" (https://redis.io/docs/latest/develop/reference/client-side-caching, "Two
// connections mode" and "Broadcasting mode"), which, in RESP2, may be the one that turned tracking
// on. Where a server, or what is in front of it, doesn't do that, a second connection turns
// tracking on for the first and lies idle afterwards; both are watched, since no word comes without
// either.
//
// Client tracking takes no notice of database numbers: changes of a key of the same name in another
// database are told, too.
//
// A subscription is lost, beside what its server does, when more word waits to be read than Redis
// keeps (client-output-buffer-limit pubsub): Redis closes the connection.
class RedisSubscription : public SharedTier::Subscription {
 public:
  enum class Connections {
    kOneIfItWorks,
    kTwo,
  };

  // Connects and starts to listen; sees by a change of its own, made on another connection, that
  // changes are told. `options` must be valid; `address` is RedisAddress(options), for messages.
  // Takes at most options.connect_timeout and no longer than `deadline`: Unavailable if the former
  // is what ended it, DeadlineExceeded if the latter. FailedPrecondition, or PermissionDenied,
  // where the server can't, or may not, tell of changes; other errors as for any call.
  static absl::StatusOr<std::unique_ptr<RedisSubscription>> Start(
      const RedisOptions& options, std::string address, Deadline deadline,
      Connections connections = Connections::kOneIfItWorks);

  absl::StatusOr<SharedTier::Changes> Next(absl::Duration timeout) override;
  void Wake() override;
  // The server's run_id.
  const std::string& incarnation() const override { return incarnation_; }
  bool tells_all() const override { return tells_all_; }

  // Of one or two.
  size_t connections() const { return listeners_.size(); }

 private:
  RedisSubscription(ScopedFd wake, std::string incarnation, bool tells_all,
                    std::vector<std::unique_ptr<RedisListener>> listeners);

  // Waits for something to read, to say, or to do. True if it was woken.
  bool Wait(Deadline deadline);
  absl::Status Read();

  const ScopedFd wake_;  // an eventfd
  const std::string incarnation_;
  const bool tells_all_;
  // The first is the one that is subscribed.
  const std::vector<std::unique_ptr<RedisListener>> listeners_;
  absl::Status lost_;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_SUBSCRIPTION_H_
