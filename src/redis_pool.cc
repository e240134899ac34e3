// SPDX-License-Identifier: Apache-2.0
#include "src/redis_pool.h"

#include <limits>
#include <utility>

#include "absl/time/clock.h"
#include "src/redis_outbox.h"
#include "src/text.h"

namespace larder::internal {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::min();

// How often a call may come to a channel just when that is closed, before it is to blame; beside
// those that had been there before, which a server may have closed all while they were idle.
constexpr int kMostTries = 4;

}  // namespace

RedisPool::RedisPool(RedisOptions options)
    : options_(std::move(options)),
      address_(RedisAddress(options_)),
      clock_offset_(kUnknown),
      channels_(static_cast<size_t>(options_.max_connections)) {}

absl::StatusOr<RedisReplies> RedisPool::Execute(RedisRequest request, Deadline deadline) {
  using Repeat = RedisChannel::Outcome::Repeat;
  const std::string_view command = request.expected()[0].command;
  if (deadline.Passed()) {
    return RedisError(absl::StatusCode::kDeadlineExceeded, address_, command,
                      Concat("no time, ", absl::FormatDuration(deadline.timeout())));
  }
  std::shared_ptr<const RedisRequest> shared;
  if (request.wire().size() >= RedisOutbox::kLarge) {
    shared = std::make_shared<const RedisRequest>(std::move(request));
  }
  const RedisRequest& to_send = shared != nullptr ? *shared : request;
  uint64_t newer_than = 0;
  for (int tries = 1;; ++tries) {
    const absl::StatusOr<Lease> lease = Acquire(command, newer_than, deadline);
    if (!lease.ok()) return lease.status();
    RedisChannel::Outcome outcome = lease->channel->Call(to_send, shared, deadline);
    const int most_tries = kMostTries + (lease->is_new ? 0 : options_.max_connections);
    const bool again = outcome.repeat == Repeat::kNotSent
                           ? tries < most_tries
                           : outcome.repeat == Repeat::kLost && !lease->is_new && newer_than == 0;
    if (!again) return std::move(outcome.replies);
    if (outcome.repeat == Repeat::kLost) newer_than = lease->channel->number();
  }
}

absl::StatusOr<RedisPool::Lease> RedisPool::Acquire(std::string_view command, uint64_t newer_than,
                                                    Deadline deadline) {
  std::vector<ChannelPtr> closed;  // destroyed when the lock isn't held any more
  std::shared_ptr<Dialling> awaited;
  ChannelPtr busy;
  {
    MutexLock lock(&mutex_);
    while (true) {
      Choice choice = Choose(newer_than, &closed);
      if (choice.free != nullptr) return Lease{std::move(choice.free), awaited != nullptr};
      const bool may_dial = choice.place != nullptr && dialling_ == nullptr;
      if (choice.busy != nullptr && !may_dial) return Lease{std::move(choice.busy)};
      if (may_dial) {
        busy = std::move(choice.busy);
        dialling_ = std::make_shared<Dialling>();
        break;
      }
      if (dialling_ == nullptr) {  // all are in use that were to be avoided
        newer_than = 0;
        continue;
      }
      awaited = dialling_;
      while (!awaited->over) {
        if (deadline.Passed()) {
          return RedisError(
              absl::StatusCode::kDeadlineExceeded, address_, command,
              Concat("no connection within ", absl::FormatDuration(deadline.timeout())));
        }
        dialled_.WaitFor(&mutex_, deadline.Remaining());
      }
      // That the other one's time was short says nothing.
      if (!awaited->status.ok() && !absl::IsDeadlineExceeded(awaited->status)) {
        return absl::Status(awaited->status.code(),
                            Concat(awaited->status.message(), " (for ", command, ")"));
      }
    }
  }
  absl::StatusOr<ChannelPtr> dialled = Dial(deadline);
  if (dialled.ok()) return Lease{*std::move(dialled), true};
  if (busy != nullptr) return Lease{std::move(busy)};
  return absl::Status(dialled.status().code(),
                      Concat(dialled.status().message(), " (for ", command, ")"));
}

RedisPool::Choice RedisPool::Choose(uint64_t newer_than, std::vector<ChannelPtr>* closed) {
  Choice choice;
  for (ChannelPtr& channel : channels_) {
    if (channel != nullptr && !channel->open()) closed->push_back(std::move(channel));
    if (channel == nullptr) {
      if (choice.place == nullptr) choice.place = &channel;
      continue;
    }
    if (channel->number() <= newer_than) continue;
    if (!channel->busy()) {
      choice.free = channel;
      return choice;
    }
    if (choice.busy == nullptr || channel->pending() < choice.busy->pending()) {
      choice.busy = channel;
    }
  }
  return choice;
}

absl::StatusOr<RedisPool::ChannelPtr> RedisPool::Dial(Deadline deadline) {
  uint64_t number;
  {
    MutexLock lock(&mutex_);
    number = ++last_number_;
  }
  absl::StatusOr<ChannelPtr> channel = Connect(number, deadline);
  {
    MutexLock lock(&mutex_);
    if (channel.ok() && !Matches(**channel)) {
      channel = absl::UnavailableError(Concat(address_, ": server ", (*channel)->run_id(),
                                              " answers, not ", pins_.rbegin()->second,
                                              ", of which changes are heard"));
    }
    if (channel.ok()) {
      std::vector<ChannelPtr> closed;
      if (ChannelPtr* const place = Choose(last_number_, &closed).place; place != nullptr) {
        *place = *channel;
      }
    }
    dialling_->over = true;
    dialling_->status = channel.status();
    dialling_ = nullptr;
  }
  dialled_.NotifyAll();
  return channel;
}

absl::StatusOr<RedisPool::ChannelPtr> RedisPool::Connect(uint64_t number, Deadline deadline) {
  using Greeting = RedisConnection::Greeting;
  absl::StatusOr<std::unique_ptr<RedisConnection>> connection =
      RedisConnection::Dial(options_, address_, deadline,
                            options_.identify_servers ? Greeting::kIdentify : Greeting::kLogIn);
  if (!connection.ok()) return connection.status();
  if (const std::optional<absl::Duration> offset = (*connection)->clock_offset()) {
    clock_offset_.store(absl::ToInt64Nanoseconds(*offset), std::memory_order_relaxed);
  }
  return std::make_shared<RedisChannel>(*std::move(connection), address_, options_.command_timeout,
                                        number);
}

bool RedisPool::Matches(const RedisChannel& channel) const {
  if (pins_.empty()) return true;
  const std::string& wanted = pins_.rbegin()->second;
  return wanted.empty() || channel.run_id().empty() || channel.run_id() == wanted;
}

uint64_t RedisPool::Pin(const std::string& run_id) {
  std::vector<ChannelPtr> closed;
  MutexLock lock(&mutex_);
  pins_.emplace(++last_pin_, run_id);
  for (ChannelPtr& channel : channels_) {
    if (channel == nullptr || Matches(*channel)) continue;
    channel->Break(
        "connection closed: it led to another server than the one of which changes "
        "are heard");
    closed.push_back(std::move(channel));
  }
  return last_pin_;
}

void RedisPool::Unpin(uint64_t pin) {
  MutexLock lock(&mutex_);
  pins_.erase(pin);
}

absl::Time RedisPool::ServersNow() const {
  const int64_t offset = clock_offset_.load(std::memory_order_relaxed);
  if (offset == kUnknown) return absl::Now();
  return absl::UnixEpoch() + absl::Nanoseconds(offset) + Deadline::Monotonic();
}

}  // namespace larder::internal
