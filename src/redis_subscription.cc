// SPDX-License-Identifier: Apache-2.0
#include "src/redis_subscription.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

namespace larder::internal {

RedisSubscription::RedisSubscription(ScopedFd wake, std::string incarnation, bool tells_all,
                                     std::vector<std::unique_ptr<RedisListener>> listeners)
    : wake_(std::move(wake)),
      incarnation_(std::move(incarnation)),
      tells_all_(tells_all),
      listeners_(std::move(listeners)) {
  assert(!listeners_.empty());
}

absl::StatusOr<SharedTier::Changes> RedisSubscription::Next(absl::Duration timeout) {
  if (!lost_.ok()) return lost_;
  const Deadline deadline = Deadline::After(timeout);
  RedisMessages& messages = listeners_.front()->messages();
  while (!messages.has_changes()) {
    const bool woken = Wait(deadline);
    lost_ = Read();
    if (!lost_.ok()) return lost_;
    if (woken || deadline.Passed()) break;
  }
  return messages.TakeChanges();
}

bool RedisSubscription::Wait(Deadline deadline) {
  absl::InlinedVector<pollfd, 3> fds;
  fds.push_back({wake_.get(), POLLIN, 0});
  for (const auto& listener : listeners_) {
    fds.push_back({listener->fd(), POLLIN, 0});
    deadline = std::min(deadline, listener->next_beat());
  }
  PollAnyUntil(absl::MakeSpan(fds), deadline);
  uint64_t wakes;
  return read(wake_.get(), &wakes, sizeof(wakes)) == sizeof(wakes);
}

// In this order: the last word of a connection is read before its silence is complained of, and no
// error of one hides behind another's.
absl::Status RedisSubscription::Read() {
  for (const auto& listener : listeners_) {
    if (absl::Status status = listener->Read(); !status.ok()) return status;
  }
  for (const auto& listener : listeners_) {
    if (absl::Status status = listener->Beat(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void RedisSubscription::Wake() {
  // Fails only where 2^64 - 2 wakes wait to be heard.
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

}  // namespace larder::internal
