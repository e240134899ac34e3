// SPDX-License-Identifier: Apache-2.0
//
// Core's loads: one per key, however many ask. See core.h and flight.h.

#ifndef LARDER_INTERNAL_CORE_LOAD_H_
#define LARDER_INTERNAL_CORE_LOAD_H_

#include <algorithm>
#include <exception>
#include <new>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "larder/internal/core.h"
#include "larder/internal/core_write.h"

namespace larder::internal {

template <class K, class V, class P, class H, class E>
struct Core<K, V, P, H, E>::Flight : FlightBase {
  Flight(ThreadRecord* leader, K flight_key, HashBits key_hash)
      : FlightBase(leader), key(std::move(flight_key)), hash(key_hash) {}

  // Adds to the status what the load threw, if there is memory for it.
  void Thrown(const char* what) noexcept {
    try {
      status = absl::InternalError(absl::StrCat(status.message(), ": ", what));
    } catch (const std::bad_alloc&) {
    }
  }

  const K key;
  const HashBits hash;

  // The outcome; written before Land(), constant afterwards. From the start, what those who wait
  // get if nothing else comes.
  absl::Status status = absl::InternalError("the load threw an exception");
  Handle<K, V> value;  // where status is OK

  // --- Under the stripe's lock.
  bool outdated = false;  // the key was written or removed since the load started
  std::shared_ptr<Flight> next;
};

// What a caller that found no entry has to do.
template <class K, class V, class P, class H, class E>
struct Core<K, V, P, H, E>::Joined {
  Handle<K, V> value{};              // if it holds one: use it, an entry has appeared
  std::shared_ptr<Flight> flight{};  // else: lead this flight, or wait for it
  bool leads = false;
  bool outdated = false;  // the flight is older than the key's last change: wait, then ask again
};

template <class K, class V, class P, class H, class E>
template <class Q>
auto Core<K, V, P, H, E>::JoinOrLead(const Q& key, HashBits hash, ThreadRecord& thread) -> Joined {
  StripeT& stripe = StripeOf(hash);
  std::shared_ptr<Flight> own;
  // Twice where there is no flight: one is made outside the lock, since that copies the key.
  for (;; own = std::make_shared<Flight>(&thread, K(key), hash)) {
    MutexLock lock(&stripe.mutex);
    if (const Table::Position at = Locate(stripe, key, hash)) {
      const NodeIndex index = Table::NodeAt(at);
      NodeT* node = NodeAt(index);
      Handle<K, V> value = Touch(*node, index) ? PinNode(*node, index) : Handle<K, V>();
      if (value) return {.value = std::move(value)};
    }
    if (auto flight = stripe.flights.Find(hash.all(), key, eq_)) {
      const bool outdated = flight->outdated;
      return {.flight = std::move(flight), .outdated = outdated};
    }
    if (own != nullptr) {
      stripe.flights.Add(hash.all(), own);
      return {.flight = std::move(own), .leads = true};
    }
  }
}

template <class K, class V, class P, class H, class E>
template <class Q, class Loader>
absl::StatusOr<V> Core<K, V, P, H, E>::GetOrLoad(const Q& key, Loader&& loader,
                                                 const LoadOptions& options) {
  if (std::optional<V> value = Get(key)) return *std::move(value);
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  ThreadRecord& thread = EnterCall();
  const HashBits hash(hash_(key));
  for (;;) {
    Joined joined = JoinOrLead(key, hash, thread);
    if (joined.value) return V(*joined.value);
    Flight& flight = *joined.flight;
    if (joined.leads) {
      Lead(flight, loader, options, thread);
    } else {
      if (absl::Status status = flight.Wait(thread); !status.ok()) return status;
      counters_.Add(thread, Counter::kJoined);
      // A load that started before the key's last change brings a value older than this call.
      if (joined.outdated) continue;
    }
    if (!flight.status.ok()) return flight.status;
    return V(*flight.value);
  }
}

// Whatever happens, the flight lands: with the value, with an error, or, where user code threw,
// with an error for those who wait while the exception goes on to the caller. Where it was a
// listener that threw, the value is there, and those who wait get it.
template <class K, class V, class P, class H, class E>
template <class Loader>
void Core<K, V, P, H, E>::Lead(Flight& flight, Loader& loader, const LoadOptions& options,
                               ThreadRecord& thread) {
  struct Landing {
    Core& core;
    Flight& flight;
    ~Landing() {
      if (flight.value) flight.status = absl::OkStatus();
      core.Land(flight);
    }
  };
  const Landing landing{*this, flight};
  // Also while the value is stored: a weigher or a removal listener may ask for the key, too.
  const LeaderScope scope(thread);
  try {
    absl::StatusOr<Loaded<V>> loaded = RunLoader(flight, loader, thread);
    flight.status =
        loaded.ok() ? StoreLoaded(flight, *std::move(loaded), options, thread) : loaded.status();
  } catch (const std::exception& e) {
    flight.Thrown(e.what());
    throw;
  }
}

template <class K, class V, class P, class H, class E>
template <class Loader>
absl::StatusOr<Loaded<V>> Core<K, V, P, H, E>::RunLoader(const Flight& flight, Loader& loader,
                                                         ThreadRecord& thread) {
  // Counts the load however it ends.
  struct Timed {
    Core& core;
    ThreadRecord& thread;
    const int64_t start = core.Now();
    bool ok = false;
    ~Timed() {
      core.counters_.Add(thread, Counter::kLoads);
      if (!ok) core.counters_.Add(thread, Counter::kLoadFailures);
      core.counters_.Add(thread, Counter::kLoadNanos,
                         static_cast<uint64_t>(std::max<int64_t>(0, core.Now() - start)));
    }
  };
  Timed timed{*this, thread};
  using Result = std::remove_cvref_t<std::invoke_result_t<Loader&, const K&>>;
  if constexpr (std::is_same_v<Result, absl::StatusOr<Loaded<V>>> ||
                std::is_same_v<Result, Loaded<V>>) {
    absl::StatusOr<Loaded<V>> loaded = loader(flight.key);
    timed.ok = loaded.ok();
    return loaded;
  } else {
    absl::StatusOr<V> value = loader(flight.key);
    timed.ok = value.ok();
    if (!value.ok()) return value.status();
    return Loaded<V>{.value = *std::move(value)};
  }
}

template <class K, class V, class P, class H, class E>
absl::Status Core<K, V, P, H, E>::StoreLoaded(Flight& flight, Loaded<V>&& loaded,
                                              const LoadOptions& options, ThreadRecord& thread) {
  const PutOptions put{.ttl = loaded.ttl.has_value() ? loaded.ttl : options.ttl,
                       .idle_ttl = loaded.idle_ttl.has_value() ? loaded.idle_ttl : options.idle_ttl,
                       .weight = loaded.weight.has_value() ? loaded.weight : options.weight};
  if (absl::Status status = put.Validate(); !status.ok()) return status;
  const uint64_t weight = WeightFor(flight.key, loaded.value, put.weight);
  // Too heavy to keep is no reason not to answer.
  if (Rejects(weight, thread)) return KeepUnstored(flight, std::move(loaded.value));
  const NewEntry entry{.hash = flight.hash,
                       .weight = weight,
                       .lifetime = LifetimeOf(put, thread),
                       .outdates_flight = false};
  // Runs under the stripe's lock, which guards `outdated`.
  const auto current = [&flight](NodeIndex) { return !flight.outdated; };
  switch (Store(K(flight.key), std::move(loaded.value), entry, current, thread, &flight.value)) {
    case StoreResult::kStored:
      return absl::OkStatus();
    case StoreResult::kOutOfMemory:
      return OutOfMemory();
    default:
      return KeepUnstored(flight, std::move(loaded.value));
  }
}

template <class K, class V, class P, class H, class E>
absl::Status Core<K, V, P, H, E>::KeepUnstored(Flight& flight, V&& value) {
  StripeT& stripe = StripeOf(flight.hash);
  const NewEntry entry{.hash = flight.hash, .weight = 1, .lifetime = {}};
  K key(flight.key);
  MutexLock lock(&stripe.mutex);
  const NodeIndex index = NewNode(stripe, std::move(key), std::move(value), entry);
  if (index == kNoNode) return OutOfMemory();
  NodeT* node = NodeAt(index);
  node->state.store(1 | NodeHeader::kOrphaned, std::memory_order_relaxed);
  this->AddOrphan();
  flight.value = Handle<K, V>(this, node, index);
  return absl::OkStatus();
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::Land(Flight& flight) {
  StripeT& stripe = StripeOf(flight.hash);
  {
    // An entry that was stored is found before the flight is looked for: no caller sees neither.
    MutexLock lock(&stripe.mutex);
    stripe.flights.Remove(flight.hash.all(), &flight);
  }
  flight.FlightBase::Land();
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_LOAD_H_
