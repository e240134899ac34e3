// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_WRITE_BEHIND_CALLS_H_
#define LARDER_SRC_WRITE_BEHIND_CALLS_H_

#include "larder/internal/event.h"
#include "larder/internal/sleepers.h"
#include "larder/internal/write_behind.h"
#include "larder/internal/write_chain.h"
#include "larder/internal/write_queue.h"
#include "larder/internal/write_room.h"

namespace larder::internal {

// What is left to do when the lock was released: see Finish.
struct WriteBehind::Afterwards {
  bool has_resolved = false;  // there is something in resolved_, and nobody else who sees to it
  WriteRoom::Waiter* granted = nullptr;
  Sleepers::Sleeper* woken = nullptr;
};

// A call of Flush, on its stack.
struct WriteBehind::FlushCall : WriteQueue::FlushMark {
  Event done;
};

// A call of EnqueueAndWait, on its stack.
struct WriteBehind::ThroughCall : ThroughWrite {
  Event done;
};

// The calling thread is inside a call of an engine's target while this lives.
class WriteBehind::TargetCall {
 public:
  explicit TargetCall(const WriteBehind* engine) : engine_(engine), around_(innermost) {
    innermost = this;
  }
  ~TargetCall() { innermost = around_; }
  TargetCall(const TargetCall&) = delete;
  TargetCall& operator=(const TargetCall&) = delete;

  // Whether the calling thread is inside a call of that engine's target.
  static bool IsInside(const WriteBehind* engine) {
    const TargetCall* call = innermost;
    while (call != nullptr && call->engine_ != engine) call = call->around_;
    return call != nullptr;
  }

 private:
  static inline constinit thread_local const TargetCall* innermost = nullptr;

  const WriteBehind* const engine_;
  const TargetCall* const around_;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_WRITE_BEHIND_CALLS_H_
