// SPDX-License-Identifier: Apache-2.0
//
// What any thread may call. The thread's own part is in remote_sync_thread.cc.

#include "larder/internal/remote_sync.h"

#include <utility>

#include "src/background_thread.h"
#include "src/text.h"

namespace larder::internal {
namespace {

// Whether a server answered that, and could answer others.
bool IsAnswer(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kResourceExhausted:
      return true;
    default:
      return false;
  }
}

void Count(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

uint64_t Read(const std::atomic<uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

}  // namespace

RemoteSync::RemoteSync(const Settings& settings)
    : options_(settings.options),
      tier_(*settings.options.tier),
      target_(*settings.target),
      missed_(settings.options.max_missed_keys),
      control_(settings.options.tier, settings.options.timeout, settings.stamps,
               [this](const absl::Status& status) { Report(status); }) {}

RemoteSync::~RemoteSync() { Stop(); }

absl::Status RemoteSync::Start() {
  const MutexLock lock(&mutex_);
  if (!StartThread(&RemoteSync::RunThread, this, &thread_)) {
    return absl::ResourceExhaustedError("no thread to keep up with the shared tier");
  }
  started_ = true;
  return absl::OkStatus();
}

void RemoteSync::Stop() {
  {
    const MutexLock lock(&mutex_);
    stop_ = true;
    Publish();
    if (!std::exchange(started_, false)) return;
  }
  Wake();
  pthread_join(thread_, nullptr);
}

std::shared_ptr<const ControlBlock> RemoteSync::control() const {
  return MayRead() ? control_.known() : nullptr;
}

void RemoteSync::Report(const absl::Status& status) {
  if (!status.ok()) CountFailure(status);
  if (IsAnswer(status.code())) {
    if (failures_in_row_.load(std::memory_order_relaxed) != 0) {
      failures_in_row_.store(0, std::memory_order_relaxed);
    }
    return;
  }
  const int failures = 1 + failures_in_row_.fetch_add(1, std::memory_order_relaxed);
  if (failures >= options_.failures_to_open) OpenBreaker();
}

void RemoteSync::OpenBreaker() {
  {
    const MutexLock lock(&mutex_);
    failures_in_row_.store(0, std::memory_order_relaxed);
    if (open_) return;
    open_ = true;
    synced_ = false;
    Publish();
  }
  Count(breaker_opens_);
  Wake();
}

void RemoteSync::CountFailure(const absl::Status& status) {
  Count(failed_calls_);
  if (absl::IsDeadlineExceeded(status)) Count(timeouts_);
  Remember(status);
}

void RemoteSync::Remember(const absl::Status& status) {
  const MutexLock lock(&mutex_);
  last_error_ = status;
}

void RemoteSync::Missed(std::string_view key) {
  missed_.Add(key);
  if (missed_.overflowed()) {
    RenewLater();
    return;
  }
  bool can_be_removed;
  {
    const MutexLock lock(&mutex_);
    can_be_removed = watch() != 0 && !open_;
  }
  if (can_be_removed) Wake();
}

void RemoteSync::RenewLater() {
  {
    const MutexLock lock(&mutex_);
    ++renewals_asked_;
    Publish();
  }
  Wake();
}

absl::StatusOr<std::shared_ptr<const ControlBlock>> RemoteSync::Tick(
    std::optional<std::string_view> prefix) {
  return Changing([&] { return control_.Tick(prefix); });
}

absl::Status RemoteSync::Renew() {
  return Changing([&] { return control_.Renew(); }).status();
}

template <class Change>
absl::StatusOr<std::shared_ptr<const ControlBlock>> RemoteSync::Changing(const Change& change) {
  const uint64_t watched = watch();
  absl::StatusOr<std::shared_ptr<const ControlBlock>> changed = nullptr;
  if (MayCall()) {
    changed = change();
  } else {
    changed = GivenUp();
  }
  if (!changed.ok() || watched == 0 || watch() != watched) {
    RenewLater();
  } else if (control_.HasEffects()) {
    Wake();
  }
  return changed;
}

absl::Status RemoteSync::GivenUp() const {
  const MutexLock lock(&mutex_);
  return absl::UnavailableError(
      Concat("the shared tier isn't called for a while; last: ", last_error_.ToString()));
}

void RemoteSync::Wake() {
  bool listening;
  {
    const MutexLock lock(&mutex_);
    woken_ = true;
    listening = listening_;
  }
  woken_changed_.NotifyAll();
  if (!listening) return;
  const MutexLock lock(&wake_mutex_);
  if (subscription_ != nullptr) subscription_->Wake();
}

void RemoteSync::Publish() {
  const bool trusted = synced_ && watch() != 0 && renewals_asked_ == renewals_done_ && !stop_;
  const uint32_t state = open_ ? 0 : trusted ? kCalls | kReads : kCalls;
  state_.store(state, std::memory_order_release);
}

RemoteHealth RemoteSync::health() const {
  if (MayRead()) return RemoteHealth::kUp;
  return MayCall() && watch() != 0 ? RemoteHealth::kSyncing : RemoteHealth::kDown;
}

void RemoteSync::AddTo(RemoteStats& stats) const {
  stats.health = health();
  stats.missed_waiting += missed_.size();
  stats.changes += Read(changes_);
  stats.flushes += Read(flushes_);
  stats.failed_calls += Read(failed_calls_);
  stats.timeouts += Read(timeouts_);
  stats.breaker_opens += Read(breaker_opens_);
  stats.connects += Read(connects_);
  stats.disconnects += Read(disconnects_);
  stats.generations += control_.generations();
  const MutexLock lock(&mutex_);
  stats.last_error = last_error_;
}

}  // namespace larder::internal
