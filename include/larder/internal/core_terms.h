// SPDX-License-Identifier: Apache-2.0
//
// Core's entries with terms: those that are refreshed, kept past their expiry, tagged, or that
// stand for a key that wasn't found. See core.h and NodeTerms.

#ifndef LARDER_INTERNAL_CORE_TERMS_H_
#define LARDER_INTERNAL_CORE_TERMS_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/attributes.h"
#include "larder/internal/core.h"
#include "larder/internal/early_refresh.h"
#include "larder/internal/nanos.h"
#include "larder/refresh_after.h"

namespace larder::internal {

template <class K, class V, class P, class H, class E>
TagSetHold Core<K, V, P, H, E>::AcquireTags(const K& key, std::span<const std::string> tags) {
  const TagSet* prefixes = nullptr;
  if constexpr (StringLike<K>) prefixes = tags_.PrefixesOf(std::string_view(key));
  return {tags_, tags_.Acquire(tags, prefixes)};
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::GiveTerms(const TermsRequest& request, EntryTerms& terms,
                                    NewEntry& entry) const {
  const int64_t now = Now();
  const Lifetime& lifetime = entry.lifetime;
  terms.expires_at = lifetime.deadline;
  terms.kept_for = request.stale_window;
  terms.written_at = now;
  terms.validated = request.stamp;
  terms.negative = request.negative;
  terms.load_micros =
      static_cast<uint32_t>(std::min<int64_t>(request.load_nanos / 1000, UINT32_MAX));
  terms.refresh_at = RefreshTime(request.refresh_after, now, lifetime);
  entry.lifetime.deadline =
      FirstLook(terms.expires_at, terms.refresh_at, request.load_nanos, request.early_refresh);
  entry.terms = &terms;
}

template <class K, class V, class P, class H, class E>
int64_t Core<K, V, P, H, E>::RefreshTime(const RefreshAfter& after, int64_t now,
                                         const Lifetime& lifetime) {
  int64_t time = kNever;
  if (!after.is_share()) {
    time = SaturatingAdd(now, ToNanos(after.duration()));
  } else if (lifetime.hard_deadline != kNever) {
    const auto ttl = static_cast<double>(lifetime.hard_deadline - now);
    time = now + static_cast<int64_t>(ttl * after.share());
  }
  return time < lifetime.hard_deadline ? time : kNever;
}

template <class K, class V, class P, class H, class E>
int64_t Core<K, V, P, H, E>::FirstLook(int64_t expires_at, int64_t refresh_at, int64_t load_nanos,
                                       double early_refresh) {
  const int64_t look = std::min(expires_at, refresh_at);
  return early_refresh > 0 ? std::min(look, EarliestRefresh(expires_at, load_nanos, early_refresh))
                           : look;
}

template <class K, class V, class P, class H, class E>
ABSL_ATTRIBUTE_NOINLINE void Core<K, V, P, H, E>::GiveTerms(const K& key, const PutOptions& options,
                                                            uint64_t stamp,
                                                            std::optional<EntryTerms>& terms,
                                                            NewEntry& entry) {
  terms.emplace(EntryTerms{.tags = AcquireTags(key, options.tags)});
  GiveTerms({.refresh_after = options.refresh_after.value_or(load_settings_.refresh_after),
             .stale_window = load_settings_.stale_window(),
             .stamp = stamp},
            *terms, entry);
}

template <class K, class V, class P, class H, class E>
uint32_t Core<K, V, P, H, E>::WriteTerms(NodeIndex index, EntryTerms& given) {
  NodeTerms& terms = *slab_.Terms(index);
  const auto set = [](auto& field, auto value) { field.store(value, std::memory_order_relaxed); };
  set(terms.expires_at, given.expires_at);
  set(terms.fresh_until, given.expires_at);
  set(terms.kept_for, given.kept_for);
  set(terms.refresh_at, given.refresh_at);
  set(terms.written_at, given.written_at);
  if (given.tags.get() != nullptr) set(slab_.Validated(index), given.validated);
  set(terms.load_micros, given.load_micros);
  set(terms.failed, false);
  terms.tags = given.tags.Take();
  return NodeHeader::kTerms | (terms.tags != nullptr ? NodeHeader::kTagged : 0) |
         (given.negative ? NodeHeader::kNegative | NodeHeader::kAsks : 0);
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::Valid(NodeIndex index) const {
  const uint64_t current = tags_.generation();
  std::atomic<uint64_t>& up_to = slab_.Validated(index);
  uint64_t validated = up_to.load(std::memory_order_relaxed);
  if (validated >= current) return true;
  if (!Tags::Valid(slab_.Terms(index)->tags, validated)) return false;
  up_to.compare_exchange_strong(validated, current, std::memory_order_relaxed);
  return true;
}

// Whether a value is kept past its expiry, perhaps for longer than who asks now may be given it.
template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::IsKept(const NodeHeader& node, NodeIndex index) const {
  return node.Has(NodeHeader::kTerms) && HasValidValue(node, index) &&
         Now() < slab_.Terms(index)->LeavesAt();
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::DestroyNode(NodeIndex index) {
  NodeT& node = *NodeAt(index);
  if (node.Has(NodeHeader::kTagged)) tags_.Release(slab_.Terms(index)->tags);
  node.Destroy();
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_TERMS_H_
