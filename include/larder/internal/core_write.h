// SPDX-License-Identifier: Apache-2.0
//
// Core's changes that a user makes: put, compute, erase. See core.h.

#ifndef LARDER_INTERNAL_CORE_WRITE_H_
#define LARDER_INTERNAL_CORE_WRITE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/strings/str_cat.h"
#include "larder/internal/core.h"
#include "larder/internal/core_clear.h"
#include "larder/internal/core_growth.h"
#include "larder/internal/core_prefetch.h"
#include "larder/internal/core_read.h"
#include "larder/internal/core_removal.h"
#include "larder/internal/core_terms.h"
#include "larder/internal/full_fence.h"
#include "larder/internal/nanos.h"

namespace larder::internal {

// Slots that turn out to be pinned when one is to be used again: after so many in one put, the next
// puts may look at the others.
inline constexpr int kMostPinnedSlots = 16;

// --- What an entry is given.

template <class K, class V, class P, class H, class E>
auto Core<K, V, P, H, E>::LifetimeOf(const std::optional<absl::Duration>& given_ttl,
                                     const std::optional<absl::Duration>& given_idle_ttl,
                                     ThreadRecord& thread) const -> Lifetime {
  int64_t ttl = given_ttl.has_value() ? ToNanos(*given_ttl) : ttl_;
  const int64_t idle_ttl = given_idle_ttl.has_value() ? ToNanos(*given_idle_ttl) : idle_ttl_;
  if (ttl == kNever && idle_ttl == kNever) return {};
  if (ttl != kNever && ttl_jitter_ > 0) {
    const double share =
        static_cast<double>(thread.NextRandom() >> 11) * 0x1p-53;  // 0 <= share < 1
    const auto cut = static_cast<int64_t>(static_cast<double>(ttl) * ttl_jitter_ * share);
    ttl = std::max<int64_t>(1, ttl - cut);
  }
  const int64_t now = Now();
  if (clock_ == nullptr) ClockTicker::KeepUp(now);
  const int64_t hard_deadline = SaturatingAdd(now, ttl);
  return {.deadline = std::min(hard_deadline, SaturatingAdd(now, idle_ttl)),
          .hard_deadline = hard_deadline,
          .idle_ttl = idle_ttl};
}

template <class K, class V, class P, class H, class E>
uint64_t Core<K, V, P, H, E>::WeightFor(const K& key, const V& value,
                                        std::optional<uint64_t> given) const {
  return given.has_value() ? *given : weigher_ ? weigher_(key, value) : 1;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::Rejects(uint64_t weight, ThreadRecord& thread) {
  if (weight <= capacity()) return false;
  counters_.Add(thread, Counter::kRejectedPuts);
  return true;
}

template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE absl::Status Core<K, V, P, H, E>::TooHeavy(uint64_t weight) const {
  return absl::ResourceExhaustedError(absl::StrCat(
      "the entry's weight ", weight, " is more than the cache's capacity ", capacity()));
}

template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE absl::Status Core<K, V, P, H, E>::OutOfMemory() const {
  return absl::ResourceExhaustedError(
      absl::StrCat("no memory for another entry, with ", size(), " in the cache"));
}

// --- Storing.

template <class K, class V, class P, class H, class E>
template <class Q>
Table::Position Core<K, V, P, H, E>::Locate(StripeT& stripe, const Q& key, HashBits hash) {
  return stripe.table.Locate(hash.Home(), hash.Tag(),
                             [&](NodeIndex node) { return eq_(NodeAt(node)->key, key); });
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::PrepareStripe(StripeT& stripe, const NewEntry& entry) {
  if (stripe.table.NeedsWork() && !PrepareTable(stripe)) return false;
  if (entry.lifetime.deadline == kNever) return true;
  if (clock_ == nullptr && (!stripe.wheel.has_value() || !ClockTicker::Running())) {
    ticker_.Start();
  }
  if (!stripe.wheel.has_value()) stripe.wheel.emplace(&slab_, Now());
  return true;
}

template <class K, class V, class P, class H, class E>
NodeIndex Core<K, V, P, H, E>::TakeSlot(StripeT& stripe) {
  if constexpr (!kNothingToDestroy) return stripe.slots.Allocate();
  for (int pinned = 0; pinned < kMostPinnedSlots; ++pinned) {
    const NodeIndex index = stripe.slots.Allocate();
    if (index == kNoNode) return index;
    // The slot was given back unseen. One that is pinned comes back with the last pin.
    if (this->MayFree(*slab_.At(index))) return index;
  }
  return stripe.slots.AllocateFresh();
}

template <class K, class V, class P, class H, class E>
template <class Value>
NodeIndex Core<K, V, P, H, E>::NewNode(StripeT& stripe, K&& key, Value&& value,
                                       const NewEntry& entry) {
  const NodeIndex index = TakeSlot(stripe);
  if (index == kNoNode) return kNoNode;
  if (stripe.slots.IsCleared(index)) [[unlikely]]
    CollectChunk(stripe, index);
  NodeT* node = NodeAt(index);
  const bool idle = entry.lifetime.idle_ttl != kNever;
  const bool has_extra = idle || entry.weight != 1;
  if ((has_extra && !slab_.EnsureExtra(index)) ||
      (entry.terms != nullptr && !slab_.EnsureTerms(index)) ||
      (entry.terms != nullptr && entry.terms->tags.get() != nullptr &&
       !slab_.EnsureValidated(index))) {
    stripe.slots.Free(index);
    return kNoNode;
  }
  try {
    if constexpr (std::is_same_v<Value, NoValue>) {
      node->ConstructNegative(std::move(key));
    } else {
      node->Construct(std::move(key), std::move(value));
    }
  } catch (...) {
    stripe.slots.Free(index);
    throw;
  }
  if (has_extra) {
    NodeExtra& extra = *slab_.Extra(index);
    extra.weight = entry.weight;
    extra.idle_ttl = entry.lifetime.idle_ttl;
    extra.hard_deadline.store(entry.lifetime.hard_deadline, std::memory_order_relaxed);
  }
  node->deadline.store(entry.lifetime.deadline, std::memory_order_relaxed);
  node->policy.store(0, std::memory_order_relaxed);
  if constexpr (kPrefix != 0) node->prefix().home = entry.hash.Home();
  // The horizon is one of the process's clock, and says nothing of idleness.
  const bool asks = idle || (clock_ != nullptr && entry.lifetime.deadline != kNever);
  const uint32_t more = entry.terms != nullptr ? WriteTerms(index, *entry.terms) : 0;
  node->state.store((has_extra ? NodeHeader::kExtra : 0) | (idle ? NodeHeader::kIdle : 0) |
                        (asks ? NodeHeader::kAsks : 0) | more,
                    std::memory_order_relaxed);
  return index;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::Overwrite(StripeT& stripe, NodeIndex index, const V& value,
                                    const NewEntry& entry, ThreadRecord& thread) {
  NodeT& node = *NodeAt(index);
  uint32_t state = node.state.load(std::memory_order_relaxed);
  const bool plain = entry.weight == 1 && entry.lifetime.idle_ttl == kNever &&
                     entry.terms == nullptr && !on_removal_;
  constexpr uint32_t kNotPlain = NodeHeader::kPins | NodeHeader::kExtra | NodeHeader::kTerms;
  if (!plain || (state & kNotPlain) != 0) return false;
  int64_t deadline = node.deadline.load(std::memory_order_relaxed);
  // The timer wheel needn't be told of a later deadline.
  const bool later = deadline <= entry.lifetime.deadline &&
                     (deadline == kNever) == (entry.lifetime.deadline == kNever);
  if (!later || Expired(node, index)) return false;
  if (!node.state.compare_exchange_strong(state, state | NodeHeader::kOverwriting,
                                          std::memory_order_acquire, std::memory_order_relaxed)) {
    return false;
  }
  // First, so that no reader finds the new value, and another that the entry has expired.
  const bool alive = node.deadline.compare_exchange_strong(deadline, entry.lifetime.deadline,
                                                           std::memory_order_relaxed);
  if (alive) Access::Store(node.value, value);
  node.state.fetch_and(~NodeHeader::kOverwriting, std::memory_order_release);
  if (!alive) return false;
  stripe.policy.OnUpdate(index, thread);
  counters_.AddRemoval(thread, RemovalCause::kReplaced);
  return true;
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::Admit(StripeT& stripe, NodeIndex old_node, NodeIndex index,
                                const NewEntry& entry, Removals& removals) {
  ThreadRecord& thread = removals.thread();
  const bool takes_place = old_node != kNoNode && Fits(entry.weight, removals);
  if (takes_place) {
    stripe.policy.OnReplace(old_node, index, thread);
  } else {
    // An entry that others have to make room for enters anew.
    if (old_node != kNoNode) stripe.policy.OnRemove(old_node);
    MakeRoom(stripe, entry.weight, SIZE_MAX, removals);
    stripe.policy.OnInsert(index, Fingerprint(entry.hash), thread);
  }
  slab_.At(index)->timer_prev = NodeHeader::kNoTimer;
}

template <class K, class V, class P, class H, class E>
Handle<K, V> Core<K, V, P, H, E>::MakeUnstored(HashBits hash, K key, V&& value) {
  StripeT& stripe = StripeOf(hash);
  const NewEntry entry{.hash = hash, .weight = 1, .lifetime = {}};
  MutexLock lock(&stripe.mutex);
  const NodeIndex index = NewNode(stripe, std::move(key), std::move(value), entry);
  if (index == kNoNode) return {};
  NodeT* node = NodeAt(index);
  node->state.store(1 | NodeHeader::kOrphaned, std::memory_order_relaxed);
  this->AddReference();
  return Handle<K, V>(this, node, index);
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::Publish(StripeT& stripe, Table::Position replaced, NodeIndex index,
                                  const NewEntry& entry) {
  if (entry.lifetime.deadline != kNever && slab_.LeavesAt(index) != kNever) {
    stripe.wheel->Schedule(index);
  }
  stripe.CountEntry(entry.weight);
  if (replaced) {
    stripe.table.Replace(entry.hash.Home(), replaced, index);
  } else {
    stripe.table.Insert(entry.hash.Home(), entry.hash.Tag(), index);
  }
}

template <class K, class V, class P, class H, class E>
class Core<K, V, P, H, E>::DeadlineHold {
 public:
  DeadlineHold() = default;
  DeadlineHold(const DeadlineHold&) = delete;
  DeadlineHold& operator=(const DeadlineHold&) = delete;
  ~DeadlineHold() {
    if (expiry_ != nullptr) expiry_->store(deadline_, std::memory_order_relaxed);
  }

  // False where the entry has expired. Requires: the stripe's lock, until this goes.
  bool Take(const Core& core, NodeIndex index) {
    NodeHeader& node = *core.slab_.At(index);
    std::atomic<int64_t>& expiry = core.ExpiryOf(node, index);
    deadline_ = expiry.load(std::memory_order_relaxed);
    do {
      if (core.Expired(node, index)) return false;
    } while (!expiry.compare_exchange_weak(deadline_, kNever, std::memory_order_relaxed));
    expiry_ = &expiry;
    return true;
  }

  void Release() { expiry_ = nullptr; }

 private:
  std::atomic<int64_t>* expiry_ = nullptr;
  int64_t deadline_ = kNever;
};

// First comes all that may fail or throw; nothing has changed until the new node stands.
template <class K, class V, class P, class H, class E>
template <class Value, class Condition>
auto Core<K, V, P, H, E>::StoreLocked(StripeT& stripe, K&& key, Value&& value,
                                      const NewEntry& entry, Condition&& may_store,
                                      bool others_made_room, Removals& removals,
                                      Handle<K, V>* stored) -> StoreResult {
  PrefetchEviction(stripe, stripe.policy.Next().first);
  RemoveExpired(stripe, kExpiryPerWrite, removals);
  if (stripe.has_cleared) [[unlikely]]
    RemoveCleared(stripe, removals);
  const bool prepared = PrepareStripe(stripe, entry);
  const Table::Position old = Locate(stripe, key, entry.hash);
  const NodeIndex old_node = Table::NodeAt(old);
  if (!may_store(old_node)) return StoreResult::kDeclined;
  if (!others_made_room && NeedsOthersRoom(stripe, entry.weight, removals)) {
    return StoreResult::kNeedsOthersRoom;
  }
  // From here to its replacement, all agree that the old entry is alive.
  DeadlineHold hold;
  if (entry.needs_live_old && old_node != kNoNode && !hold.Take(*this, old_node)) {
    return StoreResult::kDeclined;
  }
  std::shared_ptr<FlightT> flight;
  if (entry.outdates_flight && !stripe.flights.empty()) {
    flight = stripe.flights.Find(entry.hash.all(), key, eq_);
  }
  if constexpr (Access::kOverwritable && !std::is_same_v<Value, NoValue>) {
    if (old_node != kNoNode && !entry.needs_live_old && stored == nullptr &&
        Overwrite(stripe, old_node, value, entry, removals.thread())) {
      if (flight != nullptr) flight->outdated = true;
      removals.CountWeight(0);
      return StoreResult::kStored;
    }
  }
  if (old_node != kNoNode) PrefetchNeighbours(*slab_.At(old_node));
  const NodeIndex index =
      prepared ? NewNode(stripe, std::move(key), std::move(value), entry) : kNoNode;
  if (index == kNoNode) return StoreResult::kOutOfMemory;

  hold.Release();
  if (flight != nullptr) flight->outdated = true;
  if (old_node != kNoNode) Detach(stripe, old_node, RemovalCause::kReplaced, removals);
  Admit(stripe, old_node, index, entry, removals);
  if (stored != nullptr) *stored = PinNode(*NodeAt(index), index);
  Publish(stripe, old, index, entry);
  removals.CountWeight(entry.weight);
  PrefetchNext(stripe);
  return StoreResult::kStored;
}

template <class K, class V, class P, class H, class E>
template <class Value, class Condition>
auto Core<K, V, P, H, E>::Store(K&& key, Value&& value, const NewEntry& entry,
                                Condition&& may_store, ThreadRecord& thread, Handle<K, V>* stored)
    -> StoreResult {
  StripeT& stripe = StripeOf(entry.hash);
  std::exception_ptr thrown;
  for (bool others_made_room = false;; others_made_room = true) {
    Removals removals(*this, stripe, thread);
    StoreResult result;
    bool retired_table = false;
    bool wants_larger = false;
    {
      MutexLock lock(&stripe.mutex);
      const uint64_t retirements = stripe.table.retirements();
      result = StoreLocked(stripe, std::move(key), std::move(value), entry, may_store,
                           others_made_room, removals, stored);
      removals.Park(stripe);
      retired_table = stripe.table.retirements() != retirements;
      wants_larger = stripe.table.NeedsWork() && stripe.table.WantsLarger();
    }
    FullFence();
    if (result == StoreResult::kStored) counters_.Add(thread, Counter::kPuts);
    const bool done = removals.done() && !retired_table && weight() <= capacity();
    if (!done || result == StoreResult::kNeedsOthersRoom) [[unlikely]] {
      FinishStore(stripe, removals, entry.weight, result, retired_table, thrown);
    }
    if (wants_larger) [[unlikely]]
      ProvideLarger(stripe);
    if (result == StoreResult::kNeedsOthersRoom) continue;
    if (thrown != nullptr) [[unlikely]]
      std::rethrow_exception(thrown);
    return result;
  }
}

template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE void Core<K, V, P, H, E>::FinishStore(StripeT& stripe, Removals& removals,
                                                              uint64_t weight, StoreResult result,
                                                              bool retired_table,
                                                              std::exception_ptr& thrown) {
  FirstException first;
  first.Keep(thrown);
  if (result == StoreResult::kStored && this->weight() > capacity()) {
    first.Keep(ShrinkTo(capacity(), &stripe));
  }
  first.Keep(removals.Finish());
  if (retired_table) Reclaim(stripe, kFreedPerRemovals);
  if (result == StoreResult::kNeedsOthersRoom) {
    const uint64_t own = stripe.weight.load(std::memory_order_relaxed);
    const uint64_t missing = weight - std::min(own, weight);
    first.Keep(ShrinkTo(capacity() - std::min(missing, capacity()), &stripe));
  }
  thrown = first.Take();
}

template <class K, class V, class P, class H, class E>
absl::Status Core<K, V, P, H, E>::Put(K&& key, V&& value, const PutOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  ThreadRecord& thread = EnterCall();
  const HashBits hash(hash_(key));
  Prefetch(hash);
  const uint64_t weight = WeightFor(key, value, options.weight);
  if (Rejects(weight, thread)) return TooHeavy(weight);
  NewEntry entry{hash, weight, LifetimeOf(options.ttl, options.idle_ttl, thread)};
  std::optional<EntryTerms> terms;
  if (NeedsTerms(options)) [[unlikely]]
    GiveTerms(key, options, tags_.generation(), terms, entry);
  const StoreResult result = Store(
      std::move(key), std::move(value), entry, [](NodeIndex) { return true; }, thread);
  return result == StoreResult::kStored ? absl::OkStatus() : OutOfMemory();
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::PutIfAbsent(K&& key, V&& value, const PutOptions& options) {
  if (!options.Validate().ok()) return false;
  ThreadRecord& thread = EnterCall();
  const uint64_t weight = WeightFor(key, value, options.weight);
  if (Rejects(weight, thread)) return false;
  NewEntry entry{HashBits(hash_(key)), weight, LifetimeOf(options.ttl, options.idle_ttl, thread)};
  std::optional<EntryTerms> terms;
  if (NeedsTerms(options)) GiveTerms(key, options, tags_.generation(), terms, entry);
  const auto absent = [this](NodeIndex old) {
    return old == kNoNode || !IsLive(*slab_.At(old), old);
  };
  return Store(std::move(key), std::move(value), entry, absent, thread) == StoreResult::kStored;
}

template <class K, class V, class P, class H, class E>
template <class F>
absl::Status Core<K, V, P, H, E>::Compute(K&& key, F&& f, const PutOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  ThreadRecord& thread = EnterCall();
  const HashBits hash(hash_(key));
  for (;;) {
    const uint64_t stamp = tags_.generation();
    // Pinned, so that its slot isn't reused: same index, same node.
    const Handle<K, V> old = PinQuietly(key, hash);
    std::optional<V> result = f(old ? std::optional<V>(*old) : std::optional<V>());
    // Where it is the same node, it may have been invalidated or expired since.
    const auto unchanged = [&](NodeIndex now) {
      const bool live = now != kNoNode && IsLive(*slab_.At(now), now);
      return old ? live && now == old.index_ : !live;
    };
    if (!result.has_value()) {
      if (EraseWhere(key, hash, unchanged)) return absl::OkStatus();
      continue;
    }
    const uint64_t weight = WeightFor(key, *result, options.weight);
    if (Rejects(weight, thread)) return TooHeavy(weight);
    NewEntry entry{.hash = hash,
                   .weight = weight,
                   .lifetime = LifetimeOf(options.ttl, options.idle_ttl, thread),
                   .needs_live_old = static_cast<bool>(old)};
    std::optional<EntryTerms> terms;
    if (NeedsTerms(options)) GiveTerms(key, options, stamp, terms, entry);
    // A copy of the key: it is needed again where another writer got in between.
    const StoreResult stored = Store(K(key), std::move(*result), entry, unchanged, thread);
    if (stored == StoreResult::kOutOfMemory) return OutOfMemory();
    if (stored == StoreResult::kStored) return absl::OkStatus();
  }
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_WRITE_H_
