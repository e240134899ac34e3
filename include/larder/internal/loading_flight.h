// SPDX-License-Identifier: Apache-2.0
//
// LoadingCore's flights: how one load runs, what is stored of it, and who is told. See
// loading_core.h, flight.h.

#ifndef LARDER_INTERNAL_LOADING_FLIGHT_H_
#define LARDER_INTERNAL_LOADING_FLIGHT_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "larder/internal/core_terms.h"
#include "larder/internal/core_write.h"
#include "larder/internal/loading_core.h"

namespace larder::internal {

// What a load does, of the loaders that run on the thread that calls them.
template <class K, class V, class P, class H, class E>
template <class Loader>
absl::StatusOr<Loaded<V>> LoadingCore<K, V, P, H, E>::RunLoader(Flight& flight, Loader& loader,
                                                                LoadContext<V>& context,
                                                                LoadTimer& timer) {
  const auto call = [&]() -> decltype(auto) {
    if constexpr (ContextLoader<Loader, K, V>) {
      return loader(flight.key, context);
    } else {
      return loader(flight.key);
    }
  };
  using Result = std::remove_cvref_t<decltype(call())>;
  if constexpr (std::is_same_v<Result, absl::StatusOr<Loaded<V>>> ||
                std::is_same_v<Result, Loaded<V>>) {
    absl::StatusOr<Loaded<V>> loaded = call();
    timer.ok = IsAnswer(loaded.status(), context);
    return loaded;
  } else {
    absl::StatusOr<V> value = call();
    timer.ok = IsAnswer(value.status(), context);
    if (!value.ok()) return value.status();
    return Loaded<V>{.value = *std::move(value)};
  }
}

// A load that was abandoned may outlast the cache, and so a clock of the user's.
template <class K, class V, class P, class H, class E>
int64_t LoadingCore<K, V, P, H, E>::TimeOfLoad() {
  if (clock_ == nullptr) return Now();
  const LoadControl::Presence presence(loads_);
  return presence ? Now() : 0;
}

// Counts a load however it ends.
template <class K, class V, class P, class H, class E>
struct LoadingCore<K, V, P, H, E>::LoadTimer {
  explicit LoadTimer(LoadingCore& cache) : core(cache), start(cache.TimeOfLoad()) {}
  LoadTimer(const LoadTimer&) = delete;
  LoadTimer& operator=(const LoadTimer&) = delete;
  ~LoadTimer() {
    const ThreadRecord& thread = ThreadRecord::Current();
    core.counters_.Add(thread, Counter::kLoads);
    if (!ok) core.counters_.Add(thread, Counter::kLoadFailures);
    core.counters_.Add(thread, Counter::kLoadNanos, static_cast<uint64_t>(Elapsed()));
  }
  int64_t Elapsed() const { return std::max<int64_t>(0, core.TimeOfLoad() - start); }

  LoadingCore& core;
  const int64_t start;
  bool ok = false;
};

// Whatever happens, the flight lands: with the value, with an error, or, where user code threw,
// with an error for those who wait while the exception goes on to the caller. Where it was a
// listener that threw, the value is there, and those who wait get it.
template <class K, class V, class P, class H, class E>
template <class Loader>
void LoadingCore<K, V, P, H, E>::RunFlight(Flight& flight, Loader& loader, ThreadRecord& thread) {
  // Also while the value is stored: a weigher or a removal listener may ask for the key, too.
  const LeaderScope scope(thread);
  LoadContext<V> context(flight.old ? &*flight.old : nullptr, flight.stop.get_token());
  absl::StatusOr<Loaded<V>> loaded;
  int64_t nanos = 0;
  try {
    LoadTimer timer(*this);
    loaded = RunLoader(flight, loader, context, timer);
    nanos = timer.Elapsed();
  } catch (const std::exception& e) {
    Fail(flight, flight.Threw(e.what()));
    throw;
  } catch (...) {
    Fail(flight, flight.threw);
    throw;
  }
  Finish(flight, std::move(loaded), context, nanos);
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Finish(Flight& flight, absl::StatusOr<Loaded<V>>&& loaded,
                                        const LoadContext<V>& context, int64_t load_nanos) {
  if (!loaded.ok() && !IsAnswer(loaded.status(), context)) return Fail(flight, loaded.status());
  const LoadControl::Presence presence(loads_);
  if (!presence || !flight.TryFinish()) return;
  struct Landing {
    LoadingCore& core;
    Flight& flight;
    ~Landing() {
      if (flight.value) flight.status = absl::OkStatus();
      const bool ok = flight.status.ok() || absl::IsNotFound(flight.status);
      if (!ok && flight.old) core.RetryAfter(flight, flight.settings.retry_after, /*failed=*/true);
      if (flight.background) {
        core.counters_.Add(ThreadRecord::Current(),
                           ok ? Counter::kRefreshes : Counter::kRefreshFailures);
      }
      core.Land(flight);
    }
  };
  const Landing landing{*this, flight};
  Report(flight, /*begun=*/true, /*ok=*/true);
  ThreadRecord& thread = EnterCall();
  try {
    if (loaded.ok()) {
      flight.status = StoreLoaded(flight, *std::move(loaded), load_nanos, thread);
    } else if (context.not_modified()) {
      flight.status = KeepOld(flight, context.ttl(), load_nanos, thread);
    } else {
      flight.status = loaded.status();
      StoreNotFound(flight, thread);
    }
  } catch (const std::exception& e) {
    if (loaded.ok()) flight.status = flight.Threw(e.what());
    throw;
  }
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Fail(Flight& flight, absl::Status status) {
  const LoadControl::Presence presence(loads_);
  bool begun = false;
  if (!presence || !flight.TryFinish(&begun)) return;
  Report(flight, begun, /*ok=*/false);
  if (flight.old) RetryAfter(flight, flight.settings.retry_after, /*failed=*/true);
  if (flight.background) counters_.Add(EnterCall(), Counter::kRefreshFailures);
  flight.status = std::move(status);
  Land(flight);
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Refuse(Flight& flight, absl::Status status) {
  // First, so that the cache's end waits for what is claimed here, and not by it.
  const LoadControl::Presence presence(loads_);
  if (!presence || !flight.TryRefuse()) return;
  Fail(flight, std::move(status));
}

template <class K, class V, class P, class H, class E>
bool LoadingCore<K, V, P, H, E>::Admit(Flight& flight) {
  const std::optional<CircuitBreaker::Admission> admission = loads_.breaker().Admit(Now());
  if (!admission.has_value()) {
    Refuse(flight, CircuitOpen());
    return false;
  }
  // Whoever ends the flight, by a timeout or the cache's end, either finds this or has finished by
  // the time of the question.
  flight.admission.Hold(*admission);
  if (flight.finished()) {
    if (const auto held = flight.admission.Take()) loads_.breaker().Abandon(*held);
  }
  return true;
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Report(Flight& flight, bool begun, bool ok) {
  if (const auto admission = flight.admission.Take()) {
    if (begun) {
      loads_.breaker().Report(*admission, ok, Now());
    } else {
      loads_.breaker().Abandon(*admission);
    }
  }
  flight.alarm.Cancel(loads_);
  if (!begun) LeaveQueue(flight);
}

// What has been given up makes room for others that wait.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::LeaveQueue(Flight& flight) {
  const uint64_t queued = flight.queued.exchange(0);
  if (queued != 0) loads_.limiter()->Cancel(queued - 1);
}

// The entry that should have been replaced is served on, and not loaded again before `nanos`.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::RetryAfter(Flight& flight, int64_t nanos, bool failed) {
  const NodeIndex index = IndexOf(flight.old);
  // kNever would say that a load runs.
  const int64_t retry_at = std::min(SaturatingAdd(Now(), nanos), kNever - 1);
  StripeT& stripe = StripeOf(flight.hash);
  MutexLock lock(&stripe.mutex);
  NodeT& node = *NodeAt(index);
  // It is pinned, so if it is in the cache it is the same.
  if (!InCache(stripe, index)) return;
  NodeTerms& terms = *slab_.Terms(index);
  terms.refresh_at.store(retry_at, std::memory_order_relaxed);
  terms.failed.store(failed, std::memory_order_relaxed);
  LookAgain(node, terms, flight.settings);
}

// --- What is stored.

template <class K, class V, class P, class H, class E>
absl::Status LoadingCore<K, V, P, H, E>::StoreLoaded(Flight& flight, Loaded<V>&& loaded,
                                                     int64_t load_nanos, ThreadRecord& thread) {
  const LoadOptions& options = flight.options;
  PutOptions put{.ttl = loaded.ttl.has_value() ? loaded.ttl : options.ttl,
                 .idle_ttl = loaded.idle_ttl.has_value() ? loaded.idle_ttl : options.idle_ttl,
                 .weight = loaded.weight.has_value() ? loaded.weight : options.weight,
                 .refresh_after = loaded.refresh_after.value_or(flight.settings.refresh_after),
                 .tags = std::move(loaded.tags)};
  if (loaded.ttl_limit.has_value()) {
    put.ttl = std::min(put.ttl.value_or(absl::Nanoseconds(this->ttl_)), *loaded.ttl_limit);
  }
  if (absl::Status status = put.Validate(); !status.ok()) return status;
  flight.from = loaded.from;
  put.tags.insert(put.tags.end(), options.tags.begin(), options.tags.end());
  flight.tags = AcquireTags(flight.key, put.tags);
  const uint64_t weight = WeightFor(flight.key, loaded.value, put.weight);
  // Too heavy to keep is no reason not to answer.
  if (Rejects(weight, thread)) {
    return KeepUnstored(flight, std::move(loaded.value), flight.settings.retry_after);
  }
  NewEntry entry{.hash = flight.hash,
                 .weight = weight,
                 .lifetime = LifetimeOf(put.ttl, put.idle_ttl, thread),
                 .outdates_flight = false};
  std::optional<EntryTerms> terms;
  if (NeedsTerms(flight, put)) {
    if (!Tags::Valid(flight.tags.get(), flight.stamp)) {
      return KeepUnstored(flight, std::move(loaded.value), 0);
    }
    terms.emplace(EntryTerms{.tags = flight.tags.Share()});
    GiveTerms({.refresh_after = *put.refresh_after,
               .stale_window = flight.settings.stale_window(),
               .early_refresh = flight.settings.early_refresh,
               .load_nanos = load_nanos,
               .stamp = flight.stamp},
              *terms, entry);
  }
  // Runs under the stripe's lock, which guards `outdated`.
  const auto current = [&flight](NodeIndex) { return !flight.outdated; };
  switch (Store(K(flight.key), std::move(loaded.value), entry, current, thread, &flight.value)) {
    case StoreResult::kStored:
      return absl::OkStatus();
    case StoreResult::kOutOfMemory:
      return OutOfMemory();
    default:
      return KeepUnstored(flight, std::move(loaded.value), 0);
  }
}

template <class K, class V, class P, class H, class E>
bool LoadingCore<K, V, P, H, E>::NeedsTerms(const Flight& flight, const PutOptions& put) const {
  return always_terms_ || flight.settings.needs_terms() || flight.keeps_age ||
         !put.refresh_after->never() || !put.tags.empty();
}

template <class K, class V, class P, class H, class E>
absl::Status LoadingCore<K, V, P, H, E>::KeepUnstored(Flight& flight, V&& value,
                                                      int64_t retry_after) {
  // What was to be replaced needs another load.
  if (flight.old) RetryAfter(flight, retry_after, /*failed=*/false);
  flight.value = this->MakeUnstored(flight.hash, flight.key, std::move(value));
  return flight.value ? absl::OkStatus() : OutOfMemory();
}

// An answer, too: what there was isn't any more.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::StoreNotFound(Flight& flight, ThreadRecord& thread) {
  flight.tags = AcquireTags(flight.key, flight.options.tags);
  const int64_t ttl = flight.settings.negative_ttl;
  if (ttl == 0) {
    if (!flight.old) return;
    const NodeIndex old = IndexOf(flight.old);
    const bool erased = EraseWhere(flight.key, flight.hash, [&flight, old](NodeIndex now) {
      return now == old && !flight.outdated;
    });
    if (!erased) RetryAfter(flight, 0, /*failed=*/false);
    return;
  }
  NewEntry entry{.hash = flight.hash,
                 .weight = 1,
                 .lifetime = LifetimeOf(absl::Nanoseconds(ttl), absl::InfiniteDuration(), thread),
                 .outdates_flight = false};
  EntryTerms terms{.tags = flight.tags.Share()};
  bool stored = false;
  if (Tags::Valid(flight.tags.get(), flight.stamp)) {
    GiveTerms({.stamp = flight.stamp, .negative = true}, terms, entry);
    const auto current = [&flight](NodeIndex) { return !flight.outdated; };
    stored = Store(K(flight.key), NoValue(), entry, current, thread) == StoreResult::kStored;
  }
  // What was to be replaced, and is there still, needs another load.
  if (!stored && flight.old) RetryAfter(flight, 0, /*failed=*/false);
}

template <class K, class V, class P, class H, class E>
absl::Status LoadingCore<K, V, P, H, E>::KeepOld(Flight& flight,
                                                 const std::optional<absl::Duration>& ttl,
                                                 int64_t load_nanos, ThreadRecord& thread) {
  const LoadOptions& options = flight.options;
  const PutOptions put{.ttl = ttl.has_value() ? ttl : options.ttl};
  if (absl::Status status = put.Validate(); !status.ok()) return status;
  // Its idleness stays as it was.
  const NodeIndex index = IndexOf(flight.old);
  const int64_t idle_nanos = NodeAt(index)->IsIdle() ? slab_.Extra(index)->idle_ttl : kNever;
  const absl::Duration idle_ttl =
      idle_nanos == kNever ? absl::InfiniteDuration() : absl::Nanoseconds(idle_nanos);
  NewEntry entry{
      .hash = flight.hash, .weight = 1, .lifetime = LifetimeOf(put.ttl, idle_ttl, thread)};
  EntryTerms terms;
  GiveTerms({.refresh_after = flight.settings.refresh_after,
             .stale_window = flight.settings.stale_window(),
             .early_refresh = flight.settings.early_refresh,
             .load_nanos = load_nanos},
            terms, entry);
  bool renewed = false;
  {
    StripeT& stripe = StripeOf(flight.hash);
    MutexLock lock(&stripe.mutex);
    NodeT& node = *NodeAt(index);
    const bool there = !flight.outdated && InCache(stripe, index) && !Invalidated(node, index);
    renewed = there && PrepareStripe(stripe, entry);
    if (renewed) {
      Renew(stripe, index, terms, entry.lifetime);
      stripe.policy.OnUpdate(index, thread);
      counters_.Add(thread, Counter::kNotModified);
    }
  }
  FullFence();
  if (!renewed) RetryAfter(flight, 0, /*failed=*/false);
  flight.value = std::move(flight.old);
  return absl::OkStatus();
}

// Gives an entry the times of a new one.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Renew(StripeT& stripe, NodeIndex index, const EntryTerms& given,
                                       const Lifetime& lifetime) {
  NodeT& node = *NodeAt(index);
  NodeTerms& terms = *slab_.Terms(index);
  if (node.HasTimer()) stripe.wheel->Cancel(index);
  if (node.IsIdle()) {
    slab_.Extra(index)->hard_deadline.store(lifetime.hard_deadline, std::memory_order_relaxed);
  }
  const auto set = [](auto& field, auto value) { field.store(value, std::memory_order_relaxed); };
  set(terms.fresh_until, given.expires_at);
  set(terms.kept_for, given.kept_for);
  set(terms.refresh_at, given.refresh_at);
  set(terms.written_at, given.written_at);
  set(terms.load_micros, given.load_micros);
  set(terms.failed, false);
  set(terms.expires_at, given.expires_at);
  set(node.deadline, lifetime.deadline);
  if (clock_ != nullptr && lifetime.deadline != kNever) {
    node.state.fetch_or(NodeHeader::kAsks, std::memory_order_relaxed);
  }
  if (terms.LeavesAt() != kNever) stripe.wheel->Schedule(index);
}

// --- The end of a flight.

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Land(Flight& flight) {
  StripeT& stripe = StripeOf(flight.hash);
  {
    // An entry that was stored is found before the flight is looked for: no caller sees neither.
    MutexLock lock(&stripe.mutex);
    if (std::exchange(flight.in_table, false)) stripe.flights.Remove(flight.hash.all(), &flight);
  }
  flight.FlightBase::Land();
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Abandon(Flight& flight, absl::Status status) {
  flight.stop.request_stop();
  Fail(flight, std::move(status));
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOADING_FLIGHT_H_
