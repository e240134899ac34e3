// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_POOL_H_
#define LARDER_SRC_REDIS_POOL_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/internal/mutex.h"
#include "larder/redis_tier.h"
#include "src/deadline.h"
#include "src/redis_client.h"
#include "src/redis_command.h"
#include "src/redis_reply.h"

namespace larder::internal {

// At most options.max_connections connections to one server, made when needed and shared by all
// threads. A request has a connection of its own while it runs; one that finds all taken waits. The
// connection used last is taken first, so that the others may idle.
//
// Only a connection's owner does I/O on it; the pool's lock is never held meanwhile.
// Thread-safe.
class RedisPool {
 public:
  // `options` must be valid.
  explicit RedisPool(RedisOptions options);
  // No Execute may be under way.
  ~RedisPool() = default;

  RedisPool(const RedisPool&) = delete;
  RedisPool& operator=(const RedisPool&) = delete;

  // Runs `request` on some connection, as RedisConnection::Call. `deadline` covers waiting for a
  // connection and making it, too. All commands must be idempotent: if a connection that was idle
  // turns out to be lost before any answer came, the request is sent once more, on a new one.
  absl::StatusOr<RedisReplies> Execute(const RedisRequest& request, Deadline deadline);

  const RedisOptions& options() const { return options_; }

 private:
  // The right to have one connection, and the connection if there is one yet. Gives both back when
  // destroyed; a broken connection is closed instead.
  class Lease {
   public:
    Lease(RedisPool* pool, std::unique_ptr<RedisConnection> connection)
        : pool_(pool), connection_(std::move(connection)) {}
    Lease(Lease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), connection_(std::move(other.connection_)) {}
    ~Lease() {
      if (pool_ != nullptr) pool_->Return(std::move(connection_));
    }

    std::unique_ptr<RedisConnection>& connection() { return connection_; }

   private:
    RedisPool* pool_;
    std::unique_ptr<RedisConnection> connection_;
  };

  // Waits for a lease; the connection in it is null where a new one has to be made.
  absl::StatusOr<Lease> Acquire(std::string_view command, Deadline deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Return(std::unique_ptr<RedisConnection> connection) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Status Dial(std::string_view command, Deadline deadline, Lease* lease) const;

  const RedisOptions options_;
  const std::string address_;

  Mutex mutex_;
  CondVar returned_;
  // Connections nobody uses; the back was used last.
  std::vector<std::unique_ptr<RedisConnection>> idle_ ABSL_GUARDED_BY(mutex_);
  // Leases out. idle_.size() + leased_ <= options_.max_connections.
  int leased_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_POOL_H_
