// SPDX-License-Identifier: Apache-2.0
//
// LoadAwaiter: what a coroutine awaits when it asks a cache for a value.

#ifndef LARDER_LOAD_AWAITER_H_
#define LARDER_LOAD_AWAITER_H_

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/status/statusor.h"

namespace larder {

// Made by Cache::GetOrLoadAwait, to be awaited once. The load starts when it is.
//
//   Task<Page> Serve(Cache<std::string, Page>& cache, std::string url) {
//     absl::StatusOr<Page> page = co_await cache.GetOrLoadAwait(url, Render);
//     ...
//   }
//
// The coroutine isn't suspended where the value is there, or where the load has ended by then. Else
// it is resumed once, on the cache's executor, or, if that refuses, wherever the load ended; also
// when the cache is destroyed first (see LoadsAtClose). So it may well go on in another thread,
// and, in that last case, must not use the cache again. What runs in the coroutine until it is
// suspended next, or ends, is a task of the executor's: it should be short, and must not throw out
// of it.
//
// A coroutine may be destroyed while it is suspended here, as long as it isn't being resumed in
// another thread at that moment: the load goes on, and nobody is resumed.
//
// Where a coroutine runs and what its type is are the program's: this header needs none of it.
//
// `Start` is called with a callback for an absl::StatusOr<V>.
template <class V, class Start>
class [[nodiscard]] LoadAwaiter {
 public:
  explicit LoadAwaiter(Start start) : start_(std::move(start)) {}
  LoadAwaiter(const LoadAwaiter&) = delete;
  LoadAwaiter& operator=(const LoadAwaiter&) = delete;
  ~LoadAwaiter() {
    if (state_ != nullptr) state_->stage.exchange(Stage::kGone, std::memory_order_acq_rel);
  }

  bool await_ready() {
    state_ = std::make_shared<State>();
    start_([state = state_](absl::StatusOr<V> result) { state->Answer(std::move(result)); });
    return state_->stage.load(std::memory_order_acquire) == Stage::kAnswered;
  }

  // False: the result came meanwhile. `Handle`: a std::coroutine_handle.
  //
  // The coroutine may be resumed, and this destroyed, before the exchange returns. So from then on
  // only what is on the stack may be touched; were this inlined, clang before 17 would keep the
  // local in the coroutine's frame (llvm-project issue 56301).
  template <class Handle>
  ABSL_ATTRIBUTE_NOINLINE bool await_suspend(Handle handle) {
    const std::shared_ptr<State> state = state_;
    state->coroutine = handle.address();
    state->resume = [](void* coroutine) { Handle::from_address(coroutine).resume(); };
    Stage seen = Stage::kStarted;
    return state->stage.compare_exchange_strong(seen, Stage::kSuspended, std::memory_order_acq_rel);
  }

  absl::StatusOr<V> await_resume() { return *std::move(state_->result); }

 private:
  enum class Stage {
    kStarted,    // the load has, and the coroutine runs
    kSuspended,  // the coroutine is to be resumed
    kAnswered,   // there is a result
    kGone,       // the awaiter is no more
  };

  // Shared with the callback, which may outlive the coroutine.
  struct State {
    void Answer(absl::StatusOr<V> answer) {
      result.emplace(std::move(answer));
      // Who comes second of this and await_suspend lets the coroutine go on.
      Stage seen = Stage::kStarted;
      if (stage.compare_exchange_strong(seen, Stage::kAnswered, std::memory_order_acq_rel)) return;
      if (seen == Stage::kSuspended &&
          stage.compare_exchange_strong(seen, Stage::kAnswered, std::memory_order_acq_rel)) {
        resume(coroutine);
      }
    }

    std::atomic<Stage> stage{Stage::kStarted};
    std::optional<absl::StatusOr<V>> result;  // written before kAnswered
    void* coroutine = nullptr;                // written before kSuspended
    void (*resume)(void*) = nullptr;
  };

  Start start_;
  std::shared_ptr<State> state_;
};

}  // namespace larder

#endif  // LARDER_LOAD_AWAITER_H_
