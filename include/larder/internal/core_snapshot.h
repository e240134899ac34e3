// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: a cache's entries as a snapshot's, and back. What larder/snapshot.h promises.

#ifndef LARDER_INTERNAL_CORE_SNAPSHOT_H_
#define LARDER_INTERNAL_CORE_SNAPSHOT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/codec.h"
#include "larder/handle.h"
#include "larder/internal/clock_ticker.h"
#include "larder/internal/epoch.h"
#include "larder/internal/loading_core.h"
#include "larder/internal/nanos.h"
#include "larder/internal/new_entry.h"
#include "larder/internal/node.h"
#include "larder/internal/snapshot_io.h"
#include "larder/options.h"
#include "larder/snapshot_options.h"

namespace larder::internal {

template <class Core>
class Snapshots;

template <class K, class V, class Policy, class Hash, class Eq>
class Snapshots<LoadingCore<K, V, Policy, Hash, Eq>> {
 public:
  using Core = LoadingCore<K, V, Policy, Hash, Eq>;
  static_assert(Codable<K>, "keys need a larder::Codec, see larder/codec.h");
  static_assert(Codable<V>, "values need a larder::Codec, see larder/codec.h");

  static absl::StatusOr<SnapshotInfo> Save(Core& core, const std::string& path,
                                           const SnapshotOptions& options,
                                           const std::function<bool(const K&)>& wanted);
  static absl::StatusOr<SnapshotInfo> Load(Core& core, const std::string& path,
                                           const SnapshotOptions& options,
                                           const std::function<bool(const K&)>& wanted);

 private:
  using StripeT = typename Core::StripeT;
  using NodeT = typename Core::NodeT;
  using PolicyT = typename Core::PolicyT;
  using StoreResult = typename Core::StoreResult;

  // Nodes of a queue that are looked at under a stripe's lock at a time: tens of microseconds.
  static constexpr size_t kNodesPerLock = 256;
  // Entries whose bytes are fetched ahead of the one that is loaded.
  static constexpr size_t kFetchedAhead = 16;

  // Where in their queues nodes are, as shares of 2^32.
  using Places = absl::flat_hash_map<NodeIndex, uint32_t>;

  // --- Saving.
  class Saving;
  static Places PlacesOf(StripeT& stripe);
  static std::vector<NodeIndex> WalkLine(StripeT& stripe, int line);

  // --- Loading.
  struct Loadable {
    uint64_t rank;
    uint64_t position;  // in the file
    uint64_t weight;
  };
  class Loading;
};

// --- Saving. A stripe at a time: what is in it is pinned inside a guard, as quickly as it can be
// walked, and then encoded and written outside of it, so that what leaves the cache meanwhile can
// be reclaimed, but for what is pinned.

template <class K, class V, class P, class H, class E>
class Snapshots<LoadingCore<K, V, P, H, E>>::Saving {
 public:
  Saving(Core& core, SnapshotSaver& saver, const std::function<bool(const K&)>& wanted)
      : core_(core), saver_(saver), wanted_(wanted), start_(core.Now()) {}

  absl::Status AddStripe(StripeT& stripe) {
    std::vector<Handle<K, V>> entries;
    Places places;
    {
      ThreadRecord& thread = core_.EnterCall();
      EpochGuard guard(thread);
      // First: a node that enters in between is among the last to be evicted.
      if constexpr (PolicyT::kLines > 0) places = PlacesOf(stripe);
      entries.reserve(stripe.size.load(std::memory_order_relaxed));
      bool pinned = true;
      core_.ForEachNode(stripe, [&](NodeIndex index, NodeT& node) {
        if (!core_.IsLive(node, index)) return;
        entries.push_back(core_.PinNode(node, index));
        pinned = pinned && entries.back();
      });
      if (!pinned) return absl::ResourceExhaustedError("an entry is pinned too often");
    }
    for (Handle<K, V>& entry : entries) {
      if (absl::Status status = Add(stripe, entry, places); !status.ok()) return status;
      entry = {};
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Add(StripeT& stripe, const Handle<K, V>& handle, const Places& places) {
    if (wanted_ && !wanted_(handle.key())) return absl::OkStatus();
    const NodeIndex index = Core::IndexOf(handle);
    NodeT& node = *core_.NodeAt(index);
    SnapshotEntry entry;
    if (!DescribeTimes(node, index, entry)) return absl::OkStatus();  // it has expired since
    entry.standing = PolicyT::Standing(node);
    if constexpr (PolicyT::kLines > 0) {
      const auto place = places.find(index);
      entry.rank = place == places.end() ? UINT32_MAX : place->second;
    } else {
      entry.rank = PolicyT::Rank(node, core_.fronts_[&stripe - core_.stripes_].shared);
    }
    const uint64_t weight = core_.WeightOf(node, index);
    if (weight != core_.WeightFor(handle.key(), *handle, std::nullopt)) entry.weight = weight;
    if (node.Has(NodeHeader::kTerms)) DescribeTerms(index, entry);
    key_.clear();
    if (absl::Status status = Encode(handle.key(), &key_); !status.ok()) return status;
    value_.clear();
    if (absl::Status status = Encode(*handle, &value_); !status.ok()) return status;
    entry.key = key_;
    entry.value = value_;
    return saver_.Add(entry);
  }

  // False where the entry has expired.
  bool DescribeTimes(NodeT& node, NodeIndex index, SnapshotEntry& entry) const {
    const int64_t expiry = core_.ExpiryOf(node, index).load(std::memory_order_relaxed);
    int64_t written_ends = expiry;
    if (node.IsIdle()) {
      const NodeExtra& extra = *core_.slab_.Extra(index);
      written_ends = extra.hard_deadline.load(std::memory_order_relaxed);
      entry.idle_ttl = extra.idle_ttl;
      entry.idle_left = Until(expiry);
    }
    entry.ttl_left = Until(written_ends);
    return expiry != kOver && entry.ttl_left > 0 && entry.idle_left > 0;
  }

  void DescribeTerms(NodeIndex index, SnapshotEntry& entry) const {
    const auto get = [](const auto& field) { return field.load(std::memory_order_relaxed); };
    const NodeTerms& from = *core_.slab_.Terms(index);
    SnapshotTerms& terms = entry.terms.emplace();
    terms.age = std::max<int64_t>(0, start_ - get(from.written_at));
    terms.kept_for = get(from.kept_for);
    terms.refresh_in = std::max<int64_t>(0, Until(get(from.refresh_at)));
    terms.load_micros = get(from.load_micros);
    terms.tags = Tags::NamesOf(from.tags);
  }

  int64_t Until(int64_t time) const { return time == kNever ? kNever : time - start_; }

  Core& core_;
  SnapshotSaver& saver_;
  const std::function<bool(const K&)>& wanted_;
  const int64_t start_;  // on the cache's clock; what the snapshot's times are counted from
  std::string key_;      // their bytes, for one entry after the other
  std::string value_;
};

// Goes on where it left the queue, though that changed meanwhile: from the last of the nodes seen
// that is still in it. Those that were evicted, or moved to where entries enter, came before.
template <class K, class V, class P, class H, class E>
std::vector<NodeIndex> Snapshots<LoadingCore<K, V, P, H, E>>::WalkLine(StripeT& stripe, int line) {
  std::vector<NodeIndex> nodes;
  size_t size = SIZE_MAX;
  while (nodes.size() < size) {
    MutexLock lock(&stripe.mutex);
    if (size == SIZE_MAX) {
      size = stripe.policy.LineSize(line);
      nodes.reserve(size);
    }
    size_t seen = nodes.size();
    while (seen > 0 && !stripe.policy.IsInLine(line, nodes[seen - 1])) --seen;
    NodeIndex next = seen == 0 ? stripe.policy.FirstInLine(line)
                               : stripe.policy.NextInLine(line, nodes[seen - 1]);
    const size_t stop = std::min(size, nodes.size() + kNodesPerLock);
    for (; next != kNoNode && nodes.size() < stop; next = stripe.policy.NextInLine(line, next)) {
      nodes.push_back(next);
    }
    if (next == kNoNode) break;
  }
  return nodes;
}

template <class K, class V, class P, class H, class E>
auto Snapshots<LoadingCore<K, V, P, H, E>>::PlacesOf(StripeT& stripe) -> Places {
  Places places;
  places.reserve(stripe.size.load(std::memory_order_relaxed));
  for (int line = 0; line < PolicyT::kLines; ++line) {
    const std::vector<NodeIndex> nodes = WalkLine(stripe, line);
    for (size_t i = 0; i < nodes.size(); ++i) {
      places[nodes[i]] = static_cast<uint32_t>((static_cast<uint64_t>(i) << 32) / nodes.size());
    }
  }
  return places;
}

template <class K, class V, class P, class H, class E>
absl::StatusOr<SnapshotInfo> Snapshots<LoadingCore<K, V, P, H, E>>::Save(
    Core& core, const std::string& path, const SnapshotOptions& options,
    const std::function<bool(const K&)>& wanted) {
  absl::StatusOr<SnapshotSaver> saver = SnapshotSaver::Begin(path, options,
                                                             {.key_schema = SchemaOf<K>(),
                                                              .value_schema = SchemaOf<V>(),
                                                              .policy = std::string(P::kName)});
  if (!saver.ok()) return saver.status();
  Saving saving(core, *saver, wanted);
  for (StripeT& stripe : core.stripes()) {
    if (absl::Status status = saving.AddStripe(stripe); !status.ok()) {
      return AboutSnapshot(path, status);
    }
  }
  return saver->Finish();
}

// --- Loading. First everything is decoded, once, for no other purpose than to know that it can be;
// then entries are decoded again, in the order of their ranks, and stored.

template <class K, class V, class P, class H, class E>
class Snapshots<LoadingCore<K, V, P, H, E>>::Loading {
 public:
  Loading(Core& core, LoadedSnapshot& snapshot, uint64_t stamp)
      : core_(core),
        thread_(core.EnterCall()),
        snapshot_(snapshot),
        start_(core.Now()),
        stamp_(stamp),
        same_policy_(snapshot.reader.head().policy == P::kName) {
    info_.saved_at = absl::FromUnixNanos(snapshot.reader.head().saved_at);
    info_.bytes = snapshot.bytes.size();
    if (core.clock_ == nullptr) ClockTicker::KeepUp(start_);
  }

  // Nothing has changed where this fails or throws.
  absl::Status Check() {
    SnapshotReader reader = snapshot_.reader;
    entries_.reserve(reader.entries());
    for (SnapshotEntry entry; reader.Next(&entry);) {
      absl::StatusOr<K> key = Decode<K>(entry.key);
      if (!key.ok()) return snapshot_.Annotated(key.status());
      absl::StatusOr<V> value = Decode<V>(entry.value);
      if (!value.ok()) return snapshot_.Annotated(value.status());
      if (LifetimeOf(entry).deadline <= start_) {
        ++info_.expired;
        continue;
      }
      entries_.push_back(
          {entry.rank, reader.position(), core_.WeightFor(*key, *value, entry.weight)});
    }
    return reader.status();
  }

  absl::StatusOr<SnapshotInfo> Store(const std::function<bool(const K&)>& wanted) {
    // Those of one rank in the order of the file, for the same result each time.
    std::sort(entries_.begin(), entries_.end(), [](const Loadable& a, const Loadable& b) {
      return a.rank != b.rank ? a.rank < b.rank : a.position < b.position;
    });
    LeaveOutLeastRecent();
    SnapshotEntry entry;
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (i + kFetchedAhead < entries_.size()) {
        snapshot_.reader.Prefetch(entries_[i + kFetchedAhead].position);
      }
      snapshot_.reader.ReadAt(entries_[i].position, &entry);
      absl::StatusOr<K> key = Decode<K>(entry.key);
      if (!key.ok()) return snapshot_.Annotated(key.status());
      if (wanted && !wanted(*key)) {
        ++info_.refused;
        continue;
      }
      absl::StatusOr<V> value = Decode<V>(entry.value);
      if (!value.ok()) return snapshot_.Annotated(value.status());
      absl::Status status =
          StoreEntry(*std::move(key), *std::move(value), entry, entries_[i].weight);
      if (!status.ok()) return snapshot_.Annotated(status);
    }
    return info_;
  }

 private:
  // Keeps those that there is room for beside what the cache holds, the last ones first.
  void LeaveOutLeastRecent() {
    const uint64_t held = core_.weight();
    uint64_t room = core_.capacity() - std::min(held, core_.capacity());
    auto kept = entries_.end();
    for (auto entry = entries_.end(); entry != entries_.begin();) {
      --entry;
      if (entry->weight > room) continue;
      room -= entry->weight;
      *--kept = *entry;
    }
    info_.no_room = static_cast<uint64_t>(kept - entries_.begin());
    entries_.erase(entries_.begin(), kept);
  }

  Lifetime LifetimeOf(const SnapshotEntry& entry) const {
    const int64_t hard_deadline = At(snapshot_.Left(entry.ttl_left));
    const int64_t idle_ends = At(snapshot_.Left(entry.idle_left));
    return {.deadline = std::min(hard_deadline, idle_ends),
            .hard_deadline = hard_deadline,
            .idle_ttl = entry.idle_ttl};
  }

  // Times on the cache's clock: of what is to come, now at the earliest, and of what was.
  int64_t At(int64_t left) const { return SaturatingAdd(start_, std::max<int64_t>(0, left)); }
  int64_t Before(int64_t age) const {
    int64_t time;
    return __builtin_sub_overflow(start_, age, &time) ? kOver + 1 : time;
  }

  absl::Status StoreEntry(K&& key, V&& value, const SnapshotEntry& from, uint64_t weight) {
    const HashBits hash(core_.hash_(key));
    core_.Prefetch(hash);
    // A load that is in progress brings something newer.
    NewEntry entry{
        .hash = hash, .weight = weight, .lifetime = LifetimeOf(from), .outdates_flight = false};
    std::optional<EntryTerms> terms;
    GiveTerms(key, from, terms, entry);
    const auto absent = [this](NodeIndex old) {
      return old == kNoNode || core_.Expired(*core_.NodeAt(old), old) ||
             core_.Invalidated(*core_.NodeAt(old), old);
    };
    const bool restores = PolicyT::kLines > 0 && same_policy_ && from.standing != 0;
    Handle<K, V> stored;
    const StoreResult result = core_.Store(std::move(key), std::move(value), entry, absent, thread_,
                                           restores ? &stored : nullptr);
    if (result == StoreResult::kOutOfMemory) return core_.OutOfMemory();
    ++(result == StoreResult::kStored ? info_.entries : info_.present);
    if constexpr (PolicyT::kLines > 0) {
      if (stored) Restore(core_.StripeOf(hash), Core::IndexOf(stored), from.standing);
    }
    return absl::OkStatus();
  }

  void Restore(StripeT& stripe, NodeIndex index, uint32_t standing) {
    MutexLock lock(&stripe.mutex);
    if (core_.InCache(stripe, index)) stripe.policy.Restore(index, standing);
  }

  // Those that the entry had; else those that a Put gives.
  void GiveTerms(const K& key, const SnapshotEntry& from, std::optional<EntryTerms>& terms,
                 NewEntry& entry) {
    if (!from.terms.has_value()) {
      const PutOptions& defaults = PutOptions::Default();
      if (core_.always_terms_) core_.GiveTerms(key, defaults, stamp_, terms, entry);
      return;
    }
    const SnapshotTerms& saved = *from.terms;
    const std::vector<std::string> tags(saved.tags.begin(), saved.tags.end());
    const int64_t load_nanos = int64_t{saved.load_micros} * 1000;
    terms.emplace(EntryTerms{.tags = core_.AcquireTags(key, tags),
                             .expires_at = entry.lifetime.deadline,
                             .kept_for = saved.kept_for,
                             .refresh_at = At(snapshot_.Left(saved.refresh_in)),
                             .written_at = Before(SaturatingAdd(saved.age, snapshot_.elapsed)),
                             .validated = stamp_,
                             .load_micros = saved.load_micros});
    entry.lifetime.deadline = Core::FirstLook(terms->expires_at, terms->refresh_at, load_nanos,
                                              core_.load_settings_.early_refresh);
    entry.terms = &*terms;
  }

  Core& core_;
  ThreadRecord& thread_;
  LoadedSnapshot& snapshot_;
  const int64_t start_;   // on the cache's clock
  const uint64_t stamp_;  // the generation of tags when the loading began
  const bool same_policy_;
  std::vector<Loadable> entries_;
  SnapshotInfo info_;
};

template <class K, class V, class P, class H, class E>
absl::StatusOr<SnapshotInfo> Snapshots<LoadingCore<K, V, P, H, E>>::Load(
    Core& core, const std::string& path, const SnapshotOptions& options,
    const std::function<bool(const K&)>& wanted) {
  const uint64_t stamp = core.tags_.generation();
  absl::StatusOr<std::unique_ptr<LoadedSnapshot>> snapshot =
      LoadedSnapshot::Read(path, options, SchemaOf<K>(), SchemaOf<V>());
  if (!snapshot.ok()) return snapshot.status();
  Loading loading(core, **snapshot, stamp);
  if (absl::Status status = loading.Check(); !status.ok()) return status;
  return loading.Store(wanted);
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_SNAPSHOT_H_
