// SPDX-License-Identifier: Apache-2.0
//
// LoadingCore's loads whose callers don't wait in a thread, but leave a callback. See
// loading_core.h, loading_call.h.

#ifndef LARDER_INTERNAL_LOADING_ASYNC_H_
#define LARDER_INTERNAL_LOADING_ASYNC_H_

#include <atomic>
#include <concepts>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/executor.h"
#include "larder/internal/loading_call.h"
#include "larder/internal/loading_core.h"
#include "larder/internal/loading_task.h"

namespace larder::internal {

// One call, from when it was made until its callback is called.
template <class K, class V, class P, class H, class E>
struct LoadingCore<K, V, P, H, E>::AsyncCall {
  AsyncCall(LoadingCore& cache, K given_key, HashBits key_hash, const LoadOptions& given_options,
            bool wants_age, ResultCallback given_callback)
      : core(cache),
        key(std::move(given_key)),
        hash(key_hash),
        options(given_options),
        request(*core, options, wants_age),
        callback(std::move(given_callback)) {}
  virtual ~AsyncCall() = default;

  // Launches the flight with the call's own loader. Once.
  virtual void Launch(const std::shared_ptr<Flight>& flight) = 0;
  // Has a copy of the loader begin a flight that another call has launched, if it hasn't begun.
  virtual void Begin(const std::shared_ptr<Flight>& flight) = 0;

  const Reference core;
  const K key;
  const HashBits hash;
  const LoadOptions options;
  LoadRequest request;
  ResultCallback callback;
  std::atomic<bool> answered{false};
  FlightAlarm alarm;
};

template <class K, class V, class P, class H, class E>
template <class Q, class Loader>
void LoadingCore<K, V, P, H, E>::LoadAsync(const Q& key, Loader&& loader, ResultCallback callback,
                                           const LoadOptions& options, bool wants_age) {
  using StoredLoader = std::decay_t<Loader>;
  struct Call final : AsyncCall {
    Call(LoadingCore& cache, const Q& asked_key, HashBits key_hash,
         const LoadOptions& given_options, bool wants_age, ResultCallback given_callback,
         Loader&& given_loader)
        : AsyncCall(cache, K(asked_key), key_hash, given_options, wants_age,
                    std::move(given_callback)),
          loader(std::forward<Loader>(given_loader)) {}
    void Launch(const std::shared_ptr<Flight>& flight) override {
      this->core->LoadingCore::Launch(flight, std::move(loader));
    }
    void Begin([[maybe_unused]] const std::shared_ptr<Flight>& flight) override {
      if constexpr (std::copy_constructible<StoredLoader>) {
        Submit(LoadTask<StoredLoader>(*this->core, flight, loader));
      }
    }
    StoredLoader loader;
  };
  ThreadRecord& thread = EnterCall();
  const HashBits hash(hash_(key));
  const absl::Status valid = options.Validate();
  LoadRequest request(*this, valid.ok() ? options : LoadOptions::Default(), wants_age);
  if (auto hit = HitFor(key, hash, request, thread)) return std::move(callback)(*std::move(hit));
  if (!valid.ok()) return std::move(callback)(valid);
  auto call = std::make_shared<Call>(*this, key, hash, options, wants_age, std::move(callback),
                                     std::forward<Loader>(loader));
  call->request.refresh_drawn = request.refresh_drawn;
  Proceed(std::move(call), /*at_once=*/true);
}

// `at_once`: still inside the call, so that what is there already is answered without a detour.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Proceed(std::shared_ptr<AsyncCall> call, bool at_once) {
  using Verdict = typename Finding::Verdict;
  ThreadRecord& thread = EnterCall();
  Finding finding = Consider(call->key, call->hash, call->request);
  switch (finding.verdict) {
    case Verdict::kLive:
    case Verdict::kStale: {
      const bool live = finding.verdict == Verdict::kLive;
      // First, as the copy of the value may throw.
      if (finding.flight != nullptr) call->Launch(finding.flight);
      auto result = ResultOf(finding, live ? LoadSource::kMemory : LoadSource::kStale, thread);
      return Answer(*call, std::move(result), at_once);
    }
    case Verdict::kNegative:
      counters_.Add(thread, Counter::kNegativeHits);
      return Answer(*call, KnownNotFound(), at_once);
    case Verdict::kClosing:
      return Answer(*call, Closing(), at_once);
    case Verdict::kLead:
    case Verdict::kJoin: {
      const std::shared_ptr<Flight> flight = finding.flight;
      const bool leads = finding.verdict == Verdict::kLead;
      try {
        Await(call, std::make_shared<const Finding>(std::move(finding)));
      } catch (const std::bad_alloc&) {
        if (leads) Fail(*flight, absl::ResourceExhaustedError("no memory to wait for a load"));
        throw;
      }
      if (leads) {
        call->Launch(flight);
      } else if (call->request.in_loader && flight->asked_for()) {
        // It may be waiting for the slot of the loader that waits for it.
        call->Begin(flight);
      }
    }
  }
}

// The same where nobody is there to tell of what the copy of a key throws.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::ProceedQuietly(const std::shared_ptr<AsyncCall>& call) noexcept {
  try {
    Proceed(call, /*at_once=*/false);
  } catch (const std::exception& e) {
    Answer(*call, absl::InternalError(absl::StrCat("a load threw an exception: ", e.what())),
           false);
  } catch (...) {
    Answer(*call, absl::InternalError("a load threw an exception"), false);
  }
}

// Answers the call when its flight lands, or when its time is up.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Await(const std::shared_ptr<AsyncCall>& call,
                                       std::shared_ptr<const Finding> finding) {
  const int64_t gives_up_at = call->request.GivesUpAt(static_cast<bool>(finding->value));
  if (gives_up_at != kNever) {
    call->alarm.Set(loads_, gives_up_at, [this, call = std::weak_ptr(call), finding] {
      const std::shared_ptr<AsyncCall> waiting = call.lock();
      if (waiting == nullptr || waiting->answered.exchange(true)) return;
      Deliver(*waiting, [&] { return GiveUp(*finding, waiting->request, EnterCall()); });
    });
  }
  const auto landed = [this, call, finding]() {
    call->alarm.Cancel(loads_);
    if (call->answered.load(std::memory_order_acquire)) return;
    const bool joined = finding->verdict == Finding::Verdict::kJoin;
    if (joined) counters_.Add(EnterCall(), Counter::kJoined);
    if (joined && IsTooOld(*finding)) return ProceedQuietly(call);
    if (call->answered.exchange(true)) return;
    Deliver(*call, [&] { return OutcomeOf(*finding, EnterCall()); });
  };
  FlightBase::Callback callback = landed;
  if (!finding->flight->OnLanded(std::move(callback))) landed();
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Answer(AsyncCall& call, absl::StatusOr<LoadResult<V>> result,
                                        bool at_once) {
  if (call.answered.exchange(true)) return;
  if (at_once) return std::move(call.callback)(std::move(result));
  Deliver(call, [&] { return std::move(result); });
}

// Calls back on the executor; here, where that refuses. `result` copies a user's value, and may
// throw.
template <class K, class V, class P, class H, class E>
template <class Result>
void LoadingCore<K, V, P, H, E>::Deliver(AsyncCall& call, Result&& result) {
  absl::StatusOr<LoadResult<V>> outcome = absl::InternalError("the copy of a value threw");
  try {
    outcome = result();
  } catch (const std::exception& e) {
    outcome =
        absl::InternalError(absl::StrCat("the copy of a value threw an exception: ", e.what()));
  } catch (...) {
    // As it stands.
  }
  auto answer = std::make_shared<PendingAnswer>(std::move(call.callback), std::move(outcome));
  if (!loads_.executor().Execute([answer] { answer->Give(); })) answer->Give();
}

template <class K, class V, class P, class H, class E>
struct LoadingCore<K, V, P, H, E>::PendingAnswer {
  PendingAnswer(ResultCallback given_callback, absl::StatusOr<LoadResult<V>> given_outcome)
      : callback(std::move(given_callback)), outcome(std::move(given_outcome)) {}
  void Give() { std::move(callback)(std::move(outcome)); }

  ResultCallback callback;
  absl::StatusOr<LoadResult<V>> outcome;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOADING_ASYNC_H_
