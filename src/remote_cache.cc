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
  const auto bytes = tier_.Get(read.key_, options_.timeout);
  // What came while the tier's state was lost may be old.
  if (!Succeeded(bytes.status()) || !sync_.MayRead()) {
    read.is_bypassed_ = true;
    return;
  }
  if (bytes->has_value()) {
    Take(read, **bytes, is_refresh);
  } else {
    RemoteRead* const reads[] = {&read};
    Lease(reads);
  }
}

std::vector<RemoteRead> RemoteCache::ReadMany(std::vector<std::string> keys) {
  std::vector<RemoteRead> reads(keys.size());
  std::vector<RemoteRead*> asked;
  std::vector<std::string_view> asked_keys;
  const Control control = sync_.control();
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
    const auto values = tier_.GetMany(asked_keys, options_.timeout);
    const bool is_known = Succeeded(values.status()) && sync_.MayRead();
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
    if (!absent.empty()) Lease(absent);
  }
  for (const RemoteRead& read : reads) Count(read);
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
      !read.control_->Covers(read.key_, entry.generation, entry.clock)) {
    return MayReplace(read, head);
  }
  const absl::StatusOr<bool> are_valid = AreTagsValid(entry);
  read.is_bypassed_ = !are_valid.ok();
  if (!are_valid.ok()) return;
  if (!*are_valid) return MayReplace(read, head);
  const absl::Duration life = entry.fresh_until - entry.stored_at;
  const absl::Duration remaining = std::min(life, entry.fresh_until - tier_.Now());
  const bool is_fresh = remaining > absl::ZeroDuration();
  if (is_fresh && (!is_refresh || remaining > life / 2)) {
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
  const auto remaining = tier_.TimeToLive(read.key_, options_.timeout);
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
void RemoteCache::Lease(std::span<RemoteRead* const> reads) {
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
  const auto are_set = tier_.SetManyIfAbsent(changes, options_.timeout);
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
    Look(read, /*is_refresh=*/false);
  }
}

// --- Tags

absl::StatusOr<bool> RemoteCache::AreTagsValid(const RemoteEntry& entry) {
  if (entry.tags.empty()) return true;
  const std::vector<std::string> tags(entry.tags.begin(), entry.tags.end());
  const auto records = ReadTags(tags);
  if (!records.ok()) return records.status();
  return std::all_of(records->begin(), records->end(), [&entry](const auto& record) {
    return record.has_value() && record->Covers(entry.generation, entry.clock);
  });
}

// The records of tags; nullopt for one that doesn't exist.
absl::StatusOr<std::vector<std::optional<RemoteTagRecord>>> RemoteCache::ReadTags(
    std::span<const std::string> tags) {
  std::vector<std::optional<RemoteTagRecord>> records(tags.size());
  std::vector<size_t> unknown;
  std::vector<RemoteTags::Ticket> tickets;
  std::vector<std::string> keys;
  for (size_t i = 0; i < tags.size(); ++i) {
    if (const auto known = tags_.Find(tags[i]); known.has_value()) {
      records[i] = known->record;
      continue;
    }
    unknown.push_back(i);
    tickets.push_back(tags_.TicketFor(tags[i]));
    keys.push_back(TagKey(tags[i]));
  }
  if (unknown.empty()) return records;
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  const auto values = tier_.GetMany(views, options_.timeout);
  if (!Succeeded(values.status())) return values.status();
  for (size_t i = 0; i < unknown.size(); ++i) {
    const std::string& tag = tags[unknown[i]];
    std::optional<RemoteTagRecord>& record = records[unknown[i]];
    if (const auto& bytes = (*values)[i]; bytes.has_value()) {
      if (const auto decoded = DecodeTagRecord(tag, *bytes); decoded.ok()) record = *decoded;
    }
    tags_.Learn(tag, tickets[i], {record});
  }
  return records;
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
