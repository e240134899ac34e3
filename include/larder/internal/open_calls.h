// SPDX-License-Identifier: Apache-2.0
//
// OpenCalls: calls that may begin until something is closed, which waits for them.

#ifndef LARDER_INTERNAL_OPEN_CALLS_H_
#define LARDER_INTERNAL_OPEN_CALLS_H_

#include <atomic>
#include <cstdint>

namespace larder::internal {

// Counts calls under way. Two atomic operations a call.
//
// Thread safety: all methods may be called from any thread.
class OpenCalls {
 public:
  OpenCalls() = default;
  OpenCalls(const OpenCalls&) = delete;
  OpenCalls& operator=(const OpenCalls&) = delete;

  // A call, for the scope it lives in.
  class Call {
   public:
    explicit Call(OpenCalls& calls) : calls_(calls), around_(innermost) {
      is_let_in_ = (calls_.state_.fetch_add(kCall) & kClosed) == 0;
      innermost = this;
    }
    ~Call() {
      innermost = around_;
      if (calls_.state_.fetch_sub(kCall) == (kClosed | kCall)) calls_.state_.notify_all();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // False: what the call was for is closed.
    bool is_let_in() const { return is_let_in_; }

   private:
    friend class OpenCalls;
    static inline constinit thread_local const Call* innermost = nullptr;

    OpenCalls& calls_;
    const Call* const around_;
    bool is_let_in_;
  };

  // Whether the calling thread is inside a call: it must not wait for that.
  bool IsInside() const {
    const Call* call = Call::innermost;
    while (call != nullptr && &call->calls_ != this) call = call->around_;
    return call != nullptr;
  }

  // Lets no more calls in, and waits until those under way have ended.
  void Close() {
    uint64_t state = state_.fetch_or(kClosed) | kClosed;
    for (; state != kClosed; state = state_.load()) state_.wait(state);
  }

  bool closed() const { return (state_.load() & kClosed) != 0; }

 private:
  static constexpr uint64_t kClosed = 1;
  static constexpr uint64_t kCall = 2;

  std::atomic<uint64_t> state_{0};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_OPEN_CALLS_H_
