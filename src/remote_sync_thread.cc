// SPDX-License-Identifier: Apache-2.0
//
// The thread of RemoteSync: from a tier that is away to one that is trusted, a step at a time, and
// between any two steps what is told is passed on.

#include <algorithm>
#include <utility>
#include <vector>

#include "larder/internal/backoff.h"
#include "larder/internal/nanos.h"
#include "larder/internal/process_clock.h"
#include "larder/internal/random_bits.h"
#include "larder/internal/remote_sync.h"

namespace larder::internal {
namespace {

// Connecting takes several round trips, with a name to be looked up before.
constexpr absl::Duration kConnectTimeout = absl::Seconds(1);
// Keys that are removed by one call: some thousand bytes.
constexpr size_t kKeysPerRemoval = 256;
// Probes that fail until a subscription that lives on is given up.
constexpr uint32_t kProbesOfOneSubscription = 5;
// Generations that may be begun soon after each other before one waits in between.
constexpr uint32_t kQuickRenewals = 2;

int64_t Now() { return ProcessClock::NowNanos(); }

}  // namespace

void* RemoteSync::RunThread(void* self) {
  static_cast<RemoteSync*>(self)->Run();
  return nullptr;
}

void RemoteSync::Run() {
  ForgetSoon();
  while (!stopping()) {
    const int64_t next = Work();
    subscription_ != nullptr ? Listen(next) : Sleep(next);
  }
  Leave();
}

int64_t RemoteSync::Work() {
  ApplyEffects();
  NoticeOpening();
  const bool due = Now() >= progress_.retry_at;
  // It mustn't come late because of a call that takes long.
  const int64_t longest_step = due ? ToNanos(options_.timeout) : 0;
  if (SaturatingAdd(Now(), longest_step) >= progress_.forget_at) Forget(/*expires=*/true);
  bool try_again = true;
  if (due) {
    const absl::StatusOr<bool> more = Step();
    if (more.ok() && *more) return 0;
    try_again = !more.ok();
    if (try_again) Failed();
  } else if (progress_.read_control) {
    StartOver();  // under a block that is known to be old it can't stay up for so long
  }
  // What is past by now is due at once.
  return std::min(progress_.forget_at, try_again ? progress_.retry_at : progress_.settled_at);
}

absl::StatusOr<bool> RemoteSync::Step() {
  const bool up = synced();
  const bool control_is_due = progress_.read_control || MustRenew();
  absl::Status status;
  if (subscription_ == nullptr) {
    status = Connect();
  } else if (progress_.probing) {
    status = Probe();
  } else if (!missed_.empty() && !missed_.overflowed() && !(up && control_is_due)) {
    status = RemoveMissed();
  } else if (control_is_due) {
    status = SyncControl();
  } else if (!up) {
    if (progress_.settle && Now() < progress_.settled_at) return false;
    return !GoUp();
  } else {
    progress_.failures = 0;
    return false;
  }
  if (!status.ok()) return status;
  return true;
}

absl::Status RemoteSync::Connect() {
  const absl::Duration until_forget = absl::Nanoseconds(progress_.forget_at - Now());
  const absl::Duration timeout =
      std::max(options_.timeout, std::min(kConnectTimeout, until_forget));
  absl::StatusOr<std::unique_ptr<SharedTier::Subscription>> subscription = tier_.Subscribe(timeout);
  if (!subscription.ok()) {
    CountFailure(subscription.status());
    TellUnheard(subscription.status());
    return subscription.status();
  }
  Forget(/*expires=*/true);
  progress_.connected_at = Now();
  progress_.read_control = true;
  control_.SetIncarnation((*subscription)->incarnation());
  SetSubscription(*std::move(subscription));
  progress_.forget_at = kNever;
  {
    const MutexLock lock(&mutex_);
    watch_.store(1 + connects_.fetch_add(1, std::memory_order_relaxed), std::memory_order_release);
    Publish();
  }
  Answered();
  return absl::OkStatus();
}

// Where a tier answers, but lets nobody listen, the others are to hear of what was missed all the
// same.
void RemoteSync::TellUnheard(const absl::Status& refusal) {
  // There may be no time for it.
  if (SaturatingAdd(Now(), 2 * ToNanos(options_.timeout)) >= progress_.forget_at) return;
  if (progress_.probing && !Probe().ok()) return;
  if (absl::IsUnavailable(refusal) || absl::IsDeadlineExceeded(refusal)) return;
  while (!stopping() && !missed_.empty() && !missed_.overflowed()) {
    if (!RemoveMissed().ok()) return;
  }
  if (MustRenew()) static_cast<void>(SyncControl());
}

absl::Status RemoteSync::Probe() {
  if (absl::Status status = tier_.Ping(options_.timeout); !status.ok()) {
    CountFailure(status);
    // It may be that of another server than the one that is called: a new one is for the latter.
    if (subscription_ != nullptr && progress_.failures >= kProbesOfOneSubscription) {
      LoseSubscription(status);
    }
    return status;
  }
  progress_.probing = false;
  progress_.read_control = true;
  {
    const MutexLock lock(&mutex_);
    open_ = false;
    failures_in_row_.store(0, std::memory_order_relaxed);
    Publish();
  }
  Answered();
  return absl::OkStatus();
}

absl::Status RemoteSync::RemoveMissed() {
  const std::vector<MissedKeys::Missed> missed = missed_.Take(kKeysPerRemoval);
  if (missed.empty()) return absl::OkStatus();  // has overflowed meanwhile
  std::vector<std::string_view> keys;
  keys.reserve(missed.size());
  for (const MissedKeys::Missed& one : missed) keys.push_back(one.key);
  const absl::Status status = tier_.Invalidate(keys, options_.timeout);
  Report(status);
  if (!status.ok()) return status;
  for (const MissedKeys::Missed& one : missed) missed_.Removed(one);
  if (subscription_ == nullptr) progress_.unheard = true;
  Answered();
  return absl::OkStatus();
}

bool RemoteSync::MustRenew() const {
  const bool overflowed = missed_.overflowed();
  const MutexLock lock(&mutex_);
  return overflowed || renewals_asked_ != renewals_done_;
}

absl::Status RemoteSync::SyncControl() {
  const bool heard = subscription_ != nullptr;
  const bool renew = MustRenew() || (heard && progress_.unheard);
  // Whatever is missed or asked for from here on is for the next time.
  const bool overflowed = missed_.overflowed();
  const uint64_t missed = missed_.last_number();
  uint64_t asked;
  {
    const MutexLock lock(&mutex_);
    asked = renewals_asked_;
  }
  progress_.read_control = false;
  const uint64_t replacements = control_.replacements();
  const absl::Status status = (renew ? control_.Renew() : control_.Read()).status();
  if (!status.ok()) {
    progress_.read_control = true;
    Remember(status);
    StartOver();
    return status;
  }
  if (renew) {
    // Keys that are known are removed all the same: a generation says nothing of what other
    // programs wrote there.
    if (overflowed) missed_.RemovedAll(missed);
    progress_.unheard = !heard;
    const MutexLock lock(&mutex_);
    renewals_done_ = asked;
    Publish();
  }
  // Not those that callers ask for, who may have had their turn meanwhile.
  if (renew || control_.replacements() != replacements) DelayRenewals();
  ApplyEffects();
  Answered();
  return absl::OkStatus();
}

// Servers that listen to different runs, by a proxy's fault, say, would undo each other's blocks
// for ever; then let it not be as fast as they can.
void RemoteSync::DelayRenewals() {
  const int64_t now = Now();
  const bool soon = now - progress_.renewed_at < 2 * ToNanos(options_.last_probe);
  progress_.renewals = soon ? progress_.renewals + 1 : 1;
  progress_.renewed_at = now;
  if (progress_.renewals <= kQuickRenewals) return;
  progress_.retry_at = SaturatingAdd(now, Backoff(progress_.renewals - kQuickRenewals));
}

// --- The state

void RemoteSync::NoticeOpening() {
  {
    const MutexLock lock(&mutex_);
    if (!open_ || progress_.probing) return;
  }
  progress_.probing = true;
  progress_.settle = true;
  progress_.failures = 0;
  Failed();
}

int64_t RemoteSync::Backoff(uint32_t failures) const {
  return BackoffNanos(ToNanos(options_.first_probe), ToNanos(options_.last_probe), failures,
                      RandomBits());
}

void RemoteSync::Failed() {
  ++progress_.failures;
  progress_.retry_at = SaturatingAdd(Now(), Backoff(progress_.failures));
  if (!progress_.was_up) progress_.settle = true;
  progress_.settled_at = kNever;
}

void RemoteSync::Answered() {
  if (!progress_.settle || progress_.settled_at != kNever) return;
  progress_.settled_at = SaturatingAdd(Now(), absl::ToInt64Nanoseconds(options_.settle_time));
}

void RemoteSync::StartOver() {
  const MutexLock lock(&mutex_);
  synced_ = false;
  Publish();
}

bool RemoteSync::GoUp() {
  {
    const MutexLock lock(&mutex_);
    if (open_ || renewals_asked_ != renewals_done_) return false;
    synced_ = true;
    Publish();
  }
  progress_.was_up = true;
  progress_.settle = false;
  progress_.settled_at = kNever;
  progress_.failures = 0;
  return true;
}

bool RemoteSync::synced() const {
  const MutexLock lock(&mutex_);
  return synced_;
}

bool RemoteSync::stopping() const {
  const MutexLock lock(&mutex_);
  return stop_;
}

// --- What is told

void RemoteSync::Sleep(int64_t until) {
  const MutexLock lock(&mutex_);
  while (!stop_ && !woken_) {
    const int64_t now = Now();
    if (now >= until) break;
    woken_changed_.WaitFor(&mutex_, absl::Nanoseconds(until - now));
  }
  woken_ = false;
}

void RemoteSync::Listen(int64_t until) {
  absl::Duration wait = absl::Nanoseconds(std::max<int64_t>(until - Now(), 0));
  {
    const MutexLock lock(&mutex_);
    if (stop_) return;
    if (std::exchange(woken_, false)) wait = absl::ZeroDuration();
    listening_ = wait > absl::ZeroDuration();
  }
  absl::StatusOr<SharedTier::Changes> changes = subscription_->Next(wait);
  {
    const MutexLock lock(&mutex_);
    listening_ = false;
  }
  changes.ok() ? PassOn(*std::move(changes)) : LoseSubscription(changes.status());
}

void RemoteSync::PassOn(SharedTier::Changes changes) {
  changes_.fetch_add(changes.keys.size(), std::memory_order_relaxed);
  if (changes.all) {
    StartOver();
    progress_.read_control = true;
    Forget(/*expires=*/false);
  }
  if (std::erase(changes.keys, kControlKey) != 0) progress_.read_control = true;
  if (!changes.keys.empty()) target_.OnChanges(changes.keys);
}

void RemoteSync::LoseSubscription(const absl::Status& status) {
  {
    const MutexLock lock(&mutex_);
    // Before it is gone, so that who sees it unchanged knows that it is there.
    watch_.store(0, std::memory_order_release);
    synced_ = false;
    last_error_ = status;
    Publish();
  }
  disconnects_.fetch_add(1, std::memory_order_relaxed);
  control_.SetIncarnation({});
  SetSubscription(nullptr);
  progress_.settle = true;
  progress_.settled_at = kNever;
  const int64_t now = Now();
  if (options_.when_cut_off == WhenCutOff::kFlush) {
    Forget(/*expires=*/true);
  } else {
    ForgetSoon();
  }
  // One that doesn't last isn't got again at once.
  progress_.retry_at = 0;
  if (now - progress_.connected_at < ToNanos(options_.last_probe)) Failed();
}

void RemoteSync::SetSubscription(std::unique_ptr<SharedTier::Subscription> subscription) {
  const MutexLock lock(&wake_mutex_);
  subscription_.swap(subscription);
}

void RemoteSync::ApplyEffects() {
  const SharedControl::Effects effects = control_.TakeEffects();
  if (effects.forget) {
    Forget(/*expires=*/false);
    return;
  }
  for (const std::string& prefix : effects.prefixes) target_.InvalidatePrefix(prefix);
}

void RemoteSync::ForgetSoon() {
  progress_.forget_at = SaturatingAdd(Now(), ToNanos(options_.unverified_ttl));
}

void RemoteSync::Forget(bool expires) {
  // What gets there while nothing is heard of changes stays no longer than what was there.
  subscription_ == nullptr ? ForgetSoon() : static_cast<void>(progress_.forget_at = kNever);
  flushes_.fetch_add(1, std::memory_order_relaxed);
  target_.Forget(expires);
}

void RemoteSync::Leave() {
  const int64_t give_up = SaturatingAdd(Now(), ToNanos(options_.timeout));
  absl::Status status = MayCall() ? absl::OkStatus() : absl::UnavailableError("not called");
  while (status.ok() && !missed_.empty() && !missed_.overflowed() && Now() < give_up) {
    status = RemoveMissed();
  }
  if (status.ok() && MustRenew()) static_cast<void>(SyncControl());
  {
    const MutexLock lock(&mutex_);
    watch_.store(0, std::memory_order_release);
    Publish();
  }
  control_.SetIncarnation({});
  SetSubscription(nullptr);
}

}  // namespace larder::internal
