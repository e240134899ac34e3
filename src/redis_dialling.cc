// SPDX-License-Identifier: Apache-2.0
#include "src/redis_dialling.h"

#include <pthread.h>

#include <new>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/background_thread.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// Whatever the options say: no other attempt is made meanwhile, and one may be about a server that
// is gone.
constexpr absl::Duration kLongest = absl::Minutes(1);

}  // namespace

RedisDialling::RedisDialling(const RedisOptions& options, const std::string& address)
    : options_(options), address_(address) {}

std::shared_ptr<RedisDialling> RedisDialling::Start(const RedisOptions& options,
                                                    const std::string& address) {
  std::shared_ptr<RedisDialling> dialling(new RedisDialling(options, address));
  auto own = std::make_unique<std::shared_ptr<RedisDialling>>(dialling);
  pthread_t thread;
  if (StartThread(&RunThread, own.get(), &thread)) {
    own.release();
    pthread_detach(thread);
  } else {
    dialling->End(absl::ResourceExhaustedError(Concat(address, ": can't start a thread")));
  }
  return dialling;
}

void* RedisDialling::RunThread(void* own) {
  const std::unique_ptr<std::shared_ptr<RedisDialling>> dialling(
      static_cast<std::shared_ptr<RedisDialling>*>(own));
  (*dialling)->Run();
  return nullptr;
}

void RedisDialling::Run() {
  using Greeting = RedisConnection::Greeting;
  const Greeting greeting = options_.identify_servers ? Greeting::kIdentify : Greeting::kLogIn;
  try {
    End(RedisConnection::Dial(options_, address_, Deadline::After(kLongest), greeting));
  } catch (const std::bad_alloc&) {
    End(absl::ResourceExhaustedError(Concat(address_, ": out of memory")));
  }
}

void RedisDialling::End(Result result) {
  MutexLock lock(&mutex_);
  result_ = std::move(result);
  over_ = true;
  ended_.NotifyAll();
}

bool RedisDialling::over() {
  MutexLock lock(&mutex_);
  return over_;
}

bool RedisDialling::Await(Deadline deadline) {
  MutexLock lock(&mutex_);
  while (!over_) {
    if (deadline.Passed()) return false;
    ended_.WaitFor(&mutex_, deadline.Remaining());
  }
  return true;
}

RedisDialling::Result RedisDialling::TakeResult() {
  MutexLock lock(&mutex_);
  return std::move(result_);
}

}  // namespace larder::internal
