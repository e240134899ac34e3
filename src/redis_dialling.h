// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_DIALLING_H_
#define LARDER_SRC_REDIS_DIALLING_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "larder/internal/mutex.h"
#include "larder/redis_tier.h"
#include "src/deadline.h"
#include "src/redis_client.h"

namespace larder::internal {

// One attempt to connect, on a thread of its own: it goes on when all that waited for it have left,
// and when whoever began it is gone, for options.connect_timeout, or a minute, at most.
//
// Thread-safe.
class RedisDialling {
 public:
  using Result = absl::StatusOr<std::unique_ptr<RedisConnection>>;

  // Begins. As RedisConnection::Dial; an attempt for which there can't be a thread is over at once,
  // ResourceExhausted. `options` must be valid.
  static std::shared_ptr<RedisDialling> Start(const RedisOptions& options,
                                              const std::string& address);

  RedisDialling(const RedisDialling&) = delete;
  RedisDialling& operator=(const RedisDialling&) = delete;

  bool over() ABSL_LOCKS_EXCLUDED(mutex_);

  // Returns whether it was over in time.
  bool Await(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // What came of it, for one caller. Requires over().
  Result TakeResult() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  RedisDialling(const RedisOptions& options, const std::string& address);

  static void* RunThread(void* own);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void End(Result result) ABSL_LOCKS_EXCLUDED(mutex_);

  const RedisOptions options_;
  const std::string address_;
  Mutex mutex_;
  CondVar ended_;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  Result result_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_DIALLING_H_
