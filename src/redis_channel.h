// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_REDIS_CHANNEL_H_
#define LARDER_SRC_REDIS_CHANNEL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"
#include "src/deadline.h"
#include "src/redis_client.h"
#include "src/redis_command.h"
#include "src/redis_outbox.h"
#include "src/redis_reply.h"
#include "src/socket.h"

namespace larder::internal {

// A connection that calls of many threads share: their requests follow one another on it, and their
// answers come in the same order.
//
// There is no thread for that; callers do it for each other. Who finds nobody sending sends what
// has gathered until there is no more: requests that come while it does so go out together. One
// caller drives: it waits for the connection, takes what arrives and completes the calls that it
// answers, until its own is among them; then another one that still waits is woken to drive. All
// others sleep, each by itself, until their call is complete. Where several are woken, what they
// ask next gathers until all are, and the driver sends it: threads that do nothing but ask have
// their requests go out together rather than one by one.
//
// A caller whose deadline passes leaves its call behind, and the channel waits for the answer for
// it: nothing that comes late can answer another call. An answer that is awaited for longer than
// the channel's patience closes it.
//
// The channel is closed by a lost connection, and by everything after which it isn't certain which
// call the next bytes answer. All its calls fail then.
//
// Thread-safe. Held by each thread that is in Call: it may be dropped from elsewhere meanwhile.
class RedisChannel {
 public:
  // `address` is for messages. `number` tells channels apart. ResourceExhausted if there is no file
  // descriptor for it.
  static absl::StatusOr<std::shared_ptr<RedisChannel>> Create(
      std::unique_ptr<RedisConnection> connection, std::string address, absl::Duration patience,
      uint64_t number);
  // No Call may be under way.
  ~RedisChannel();

  RedisChannel(const RedisChannel&) = delete;
  RedisChannel& operator=(const RedisChannel&) = delete;

  struct Outcome {
    absl::StatusOr<RedisReplies> replies;
    enum class Repeat {
      kNo,
      kNotSent,  // nothing was sent: it can be made on another channel
      kLost,     // it was sent, and is such that it can be made on another channel
    } repeat = Repeat::kNo;
  };

  // Sends `request` and returns its replies, or what the first error among them means, as
  // RedisConnection::Call. `shared`: the same as `request` if it is large (RedisOutbox::kLarge),
  // else null.
  Outcome Call(const RedisRequest& request, std::shared_ptr<const RedisRequest> shared,
               Deadline deadline);

  // Closes it as soon as possible: all its calls fail with Unavailable, saying `why`.
  void Break(std::string_view why);

  // Takes calls. Once false, it stays so.
  bool open() const { return open_.load(std::memory_order_acquire); }
  // Another call would wait for many, or for large ones.
  bool busy() const;
  size_t pending() const { return pending_.load(std::memory_order_relaxed); }

  const std::string& run_id() const { return connection_->run_id(); }
  uint64_t number() const { return number_; }

 private:
  struct PendingCall;
  using CallPtr = std::unique_ptr<PendingCall>;

  RedisChannel(std::unique_ptr<RedisConnection> connection, std::string address,
               absl::Duration patience, uint64_t number, ScopedFd kicked);

  // What a caller has to do for all beside waiting.
  struct Duties {
    bool send = false;
    bool drive = false;
  };
  // False, with nothing done, if the channel takes no calls.
  bool Enqueue(PendingCall* call, const RedisRequest& request,
               std::shared_ptr<const RedisRequest> shared, Duties* duties);

  // Each of these needs the duty. Without memory for their few words of account nobody could say
  // any more which answer is whose: they end the process then.
  bool Send(const PendingCall* own) noexcept;
  bool SendBox();
  // Whether something is left to send, and the duty is the caller's now.
  bool TakeLeftToSend() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Drive(const PendingCall* own, Deadline deadline) noexcept;
  void HandOver() noexcept;

  Outcome Take(CallPtr call);
  Outcome Abandon(CallPtr call, bool driving, Deadline deadline) noexcept;

  // --- What the driver does

  // What is to be done before the driver waits.
  struct Plan {
    bool send;  // the duty is the driver's, then
    std::string broken_because;
  };
  Plan MakePlan();
  bool Wait(bool to_send, Deadline deadline);
  void Read(const PendingCall* own);
  absl::Status Parse();
  bool WasSent(const PendingCall& call);
  // Which of the calls that wait for answers may be made once more, if they are such that they can
  // be: none; all but the first, to which something was said; all.
  enum class MayRepeat { kNone, kOthers, kAll };
  void Close(const absl::Status& status, MayRepeat may_repeat);
  void FinishAnswered(const PendingCall* own);
  void Finish(PendingCall* call);

  void Collect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Kick();
  void Retire();
  absl::Status Error(absl::StatusCode code, const PendingCall& call, std::string_view text) const;

  const std::unique_ptr<RedisConnection> connection_;
  const std::string address_;
  const absl::Duration patience_;
  const uint64_t number_;
  const ScopedFd kicked_;  // an eventfd: wakes the driver

  std::atomic<bool> open_{true};  // cleared under the lock
  std::atomic<size_t> pending_{0};
  std::atomic<size_t> abandoned_{0};
  std::atomic<size_t> unread_{0};  // as of the driver's last look
  std::atomic<size_t> unsent_{0};
  std::atomic<uint64_t> sent_{0};  // bytes

  Mutex mutex_;
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;
  bool driving_ ABSL_GUARDED_BY(mutex_) = false;
  // There is something to send that is left for the driver.
  bool left_to_send_ ABSL_GUARDED_BY(mutex_) = false;
  // The driver is waking several callers and will send what they ask.
  bool gathering_ ABSL_GUARDED_BY(mutex_) = false;
  std::string broken_because_ ABSL_GUARDED_BY(mutex_);
  // To send, after what `sending_box_` holds.
  RedisOutbox outbox_ ABSL_GUARDED_BY(mutex_);
  uint64_t added_ ABSL_GUARDED_BY(mutex_) = 0;   // bytes that were put into the outbox
  uint64_t handed_ ABSL_GUARDED_BY(mutex_) = 0;  // and given to the sender
  // Calls in the order of their requests, after those in awaited_.
  std::vector<PendingCall*> incoming_ ABSL_GUARDED_BY(mutex_);

  // Of whoever sends.
  RedisOutbox sending_box_;
  // Of whoever drives; of the lock's owner while nobody does.
  std::deque<PendingCall*> awaited_;
  std::vector<PendingCall*> answered_;  // and not completed yet
};

}  // namespace larder::internal

#endif  // LARDER_SRC_REDIS_CHANNEL_H_
