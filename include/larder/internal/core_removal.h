// SPDX-License-Identifier: Apache-2.0
//
// Core's removals: how entries leave, whatever for, and what becomes of their nodes. See core.h.

#ifndef LARDER_INTERNAL_CORE_REMOVAL_H_
#define LARDER_INTERNAL_CORE_REMOVAL_H_

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "larder/internal/core.h"
#include "larder/internal/core_prefetch.h"
#include "larder/internal/core_read.h"

namespace larder::internal {

// Nodes visited on the timer wheel by each write: more than a write adds, so expiry keeps up.
inline constexpr size_t kExpiryPerWrite = 8;
// Nodes removed while holding a lock once, where there are many to remove.
inline constexpr size_t kRemovalsPerLock = 64;
// Removed nodes of a stripe before a look at all readers is worth its price.
inline constexpr size_t kReclaimBatch = 64;
// Nodes destroyed at once where others are removed: more than these are, as a rule, but not so many
// that one operation pays for what a burst left behind.
inline constexpr size_t kFreedPerRemovals = 2 * kReclaimBatch;

template <class K, class V, class P, class H, class E>
class Core<K, V, P, H, E>::Removals {
 public:
  // `reclaims`: whether the operation also sees to what waits in the stripe's limbo.
  Removals(Core& core, StripeT& stripe, ThreadRecord& thread, bool reclaims = true)
      : core_(core), stripe_(stripe), thread_(thread), reclaims_(reclaims) {}
  Removals(const Removals&) = delete;
  Removals& operator=(const Removals&) = delete;

  // Where an operation throws, its removals are still announced and reclaimed; what a listener
  // throws on top of that can't be reported.
  ~Removals() { Finish(); }

  ThreadRecord& thread() const { return thread_; }

  void Add(NodeIndex index, uint64_t weight, RemovalCause cause) {
    core_.counters_.AddRemoval(thread_, cause);
    chain_.Append(core_.slab_, index, weight);
    uncounted_ += weight;
  }

  // Nodes that were cleared, and counted then. They are to be destroyed soon: nothing may leave
  // the stripe for long after them.
  void Add(const NodeChain& cleared) {
    chain_.Append(core_.slab_, cleared);
    most_freed_ += cleared.count;
  }

  // The weight removed that the cache's total still includes.
  uint64_t uncounted() const { return uncounted_; }

  // Counts `added` and all that was removed into the cache's total, in one step.
  void CountWeight(uint64_t added) { core_.AddWeight(added, std::exchange(uncounted_, 0)); }

  // Where nobody listens, spares Finish the lock: to be called last, under it.
  void Park(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex) {
    if (chain_.empty() || core_.on_removal_) return;
    PutIntoLimbo(stripe);
  }

  // Whether there is nothing for Finish to do.
  bool done() const { return uncounted_ == 0 && chain_.empty() && free_.empty() && !crowded_; }

  // Without the lock: tells the listener of all, and reclaims. Returns what the listener threw
  // first, if it did: the operation goes on to its end, and throws it then.
  std::exception_ptr Finish() noexcept { return done() ? nullptr : FinishAll(); }

 private:
  ABSL_ATTRIBUTE_NOINLINE std::exception_ptr FinishAll() noexcept {
    if (uncounted_ != 0) CountWeight(0);
    std::exception_ptr thrown;
    if (!chain_.empty()) {
      if (core_.on_removal_) thrown = Announce();
      MutexLock lock(&stripe_.mutex);
      PutIntoLimbo(stripe_);
    }
    core_.FreeNodes(stripe_, std::exchange(free_, NodeChain()));
    if (std::exchange(crowded_, false)) core_.Reclaim(stripe_, most_freed_);
    return thrown;
  }

  std::exception_ptr Announce() {
    FirstException thrown;
    for (NodeIndex index = chain_.first; index != kNoNode;) {
      const NodeT& node = *core_.NodeAt(index);
      index = node.timer_next;
      if (node.Has(NodeHeader::kNegative)) continue;
      try {
        core_.on_removal_(node.key, node.value, node.Cause());
      } catch (...) {
        thrown.Keep(std::current_exception());
      }
    }
    return thrown.Take();
  }

  void PutIntoLimbo(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex) {
    stripe.limbo.Add(std::exchange(chain_, NodeChain()));
    if (core_.LimboIsFull(stripe)) [[unlikely]]
      SealLimbo(stripe);
  }

  ABSL_ATTRIBUTE_NOINLINE void SealLimbo(StripeT& stripe)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex) {
    if (!reclaims_) return;
    stripe.limbo.Seal(Epoch::Advance());
    const uint64_t free_before = Epoch::FreeBefore();
    free_ = core_.TakeFreeNodes(stripe, free_before, most_freed_);
    // Where free nodes are left, there is no need to find more.
    const bool all_taken = stripe.limbo.free_count(free_before) == 0;
    const bool many = stripe.limbo.crowded() || most_freed_ != kFreedPerRemovals;
    crowded_ = (all_taken && many) || stripe.table.HasRetired();
  }

  Core& core_;
  StripeT& stripe_;
  ThreadRecord& thread_;
  const bool reclaims_;
  NodeChain chain_;
  NodeChain free_;  // taken from limbo, to be destroyed
  size_t most_freed_ = kFreedPerRemovals;
  bool crowded_ = false;  // something waits for a look at the readers
  uint64_t uncounted_ = 0;
};

template <class K, class V, class P, class H, class E>
uint32_t Core<K, V, P, H, E>::HomeOf(const NodeT& node) const {
  if constexpr (kCheapHash) return HashBits(hash_(node.key)).Home();
  return node.prefix().home;
}

template <class K, class V, class P, class H, class E>
uint64_t Core<K, V, P, H, E>::FingerprintOf(const NodeT& node) const {
  if constexpr (kCheapHash) return HashBits(hash_(node.key)).all();
  return HomeOf(node);
}

template <class K, class V, class P, class H, class E>
uint64_t Core<K, V, P, H, E>::WeightOf(const NodeHeader& node, NodeIndex index) const {
  const bool has_extra = (node.state.load(std::memory_order_relaxed) & NodeHeader::kExtra) != 0;
  return has_extra ? slab_.Extra(index)->weight : 1;
}

// --- Out of the cache, under the stripe's lock.

template <class K, class V, class P, class H, class E>
RemovalCause Core<K, V, P, H, E>::Detach(StripeT& stripe, NodeIndex index, RemovalCause cause,
                                         Removals& removals) {
  NodeHeader* node = slab_.At(index);
  if (node->HasTimer()) stripe.wheel->Cancel(index);
  if (cause == RemovalCause::kEvicted) {
    stripe.policy.OnEvict(index, FingerprintOf(*NodeAt(index)));
  } else if (cause != RemovalCause::kReplaced) {
    stripe.policy.OnRemove(index);
  }
  // Whatever removes it: an expired entry was gone before, and so was an invalidated one.
  if (Expired(*node, index)) {
    cause = RemovalCause::kExpired;
  } else if (Invalidated(*node, index)) {
    cause = RemovalCause::kErased;
  }
  node->SetRemoved(cause);
  const uint64_t weight = WeightOf(*node, index);
  stripe.UncountEntry(weight);
  removals.Add(index, weight, cause);
  return cause;
}

template <class K, class V, class P, class H, class E>
RemovalCause Core<K, V, P, H, E>::Remove(StripeT& stripe, NodeIndex index, RemovalCause cause,
                                         Removals& removals) {
  const uint32_t home = HomeOf(*NodeAt(index));
  if (const Table::Position at = stripe.table.LocateNode(home, index)) {
    stripe.table.Erase(home, at);
  } else {
    cause = RemovalCause::kCleared;
  }
  return Detach(stripe, index, cause, removals);
}

template <class K, class V, class P, class H, class E>
TimerWheel::Due Core<K, V, P, H, E>::RemoveExpired(StripeT& stripe, size_t budget,
                                                   Removals& removals) {
  const bool may_be_due = stripe.wheel.has_value() && !IsFar(stripe.wheel->next_event());
  return may_be_due ? RemoveDue(stripe, budget, removals) : TimerWheel::Due();
}

template <class K, class V, class P, class H, class E>
TimerWheel::Due Core<K, V, P, H, E>::RemoveDue(StripeT& stripe, size_t budget, Removals& removals) {
  const int64_t now = Now();
  if (stripe.wheel->next_event() > now) return {};
  const TimerWheel::Due due = stripe.wheel->Advance(now, budget);
  PrefetchRemovals(stripe, due.first);
  for (NodeIndex index = due.first; index != kNoNode;) {
    NodeHeader* node = slab_.At(index);
    const NodeIndex next = node->timer_next;
    // A hit may have moved the deadline since the wheel looked at it.
    if (Expired(*node, index) && slab_.LeavesAt(index) <= now) {
      Remove(stripe, index, RemovalCause::kExpired, removals);
    } else {
      stripe.wheel->Schedule(index);
    }
    index = next;
  }
  return due;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::Fits(uint64_t weight, const Removals& removals) const {
  const uint64_t capacity = this->capacity();
  const uint64_t held = this->weight() - removals.uncounted();
  return held <= capacity && weight <= capacity - held;
}

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::MakeRoom(StripeT& stripe, uint64_t weight, size_t most,
                                     Removals& removals) {
  if (Fits(weight, removals)) return 0;
  // What is due goes before what is alive.
  const size_t expired = RemoveExpired(stripe, kRemovalsPerLock, removals).count;
  if (expired != 0 && Fits(weight, removals)) return expired;
  size_t evicted = 0;
  while (evicted < most) {
    const NodeIndex victim = stripe.policy.Victim(stripe.size.load(std::memory_order_relaxed));
    if (victim == kNoNode) break;
    Remove(stripe, victim, RemovalCause::kEvicted, removals);
    ++evicted;
    if (Fits(weight, removals)) break;
  }
  return expired + evicted;
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::AddWeight(uint64_t added, uint64_t removed) {
  if (added == removed) return;
  // Unsigned arithmetic wraps to the right sum.
  const uint64_t total =
      weight_.fetch_add(added - removed, std::memory_order_relaxed) + (added - removed);
  const uint64_t capacity = this->capacity();
  // What a lowered capacity leaves over is no overshoot.
  if (total <= capacity || added < removed) return;
  uint64_t most = max_overshoot_.load(std::memory_order_relaxed);
  while (most < total - capacity &&
         !max_overshoot_.compare_exchange_weak(most, total - capacity, std::memory_order_relaxed)) {
  }
}

template <class K, class V, class P, class H, class E>
std::exception_ptr Core<K, V, P, H, E>::ShrinkTo(uint64_t target, const StripeT* spared) {
  ThreadRecord& thread = EnterCall();
  FirstException thrown;
  const uint64_t room = capacity() - std::min(target, capacity());
  bool spare = spared != nullptr;
  while (weight() > target) {
    size_t removed = 0;
    // Anywhere, so that no stripe is emptied before the others.
    const size_t start = thread.NextRandom();
    for (size_t i = 0; i < stripe_count(); ++i) {
      StripeT& stripe = stripes_[(start + i) & (stripe_count() - 1)];
      if (spare && &stripe == spared) continue;
      const uint64_t total = weight();
      if (total <= target) return thrown.Take();
      // Each stripe's share of the excess, more or less.
      const double share = static_cast<double>(total - target) / static_cast<double>(total);
      const auto entries = static_cast<double>(stripe.size.load(std::memory_order_relaxed));
      Removals removals(*this, stripe, thread);
      {
        MutexLock lock(&stripe.mutex);
        const auto most = static_cast<size_t>(entries * share) + 1;
        removed += MakeRoom(stripe, room, std::min(most, kRemovalsPerLock), removals);
        removals.CountWeight(0);
        removals.Park(stripe);
      }
      thrown.Keep(removals.Finish());
    }
    // Nothing left but what this call has just stored, and what others are storing.
    if (removed == 0 && !std::exchange(spare, false)) break;
  }
  return thrown.Take();
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::NeedsOthersRoom(const StripeT& stripe, uint64_t weight,
                                          const Removals& removals) const {
  const uint64_t total = this->weight() - removals.uncounted();
  const uint64_t free = capacity() - std::min(total, capacity());
  return weight > free && weight - free > stripe.weight.load(std::memory_order_relaxed);
}

template <class K, class V, class P, class H, class E>
absl::Status Core<K, V, P, H, E>::SetCapacity(uint64_t capacity) {
  if (capacity == 0) return absl::InvalidArgumentError("capacity must be positive, is 0");
  capacity_.store(capacity, std::memory_order_relaxed);
  Rethrow(ShrinkTo(capacity, nullptr));
  return absl::OkStatus();
}

// --- Reclamation.

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::LimboIsFull(const StripeT& stripe) const {
  const NodeChain& fresh = stripe.limbo.fresh();
  return fresh.count >= kReclaimBatch || fresh.weight >= sizing_.reclaim_weight;
}

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::Reclaim(StripeT& stripe, size_t most) {
  Epoch::LookAtReaders();
  return TakeFree(stripe, most);
}

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::TakeFree(StripeT& stripe, size_t most) {
  const uint64_t free_before = Epoch::FreeBefore();
  NodeChain free;
  std::unique_ptr<Table> tables;
  {
    MutexLock lock(&stripe.mutex);
    free = TakeFreeNodes(stripe, free_before, most);
    tables = stripe.table.TakeRetired(free_before);
  }
  FreeNodes(stripe, free);
  return free.count;
}

template <class K, class V, class P, class H, class E>
NodeChain Core<K, V, P, H, E>::TakeFreeNodes(StripeT& stripe, uint64_t free_before, size_t most) {
  if (kNothingToDestroy && !tags_.InUse()) {
    const NodeChain free = stripe.limbo.TakeFree(free_before);
    if (!free.empty()) stripe.slots.Free(free.first, free.last);
    return {};
  }
  return stripe.limbo.TakeFree(free_before, most);
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::FreeNodes(StripeT& stripe, const NodeChain& chain) {
  if (chain.empty()) return;
  NodeChain freed;
  for (NodeIndex index = chain.first; index != kNoNode;) {
    NodeT* node = NodeAt(index);
    const NodeIndex next = node->timer_next;
    if (MayFree(*node)) {
      DestroyNode(index);
      freed.Append(slab_, index, 0);
    }
    index = next;
  }
  if (freed.empty()) return;
  MutexLock lock(&stripe.mutex);
  stripe.slots.Free(freed.first, freed.last);
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::FreeOrphan(NodeIndex index) {
  DestroyNode(index);
  {
    StripeT& stripe = stripes_[slab_.OwnerOf(index)];
    MutexLock lock(&stripe.mutex);
    stripe.slots.Free(index);
  }
  this->DropReference();
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_REMOVAL_H_
