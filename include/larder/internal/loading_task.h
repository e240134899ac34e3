// SPDX-License-Identifier: Apache-2.0
//
// LoadingCore's loads away from their callers: on the executor, or wherever an asynchronous loader
// finishes them. See loading_core.h and loading_flight.h.

#ifndef LARDER_INTERNAL_LOADING_TASK_H_
#define LARDER_INTERNAL_LOADING_TASK_H_

#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/async_load.h"
#include "larder/executor.h"
#include "larder/internal/load_control.h"
#include "larder/internal/loading_core.h"
#include "larder/internal/loading_flight.h"

namespace larder::internal {

// Keeps the core from being freed; not the cache from being closed.
template <class K, class V, class P, class H, class E>
class LoadingCore<K, V, P, H, E>::Reference {
 public:
  explicit Reference(LoadingCore& core) : core_(&core) { core.AddReference(); }
  Reference(Reference&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Reference& operator=(Reference&&) = delete;
  ~Reference() {
    if (core_ != nullptr) core_->DropReference();
  }
  LoadingCore& operator*() const { return *core_; }
  LoadingCore* operator->() const { return core_; }

 private:
  LoadingCore* core_;
};

// Gives a slot of the limiter back at its end.
template <class K, class V, class P, class H, class E>
class LoadingCore<K, V, P, H, E>::SlotHold {
 public:
  SlotHold() = default;
  explicit SlotHold(LoadLimiter* limiter) : limiter_(limiter) {}
  SlotHold(SlotHold&& other) noexcept : limiter_(std::exchange(other.limiter_, nullptr)) {}
  SlotHold& operator=(SlotHold&& other) noexcept {
    std::swap(limiter_, other.limiter_);
    return *this;
  }
  ~SlotHold() {
    if (limiter_ != nullptr) limiter_->Release();
  }

 private:
  LoadLimiter* limiter_ = nullptr;
};

// A load on its way to the executor. It runs once; dropped before that, it fails.
template <class K, class V, class P, class H, class E>
template <class Loader>
class LoadingCore<K, V, P, H, E>::LoadTask {
 public:
  template <class GivenLoader>
  LoadTask(LoadingCore& core, std::shared_ptr<Flight> flight, GivenLoader&& loader)
      : core_(core), flight_(std::move(flight)), loader_(std::forward<GivenLoader>(loader)) {}
  LoadTask(LoadTask&&) = default;
  LoadTask& operator=(LoadTask&&) = delete;
  ~LoadTask() {
    if (flight_ == nullptr) return;
    core_->Refuse(*flight_, absl::ResourceExhaustedError("the executor refused a load"));
  }

  LoadingCore& core() const { return *core_; }
  void TakeSlot() { slot_ = SlotHold(core_->loads_.limiter()); }
  bool ended() const { return flight_->finished(); }

  void Run() && {
    const std::shared_ptr<Flight> flight = std::move(flight_);
    // First, so that the cache's end, which ends what hasn't begun, waits for what has.
    const LoadControl::Running running(core_->loads_);
    ThreadRecord& thread = ThreadRecord::Current();
    if (!flight->TryBegin(&thread)) return;
    if constexpr (AsyncLoaderFor<Loader, K, V>) {
      std::unique_ptr<AsyncTarget> target;
      try {
        target = std::make_unique<AsyncTarget>(*core_, flight, std::move(slot_));
      } catch (const std::bad_alloc&) {
        return core_->Fail(*flight, absl::ResourceExhaustedError("no memory to start a load"));
      }
      try {
        // What it asks for, it waits for, in whatever manner.
        const LeaderScope scope(thread);
        loader_(flight->key, AsyncLoad<V>(std::move(target)));
      } catch (...) {
        // Whatever became of the load, it has been dropped or will be finished.
      }
      flight->LeaderLeaves();
    } else {
      try {
        core_->RunFlight(*flight, loader_, thread);
      } catch (...) {
        // Those who wait have been told; there is no caller.
      }
    }
  }

 private:
  Reference core_;
  SlotHold slot_;
  std::shared_ptr<Flight> flight_;
  Loader loader_;
};

// The cache's side of an asynchronous load that has begun.
template <class K, class V, class P, class H, class E>
class LoadingCore<K, V, P, H, E>::AsyncTarget final : public AsyncLoadTarget<V> {
 public:
  AsyncTarget(LoadingCore& core, std::shared_ptr<Flight> flight, SlotHold slot)
      : core_(core),
        running_(core.loads_),
        slot_(std::move(slot)),
        flight_(std::move(flight)),
        context_(flight_->old ? &*flight_->old : nullptr, flight_->stop.get_token()),
        timer_(std::in_place, core) {}
  ~AsyncTarget() override {
    if (timer_.has_value()) {
      Finish(absl::CancelledError("an asynchronous load was dropped without Finish"));
    }
  }

  LoadContext<V>& context() override { return context_; }

  void Finish(absl::StatusOr<Loaded<V>> result) noexcept override {
    const int64_t nanos = timer_->Elapsed();
    timer_->ok = core_->IsAnswer(result.status(), context_);
    timer_.reset();
    try {
      core_->Finish(*flight_, std::move(result), context_, nanos);
    } catch (...) {
      // Those who wait have been told; there is no caller.
    }
  }

 private:
  const Reference core_;
  const LoadControl::Running running_;
  const SlotHold slot_;  // given back before the cache's end may go on
  const std::shared_ptr<Flight> flight_;
  LoadContext<V> context_;
  std::optional<LoadTimer> timer_;
};

// Lets a flight run away from the calling thread. Whatever happens, it lands.
template <class K, class V, class P, class H, class E>
template <class Loader>
void LoadingCore<K, V, P, H, E>::Launch(const std::shared_ptr<Flight>& flight, Loader&& loader) {
  using Task = LoadTask<std::decay_t<Loader>>;
  if constexpr (!std::is_constructible_v<std::decay_t<Loader>, Loader&&>) {
    Refuse(*flight, CannotRunLater());
  } else {
    if (!Admit(*flight)) return;
    try {
      if (flight->background) SetAlarm(flight);
      flight->queued = Enqueue(Task(*this, flight, std::forward<Loader>(loader)), flight->in_loader,
                               [&](absl::Status status) { Refuse(*flight, std::move(status)); });
      // It may have been given up meanwhile.
      if (flight->finished()) LeaveQueue(*flight);
    } catch (const std::bad_alloc&) {
      Refuse(*flight, absl::ResourceExhaustedError("no memory to start a load"));
    } catch (...) {
      Refuse(*flight, absl::InternalError("the copy of a loader threw an exception"));
      throw;
    }
  }
}

// Lets a task run once it may: at once, where a loader may be waiting for it (`in_loader`).
// `refuse` is called with the error where too many wait already. Returns its place in the limiter's
// queue, plus one; 0: it doesn't wait.
template <class K, class V, class P, class H, class E>
template <class Task, class Refusal>
uint64_t LoadingCore<K, V, P, H, E>::Enqueue(Task task, bool in_loader, Refusal&& refuse) {
  LoadLimiter* const limiter = LimiterFor(in_loader);
  if (limiter == nullptr) {
    Submit(std::move(task));
    return 0;
  }
  LoadLimiter::Callback granted = [task = std::move(task)]() mutable {
    Task next = std::move(task);
    next.TakeSlot();
    // What has been ended in the queue gives way at once; after the cache's end, for one, when the
    // executor may be gone.
    if (!next.ended()) Submit(std::move(next));
  };
  LoadLimiter::Ticket ticket = 0;
  const LoadLimiter::Answer answer = limiter->Acquire(std::move(granted), &ticket);
  if (answer == LoadLimiter::Answer::kGranted) std::move(granted)();
  if (answer == LoadLimiter::Answer::kRefused) refuse(limiter->RefusedError());
  return answer == LoadLimiter::Answer::kQueued ? ticket + 1 : 0;
}

// Waits for a slot for a load that this thread is to run.
template <class K, class V, class P, class H, class E>
absl::Status LoadingCore<K, V, P, H, E>::WaitForSlot(const ThreadRecord& thread, SlotHold& slot) {
  LoadLimiter* const limiter = LimiterFor(thread.loads_led != 0);
  if (limiter == nullptr) return absl::OkStatus();
  try {
    absl::Status status = limiter->Wait(kNever, clock_);
    if (status.ok()) slot = SlotHold(limiter);
    return status;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory to wait for other loads");
  }
}

template <class K, class V, class P, class H, class E>
template <class Task>
void LoadingCore<K, V, P, H, E>::Submit(Task task) {
  Executor& executor = task.core().loads_.executor();
  // Refused, it fails by being dropped.
  executor.Execute([task = std::move(task)]() mutable { std::move(task).Run(); });
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::SetAlarm(const std::shared_ptr<Flight>& flight) {
  if (flight->settings.background_timeout == kNever) return;
  // Alarms end before the core does.
  flight->alarm.Set(loads_, SaturatingAdd(Now(), flight->settings.background_timeout),
                    [this, flight = std::weak_ptr(flight)] {
                      if (const std::shared_ptr<Flight> late = flight.lock()) {
                        Abandon(*late, absl::DeadlineExceededError(
                                           "the load took longer than background_timeout"));
                      }
                    });
}

// Ends what others than callers' threads do for this cache. See LoadsAtClose.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::CloseLoads() {
  loads_.BeginClosing();
  for (StripeT& stripe : stripes()) {
    std::vector<std::shared_ptr<Flight>> flights;
    {
      MutexLock lock(&stripe.mutex);
      flights = stripe.flights.All();
    }
    for (const std::shared_ptr<Flight>& flight : flights) {
      flight->stop.request_stop();
      if (flight->TryRefuse() || abandons_loads_) Fail(*flight, Closing());
    }
  }
  if (!abandons_loads_) loads_.WaitForLoaders();
  loads_.Close();
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOADING_TASK_H_
