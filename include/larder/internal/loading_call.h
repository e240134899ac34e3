// SPDX-License-Identifier: Apache-2.0
//
// LoadingCore's loads as their callers see them: what is returned at once, what is waited for, and
// how long. One load per key, however many ask. See loading_core.h and loading_flight.h.

#ifndef LARDER_INTERNAL_LOADING_CALL_H_
#define LARDER_INTERNAL_LOADING_CALL_H_

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/internal/early_refresh.h"
#include "larder/internal/loading_core.h"
#include "larder/internal/loading_flight.h"
#include "larder/internal/loading_task.h"
#include "larder/load_result.h"

namespace larder::internal {

// What a caller asks for.
template <class K, class V, class P, class H, class E>
struct LoadingCore<K, V, P, H, E>::LoadRequest {
  LoadRequest(const LoadingCore& core, const LoadOptions& load_options, bool age)
      : options(load_options),
        settings(core.load_settings_.With(load_options)),
        wants_age(age),
        in_loader(ThreadRecord::Current().loads_led != 0),
        start(settings.has_timeout() ? core.Now() : 0) {}

  // When the caller gives up; sooner where it has something else to return.
  int64_t GivesUpAt(bool has_fallback) const {
    const int64_t timeout = has_fallback ? std::min(settings.soft_timeout, settings.hard_timeout)
                                         : settings.hard_timeout;
    return SaturatingAdd(start, timeout);
  }

  const LoadOptions& options;
  const LoadSettings settings;
  const bool wants_age;
  const bool in_loader;        // made from inside a loader, of any cache
  const int64_t start;         // where there is a timeout
  bool refresh_drawn = false;  // a hit was told to start a load
};

// What there is of a key for a caller, and what it has to do.
template <class K, class V, class P, class H, class E>
struct LoadingCore<K, V, P, H, E>::Finding {
  enum class Verdict {
    kLive,      // return `value`; where there is a flight, it is the caller's to launch
    kStale,     // the same
    kNegative,  // the key is known not to be found
    kLead,      // run the flight, or launch it, and wait for it
    kJoin,      // wait for the flight
    kClosing,   // give up: the cache is being destroyed
  };

  Verdict verdict{};
  Handle<K, V> value{};  // else: what to return if the flight fails or takes too long
  int64_t written_at = kNever;
  std::shared_ptr<Flight> flight{};
  bool outdated = false;  // the flight is older than the key's last change: wait, then ask again
  uint64_t tags_generation = 0;  // when it was joined
};

// --- What is found.

// Whether a hit on a live entry is to start a load: since it is time, or by lot. Lock-free.
template <class K, class V, class P, class H, class E>
bool LoadingCore<K, V, P, H, E>::IsRefreshDue(const NodeTerms& terms, double early_refresh,
                                              ThreadRecord& thread) const {
  const int64_t now = Now();
  if (terms.refresh_at.load(std::memory_order_relaxed) <= now) return true;
  // After a failure, not before the time for another attempt.
  if (early_refresh <= 0 || terms.failed.load(std::memory_order_relaxed)) return false;
  const int64_t load_nanos = int64_t{1000} * terms.load_micros.load(std::memory_order_relaxed);
  return RefreshesEarly(now, terms.fresh_until.load(std::memory_order_relaxed), load_nanos,
                        early_refresh, thread.NextRandom());
}

// What can be returned of an entry without waiting. Sets `wants_load` where one should replace it.
template <class K, class V, class P, class H, class E>
auto LoadingCore<K, V, P, H, E>::Inspect(NodeT& node, NodeIndex index, const LoadRequest& request,
                                         bool& wants_load) -> std::optional<Finding> {
  using Verdict = typename Finding::Verdict;
  const bool has_terms = node.Has(NodeHeader::kTerms);
  if (Touch(node, index)) {
    Finding live{.verdict = Verdict::kLive, .value = PinNode(node, index)};
    if (!live.value) return std::nullopt;
    if (has_terms) {
      const NodeTerms& terms = *slab_.Terms(index);
      live.written_at = terms.written_at.load(std::memory_order_relaxed);
      // Who drew the lot must not draw again; but it may have been that of an older value.
      const int64_t now = Now();
      wants_load = terms.refresh_at.load(std::memory_order_relaxed) <= now ||
                   (request.refresh_drawn && node.deadline.load(std::memory_order_relaxed) <= now);
    }
    return live;
  }
  if (!has_terms || Invalidated(node, index)) return std::nullopt;
  if (node.Has(NodeHeader::kNegative)) {
    if (Expired(node, index)) return std::nullopt;
    return Finding{.verdict = Verdict::kNegative};
  }
  const NodeTerms& terms = *slab_.Terms(index);
  const int64_t now = Now();
  if (now >= terms.LeavesAt()) return std::nullopt;
  // Not before 0, for it was found expired: a hit may have moved fresh_until since, or the clock
  // have been set back.
  const int64_t stale_for =
      std::max<int64_t>(0, now - terms.fresh_until.load(std::memory_order_relaxed));
  const bool may_revalidate = stale_for < request.settings.stale_while_revalidate;
  const bool may_fall_back = stale_for < request.settings.stale_if_error;
  if (!may_revalidate && !may_fall_back) return std::nullopt;
  Finding stale{.verdict = Verdict::kLead,
                .value = PinNode(node, index),
                .written_at = terms.written_at.load(std::memory_order_relaxed)};
  if (!stale.value) return std::nullopt;
  const int64_t retry_at = terms.refresh_at.load(std::memory_order_relaxed);
  const bool must_wait =
      terms.failed.load(std::memory_order_relaxed) && retry_at != kNever && retry_at > now;
  wants_load = !must_wait;
  if (may_revalidate || must_wait) stale.verdict = Verdict::kStale;
  return stale;
}

template <class K, class V, class P, class H, class E>
template <class Q>
auto LoadingCore<K, V, P, H, E>::Consider(const Q& key, HashBits hash, const LoadRequest& request)
    -> Finding {
  using Verdict = typename Finding::Verdict;
  StripeT& stripe = StripeOf(hash);
  std::shared_ptr<Flight> own;
  // Twice where a flight is needed: it is made outside the lock, since that copies the key.
  for (;;
       own = std::make_shared<Flight>(K(key), hash, request.options, request.settings,
                                      request.wants_age, request.in_loader, tags_.generation())) {
    MutexLock lock(&stripe.mutex);
    Finding finding{.verdict = Verdict::kLead};
    bool wants_load = true;
    const NodeIndex index = Table::NodeAt(Locate(stripe, key, hash));
    if (index != kNoNode) {
      bool wants = false;
      if (auto found = Inspect(*NodeAt(index), index, request, wants)) {
        finding = *std::move(found);
        wants_load = wants;
      }
    }
    const bool waits = finding.verdict == Verdict::kLead;
    std::shared_ptr<Flight> flight = stripe.flights.Find(hash.all(), key, eq_);
    if (flight != nullptr) {
      if (waits) Join(finding, std::move(flight));
      finding.tags_generation = tags_.generation();
      return finding;
    }
    if (!waits && !wants_load) return finding;
    // Asked under the lock: a flight that is added now is one that CloseLoads finds.
    if (loads_.closing()) {
      if (waits) finding.verdict = Verdict::kClosing;
      return finding;
    }
    if (own == nullptr) continue;
    if (finding.value || (index != kNoNode && IsKept(*NodeAt(index), index))) {
      own->old = PinNode(*NodeAt(index), index);
    }
    own->refreshes = static_cast<bool>(own->old);
    own->background = !waits;
    own->waiters = waits ? 1 : 0;
    stripe.flights.Add(hash.all(), own);  // the last that may throw
    own->in_table = true;
    if (own->old) {
      NodeTerms& terms = *slab_.Terms(index);
      terms.refresh_at.store(kNever, std::memory_order_relaxed);
      LookAgain(*NodeAt(index), terms, request.settings);
    }
    finding.flight = std::move(own);
    return finding;
  }
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Join(Finding& finding, std::shared_ptr<Flight> flight) {
  finding.verdict = Finding::Verdict::kJoin;
  finding.outdated = flight->outdated;
  ++flight->waiters;
  finding.flight = std::move(flight);
}

// From when on hits on a live entry have to look at its terms again. Where it has expired, at once:
// its fresh_until may have been moved past that.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::LookAgain(NodeHeader& node, const NodeTerms& terms,
                                           const LoadSettings& settings) {
  const bool early = !terms.failed.load(std::memory_order_relaxed);
  node.deadline.store(FirstLook(terms.expires_at.load(std::memory_order_relaxed),
                                terms.refresh_at.load(std::memory_order_relaxed),
                                int64_t{1000} * terms.load_micros.load(std::memory_order_relaxed),
                                early ? settings.early_refresh : 0),
                      std::memory_order_relaxed);
}

// --- What is returned.

template <class K, class V, class P, class H, class E>
absl::Duration LoadingCore<K, V, P, H, E>::AgeSince(int64_t written_at) const {
  if (written_at == kNever) return absl::InfiniteDuration();
  return absl::Nanoseconds(std::max<int64_t>(0, Now() - written_at));
}

template <class K, class V, class P, class H, class E>
LoadResult<V> LoadingCore<K, V, P, H, E>::ResultOf(const Finding& finding, LoadSource source,
                                                   ThreadRecord& thread) {
  if (source == LoadSource::kStale) counters_.Add(thread, Counter::kStale);
  return {.value = V(*finding.value), .source = source, .age = AgeSince(finding.written_at)};
}

// Where a flight's value is from, to one who led or joined it. That it is stale, all want to know.
template <class K, class V, class P, class H, class E>
LoadSource LoadingCore<K, V, P, H, E>::SourceOf(const Flight& flight, bool leads) {
  if (flight.from == LoadedFrom::kStale) return LoadSource::kStale;
  if (!leads) return LoadSource::kJoined;
  if (flight.from == LoadedFrom::kRemote) return LoadSource::kRemote;
  return flight.refreshes ? LoadSource::kRefreshed : LoadSource::kLoaded;
}

// What a flight that has landed means for one who waited for it.
template <class K, class V, class P, class H, class E>
absl::StatusOr<LoadResult<V>> LoadingCore<K, V, P, H, E>::OutcomeOf(const Finding& finding,
                                                                    ThreadRecord& thread) {
  const Flight& flight = *finding.flight;
  if (flight.status.ok()) {
    const bool leads = finding.verdict == Finding::Verdict::kLead;
    const LoadSource source = SourceOf(flight, leads);
    const bool stale = source == LoadSource::kStale;
    if (stale) counters_.Add(thread, Counter::kStale);
    return LoadResult<V>{.value = V(*flight.value),
                         .source = source,
                         .age = stale ? absl::InfiniteDuration() : absl::ZeroDuration()};
  }
  if (finding.value && !absl::IsNotFound(flight.status)) {
    return ResultOf(finding, LoadSource::kStale, thread);
  }
  return flight.status;
}

// Whether a flight that was joined, and has landed, brought what was invalidated before that.
template <class K, class V, class P, class H, class E>
bool LoadingCore<K, V, P, H, E>::IsTooOld(const Finding& finding) const {
  if (finding.outdated) return true;
  const Flight& flight = *finding.flight;
  if (finding.tags_generation == flight.stamp) return false;
  return !Tags::Valid(flight.tags.get(), flight.stamp) ||
         (flight.value && Invalidated(*NodeAt(IndexOf(flight.value)), IndexOf(flight.value)));
}

template <class K, class V, class P, class H, class E>
absl::StatusOr<LoadResult<V>> LoadingCore<K, V, P, H, E>::GiveUp(const Finding& finding,
                                                                 const LoadRequest& request,
                                                                 ThreadRecord& thread) {
  counters_.Add(thread, Counter::kTimeouts);
  // Past a soft_timeout alone the load is wanted still.
  if (!finding.value || request.settings.hard_timeout <= request.settings.soft_timeout) {
    LeaveFlight(*finding.flight, request.settings.after_timeout);
  }
  if (finding.value) return ResultOf(finding, LoadSource::kStale, thread);
  return absl::DeadlineExceededError(
      absl::StrCat("the load took longer than hard_timeout, ",
                   absl::FormatDuration(absl::Nanoseconds(request.settings.hard_timeout))));
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::LeaveFlight(Flight& flight, AfterTimeout after_timeout) {
  bool last = false;
  {
    MutexLock lock(&StripeOf(flight.hash).mutex);
    last = --flight.waiters == 0 && !flight.background;
    if (last && after_timeout == AfterTimeout::kAbandon && std::exchange(flight.in_table, false)) {
      // Now, so that nobody joins what is given up. What changes the key won't find it any more,
      // nor will the cache's end, after which nobody may begin it.
      flight.outdated = true;
      StripeOf(flight.hash).flights.Remove(flight.hash.all(), &flight);
      flight.TryRefuse();
    }
  }
  if (last && after_timeout == AfterTimeout::kAbandon) {
    Abandon(flight, absl::DeadlineExceededError("nobody waited for the load any more"));
  }
}

// --- The way of a call.

template <class K, class V, class P, class H, class E>
template <class Q, class Loader>
absl::StatusOr<V> LoadingCore<K, V, P, H, E>::GetOrLoad(const Q& key, Loader&& loader,
                                                        const LoadOptions& options) {
  const HashBits hash(hash_(key));
  bool missed = false;
  if (ThreadRecord* const thread = ThreadRecord::IfQuick(); thread != nullptr) [[likely]] {
    QuickGuard guard(*thread);
    [[maybe_unused]] const UserCode<!kPlainKey || !std::is_trivially_copyable_v<V>> user_code;
    const Glance glance = LookUp(key, hash, *thread);
    // Its deadline is far: so is the time to refresh it.
    if (glance.node != nullptr) [[likely]]
      return Access::Load(glance.node->value);
    missed = !glance.unsure;
  }
  absl::StatusOr<LoadResult<V>> result =
      LoadSlowly<Q>(key, hash, std::forward<Loader>(loader), options, /*wants_age=*/false, missed);
  if (!result.ok()) return result.status();
  return std::move(result->value);
}

// A hit that needs no load, if it is one.
template <class K, class V, class P, class H, class E>
template <class Q>
std::optional<LoadResult<V>> LoadingCore<K, V, P, H, E>::HitFor(const Q& key, HashBits hash,
                                                                LoadRequest& request,
                                                                ThreadRecord& thread) {
  std::optional<LoadResult<V>> result;
  LookUpSlowly(key, hash, [&](NodeT& node, NodeIndex index) {
    int64_t written_at = kNever;
    if (node.Has(NodeHeader::kTerms)) {
      const NodeTerms& terms = *slab_.Terms(index);
      request.refresh_drawn = IsRefreshDue(terms, request.settings.early_refresh, thread);
      if (request.refresh_drawn) return;
      written_at = terms.written_at.load(std::memory_order_relaxed);
    }
    const absl::Duration age = request.wants_age ? AgeSince(written_at) : absl::ZeroDuration();
    result.emplace(LoadResult<V>{.value = V(Access::Load(node.value)), .age = age});
  });
  return result;
}

// `missed`: it has been looked up, and counted as a miss.
template <class K, class V, class P, class H, class E>
template <class Q, class Loader>
ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<LoadResult<V>> LoadingCore<K, V, P, H, E>::LoadSlowly(
    const Q& key, HashBits hash, Loader&& loader, const LoadOptions& options, bool wants_age,
    bool missed) {
  using Verdict = typename Finding::Verdict;
  ThreadRecord& thread = EnterCall();
  const absl::Status valid = options.Validate();
  LoadRequest request(*this, valid.ok() ? options : LoadOptions::Default(), wants_age);
  // A miss that has been counted is one, whatever was put since.
  if (!missed) {
    if (auto hit = HitFor(key, hash, request, thread)) return *std::move(hit);
  }
  if (!valid.ok()) return valid;
  for (;;) {
    Finding finding = Consider(key, hash, request);
    switch (finding.verdict) {
      case Verdict::kLive:
      case Verdict::kStale:
        if (finding.flight != nullptr) Launch(finding.flight, std::forward<Loader>(loader));
        break;
      case Verdict::kNegative:
      case Verdict::kClosing:
        break;
      case Verdict::kLead:
        if (request.GivesUpAt(static_cast<bool>(finding.value)) == kNever) {
          LeadHere(*finding.flight, loader, thread);
        } else {
          Launch(finding.flight, std::forward<Loader>(loader));
        }
        break;
      case Verdict::kJoin:
        // Where a loader waits for another load that nobody has begun, whoever is to begin it may
        // be waiting for what this thread holds: a slot, or a thread of the executor.
        if (request.in_loader && finding.flight->TryBegin(&thread)) {
          finding.verdict = Verdict::kLead;
          RunFlight(*finding.flight, loader, thread);
        }
        break;
    }
    if (auto outcome = AnswerFor(finding, request, thread)) return *std::move(outcome);
  }
}

// What a finding means for its caller, who waits for it if need be. Nothing: ask again.
template <class K, class V, class P, class H, class E>
std::optional<absl::StatusOr<LoadResult<V>>> LoadingCore<K, V, P, H, E>::AnswerFor(
    const Finding& finding, const LoadRequest& request, ThreadRecord& thread) {
  switch (finding.verdict) {
    case Finding::Verdict::kLive:
      return ResultOf(finding, LoadSource::kMemory, thread);
    case Finding::Verdict::kStale:
      return ResultOf(finding, LoadSource::kStale, thread);
    case Finding::Verdict::kNegative:
      counters_.Add(thread, Counter::kNegativeHits);
      return KnownNotFound();
    case Finding::Verdict::kClosing:
      return Closing();
    case Finding::Verdict::kLead:
    case Finding::Verdict::kJoin:
      break;
  }
  const absl::Status waited =
      finding.flight->Wait(thread, request.GivesUpAt(static_cast<bool>(finding.value)), clock_);
  if (absl::IsDeadlineExceeded(waited)) return GiveUp(finding, request, thread);
  if (!waited.ok()) {
    LeaveFlight(*finding.flight, AfterTimeout::kGoOn);
    return waited;
  }
  if (finding.verdict == Finding::Verdict::kJoin) {
    counters_.Add(thread, Counter::kJoined);
    // A load that started before the key's last change brings a value older than this call.
    if (IsTooOld(finding)) return std::nullopt;
  }
  return OutcomeOf(finding, thread);
}

// Runs the loader on this thread, as soon as it may.
template <class K, class V, class P, class H, class E>
template <class Loader>
void LoadingCore<K, V, P, H, E>::LeadHere(Flight& flight, Loader& loader, ThreadRecord& thread) {
  if (!Admit(flight)) return;
  SlotHold slot;
  if (absl::Status status = WaitForSlot(thread, slot); !status.ok()) {
    return Refuse(flight, std::move(status));
  }
  // Otherwise another loader, which needs the value to go on, has begun it while this one waited.
  if (flight.TryBegin(&thread)) RunFlight(flight, loader, thread);
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOADING_CALL_H_
