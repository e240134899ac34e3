// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/remote_cache.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "larder/internal/random_bits.h"
#include "larder/internal/remote_counters.h"
#include "src/deadline.h"

namespace larder::internal {
namespace {

// Between two looks at a key that another server is loading.
constexpr absl::Duration kFirstLook = absl::Milliseconds(1);
constexpr absl::Duration kLongestLook = absl::Milliseconds(16);

}  // namespace

RemoteCache::RemoteCache(const RemoteOptions& options, std::string schema, Memory* memory)
    : options_(options),
      tier_(*options.tier),
      schema_(std::move(schema)),
      memory_(*memory),
      stamps_(RandomBits()),
      counters_(std::make_unique<Counters>()),
      sync_({.options = options, .stamps = &stamps_, .target = this}) {}

absl::StatusOr<std::unique_ptr<RemoteCache>> RemoteCache::Create(const RemoteOptions& options,
                                                                 std::string schema,
                                                                 Memory* memory) {
  std::unique_ptr<RemoteCache> cache(new RemoteCache(options, std::move(schema), memory));
  if (absl::Status status = cache->sync_.Start(); !status.ok()) return status;
  return cache;
}

RemoteCache::~RemoteCache() { Stop(); }

void RemoteCache::Stop() { sync_.Stop(); }

bool RemoteCache::Succeeded(const absl::Status& status) {
  sync_.Report(status);
  return status.ok();
}

bool RemoteCache::MayRead(std::string_view key) const {
  return sync_.MayRead() && !IsReservedKey(key) && !sync_.IsMissed(key);
}

// --- Reads

RemoteRead RemoteCache::Read(std::string key, bool is_refresh) {
  RemoteRead read;
  read.key_ = std::move(key);
  read.patience_ = Patience(options_.timeout);
  Look(read, is_refresh);
  if (read.is_loaded_by_other_ && options_.wait_for_other_loads > absl::ZeroDuration()) {
    WaitForOther(read);
  }
  Count(read);
  return read;
}

void RemoteCache::Look(RemoteRead& read, bool is_refresh) {
  read.is_loaded_by_other_ = false;
  read.is_bypassed_ = !MayRead(read.key_);
  if (read.is_bypassed_) return;
  read.control_ = sync_.control();
  const auto bytes =
      read.patience_.Spend([&](absl::Duration timeout) { return tier_.Get(read.key_, timeout); });
  // What came while the tier's state was lost may be old.
  if (!Succeeded(bytes.status()) || !sync_.MayRead()) {
    read.is_bypassed_ = true;
    return;
  }
  if (bytes->has_value()) {
    Take(read, **bytes, is_refresh);
  } else if (!is_refresh) {
    RemoteRead* const reads[] = {&read};
    Lease(reads, read.patience_);
  }
}

std::vector<RemoteRead> RemoteCache::ReadMany(std::vector<std::string> keys) {
  std::vector<RemoteRead> reads(keys.size());
  std::vector<RemoteRead*> asked;
  std::vector<std::string_view> asked_keys;
  const Control control = sync_.control();
  Patience patience(options_.timeout);
  for (size_t i = 0; i < keys.size(); ++i) {
    RemoteRead& read = reads[i];
    read.key_ = std::move(keys[i]);
    read.is_bypassed_ = !MayRead(read.key_);
    if (read.is_bypassed_) continue;
    read.control_ = control;
    asked.push_back(&read);
    asked_keys.push_back(read.key_);
  }
  if (!asked.empty()) {
    const auto values =
        patience.Spend([&](absl::Duration timeout) { return tier_.GetMany(asked_keys, timeout); });
    const bool is_known =
        Succeeded(values.status()) && LearnTags(asked, *values, patience) && sync_.MayRead();
    std::vector<RemoteRead*> absent;
    for (size_t i = 0; i < asked.size(); ++i) {
      asked[i]->is_bypassed_ = !is_known;
      if (!is_known) continue;
      if ((*values)[i].has_value()) {
        Take(*asked[i], *(*values)[i], /*is_refresh=*/false);
      } else {
        absent.push_back(asked[i]);
      }
    }
    if (!absent.empty()) Lease(absent, patience);
  }
  for (RemoteRead& read : reads) {
    read.patience_ = patience;
    Count(read);
  }
  return reads;
}

void RemoteCache::Count(const RemoteRead& read) {
  if (read.is_bypassed_) return Counters::Add(counters_->bypassed);
  switch (read.found_) {
    case RemoteRead::Found::kValue:
      return Counters::Add(counters_->hits);
    case RemoteRead::Found::kNegative:
      return Counters::Add(counters_->negative_hits);
    default:
      return Counters::Add(counters_->misses);
  }
}

// Looks at what the tier has.
void RemoteCache::Take(RemoteRead& read, std::string_view bytes, bool is_refresh) {
  if (options_.accept_plain && !LooksLikeOurs(bytes)) return TakePlain(read, bytes);
  const auto entry = DecodeRemoteEntry(read.key_, schema_, bytes);
  if (entry.ok()) return TakeEntry(read, *entry, is_refresh);
  Counters::Add(counters_->damaged);
  // What a newer larder wrote is left to it.
  if (!absl::IsUnimplemented(entry.status())) MayReplace(read, bytes);
}

void RemoteCache::TakeEntry(RemoteRead& read, const RemoteEntry& entry, bool is_refresh) {
  if (entry.kind == RemoteEntryKind::kLease || entry.kind == RemoteEntryKind::kIntent) {
    read.is_loaded_by_other_ = entry.kind == RemoteEntryKind::kLease;
    return;
  }
  const std::string head = EntryHead(entry.stamp);
  if (read.control_ == nullptr ||
      !read.control_->Covers(UnescapedKey(read.key_), entry.generation, entry.clock)) {
    return MayReplace(read, head);
  }
  const absl::StatusOr<bool> are_valid = AreTagsValid(entry, read.patience_);
  read.is_bypassed_ = !are_valid.ok();
  if (!are_valid.ok()) return;
  if (!*are_valid) return MayReplace(read, head);
  const absl::Duration life = entry.fresh_until - entry.stored_at;
  const absl::Duration remaining = std::min(life, entry.fresh_until - tier_.Now());
  const bool is_fresh = remaining > absl::ZeroDuration();
  if (is_fresh && (!is_refresh || remaining >= life / 2)) {
    read.found_ = entry.kind == RemoteEntryKind::kValue ? RemoteRead::Found::kValue
                                                        : RemoteRead::Found::kNegative;
    read.remaining_ = remaining;
  } else {
    if (entry.kind == RemoteEntryKind::kValue) read.found_ = RemoteRead::Found::kExpired;
    read.remaining_ = options_.retry_after;
    MayReplace(read, head);
  }
  if (entry.kind != RemoteEntryKind::kValue) return;
  read.payload_ = std::string(entry.payload);
  read.tags_.assign(entry.tags.begin(), entry.tags.end());
}

// What other programs wrote says nothing of its age.
void RemoteCache::TakePlain(RemoteRead& read, std::string_view bytes) {
  const auto remaining = read.patience_.Spend(
      [&](absl::Duration timeout) { return tier_.TimeToLive(read.key_, timeout); });
  read.is_bypassed_ = !Succeeded(remaining.status());
  if (read.is_bypassed_ || *remaining <= absl::ZeroDuration()) return;
  read.found_ = RemoteRead::Found::kValue;
  read.payload_ = std::string(bytes);
  read.remaining_ = *remaining;
}

void RemoteCache::MayReplace(RemoteRead& read, std::string_view bytes) {
  // Anything has the head of nothing.
  if (bytes.empty() || read.may_fill_) return;
  read.replaces_ = std::string(bytes.substr(0, kHeadBytes));
  read.may_fill_ = true;
  read.operation_ = own_.Begin(read.key_, stamps_.Next());
}

void RemoteCache::Reject(RemoteRead& read) {
  Counters::Add(counters_->damaged);
  read.found_ = RemoteRead::Found::kNothing;
}

// Announces loads of keys that aren't there.
void RemoteCache::Lease(std::span<RemoteRead* const> reads, Patience& patience) {
  std::vector<std::string> leases;
  std::vector<SharedTier::Change> changes;
  leases.reserve(reads.size());
  for (RemoteRead* const read : reads) {
    const Stamp stamp = stamps_.Next();
    read->operation_ = own_.Begin(read->key_, stamp);
    leases.push_back(
        EncodeRemoteEntry(read->key_, {.kind = RemoteEntryKind::kLease, .stamp = stamp}));
    changes.push_back({read->key_, leases.back(), options_.load_lease});
  }
  const auto are_set = patience.Spend(
      [&](absl::Duration timeout) { return tier_.SetManyIfAbsent(changes, timeout); });
  const bool succeeded = Succeeded(are_set.status());
  for (size_t i = 0; i < reads.size(); ++i) {
    RemoteRead& read = *reads[i];
    if (succeeded && (*are_set)[i]) {
      read.may_fill_ = read.holds_lease_ = true;
      read.replaces_ = EntryHead(read.operation_.stamp());
    } else {
      read.is_loaded_by_other_ = succeeded;
      Finish(read.operation_, read.key_, false);
    }
  }
}

void RemoteCache::WaitForOther(RemoteRead& read) {
  Counters::Add(counters_->waits_for_loads);
  const Deadline deadline = Deadline::After(options_.wait_for_other_loads);
  absl::Duration pause = kFirstLook;
  while (read.is_loaded_by_other_ && !deadline.Passed()) {
    absl::SleepFor(std::min(pause, deadline.Remaining()));
    pause = std::min(2 * pause, kLongestLook);
    read.patience_ = Patience(options_.timeout);
    Look(read, /*is_refresh=*/false);
  }
}

RemoteStats RemoteCache::Stats() const {
  const Counters& counters = *counters_;
  RemoteStats stats;
  stats.hits = counters.hits;
  stats.negative_hits = counters.negative_hits;
  stats.stale_hits = counters.stale_hits;
  stats.misses = counters.misses;
  stats.bypassed = counters.bypassed;
  stats.damaged = counters.damaged;
  stats.fills = counters.fills;
  stats.fills_refused = counters.fills_refused;
  stats.waits_for_loads = counters.waits_for_loads;
  stats.writes = counters.writes;
  stats.missed_writes = counters.missed_writes;
  stats.own_changes = counters.own_changes;
  sync_.AddTo(stats);
  return stats;
}

}  // namespace larder::internal
