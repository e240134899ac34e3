// SPDX-License-Identifier: Apache-2.0
#include "src/redis_channel.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "larder/internal/event.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// With so much before it, a call had better go another way.
constexpr size_t kManyCalls = 128;
constexpr size_t kManyBytes = size_t{64} << 10;

// Calls that were left behind, after which a channel is: they hold memory until they are answered.
constexpr size_t kMostAbandoned = 1024;

// Of PendingCall::state.
constexpr uint32_t kDone = 1;       // complete: the caller's, or if abandoned, of who made it so
constexpr uint32_t kDrives = 2;     // its caller drives, or has to when it wakes
constexpr uint32_t kAbandoned = 4;  // its caller has left

}  // namespace

struct RedisChannel::PendingCall {
  PendingCall(const RedisRequest& request, Deadline expires)
      : expected(request.expected()), once(request.once()), expires(expires) {
    replies.reserve(expected.size());
  }

  // The first that isn't answered.
  std::string_view command() const {
    return expected[std::min(replies.size(), expected.size() - 1)].command;
  }

  const absl::InlinedVector<ExpectedReply, 1> expected;
  const bool once;
  const Deadline expires;
  // Of its bytes among all that are sent. Written before it is in the channel.
  uint64_t begin = 0;
  uint64_t end = 0;

  // The driver's until kDone.
  RedisReplies replies;
  absl::Status status;
  Outcome::Repeat repeat = Outcome::Repeat::kNo;

  std::atomic<uint32_t> state{0};
  // Set once, after kDone or kDrives. A caller that has kDrives from the beginning never waits.
  Event woken;
};

absl::StatusOr<std::shared_ptr<RedisChannel>> RedisChannel::Create(
    std::unique_ptr<RedisConnection> connection, std::string address, absl::Duration patience,
    uint64_t number) {
  absl::StatusOr<ScopedFd> kicked = MakeEventFd();
  if (!kicked.ok()) {
    return absl::Status(kicked.status().code(), Concat(address, ": ", kicked.status().message()));
  }
  return std::shared_ptr<RedisChannel>(new RedisChannel(std::move(connection), std::move(address),
                                                        patience, number, *std::move(kicked)));
}

RedisChannel::RedisChannel(std::unique_ptr<RedisConnection> connection, std::string address,
                           absl::Duration patience, uint64_t number, ScopedFd kicked)
    : connection_(std::move(connection)),
      address_(std::move(address)),
      patience_(patience),
      number_(number),
      kicked_(std::move(kicked)) {}

RedisChannel::~RedisChannel() {
  for (PendingCall* const call : awaited_) delete call;
  MutexLock lock(&mutex_);
  for (PendingCall* const call : incoming_) delete call;
}

bool RedisChannel::busy() const {
  return pending_.load(std::memory_order_relaxed) >= kManyCalls ||
         unread_.load(std::memory_order_relaxed) >= kManyBytes ||
         unsent_.load(std::memory_order_relaxed) >= kManyBytes;
}

RedisChannel::Outcome RedisChannel::Call(const RedisRequest& request,
                                         std::shared_ptr<const RedisRequest> shared,
                                         Deadline deadline) {
  auto call = std::make_unique<PendingCall>(request, Deadline::After(patience_));
  Duties duties;
  if (!Enqueue(call.get(), request, std::move(shared), &duties)) {
    return {Error(absl::StatusCode::kUnavailable, *call, "connection lost"),
            Outcome::Repeat::kNotSent};
  }
  if (duties.send && Send(call.get()) && !duties.drive) Kick();
  if (!duties.drive) {
    if (!call->woken.WaitUntil(deadline.nanos(), nullptr)) {
      return Abandon(std::move(call), /*driving=*/false, deadline);
    }
    if ((call->state.load(std::memory_order_acquire) & kDone) != 0) return Take(std::move(call));
  }
  if (!Drive(call.get(), deadline)) return Abandon(std::move(call), /*driving=*/true, deadline);
  HandOver();
  return Take(std::move(call));
}

bool RedisChannel::Enqueue(PendingCall* call, const RedisRequest& request,
                           std::shared_ptr<const RedisRequest> shared, Duties* duties) {
  MutexLock lock(&mutex_);
  if (!open()) return false;
  if (!driving_) {
    const bool useless =
        awaited_.empty() ? !sending_ && connection_->IsStale() : awaited_.front()->expires.Passed();
    if (useless) {
      open_.store(false, std::memory_order_release);
      return false;
    }
  }
  call->begin = added_;
  call->end = added_ + request.wire().size();
  incoming_.push_back(call);
  try {
    outbox_.Add(request, std::move(shared));
  } catch (const std::bad_alloc&) {
    incoming_.pop_back();
    throw;
  }
  added_ = call->end;
  unsent_.fetch_add(request.wire().size(), std::memory_order_relaxed);
  pending_.fetch_add(1, std::memory_order_relaxed);
  if (gathering_ && !sending_) left_to_send_ = true;
  duties->send = !sending_ && !left_to_send_;
  if (duties->send) sending_ = true;
  duties->drive = !driving_;
  if (duties->drive) {
    driving_ = true;
    call->state.store(kDrives, std::memory_order_relaxed);
  }
  return true;
}

// Until nothing is left, or nothing goes; or, lest its caller send for ever, `own` is complete and
// what was there has been sent. True if something is left, which is the driver's then.
bool RedisChannel::Send(const PendingCall* own) noexcept {
  while (true) {
    if (sending_box_.empty()) {
      MutexLock lock(&mutex_);
      sending_box_.Take(&outbox_);
      handed_ = added_;
    }
    const bool can_send = SendBox();
    MutexLock lock(&mutex_);
    if (!can_send) {
      open_.store(false, std::memory_order_release);
      outbox_.Clear();
    }
    const bool all_sent = sending_box_.empty() && outbox_.empty();
    const bool leave =
        !sending_box_.empty() || (own->state.load(std::memory_order_relaxed) & kDone) != 0;
    if (all_sent || leave) {
      sending_ = false;
      left_to_send_ = !all_sent;
      return !all_sent;
    }
  }
}

bool RedisChannel::TakeLeftToSend() {
  if (!left_to_send_ || sending_) return false;
  sending_ = true;
  left_to_send_ = false;
  return true;
}

// Sends what goes of the sender's box. False if no more will go.
bool RedisChannel::SendBox() {
  uint64_t sent = 0;
  const bool can_send = sending_box_.Send(connection_->stream(), &sent);
  sent_.fetch_add(sent, std::memory_order_release);
  unsent_.fetch_sub(sent, std::memory_order_relaxed);
  if (can_send) return true;
  // Whoever reads comes to the server's last words, if there are any, and then to the end.
  connection_->stream().ShutDownSending();
  sending_box_.Clear();
  return false;
}

// True when `own` is complete, false when `deadline` has passed.
bool RedisChannel::Drive(const PendingCall* own, Deadline deadline) noexcept {
  while ((own->state.load(std::memory_order_relaxed) & kDone) == 0) {
    const Plan plan = MakePlan();
    const PendingCall& first = *awaited_.front();
    if (!plan.broken_because.empty()) {
      Close(Error(absl::StatusCode::kUnavailable, first, plan.broken_because), MayRepeat::kAll);
      continue;
    }
    const bool wait_to_send = plan.send && Send(own);
    const bool readable = Wait(wait_to_send, std::min(deadline, first.expires));
    // Checked although data came, too: a server that drips bytes doesn't get longer.
    if (deadline.Passed()) return false;
    if (readable) Read(own);
    if (!awaited_.empty() && awaited_.front()->expires.Passed()) {
      Close(Error(absl::StatusCode::kDeadlineExceeded, *awaited_.front(),
                  Concat("no answer within ", absl::FormatDuration(patience_))),
            MayRepeat::kNone);
    }
  }
  return true;
}

RedisChannel::Plan RedisChannel::MakePlan() {
  MutexLock lock(&mutex_);
  Collect();
  return {TakeLeftToSend(), broken_because_};
}

// Waits for the connection. True if there is something to read; false, too, where it was kicked or
// can be written to.
bool RedisChannel::Wait(bool to_send, Deadline deadline) {
  std::array<pollfd, 2> fds = {
      pollfd{connection_->stream().fd(), static_cast<short>(POLLIN | (to_send ? POLLOUT : 0)), 0},
      pollfd{kicked_.get(), POLLIN, 0}};
  if (!PollAnyUntil(absl::MakeSpan(fds), deadline)) return false;
  if (fds[1].revents != 0) {
    uint64_t kicks;
    [[maybe_unused]] const ssize_t size = read(kicked_.get(), &kicks, sizeof(kicks));
  }
  return (fds[0].revents & ~POLLOUT) != 0;
}

void RedisChannel::Read(const PendingCall* own) {
  absl::Status status = connection_->Receive(awaited_.front()->command());
  {
    // What was answered was sent, and what was sent is among these.
    MutexLock lock(&mutex_);
    Collect();
  }
  if (!status.ok()) return Close(status, MayRepeat::kAll);
  status = Parse();
  if (!status.ok()) return Close(status, MayRepeat::kOthers);
  unread_.store(connection_->unread(), std::memory_order_relaxed);
  if (connection_->unread() == 0) connection_->ReleaseLargeBuffer();
  FinishAnswered(own);
}

void RedisChannel::FinishAnswered(const PendingCall* own) {
  const bool gathers = answered_.size() > 1;
  if (gathers) {
    MutexLock lock(&mutex_);
    gathering_ = true;
  }
  for (PendingCall* const call : answered_) Finish(call);
  answered_.clear();
  if (!gathers) return;
  {
    MutexLock lock(&mutex_);
    gathering_ = false;
    if (!TakeLeftToSend()) return;
  }
  Send(own);
}

// Moves the calls of which all replies have arrived to answered_.
absl::Status RedisChannel::Parse() {
  while (!awaited_.empty()) {
    PendingCall& call = *awaited_.front();
    while (call.replies.size() < call.expected.size()) {
      absl::StatusOr<RedisReply> reply = connection_->Next(call.expected[call.replies.size()]);
      if (!reply.ok()) return reply.status();
      if (*reply == nullptr) return absl::OkStatus();
      call.replies.push_back(*std::move(reply));
    }
    if (!WasSent(call)) {
      return Error(absl::StatusCode::kInternal, call, "answered before the request was sent");
    }
    answered_.push_back(&call);
    awaited_.pop_front();
  }
  if (!connection_->in_a_reply()) return absl::OkStatus();
  return Error(absl::StatusCode::kInternal, *answered_.back(),
               "more bytes came than the answer has");
}

// Whether all of it has been given to the kernel, or may have been.
bool RedisChannel::WasSent(const PendingCall& call) {
  if (call.end <= sent_.load(std::memory_order_acquire)) return true;
  MutexLock lock(&mutex_);
  // Looked at again: it may have been sent meanwhile.
  return call.end <= sent_.load(std::memory_order_relaxed) || (sending_ && call.end <= handed_);
}

// Ends all calls: those in answered_ and the first of the others with `status`, the rest because
// the connection is closed.
void RedisChannel::Close(const absl::Status& status, MayRepeat may_repeat) {
  uint64_t sent;
  {
    MutexLock lock(&mutex_);
    open_.store(false, std::memory_order_release);
    Collect();
    outbox_.Clear();
    sent = sending_ ? handed_ : sent_.load(std::memory_order_acquire);
  }
  for (PendingCall* const call : answered_) {
    call->status = status;
    Finish(call);
  }
  const bool spoiled = !answered_.empty() || may_repeat == MayRepeat::kOthers;
  answered_.clear();
  for (bool is_first = true; !awaited_.empty(); is_first = false) {
    PendingCall& call = *awaited_.front();
    awaited_.pop_front();
    const bool begun = is_first && (spoiled || !call.replies.empty() || connection_->in_a_reply());
    if (call.begin >= sent) {
      call.repeat = Outcome::Repeat::kNotSent;
    } else if (may_repeat != MayRepeat::kNone && !call.once && !begun) {
      call.repeat = Outcome::Repeat::kLost;
    }
    call.status = is_first ? status
                           : Error(absl::StatusCode::kUnavailable, call,
                                   "connection lost before the answer to an earlier request came");
    // What the server said before it closed tells more.
    bool reconnect = false;
    const absl::Status said = FirstErrorReply(address_, call.expected, call.replies, &reconnect);
    if (!said.ok()) call.status = said;
    Finish(&call);
  }
}

void RedisChannel::Finish(PendingCall* call) {
  pending_.fetch_sub(1, std::memory_order_relaxed);
  const uint32_t before = call->state.fetch_or(kDone, std::memory_order_acq_rel);
  if ((before & kAbandoned) != 0) {
    abandoned_.fetch_sub(1, std::memory_order_relaxed);
    delete call;
  } else if ((before & kDrives) == 0) {
    call->woken.Set();
  }
}

// Has another caller that waits drive, if there is one.
void RedisChannel::HandOver() noexcept {
  PendingCall* next = nullptr;
  {
    MutexLock lock(&mutex_);
    Collect();
    // The last one: it drives for as long as possible without having to wait for that.
    for (auto call = awaited_.rbegin(); call != awaited_.rend() && next == nullptr; ++call) {
      const uint32_t before = (*call)->state.fetch_or(kDrives, std::memory_order_acq_rel);
      if ((before & kAbandoned) == 0) next = *call;
    }
    if (next == nullptr) driving_ = false;
  }
  if (next != nullptr) next->woken.Set();
}

RedisChannel::Outcome RedisChannel::Take(CallPtr call) {
  if (!call->status.ok()) return {std::move(call->status), call->repeat};
  bool reconnect = false;
  const absl::Status error = FirstErrorReply(address_, call->expected, call->replies, &reconnect);
  if (reconnect) Retire();
  if (!error.ok()) return {error};
  return {std::move(call->replies)};
}

// The deadline has passed. What is under way belongs to the channel from now on.
RedisChannel::Outcome RedisChannel::Abandon(CallPtr call, bool driving,
                                            Deadline deadline) noexcept {
  // The driver may be adding replies at this moment: the first command has to do.
  absl::Status status =
      RedisError(absl::StatusCode::kDeadlineExceeded, address_, call->expected.front().command,
                 Concat("no answer within ", absl::FormatDuration(deadline.timeout())));
  const size_t abandoned = abandoned_.fetch_add(1, std::memory_order_relaxed) + 1;
  const uint32_t before = call->state.fetch_or(kAbandoned, std::memory_order_acq_rel);
  if ((before & kDone) != 0) {
    // It was completed in the meantime: wait until that is over, which it is nearly.
    abandoned_.fetch_sub(1, std::memory_order_relaxed);
    call->woken.Wait();
    return Take(std::move(call));
  }
  PendingCall* const left = call.release();
  if ((before & kDrives) != 0) {
    if (!driving) left->woken.Wait();  // as above; whoever drives is safe from being completed
    HandOver();
  }
  if (abandoned >= kMostAbandoned) Retire();
  return {std::move(status)};
}

void RedisChannel::Break(std::string_view why) {
  {
    MutexLock lock(&mutex_);
    open_.store(false, std::memory_order_release);
    broken_because_ = why;
  }
  Kick();
}

void RedisChannel::Retire() {
  MutexLock lock(&mutex_);
  open_.store(false, std::memory_order_release);
}

void RedisChannel::Collect() {
  awaited_.insert(awaited_.end(), incoming_.begin(), incoming_.end());
  incoming_.clear();
}

void RedisChannel::Kick() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t size = write(kicked_.get(), &one, sizeof(one));
}

absl::Status RedisChannel::Error(absl::StatusCode code, const PendingCall& call,
                                 std::string_view text) const {
  return RedisError(code, address_, call.command(), text);
}

}  // namespace larder::internal
