// SPDX-License-Identifier: Apache-2.0
//
// RemoteSync: knows whether a shared tier can be trusted, and sees to it that it can be again.

#ifndef LARDER_INTERNAL_REMOTE_SYNC_H_
#define LARDER_INTERNAL_REMOTE_SYNC_H_

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "larder/internal/missed_keys.h"
#include "larder/internal/mutex.h"
#include "larder/internal/nanos.h"
#include "larder/internal/remote_control.h"
#include "larder/internal/remote_head.h"
#include "larder/internal/shared_control.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "larder/shared_tier.h"

namespace larder::internal {

// One server's part in keeping a tier coherent. A thread of its own subscribes to the changes and
// passes them on, probes a tier that is away, removes what the tier missed, and reads the control
// block. What it finds is the state:
//
//   kDown     nothing is heard of changes, or calls were given up (the breaker is open)
//   kSyncing  both are there; what the tier has isn't trusted yet
//   kUp       entries may be read and filled, under the control block that is known
//
// From the moment at which a subscription or the breaker is lost, what the tier holds may have been
// overwritten by this server or by others without its knowing. Before it is kUp again there are, in
// this order: a subscription; Forget; a Ping, where the breaker was open; the removal of all missed
// keys; the control block, made anew where it is missing, of another server's run, or where more
// was missed than could be remembered; RemoteOptions::settle_time since the tier answered first,
// for the others to do the same. Only a tier that never failed since the start isn't waited for.
// What is told meanwhile is passed on; what fails is tried again, with backoff and jitter, and
// starts the wait again; what was lost is got again first.
//
// A tier that was emptied, a control block that others changed, writes that were missed, and
// RenewLater need no wait: what has to be done is done, and then it is kUp again. While the control
// block is read because of a change that was told, and for at most one call, it stays kUp: that is
// as if the word had come so much later. What was read under the old block is invalidated in memory
// when the new one is known.
//
// Thread-safe. No lock is held in calls of the tier or of the target, Subscription::Wake excepted,
// which doesn't wait. Of no use in a child of fork(), which doesn't have the thread.
class RemoteSync {
 public:
  // Who is told. All calls come from the thread, one at a time; they may wait for the tier as any
  // other operation would, but must not call Stop.
  class Target {
   public:
    virtual ~Target() = default;

    // These keys of the tier changed, each once. Without kControlKey; with those of tags.
    virtual void OnChanges(absl::Span<const std::string> keys) = 0;

    // Changes may have been missed: nothing in memory, nor of loads under way, can be relied on.
    // Called again and again while nothing is heard of changes, each unverified_ttl. `expires`:
    // that is all there is to say of it, and it may be kept for the time when the store fails;
    // otherwise it was removed.
    virtual void Forget(bool expires) = 0;

    // As if every key in memory that begins with this had changed.
    virtual void InvalidatePrefix(std::string_view prefix) = 0;
  };

  struct Settings {
    RemoteOptions options;  // valid, with a tier
    StampSource* stamps = nullptr;
    Target* target = nullptr;
  };

  // kDown. What `settings` points to must outlive this.
  explicit RemoteSync(const Settings& settings);
  // As Stop.
  ~RemoteSync();
  RemoteSync(const RemoteSync&) = delete;
  RemoteSync& operator=(const RemoteSync&) = delete;

  // Starts the thread. ResourceExhausted where there can't be one: it stays kDown. Once only.
  absl::Status Start();

  // Ends the thread: waits for a call of the tier that it is in, tries for one timeout to remove
  // what is still missed, and drops the subscription. kDown from then on. Not from the thread.
  void Stop();

  // --- For every read and write

  // Whether the tier may be read, and filled: kUp. One load.
  bool MayRead() const { return (state_.load(std::memory_order_acquire) & kReads) != 0; }

  // Whether it may be called at all, to tell it of changes: the breaker is closed. One load.
  bool MayCall() const { return (state_.load(std::memory_order_acquire) & kCalls) != 0; }

  // What entries are read and made under, as of now; nullptr unless MayRead.
  std::shared_ptr<const ControlBlock> control() const;

  // The number of the subscription, 0 while there is none. While it stays the same all calls go to
  // one run of one server. So a change that was made while it was 0 or changed counts as missed
  // though the call succeeded: it may have gone to a server that isn't the tier afterwards.
  uint64_t watch() const { return watch_.load(std::memory_order_acquire); }

  // How a call of the tier ended. Calls that fail one after the other open the breaker, those whose
  // status says that the tier didn't answer or answered nonsense, or lets nobody in. Answers about
  // a key or the request don't count; nor does ResourceExhausted: a tier that is full answers at
  // once, and can be read and removed from. OK is one load where nothing failed lately.
  void Report(const absl::Status& status);

  // The tier wasn't, or may not have been, told of a change of this key. To be called after the
  // change. It will be removed there as soon as that is possible, and before the tier is trusted
  // anew. Too many: as RenewLater.
  void Missed(std::string_view key);

  // Whether what the tier has for this key is not to be used yet. One load where nothing is missed.
  bool IsMissed(std::string_view key) const { return missed_.Contains(key); }

  // --- Changes of the control block, by the calling thread. They take a few calls of the tier: for
  //     up to 4 timeouts where it hangs, and up to 12 where other servers keep changing the block.
  //     What they mean for this server's memory is for the caller to do, after them, whatever they
  //     return.

  // Moves the clock on, and has entries of keys with `prefix`, if there is one, disregarded by all
  // servers. Returns the block that says so, which is in use here then.
  //
  // Where that failed, everything in the tier will be disregarded in its stead as soon as that is
  // possible, and before the tier is trusted anew; it isn't kUp until then. Unavailable at once
  // where calls were given up.
  absl::StatusOr<std::shared_ptr<const ControlBlock>> Tick(
      std::optional<std::string_view> prefix = std::nullopt);

  // Has everything that is in the tier disregarded by all servers. Failures: as Tick.
  absl::Status Renew();

  // Has everything in the tier disregarded as soon as that is possible; not kUp until then. For a
  // change that couldn't be told and is of no single key.
  void RenewLater();

  // --- What goes on

  RemoteHealth health() const;

  // Adds health, last_error, missed_waiting, changes, flushes, failed_calls, timeouts,
  // breaker_opens, connects, disconnects and generations. `writes` and the rest are the caller's.
  void AddTo(RemoteStats& stats) const;

 private:
  // Bits of state_.
  static constexpr uint32_t kReads = 1;
  static constexpr uint32_t kCalls = 2;

  // What the thread knows, and nobody else looks at. Times are ns of the process's clock, kNever
  // where there is none.
  struct Progress {
    uint32_t failures = 0;  // in a row; until it is kUp
    int64_t retry_at = 0;
    int64_t connected_at = 0;
    int64_t forget_at = kNever;  // what is in memory; kNever while changes are heard of
    bool probing = false;        // knows that the breaker is open
    bool read_control = true;    // it isn't known, or changed since
    bool was_up = false;
    bool settle = false;          // before it is kUp
    int64_t settled_at = kNever;  // kNever: the tier hasn't answered since it failed
    bool unheard = false;         // made changes while there was no subscription
    uint32_t renewals = 0;        // soon after each other
    int64_t renewed_at = 0;
  };

  // --- On the thread: remote_sync_thread.cc

  static void* RunThread(void* self);
  void Run();
  // Does what is due. When the next thing is.
  int64_t Work();
  // One step towards kUp, with one call of the tier or a change of the control block. True where
  // the next one is due; false: nothing to do until then, or word of something.
  absl::StatusOr<bool> Step();
  absl::Status Connect();
  void TellUnheard(const absl::Status& refusal);
  absl::Status Probe();
  absl::Status RemoveMissed();
  absl::Status SyncControl() ABSL_LOCKS_EXCLUDED(mutex_);
  void DelayRenewals();
  bool MustRenew() const ABSL_LOCKS_EXCLUDED(mutex_);
  void NoticeOpening() ABSL_LOCKS_EXCLUDED(mutex_);
  void Answered();
  void Failed();
  int64_t Backoff(uint32_t failures) const;
  bool GoUp() ABSL_LOCKS_EXCLUDED(mutex_);
  void StartOver() ABSL_LOCKS_EXCLUDED(mutex_);
  // Wait until then, or until they are woken; Listen passes on what is told.
  void Sleep(int64_t until) ABSL_LOCKS_EXCLUDED(mutex_);
  void Listen(int64_t until) ABSL_LOCKS_EXCLUDED(mutex_);
  void PassOn(SharedTier::Changes changes) ABSL_LOCKS_EXCLUDED(mutex_);
  void LoseSubscription(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetSubscription(std::unique_ptr<SharedTier::Subscription> subscription)
      ABSL_LOCKS_EXCLUDED(wake_mutex_);
  void ApplyEffects();
  void Forget(bool expires);
  void ForgetSoon();
  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);

  // --- Anywhere

  void Wake() ABSL_LOCKS_EXCLUDED(mutex_, wake_mutex_);
  bool stopping() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool synced() const ABSL_LOCKS_EXCLUDED(mutex_);
  template <class Change>
  absl::StatusOr<std::shared_ptr<const ControlBlock>> Changing(const Change& change)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status GivenUp() const ABSL_LOCKS_EXCLUDED(mutex_);
  void OpenBreaker() ABSL_LOCKS_EXCLUDED(mutex_);
  // Counts a call that failed; and remembers why.
  void CountFailure(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remember(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RemoteOptions options_;
  SharedTier& tier_;
  Target& target_;
  MissedKeys missed_;
  SharedControl control_;

  std::atomic<uint32_t> state_{kCalls};
  std::atomic<uint64_t> watch_{0};  // stored under the lock
  std::atomic<int> failures_in_row_{0};

  std::atomic<uint64_t> changes_{0};
  std::atomic<uint64_t> flushes_{0};
  std::atomic<uint64_t> failed_calls_{0};
  std::atomic<uint64_t> timeouts_{0};
  std::atomic<uint64_t> breaker_opens_{0};
  std::atomic<uint64_t> connects_{0};
  std::atomic<uint64_t> disconnects_{0};

  mutable Mutex mutex_;
  CondVar woken_changed_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool listening_ ABSL_GUARDED_BY(mutex_) = false;  // in Next, or about to be
  bool open_ ABSL_GUARDED_BY(mutex_) = false;       // the breaker
  bool synced_ ABSL_GUARDED_BY(mutex_) = false;     // all was done for it to be kUp
  uint64_t renewals_asked_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t renewals_done_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);

  // Held while the subscription is woken or exchanged; the thread itself uses it without.
  Mutex wake_mutex_;
  std::unique_ptr<SharedTier::Subscription> subscription_;  // exchanged under the lock
  Progress progress_;
  pthread_t thread_ = {};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_SYNC_H_
