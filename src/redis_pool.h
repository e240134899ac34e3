// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_POOL_H_
#define LARDER_SRC_REDIS_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"
#include "larder/redis_tier.h"
#include "src/deadline.h"
#include "src/redis_channel.h"
#include "src/redis_client.h"
#include "src/redis_command.h"
#include "src/redis_dialling.h"
#include "src/redis_reply.h"

namespace larder::internal {

// At most options.max_connections channels to one server, made when needed. A request goes to the
// first that isn't busy: few channels, so that many calls share a round trip.
//
// One connection is made at a time, beside the calls. Those that have no channel to use wait for
// it, each for as long as it may, and fail with it: calls of a server that is away don't try one
// after the other, and one that takes longer to connect to than any of them waits comes up all the
// same.
//
// Thread-safe.
class RedisPool {
 public:
  // `options` must be valid.
  explicit RedisPool(RedisOptions options);
  // No Execute may be under way.
  ~RedisPool() = default;

  RedisPool(const RedisPool&) = delete;
  RedisPool& operator=(const RedisPool&) = delete;

  // Runs `request` on some channel, as RedisConnection::Call. `deadline` covers waiting for a
  // connection, too. If the connection had been there before, and is lost before any byte of the
  // answer came, the request is sent once more, on another; if it must not be executed twice, only
  // where nothing of it had been sent.
  absl::StatusOr<RedisReplies> Execute(RedisRequest request, Deadline deadline);

  // From now on only channels to the server of this run_id are used, until the pin is taken out or
  // a later one comes. Channels to others are closed, and calls on them fail. A server without a
  // run_id is any server, and so is an empty `run_id`.
  uint64_t Pin(const std::string& run_id) ABSL_LOCKS_EXCLUDED(mutex_);
  // The pin before it counts again, if there is one, as if it came now.
  void Unpin(uint64_t pin) ABSL_LOCKS_EXCLUDED(mutex_);

  // The server's time, as of the newest connection that said; this machine's before one did.
  absl::Time ServersNow() const;

  const RedisOptions& options() const { return options_; }
  const std::string& address() const { return address_; }

 private:
  using ChannelPtr = std::shared_ptr<RedisChannel>;

  // The connection that is being made, and what became of it.
  struct Coming {
    std::shared_ptr<RedisDialling> dialling;
    uint64_t number;
    absl::Status outcome;  // once it isn't the pool's coming_ any more; guarded by its lock
  };
  using ComingPtr = std::shared_ptr<Coming>;

  struct Lease {
    ChannelPtr channel;
    bool is_new = false;  // waited for
  };

  // A channel with a number above `newer_than`, if possible.
  absl::StatusOr<Lease> Acquire(std::string_view command, uint64_t newer_than, Deadline deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // What there is: a channel that isn't busy; else one that is, if any, and whether there is a
  // place for another.
  struct Choice {
    ChannelPtr free;
    ChannelPtr busy;
    ChannelPtr* place = nullptr;
  };
  Choice Choose(uint64_t newer_than, std::vector<ChannelPtr>* closed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Begins to make a connection. Requires that none is being made.
  void Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes what came of coming_, which is over.
  void Welcome(std::vector<ChannelPtr>* closed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Admit(RedisDialling::Result connection, uint64_t number,
                     std::vector<ChannelPtr>* closed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  bool Matches(const RedisChannel& channel) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveOthers(std::vector<ChannelPtr>* closed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RedisOptions options_;
  const std::string address_;

  // Nanoseconds by which the server's clock is ahead of the monotonic one; kUnknown at first.
  std::atomic<int64_t> clock_offset_;

  Mutex mutex_;
  std::vector<ChannelPtr> channels_ ABSL_GUARDED_BY(mutex_);  // null: a place for one
  ComingPtr coming_ ABSL_GUARDED_BY(mutex_);                  // null: none is wanted
  absl::Duration refused_at_ ABSL_GUARDED_BY(mutex_);         // by Deadline's clock
  uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::string> pins_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_pin_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_POOL_H_
