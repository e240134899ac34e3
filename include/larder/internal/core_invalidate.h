// SPDX-License-Identifier: Apache-2.0
//
// Core's invalidations: of a key, at once, by age or after a while; by tag; by prefix. See core.h.

#ifndef LARDER_INTERNAL_CORE_INVALIDATE_H_
#define LARDER_INTERNAL_CORE_INVALIDATE_H_

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "larder/internal/core.h"
#include "larder/internal/core_write.h"

namespace larder::internal {

template <class K, class V, class P, class H, class E>
template <class Q, class Condition>
bool Core<K, V, P, H, E>::EraseWhere(const Q& key, HashBits hash, Condition&& may_erase,
                                     bool* was_live) {
  StripeT& stripe = StripeOf(hash);
  Removals removals(*this, stripe, EnterCall());
  bool erased = false;
  {
    MutexLock lock(&stripe.mutex);
    const Table::Position at = Locate(stripe, key, hash);
    const NodeIndex index = Table::NodeAt(at);
    erased = may_erase(index);
    if (erased) {
      stripe.flights.Outdate(hash.all(), key, eq_);
      if (index != kNoNode) {
        stripe.table.Erase(hash.Home(), at);
        const bool has_value = HasValidValue(*NodeAt(index), index);
        const RemovalCause cause = Detach(stripe, index, RemovalCause::kErased, removals);
        if (was_live != nullptr) *was_live = has_value && cause == RemovalCause::kErased;
        removals.CountWeight(0);
      }
      removals.Park(stripe);
    }
  }
  FullFence();
  Rethrow(removals.Finish());
  return erased;
}

template <class K, class V, class P, class H, class E>
template <class Q>
bool Core<K, V, P, H, E>::Erase(const Q& key) {
  bool was_live = false;
  EraseWhere(
      key, HashBits(hash_(key)), [](NodeIndex) { return true; }, &was_live);
  return was_live;
}

template <class K, class V, class P, class H, class E>
template <class Q>
bool Core<K, V, P, H, E>::Expire(const Q& key) {
  const HashBits hash(hash_(key));
  StripeT& stripe = StripeOf(hash);
  bool was_live = false;
  // Runs under the stripe's lock.
  const auto may_erase = [&](NodeIndex index) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    stripe.flights.Outdate(hash.all(), key, eq_);
    if (index == kNoNode) return false;
    NodeT& node = *NodeAt(index);
    was_live = IsLive(node, index);
    if (!was_live) return node.Has(NodeHeader::kNegative);
    if (!MayBeStale(node, index)) return true;
    ExpireNow(stripe, index);
    return false;
  };
  EraseWhere(key, hash, may_erase);
  return was_live;
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::MayBeStale(const NodeHeader& node, NodeIndex index) const {
  return node.Has(NodeHeader::kTerms) &&
         slab_.Terms(index)->kept_for.load(std::memory_order_relaxed) > 0;
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::ExpireNow(StripeT& stripe, NodeIndex index) {
  const int64_t now = Now();
  NodeT& node = *NodeAt(index);
  NodeTerms& terms = *slab_.Terms(index);
  if (node.HasTimer()) stripe.wheel->Cancel(index);
  terms.fresh_until.store(now, std::memory_order_relaxed);
  terms.failed.store(false, std::memory_order_relaxed);
  terms.expires_at.store(kOver, std::memory_order_relaxed);
  node.deadline.store(now, std::memory_order_relaxed);
  if (clock_ != nullptr) node.state.fetch_or(NodeHeader::kAsks, std::memory_order_relaxed);
  if (terms.LeavesAt() == kNever) return;
  if (!stripe.wheel.has_value()) stripe.wheel.emplace(&slab_, now);
  stripe.wheel->Schedule(index);
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::InvalidateTag(std::string_view tag) {
  tags_.Invalidate(tag);
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::InvalidatePrefix(std::string_view prefix) {
  if (tags_.InvalidatePrefix(prefix)) return;
  const auto begins = [prefix](const K& key) { return std::string_view(key).starts_with(prefix); };
  EraseEach([&begins](const K& key, const V&) { return begins(key); }, begins);
}

// An entry that is there now is to have expired by `end`.
template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::EndBy(StripeT& stripe, NodeIndex index, int64_t end) {
  NodeT& node = *NodeAt(index);
  // An access may move its end past this again; the alarm comes then.
  if (node.IsIdle()) return;
  std::atomic<int64_t>& expiry = ExpiryOf(node, index);
  int64_t seen = expiry.load(std::memory_order_relaxed);
  while (seen > end && !expiry.compare_exchange_weak(seen, end, std::memory_order_relaxed)) {
  }
  const bool has_terms = node.Has(NodeHeader::kTerms);
  if (seen <= end && !has_terms) return;
  if (clock_ == nullptr) ticker_.Start();
  if (!stripe.wheel.has_value()) stripe.wheel.emplace(&slab_, Now());
  if (node.HasTimer()) stripe.wheel->Cancel(index);
  if (has_terms) {
    // Nor is it kept for longer.
    NodeTerms& terms = *slab_.Terms(index);
    const int64_t fresh_until = std::min(terms.fresh_until.load(std::memory_order_relaxed), end);
    const int64_t kept_for = terms.kept_for.load(std::memory_order_relaxed);
    const int64_t look_at = node.deadline.load(std::memory_order_relaxed);
    terms.fresh_until.store(fresh_until, std::memory_order_relaxed);
    terms.kept_for.store(std::min(kept_for, end - fresh_until), std::memory_order_relaxed);
    node.deadline.store(std::min(look_at, end), std::memory_order_relaxed);
  }
  if (clock_ != nullptr) node.state.fetch_or(NodeHeader::kAsks, std::memory_order_relaxed);
  stripe.wheel->Schedule(index);
}

// What was invalidated by tag or prefix leaves the cache. Looks at `most` slots; returns at how
// many.
template <class K, class V, class P, class H, class E>
size_t Core<K, V, P, H, E>::Sweep(StripeT& stripe, size_t most, Removals& removals) {
  if (!IsUnswept(stripe)) return 0;
  if (stripe.sweep_next == 0) stripe.sweep_generation = tags_.generation();
  const size_t begin = stripe.sweep_next;
  const size_t end = std::min(stripe.slots.slots_used(), begin + most);
  for (size_t i = begin; i < end; ++i) {
    const NodeIndex index = stripe.slots.SlotNumber(i);
    const NodeHeader& node = *slab_.At(index);
    if (node.InCache() && Invalidated(node, index)) {
      Remove(stripe, index, RemovalCause::kErased, removals);
    }
  }
  const bool done = end == stripe.slots.slots_used();
  stripe.sweep_next = done ? 0 : end;
  if (done) stripe.swept = stripe.sweep_generation;
  return end - begin;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_INVALIDATE_H_
