// SPDX-License-Identifier: Apache-2.0
#include "src/host_lookup.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/background_thread.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// Until when a late answer serves. Names seldom change faster, and callers that failed try again
// sooner.
constexpr absl::Duration kLateAnswersLife = absl::Seconds(30);

absl::StatusOr<HostAddresses> Resolve(const std::string& host, int port, int flags) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  addrinfo* found = nullptr;
  const int result = getaddrinfo(host.c_str(), Concat(port).c_str(), &hints, &found);
  if (result != 0) {
    return absl::UnavailableError(Concat("can't look up the host: ", gai_strerror(result)));
  }
  return HostAddresses(found, [](addrinfo* addresses) { freeaddrinfo(addresses); });
}

}  // namespace

// Shared by its thread and all that wait for it.
class HostLookup::Search {
 public:
  Search(Resolver resolver, Key key) : resolver_(std::move(resolver)), key_(std::move(key)) {}

  // Has a thread search, which keeps this. False if there can't be one.
  static bool Start(const std::shared_ptr<Search>& search) {
    auto own = std::make_unique<std::shared_ptr<Search>>(search);
    pthread_t thread;
    if (!StartThread(&Run, own.get(), &thread)) return false;
    own.release();
    pthread_detach(thread);
    return true;
  }

  absl::StatusOr<HostAddresses> Await(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    while (!over_) {
      if (deadline.Passed()) {
        return absl::DeadlineExceededError("can't look up the host: no answer in time");
      }
      came_.WaitFor(&mutex_, deadline.Remaining());
    }
    return answer_;
  }

  // Whether a new caller has something of it.
  bool IsUseful() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return !over_ || (answer_.ok() && Deadline::Monotonic() - came_at_ < kLateAnswersLife);
  }

 private:
  static void* Run(void* own) {
    const std::unique_ptr<std::shared_ptr<Search>> search(
        static_cast<std::shared_ptr<Search>*>(own));
    (*search)->Run();
    return nullptr;
  }

  void Run() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::StatusOr<HostAddresses> answer = Ask();
    MutexLock lock(&mutex_);
    answer_ = std::move(answer);
    came_at_ = Deadline::Monotonic();
    over_ = true;
    came_.NotifyAll();
  }

  absl::StatusOr<HostAddresses> Ask() const {
    try {
      return resolver_(key_.first, key_.second);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("can't look up the host: no memory");
    }
  }

  const Resolver resolver_;
  const Key key_;
  Mutex mutex_;
  CondVar came_;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration came_at_ ABSL_GUARDED_BY(mutex_);
  absl::StatusOr<HostAddresses> answer_ ABSL_GUARDED_BY(mutex_);
};

HostLookup::HostLookup(Resolver resolver) : resolver_(std::move(resolver)), process_(getpid()) {}

HostLookup& HostLookup::ForProcess() {
  // Never destroyed: no order at exit, and a child's parent may hold the lock of the one it had.
  static std::atomic<HostLookup*> current{nullptr};
  HostLookup* known = current.load(std::memory_order_acquire);
  if (known != nullptr && known->process_ == getpid()) return *known;
  auto fresh = std::make_unique<HostLookup>(
      [](const std::string& host, int port) { return Resolve(host, port, 0); });
  if (current.compare_exchange_strong(known, fresh.get())) known = fresh.release();
  return *known;
}

absl::StatusOr<HostAddresses> HostLookup::Find(const std::string& host, int port,
                                               Deadline deadline) {
  absl::StatusOr<HostAddresses> numeric = Resolve(host, port, AI_NUMERICHOST);
  if (numeric.ok()) return numeric;
  const Key key(host, port);
  const std::shared_ptr<Search> search = Join(key);
  if (search == nullptr) {
    return absl::UnavailableError("can't look up the host: can't start a thread");
  }
  absl::StatusOr<HostAddresses> answer = search->Await(deadline);
  if (absl::IsDeadlineExceeded(answer.status())) return answer;
  MutexLock lock(&mutex_);
  const auto own = searches_.find(key);
  if (own != searches_.end() && own->second == search) searches_.erase(own);
  return answer;
}

std::shared_ptr<HostLookup::Search> HostLookup::Join(const Key& key) {
  MutexLock lock(&mutex_);
  std::shared_ptr<Search>& search = searches_[key];
  if (search != nullptr && search->IsUseful()) return search;
  // Whoever waits for what was over has it; nobody may come to wait for what never begins.
  search = nullptr;
  auto started = std::make_shared<Search>(resolver_, key);
  if (Search::Start(started)) return search = std::move(started);
  searches_.erase(key);
  return nullptr;
}

}  // namespace larder::internal
