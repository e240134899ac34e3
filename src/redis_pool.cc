// SPDX-License-Identifier: Apache-2.0
#include "src/redis_pool.h"

#include <limits>
#include <optional>
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

// After an attempt to connect that failed, until calls that have another channel want the next.
constexpr absl::Duration kPauseAfterRefusal = absl::Seconds(1);

}  // namespace

RedisPool::RedisPool(RedisOptions options)
    : options_(std::move(options)),
      address_(RedisAddress(options_)),
      clock_offset_(kUnknown),
      channels_(static_cast<size_t>(options_.max_connections)),
      refused_at_(-absl::InfiniteDuration()) {}

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
  ComingPtr awaited;
  while (true) {
    bool has_other = false;
    {
      MutexLock lock(&mutex_);
      if (coming_ != nullptr && coming_->dialling->over()) Welcome(&closed);
      Choice choice = Choose(newer_than, &closed);
      if (choice.free != nullptr) {
        const bool is_new = awaited != nullptr && choice.free->number() >= awaited->number;
        return Lease{std::move(choice.free), is_new};
      }
      has_other = choice.busy != nullptr;
      if (!has_other && awaited != nullptr && !awaited->outcome.ok()) {
        return absl::Status(awaited->outcome.code(),
                            Concat(awaited->outcome.message(), " (for ", command, ")"));
      }
      const bool was_refused = Deadline::Monotonic() - refused_at_ < kPauseAfterRefusal;
      const bool may_want = choice.place != nullptr && !(has_other && was_refused);
      const bool begins = may_want && coming_ == nullptr;
      if (has_other && !begins) return Lease{std::move(choice.busy)};
      if (begins) Begin();
      if (coming_ == nullptr) newer_than = 0;  // all are in use that were to be avoided
      awaited = coming_;
    }
    closed.clear();
    if (awaited == nullptr) continue;
    // A new connection as a rule comes before a busy one is free; if not, there is time left for
    // it.
    const Deadline limit = has_other ? Deadline::After(deadline.Remaining() / 2) : deadline;
    if (!awaited->dialling->Await(limit) && !has_other) {
      return RedisError(absl::StatusCode::kDeadlineExceeded, address_, command,
                        Concat("no connection within ", absl::FormatDuration(deadline.timeout())));
    }
  }
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

void RedisPool::Begin() {
  coming_ = std::make_shared<Coming>(
      Coming{RedisDialling::Start(options_, address_), ++last_number_, absl::OkStatus()});
}

void RedisPool::Welcome(std::vector<ChannelPtr>* closed) {
  const ComingPtr coming = std::exchange(coming_, nullptr);
  coming->outcome = Admit(coming->dialling->TakeResult(), coming->number, closed);
  if (!coming->outcome.ok()) refused_at_ = Deadline::Monotonic();
}

absl::Status RedisPool::Admit(RedisDialling::Result connection, uint64_t number,
                              std::vector<ChannelPtr>* closed) {
  if (!connection.ok()) return connection.status();
  const std::optional<absl::Duration> offset = (*connection)->clock_offset();
  absl::StatusOr<ChannelPtr> channel =
      RedisChannel::Create(*std::move(connection), address_, options_.command_timeout, number);
  if (!channel.ok()) return channel.status();
  if (!Matches(**channel)) {
    closed->push_back(*channel);
    return absl::UnavailableError(Concat(address_, ": server ", (*channel)->run_id(),
                                         " answers, not ", pins_.rbegin()->second,
                                         ", of which changes are heard"));
  }
  if (offset.has_value()) {
    clock_offset_.store(absl::ToInt64Nanoseconds(*offset), std::memory_order_relaxed);
  }
  if (ChannelPtr* const place = Choose(last_number_, closed).place; place != nullptr) {
    *place = *std::move(channel);
  }
  return absl::OkStatus();
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
  LeaveOthers(&closed);
  return last_pin_;
}

void RedisPool::Unpin(uint64_t pin) {
  std::vector<ChannelPtr> closed;
  MutexLock lock(&mutex_);
  pins_.erase(pin);
  LeaveOthers(&closed);
}

void RedisPool::LeaveOthers(std::vector<ChannelPtr>* closed) {
  for (ChannelPtr& channel : channels_) {
    if (channel == nullptr || Matches(*channel)) continue;
    channel->Break(
        "connection closed: it led to another server than the one of which changes "
        "are heard");
    closed->push_back(std::move(channel));
  }
}

absl::Time RedisPool::ServersNow() const {
  const int64_t offset = clock_offset_.load(std::memory_order_relaxed);
  if (offset == kUnknown) return absl::Now();
  return absl::UnixEpoch() + absl::Nanoseconds(offset) + Deadline::Monotonic();
}

}  // namespace larder::internal
