// SPDX-License-Identifier: Apache-2.0
//
// Core's Clear, and the reclamation of what it leaves. See core.h.

#ifndef LARDER_INTERNAL_CORE_CLEAR_H_
#define LARDER_INTERNAL_CORE_CLEAR_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include "absl/base/attributes.h"
#include "larder/internal/core.h"
#include "larder/internal/core_removal.h"
#include "larder/internal/full_fence.h"

namespace larder::internal {

// Slots that each write looks at for what was cleared: more than it fills, so that a cache that is
// cleared and filled again has memory for one of both. They lie side by side.
inline constexpr size_t kClearedPerWrite = 4;
// Buckets walked while holding a lock once.
inline constexpr size_t kBucketsPerLock = 8;

// Where nobody wants to be told of each entry, a stripe takes as long as its flights are many.
template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::Clear() {
  ThreadRecord& thread = EnterCall();
  FirstException thrown;
  for (StripeT& stripe : stripes()) {
    if (on_removal_ || !ClearAtOnce(stripe, thread)) thrown.Keep(ClearInTurns(stripe, thread));
  }
  FullFence();
  if (!on_removal_) {
    // The former tables. Destroying what waits is left to others.
    Epoch::LookAtReaders();
    for (StripeT& stripe : stripes()) TakeFree(stripe, 0);
  }
  Rethrow(thrown.Take());
}

// --- At once.

// Table, policy and wheel forget all nodes without touching them. What is left are nodes that look
// as if they were in the cache, in slots that the allocator knows to be cleared. Nobody who finds
// entries by way of table, policy or wheel meets them, so they are there until CollectCleared comes
// by, or the chunk's turn comes for a slot of it being used again. A reader, or EraseIf, which may
// have found one before, is inside a guard.
template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::ClearAtOnce(StripeT& stripe, ThreadRecord& thread) {
  MutexLock lock(&stripe.mutex);
  stripe.flights.OutdateAll();
  const uint64_t entries = stripe.size.load(std::memory_order_relaxed);
  if (entries == 0) return true;
  if (!stripe.table.StartAnew(stripe.table.capacity())) return false;
  stripe.policy.Clear();
  if (stripe.wheel.has_value()) stripe.wheel->Clear();
  stripe.slots.Clear();
  stripe.has_cleared = true;
  stripe.sweep_next = 0;
  counters_.AddRemoval(thread, RemovalCause::kCleared, entries);
  AddWeight(0, stripe.UncountAll());
  return true;
}

template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::CollectCleared(StripeT& stripe, size_t most) {
  NodeChain removed;
  const size_t visited = stripe.slots.VisitCleared(most, [&](NodeIndex index, NodeHeader& node) {
    if (!node.InCache()) return;
    node.SetRemoved(RemovalCause::kCleared);
    removed.Append(slab_, index, WeightOf(node, index));
  });
  stripe.cleared.Append(slab_, removed);
  return visited;
}

template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE void Core<K, V, P, H, E>::CollectChunk(StripeT& stripe, NodeIndex index) {
  stripe.slots.BringForward(index);
  CollectCleared(stripe, slab_.chunk_slots());
}

template <class K, class V, class P, class H, class E>
NodeChain Core<K, V, P, H, E>::TakeCleared(StripeT& stripe) {
  stripe.has_cleared = stripe.slots.HasCleared();
  return std::exchange(stripe.cleared, NodeChain());
}

template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE void Core<K, V, P, H, E>::RemoveCleared(StripeT& stripe,
                                                                Removals& removals) {
  // Enough for a look at the readers, and whole chunks, so that their slots can be used again.
  const bool enough = stripe.cleared.count >= kFreedPerRemovals ||
                      stripe.cleared.weight >= sizing_.reclaim_weight || !stripe.slots.HasCleared();
  if (enough && !stripe.slots.IsInCleared()) removals.Add(TakeCleared(stripe));
  CollectCleared(stripe, kClearedPerWrite);
}

// Exchanging the table for an empty one removes all entries at one moment. Their nodes are then
// taken out of the rest in turns, so that no lock is held for long; a node that a writer comes
// across before its turn is recognised by not being in the table (Remove).
template <class K, class V, class P, class H, class E>
std::exception_ptr Core<K, V, P, H, E>::ClearInTurns(StripeT& stripe, ThreadRecord& thread) {
  Removals removals(*this, stripe, thread);
  {
    // Keeps the old tables, which nobody changes any more, and their nodes from being reused.
    EpochGuard guard(thread);
    const TableView* table = nullptr;
    {
      MutexLock lock(&stripe.mutex);
      stripe.flights.OutdateAll();
      table = &stripe.table.view();
      if (stripe.table.size() == 0) return nullptr;
      if (!stripe.table.StartAnew(stripe.table.capacity())) {
        // For want of memory, all in one turn.
        while (table != nullptr) {
          size_t all = 0;
          ClearBuckets(stripe, *table, all, table->bucket_count, removals);
          table = table->older;
        }
      }
    }
    for (; table != nullptr; table = table->older) {
      for (size_t next = 0; next < table->bucket_count;) {
        MutexLock lock(&stripe.mutex);
        ClearBuckets(stripe, *table, next, kBucketsPerLock, removals);
      }
    }
  }
  std::exception_ptr thrown = removals.Finish();
  Reclaim(stripe);
  return thrown;
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::ClearBuckets(StripeT& stripe, const TableView& table, size_t& next,
                                       size_t most, Removals& removals) {
  const size_t stop = std::min<size_t>(table.bucket_count, next + most);
  for (; next < stop; ++next) {
    const Bucket& bucket = table.buckets[next];
    for (uint32_t used = bucket.Used(); used != 0; used &= used - 1) {
      const NodeIndex index = bucket.nodes[std::countr_zero(used)].load(std::memory_order_relaxed);
      if (InCache(stripe, index)) Remove(stripe, index, RemovalCause::kCleared, removals);
    }
  }
  removals.CountWeight(0);
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_CLEAR_H_
