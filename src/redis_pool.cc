// SPDX-License-Identifier: Apache-2.0
#include "src/redis_pool.h"

#include <utility>

#include "absl/time/time.h"
#include "src/text.h"

namespace larder::internal {

RedisPool::RedisPool(RedisOptions options)
    : options_(std::move(options)), address_(RedisAddress(options_)) {}

absl::StatusOr<RedisReplies> RedisPool::Execute(const RedisRequest& request, Deadline deadline) {
  const std::string_view command = request.expected()[0].command;
  if (deadline.Passed()) {
    return absl::DeadlineExceededError(
        Concat(address_, ": ", command, ": no time, ", absl::FormatDuration(deadline.timeout())));
  }
  absl::StatusOr<Lease> lease = Acquire(command, deadline);
  if (!lease.ok()) return lease.status();

  std::unique_ptr<RedisConnection>& connection = lease->connection();
  if (connection != nullptr && connection->IsStale()) connection.reset();
  if (connection != nullptr) {
    absl::StatusOr<RedisReplies> replies = connection->Call(request, deadline);
    if (replies.ok() || !connection->lost_before_answer()) return replies;
    connection.reset();
  }
  const absl::Status dialed = Dial(command, deadline, &*lease);
  if (!dialed.ok()) return dialed;
  return connection->Call(request, deadline);
}

absl::StatusOr<RedisPool::Lease> RedisPool::Acquire(std::string_view command, Deadline deadline) {
  MutexLock lock(&mutex_);
  while (idle_.empty() && leased_ >= options_.max_connections) {
    if (deadline.Passed()) {
      return absl::DeadlineExceededError(
          Concat(address_, ": ", command, ": all ", options_.max_connections,
                 " connections were taken for ", absl::FormatDuration(deadline.timeout())));
    }
    returned_.WaitFor(&mutex_, deadline.Remaining());
  }
  // Room for every connection that may come back, so that Return can't fail.
  idle_.reserve(idle_.size() + static_cast<size_t>(leased_) + 1);
  ++leased_;
  std::unique_ptr<RedisConnection> connection;
  if (!idle_.empty()) {
    connection = std::move(idle_.back());
    idle_.pop_back();
  }
  return Lease(this, std::move(connection));
}

void RedisPool::Return(std::unique_ptr<RedisConnection> connection) {
  if (connection != nullptr && connection->broken()) connection.reset();
  {
    MutexLock lock(&mutex_);
    --leased_;
    if (connection != nullptr) idle_.push_back(std::move(connection));
  }
  returned_.NotifyOne();
}

absl::Status RedisPool::Dial(std::string_view command, Deadline deadline, Lease* lease) const {
  absl::StatusOr<std::unique_ptr<RedisConnection>> dialed =
      RedisConnection::Dial(options_, address_, deadline);
  if (!dialed.ok()) {
    return absl::Status(dialed.status().code(),
                        Concat(dialed.status().message(), " (for ", command, ")"));
  }
  lease->connection() = *std::move(dialed);
  return absl::OkStatus();
}

}  // namespace larder::internal
