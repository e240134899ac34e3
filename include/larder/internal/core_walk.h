// SPDX-License-Identifier: Apache-2.0
//
// Core's walks over all entries: for users, for maintenance and for tests. See core.h.

#ifndef LARDER_INTERNAL_CORE_WALK_H_
#define LARDER_INTERNAL_CORE_WALK_H_

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "larder/internal/core.h"
#include "larder/internal/core_clear.h"
#include "larder/internal/core_growth.h"
#include "larder/internal/core_invalidate.h"
#include "larder/internal/core_removal.h"
#include "larder/internal/full_fence.h"

namespace larder::internal {

// Nodes that maintenance removes before it looks at the readers, if there are as many to remove.
// Few enough for them to be at hand still when they are destroyed.
inline constexpr size_t kRemovalsPerLook = 4096;
// Nodes that could be worked on in the time that a look at the readers takes, more or less.
inline constexpr size_t kNodesPerLook = 128;

// Those entries of a bucket whose keys aren't in `older`.
template <class K, class V, class P, class H, class E>
template <class F>
void Core<K, V, P, H, E>::ForEachNode(const Bucket& bucket, const TableView* older, F&& f) {
  for (uint32_t used = bucket.Used(); used != 0; used &= used - 1) {
    const int slot = std::countr_zero(used);
    for (uint8_t tag = bucket.TagAt(slot); tag != 0; tag = bucket.TagAt(slot)) {
      const NodeIndex index = bucket.nodes[slot].load(std::memory_order_acquire);
      NodeT& node = *NodeAt(index);
      const bool in_older =
          older != nullptr && older->FindHere(HomeOf(node), tag, [&](NodeIndex other) {
            return eq_(NodeAt(other)->key, node.key);
          });
      // What was erased or replaced meanwhile, here first, may have been in `older` before.
      const bool changed = older != nullptr && !in_older &&
                           (bucket.TagAt(slot) != tag ||
                            bucket.nodes[slot].load(std::memory_order_relaxed) != index);
      if (changed) continue;
      if (!in_older) f(index, node);
      break;
    }
  }
}

// In a table that grows, the older one first, in which nothing is ever added: what is there later
// was walked past, whether it has been copied since or not.
template <class K, class V, class P, class H, class E>
template <class F>
void Core<K, V, P, H, E>::ForEachNode(const StripeT& stripe, F&& f) {
  const TableView& table = *fronts_[&stripe - stripes_].table.load(std::memory_order_acquire);
  for (const TableView* part : {table.older, &table}) {
    for (size_t i = 0; part != nullptr && i < part->bucket_count; ++i) {
      ForEachNode(part->buckets[i], part->older, f);
    }
  }
}

template <class K, class V, class P, class H, class E>
template <class F>
void Core<K, V, P, H, E>::ForEach(F&& f) {
  ThreadRecord& thread = EnterCall();
  for (const StripeT& stripe : stripes()) {
    // The guard keeps the tables as well: what is replaced meanwhile is walked to its end, and
    // holds all that was there throughout.
    EpochGuard guard(thread);
    ForEachNode(stripe, [&](NodeIndex index, NodeT& node) {
      if (!IsLive(node, index)) return;
      typename Access::Seen value = Access::Load(node.value);
      f(std::as_const(node.key), value);
    });
  }
}

template <class K, class V, class P, class H, class E>
template <class Pred>
size_t Core<K, V, P, H, E>::EraseIf(Pred&& pred) {
  return EraseEach(pred, [](const K&) { return false; });
}

// What was kept past its expiry is asked about, too: a load might return it.
template <class K, class V, class P, class H, class E>
template <class Pred, class KeyPred>
size_t Core<K, V, P, H, E>::EraseEach(Pred&& pred, KeyPred&& negative_pred) {
  ThreadRecord& thread = EnterCall();
  FirstException thrown;
  size_t erased = 0;
  for (StripeT& stripe : stripes()) {
    const size_t erased_before = erased;
    Removals removals(*this, stripe, thread);
    {
      EpochGuard guard(thread);
      {
        // What is being loaded can't be asked; it might match.
        MutexLock lock(&stripe.mutex);
        stripe.flights.OutdateAll();
      }
      // With its value, where that may be overwritten before the lock is held.
      struct Match {
        NodeIndex index;
        [[no_unique_address]] std::conditional_t<Access::kOverwritable, V, typename Traits::Nothing>
            value;
      };
      std::vector<Match> matches;
      ForEachNode(stripe, [&](NodeIndex index, NodeT& node) {
        if (node.Has(NodeHeader::kNegative)) {
          if (negative_pred(std::as_const(node.key))) matches.push_back({index, {}});
          return;
        }
        if (!IsLive(node, index) && !IsKept(node, index)) return;
        typename Access::Seen value = Access::Load(node.value);
        if (!pred(std::as_const(node.key), value)) return;
        if constexpr (Access::kOverwritable) {
          matches.push_back({index, value});
        } else {
          matches.push_back({index, {}});
        }
      });
      // The guard keeps the nodes from being reused: one that is still in the cache is the one that
      // was asked about.
      for (size_t i = 0; i < matches.size();) {
        MutexLock lock(&stripe.mutex);
        const size_t stop = std::min(matches.size(), i + kRemovalsPerLock);
        for (; i < stop; ++i) {
          const NodeIndex index = matches[i].index;
          const NodeT& node = *NodeAt(index);
          if (!InCache(stripe, index)) continue;
          if constexpr (Access::kOverwritable) {
            const bool negative = node.Has(NodeHeader::kNegative);
            if (!negative && !Access::Same(node.value, matches[i].value)) continue;
          }
          // A load that was stored, and is now removed, may not have landed: nobody may join it.
          stripe.flights.OutdateWithHome(HomeOf(node), node.key, eq_);
          const RemovalCause cause = Remove(stripe, index, RemovalCause::kErased, removals);
          if (cause == RemovalCause::kErased) ++erased;
        }
        removals.CountWeight(0);
      }
    }
    thrown.Keep(removals.Finish());
    // What is erased at once isn't left to others to destroy.
    if (erased - erased_before > kFreedPerRemovals) Reclaim(stripe);
  }
  FullFence();
  Rethrow(thrown.Take());
  return erased;
}

template <class K, class V, class P, class H, class E>
struct Core<K, V, P, H, E>::Maintenance {
  ThreadRecord& thread;
  size_t budget;      // what is left of it
  size_t worked = 0;  // nodes removed or moved in the wheel, and nodes destroyed
  FirstException thrown = {};

  void Count(size_t nodes) {
    worked += nodes;
    budget -= nodes;
  }
};

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::RunMaintenance(size_t budget) {
  Maintenance work{.thread = EnterCall(), .budget = budget};
  // From where the last call stopped, so that small budgets reach every stripe in turn.
  const size_t start = maintenance_cursor_.load(std::memory_order_relaxed);
  size_t visited = 0;
  // Until none in a whole round had anything to do.
  for (size_t done = 0; done < stripe_count() && work.budget > 0; ++visited) {
    LookIfDue(work);
    StripeT& stripe = stripes_[(start + visited) & (stripe_count() - 1)];
    const bool more = MaintainStripe(stripe, work);
    const size_t copied = std::min(work.budget, GrowStripe(stripe, work.budget));
    work.Count(copied);
    done = more || copied > 0 ? 0 : done + 1;
  }
  maintenance_cursor_.store(start + visited, std::memory_order_relaxed);
  // That alone is about as much work as half a small budget: after more, it is the next call's.
  if (work.budget > 0 && work.worked <= budget / 2) ReclaimAll(work);
  Rethrow(work.thrown.Take());
  return work.worked;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::MaintainStripe(StripeT& stripe, Maintenance& work) {
  Removals removals(*this, stripe, work.thread, /*reclaims=*/false);
  TimerWheel::Due due;
  NodeChain free;
  bool more = false;
  {
    MutexLock lock(&stripe.mutex);
    free = TakeFreeNodes(stripe, Epoch::FreeBefore(), std::min(work.budget, kRemovalsPerLock));
    work.Count(free.count);
    // What is free goes first, so that a burst of removals leaves little behind.
    if (free.count < kRemovalsPerLock) {
      due = RemoveExpired(stripe, std::min(work.budget, kRemovalsPerLock), removals);
      work.Count(due.visited);
      work.Count(CollectCleared(stripe, std::min(work.budget, kRemovalsPerLock)));
    }
    const size_t swept = Sweep(stripe, std::min(work.budget, kRemovalsPerLock), removals);
    work.Count(swept);
    const NodeChain cleared = TakeCleared(stripe);
    if (due.count + swept + cleared.count != 0) {
      unlooked_nodes_.fetch_add(due.count + swept + cleared.count, std::memory_order_relaxed);
      unlooked_weight_.fetch_add(removals.uncounted() + cleared.weight, std::memory_order_relaxed);
      removals.CountWeight(0);
      removals.Add(cleared);
      removals.Park(stripe);
      if (LimboIsFull(stripe)) stripe.limbo.Seal(Epoch::Advance());
    }
    more = due.more || stripe.has_cleared || IsUnswept(stripe) || !free.empty();
  }
  work.thrown.Keep(removals.Finish());
  FreeNodes(stripe, free);
  return more;
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::LookIfDue(Maintenance& work) {
  if (unlooked_nodes_.load(std::memory_order_relaxed) < kRemovalsPerLook &&
      unlooked_weight_.load(std::memory_order_relaxed) / stripe_count() < sizing_.reclaim_weight) {
    return;
  }
  LookAtReaders();
  // Something is left for what the call is for.
  work.budget -= std::min(kNodesPerLook, work.budget / 2);
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::LookAtReaders() {
  unlooked_nodes_.store(0, std::memory_order_relaxed);
  unlooked_weight_.store(0, std::memory_order_relaxed);
  Epoch::LookAtReaders();
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::ReclaimAll(Maintenance& work) {
  bool waiting = false;
  for (StripeT& stripe : stripes()) waiting |= SealLimbo(stripe);
  if (!waiting) return;
  // One look for all of them: it interrupts every thread.
  LookAtReaders();
  for (StripeT& stripe : stripes()) {
    for (size_t freed = 1; freed > 0 && work.budget > 0; work.Count(freed)) {
      freed = TakeFree(stripe, std::min(work.budget, kRemovalsPerLock));
    }
  }
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::SealLimbo(StripeT& stripe) {
  MutexLock lock(&stripe.mutex);
  if (!stripe.limbo.fresh().empty()) stripe.limbo.Seal(Epoch::Advance());
  return !stripe.limbo.empty() || stripe.table.HasRetired();
}

template <class K, class V, class P, class H, class E>
absl::Status Core<K, V, P, H, E>::CheckInvariants() {
  uint64_t sum = 0;
  for (StripeT& stripe : stripes()) {
    if (absl::Status status = CheckStripe(stripe, &sum); !status.ok()) return status;
  }
  if (sum != weight()) {
    return absl::InternalError(
        absl::StrCat("the stripes weigh ", sum, ", the cache says ", weight()));
  }
  if (sum > capacity()) {
    return absl::InternalError(absl::StrCat("weight ", sum, " over the capacity ", capacity()));
  }
  return absl::OkStatus();
}

template <class K, class V, class P, class H, class E>
absl::Status Core<K, V, P, H, E>::CheckStripe(StripeT& stripe, uint64_t* weight) {
  const auto broken = [&](auto... what) {
    return absl::InternalError(absl::StrCat("stripe ", &stripe - stripes_, ": ", what...));
  };
  MutexLock lock(&stripe.mutex);
  if (!stripe.table.Consistent([this](NodeIndex node) { return HomeOf(*NodeAt(node)); })) {
    return broken("the table's tags, displaced counts or size are wrong");
  }
  if (!stripe.flights.empty()) return broken("a flight was left behind");
  size_t in_cache = 0;
  stripe.slots.ForEachSlot(
      [&in_cache](NodeIndex, const NodeHeader& node) { in_cache += node.InCache() ? 1 : 0; });
  const uint64_t size = stripe.size.load(std::memory_order_relaxed);
  if (in_cache != size || stripe.table.size() != size) {
    return broken("size is ", size, ", nodes ", in_cache, ", table entries ", stripe.table.size());
  }
  uint64_t held = 0;
  size_t timed = 0;
  std::vector<NodeIndex> nodes;
  stripe.table.ForEach([&](NodeIndex index) {
    const NodeT& node = *NodeAt(index);
    held += WeightOf(node, index);
    timed += node.HasTimer() ? 1 : 0;
    nodes.push_back(index);
  });
  for (NodeIndex index : nodes) {
    const NodeT& node = *NodeAt(index);
    const HashBits hash(hash_(node.key));
    const Table::Position at = Locate(stripe, node.key, hash);
    if (&StripeOf(hash) != &stripe || !at || Table::NodeAt(at) != index) {
      return broken("node ", index, " isn't where its key is looked for");
    }
    if (stripe.slots.IsCleared(index)) return broken("node ", index, "'s slot counts as cleared");
    if ((slab_.LeavesAt(index) != kNever) != node.HasTimer())
      return broken("node ", index, "'s timer and deadline differ");
  }
  if (held != stripe.weight.load(std::memory_order_relaxed)) {
    return broken("weight is ", stripe.weight.load(), ", nodes weigh ", held);
  }
  if (stripe.wheel.has_value() && (!stripe.wheel->Consistent() || stripe.wheel->size() != timed)) {
    return broken("the timer wheel's lists are wrong");
  }
  *weight += held;
  return absl::OkStatus();
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_WALK_H_
