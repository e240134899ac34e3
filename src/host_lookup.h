// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_HOST_LOOKUP_H_
#define LARDER_SRC_HOST_LOOKUP_H_

#include <netdb.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "larder/internal/mutex.h"
#include "src/deadline.h"

namespace larder::internal {

// A list as getaddrinfo(3) makes it, for stream sockets.
using HostAddresses = std::shared_ptr<const addrinfo>;

// Looks up hosts for callers that can't wait as long as getaddrinfo may, which is many seconds
// where the network is away, and can't be interrupted. So it runs on a thread of its own, one for a
// host and port at a time: whoever wants the same waits for the same, and leaves when its time is
// up. An answer that came after all had left is for the next caller, if it comes soon.
//
// A numeric address needs no thread. Thread-safe; may be destroyed while threads still run.
class HostLookup {
 public:
  // May take as long as it likes.
  using Resolver = std::function<absl::StatusOr<HostAddresses>(const std::string& host, int port)>;

  explicit HostLookup(Resolver resolver);

  HostLookup(const HostLookup&) = delete;
  HostLookup& operator=(const HostLookup&) = delete;

  // The one that asks the system. A child process has its own: the threads are the parent's.
  static HostLookup& ForProcess();

  // At least one address. DeadlineExceeded if none is known in time, else what the resolver says;
  // the system's errors are Unavailable.
  absl::StatusOr<HostAddresses> Find(const std::string& host, int port, Deadline deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Search;
  using Key = std::pair<std::string, int>;

  // One that is under way, or left an answer; else one that begins now.
  std::shared_ptr<Search> Join(const Key& key) ABSL_LOCKS_EXCLUDED(mutex_);

  const Resolver resolver_;
  const pid_t process_;
  Mutex mutex_;
  // Those of which nobody has had the answer.
  std::map<Key, std::shared_ptr<Search>> searches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::internal

#endif  // LARDER_SRC_HOST_LOOKUP_H_
