// SPDX-License-Identifier: Apache-2.0
//
// What RemoteCache puts into the tier and removes there.

#include <algorithm>
#include <utility>

#include "larder/internal/process_clock.h"
#include "larder/internal/remote_cache.h"
#include "larder/internal/remote_counters.h"

namespace larder::internal {
namespace {

absl::Status NotWatched() {
  return absl::UnavailableError("the remote tier's changes were not heard of meanwhile");
}

template <class Key>
std::vector<std::string_view> Views(std::span<const Key> keys) {
  return {keys.begin(), keys.end()};
}

}  // namespace

// --- Fills

void RemoteCache::Fill(RemoteRead& read, RemoteValue value) {
  Filling filling = {.read = &read, .as = LoadedAs::kValue, .value = std::move(value)};
  FillMany({&filling, 1});
}

void RemoteCache::FillNegative(RemoteRead& read) {
  Filling filling = {.read = &read, .as = LoadedAs::kNegative};
  FillMany({&filling, 1});
}

void RemoteCache::Abandon(RemoteRead& read) {
  Filling filling = {.read = &read};
  FillMany({&filling, 1});
}

void RemoteCache::CountStale() { Counters::Add(counters_->stale_hits); }

void RemoteCache::FillMany(std::span<Filling> fillings) {
  std::vector<Filling*> filled;
  std::vector<std::string> bytes;
  bytes.reserve(fillings.size());
  std::vector<SharedTier::Change> changes;
  for (Filling& filling : fillings) {
    RemoteRead& read = *filling.read;
    if (!std::exchange(read.may_fill_, false)) continue;
    absl::Duration ttl;
    auto encoded = EncodeFilling(filling, ttl);
    if (!encoded.ok() || !encoded->has_value()) {
      ReturnLease(read, /*may_call=*/encoded.ok());
      continue;
    }
    bytes.push_back(**std::move(encoded));
    filled.push_back(&filling);
    changes.push_back({read.key_, bytes.back(), ttl, read.replaces_});
  }
  if (filled.empty()) return;
  for (Filling* const filling : filled) filling->read->operation_.MarkSent();
  const auto are_set = tier_.SetManyIfHead(changes, options_.timeout);
  const bool succeeded = Succeeded(are_set.status());
  for (size_t i = 0; i < filled.size(); ++i) {
    RemoteRead& read = *filled[i]->read;
    const bool is_set = succeeded && (*are_set)[i];
    Counters::Add(is_set ? counters_->fills : counters_->fills_refused, succeeded ? 1 : 0);
    Finish(read.operation_, read.key_, is_set);
    // Where it isn't there any more, somebody changed the key, whether told of it yet or not.
    if (succeeded && !is_set) DropForeign(read.key_);
  }
}

// nullopt where there is nothing to be put there, or not any more; an error where the tier failed.
absl::StatusOr<std::optional<std::string>> RemoteCache::EncodeFilling(Filling& filling,
                                                                      absl::Duration& ttl) {
  const RemoteRead& read = *filling.read;
  if (filling.as == LoadedAs::kNothing || !sync_.MayRead()) return std::nullopt;
  const Control now = sync_.control();
  if (read.control_ == nullptr || now == nullptr ||
      now->generation() != read.control_->generation()) {
    return std::nullopt;
  }
  const Stamp stamp = read.operation_.stamp();
  if (filling.as == LoadedAs::kValue) {
    const absl::StatusOr<bool> count = HaveTagRecords(filling.value.tags, *read.control_);
    if (!count.ok()) return count.status();
    if (!*count) return std::nullopt;
    ttl = std::min(filling.value.ttl, options_.ttl);
    return EncodeValue(read.key_, stamp, *read.control_, filling.value, ttl);
  }
  ttl = options_.negative_ttl;
  if (ttl <= absl::ZeroDuration()) return std::nullopt;
  const absl::Time stored_at = tier_.Now();
  return EncodeRemoteEntry(read.key_, {.kind = RemoteEntryKind::kNegative,
                                       .stamp = stamp,
                                       .generation = read.control_->generation(),
                                       .clock = read.control_->clock(),
                                       .stored_at = stored_at,
                                       .fresh_until = stored_at + ttl});
}

// `ttl`: how long the value is fresh; then, how long the tier is to have it.
std::string RemoteCache::EncodeValue(std::string_view key, Stamp stamp, const ControlBlock& control,
                                     const RemoteValue& value, absl::Duration& ttl) const {
  const absl::Time stored_at = tier_.Now();
  const RemoteEntry entry = {.kind = RemoteEntryKind::kValue,
                             .stamp = stamp,
                             .generation = control.generation(),
                             .clock = control.clock(),
                             .stored_at = stored_at,
                             .fresh_until = stored_at + ttl,
                             .schema = schema_,
                             .tags = {value.tags.begin(), value.tags.end()},
                             .payload = value.payload};
  ttl += options_.stale_if_error;
  return EncodeRemoteEntry(key, entry);
}

void RemoteCache::ReturnLease(RemoteRead& read, bool may_call) {
  if (read.holds_lease_ && may_call && sync_.MayCall()) {
    Succeeded(tier_.EraseIfHead(read.key_, read.replaces_, options_.timeout).status());
  }
  Finish(read.operation_, read.key_, false);
}

void RemoteCache::Finish(OwnChanges::Operation& operation, std::string_view key, bool success) {
  if (operation.Finish(success, ProcessClock::NowNanos())) ChangedByOthers(key);
}

// Whether an entry with these tags that was loaded under `control` counts, now that each of them
// has a record. The records of tags that have none are made.
absl::StatusOr<bool> RemoteCache::HaveTagRecords(std::span<const std::string> tags,
                                                 const ControlBlock& control) {
  if (tags.empty()) return true;
  auto records = ReadTags(tags);
  if (!records.ok()) return records.status();
  for (size_t i = 0; i < tags.size(); ++i) {
    std::optional<RemoteTagRecord>& record = (*records)[i];
    if (!record.has_value() || record->generation != control.generation()) {
      auto made = MakeTagRecord(tags[i]);
      if (!made.ok()) return made.status();
      record = *made;
    }
    if (!record.has_value() || !record->Covers(control.generation(), control.clock())) {
      return false;
    }
  }
  return true;
}

// nullopt where somebody else made one meanwhile.
absl::StatusOr<std::optional<RemoteTagRecord>> RemoteCache::MakeTagRecord(const std::string& tag) {
  const Control control = sync_.control();
  if (control == nullptr) return std::nullopt;
  const RemoteTagRecord record = {.generation = control->generation(), .clock = control->clock()};
  const std::string key = TagKey(tag);
  auto operation = own_.Begin(key, stamps_.Next());
  const std::string bytes = EncodeTagRecord(tag, operation.stamp(), record);
  const auto ticket = tags_.TicketFor(tag);
  operation.MarkSent();
  absl::StatusOr<bool> is_made = tier_.SetIfAbsent(key, bytes, TagTtl(), options_.timeout);
  if (is_made.ok() && !*is_made) is_made = ReplaceTagRecord(tag, bytes, *control);
  if (Succeeded(is_made.status()) && *is_made) tags_.Learn(tag, ticket, {record});
  Finish(operation, key, is_made.ok() && *is_made);
  if (!is_made.ok()) return is_made.status();
  return *is_made ? std::optional(record) : std::nullopt;
}

// Where it is of another generation.
absl::StatusOr<bool> RemoteCache::ReplaceTagRecord(const std::string& tag, std::string_view bytes,
                                                   const ControlBlock& control) {
  const std::string key = TagKey(tag);
  const auto there = tier_.Get(key, options_.timeout);
  if (!there.ok()) return there.status();
  if (!there->has_value() || (*there)->empty()) return false;
  const auto record = DecodeTagRecord(tag, **there);
  if (record.ok() && record->generation == control.generation()) return false;
  return tier_.SetIfHead(key, (*there)->substr(0, kHeadBytes), bytes, TagTtl(), options_.timeout);
}

// A record must be there for as long as any entry that it covers.
absl::Duration RemoteCache::TagTtl() const { return 2 * (options_.ttl + options_.stale_if_error); }

// --- Writes

std::vector<RemoteWrite> RemoteCache::BeginWrites(std::vector<std::string> keys) {
  std::vector<RemoteWrite> writes(keys.size());
  std::vector<RemoteWrite*> announced;
  std::vector<std::string> intents;
  std::vector<SharedTier::Change> changes;
  intents.reserve(keys.size());
  const Control control = sync_.control();
  const uint64_t watch = sync_.watch();
  const bool may_call = sync_.MayCall();
  for (size_t i = 0; i < keys.size(); ++i) {
    RemoteWrite& write = writes[i];
    write.watch_ = watch;
    write.key_ = std::move(keys[i]);
    write.control_ = control;
    write.is_reserved_ = IsReservedKey(write.key_);
    if (write.is_reserved_) continue;
    const Stamp stamp = stamps_.Next();
    write.operation_ = own_.Begin(write.key_, stamp);
    write.is_missed_ = !may_call;
    if (!may_call) continue;
    announced.push_back(&write);
    intents.push_back(
        EncodeRemoteEntry(write.key_, {.kind = RemoteEntryKind::kIntent, .stamp = stamp}));
    changes.push_back({write.key_, intents.back(), options_.write_lease});
  }
  Counters::Add(counters_->writes, keys.size());
  if (announced.empty()) return writes;
  const auto replaced = tier_.ExchangeMany(changes, kPeekBytes, options_.timeout);
  const bool succeeded = Succeeded(replaced.status());
  for (size_t i = 0; i < announced.size(); ++i) {
    announced[i]->is_missed_ = !succeeded;
    if (!succeeded || !(*replaced)[i].has_value()) continue;
    const auto old = PeekEntry(*(*replaced)[i]);
    // Of this server only one writes the key at a time: an own one was left behind.
    announced[i]->is_contended_ = old.has_value() && old->kind == RemoteEntryKind::kIntent &&
                                  old->stamp.writer != stamps_.writer();
  }
  return writes;
}

void RemoteCache::CommitWrites(std::span<Committing> committings) {
  bool may_call = sync_.MayCall();
  std::vector<RemoteWrite*> to_check;
  std::vector<RemoteWrite*> to_remove;
  SetWritten(committings, may_call, to_check, to_remove);
  if (!to_check.empty()) LeaveToOthers(to_check, may_call, to_remove);
  if (!to_remove.empty()) {
    std::vector<std::string_view> keys;
    for (const RemoteWrite* const write : to_remove) keys.push_back(write->key_);
    may_call = may_call && Succeeded(tier_.Invalidate(keys, options_.timeout));
  }
  for (RemoteWrite* const write : to_remove) {
    if (!may_call) Miss(write->key_);
    Finish(write->operation_, write->key_, false);
  }
  // What was changed while nobody watched may have been changed elsewhere.
  for (const Committing& committing : committings) {
    const RemoteWrite& write = *committing.write;
    if (!write.is_reserved_ && !IsWatchedSince(write.watch_)) Miss(write.key_);
  }
}

bool RemoteCache::MayCount(const RemoteValue& value, const ControlBlock& control, bool& may_call) {
  if (!may_call) return false;
  const absl::StatusOr<bool> count = HaveTagRecords(value.tags, control);
  may_call = count.ok();
  return count.ok() && *count;
}

// Puts there what may be; `to_remove` and `to_check` get the others. `may_call` becomes false where
// the tier failed.
void RemoteCache::SetWritten(std::span<Committing> committings, bool& may_call,
                             std::vector<RemoteWrite*>& to_check,
                             std::vector<RemoteWrite*>& to_remove) {
  std::vector<RemoteWrite*> set;
  std::vector<std::string> bytes;
  std::vector<std::string> heads;
  bytes.reserve(committings.size());
  heads.reserve(committings.size());
  std::vector<SharedTier::Change> changes;
  for (Committing& committing : committings) {
    RemoteWrite& write = *committing.write;
    if (write.is_reserved_) continue;
    if (write.is_contended_) {
      to_check.push_back(&write);
    } else if (write.is_missed_ || !committing.value.has_value() || !sync_.MayRead() ||
               write.control_ == nullptr ||
               !MayCount(*committing.value, *write.control_, may_call)) {
      to_remove.push_back(&write);
    } else {
      absl::Duration ttl = std::min(committing.value->ttl, options_.ttl);
      heads.push_back(EntryHead(write.operation_.stamp()));
      bytes.push_back(EncodeValue(write.key_, write.operation_.stamp(), *write.control_,
                                  *committing.value, ttl));
      changes.push_back({write.key_, bytes.back(), ttl, heads.back()});
      set.push_back(&write);
    }
  }
  if (set.empty()) return;
  absl::StatusOr<std::vector<bool>> are_set = absl::CancelledError();
  if (may_call) {
    for (RemoteWrite* const write : set) write->operation_.MarkSent();
    are_set = tier_.SetManyIfHead(changes, options_.timeout);
    may_call = Succeeded(are_set.status());
  }
  for (size_t i = 0; i < set.size(); ++i) {
    if (may_call && (*are_set)[i]) {
      Finish(set[i]->operation_, set[i]->key_, true);
    } else {
      (may_call ? to_check : to_remove).push_back(set[i]);
    }
  }
}

// Where another server has announced a write since, it will see to the key, at its end or, should
// it die, by the end of what it announced.
void RemoteCache::LeaveToOthers(std::span<RemoteWrite* const> writes, bool& may_call,
                                std::vector<RemoteWrite*>& to_remove) {
  std::vector<std::string_view> keys;
  for (const RemoteWrite* const write : writes) keys.push_back(write->key_);
  absl::StatusOr<std::vector<std::optional<std::string>>> heads = absl::CancelledError();
  if (may_call) {
    heads = tier_.GetHeads(keys, kPeekBytes, options_.timeout);
    may_call = Succeeded(heads.status());
  }
  for (size_t i = 0; i < writes.size(); ++i) {
    RemoteWrite& write = *writes[i];
    const auto head = may_call && (*heads)[i].has_value() ? PeekEntry(*(*heads)[i]) : std::nullopt;
    if (head.has_value() && head->kind == RemoteEntryKind::kIntent &&
        head->stamp.writer != stamps_.writer()) {
      Finish(write.operation_, write.key_, false);
      DropForeign(write.key_);
    } else {
      to_remove.push_back(&write);
    }
  }
}

// What the tier has for a key may be old now.
void RemoteCache::Miss(std::string_view key) {
  Counters::Add(counters_->missed_writes);
  sync_.Missed(key);
}

// --- Invalidation

absl::Status RemoteCache::InvalidateKeys(std::span<const std::string> keys) {
  const uint64_t watch = sync_.watch();
  absl::Status status = absl::UnavailableError("the remote tier is not being called");
  if (sync_.MayCall()) {
    status = tier_.Invalidate(Views(keys), options_.timeout);
    Succeeded(status);
  }
  if (status.ok() && !IsWatchedSince(watch)) status = NotWatched();
  if (!status.ok()) {
    for (const std::string& key : keys) Miss(key);
  }
  return status;
}

absl::Status RemoteCache::InvalidateTagged(std::string_view tag) {
  const uint64_t watch = sync_.watch();
  const auto control = sync_.Tick();
  if (!control.ok()) return control.status();
  const std::string key = TagKey(tag);
  const RemoteTagRecord record = {.generation = (*control)->generation(),
                                  .clock = (*control)->clock()};
  auto operation = own_.Begin(key, stamps_.Next());
  tags_.Forget(tag);
  operation.MarkSent();
  absl::Status status =
      tier_.Set(key, EncodeTagRecord(tag, operation.stamp(), record), TagTtl(), options_.timeout);
  if (Succeeded(status) && !IsWatchedSince(watch)) status = NotWatched();
  // Without a record nothing with the tag counts.
  if (!status.ok()) Miss(key);
  Finish(operation, key, status.ok());
  return status;
}

absl::Status RemoteCache::InvalidatePrefixed(std::string_view prefix) {
  return sync_.Tick(prefix).status();
}

absl::Status RemoteCache::InvalidateAll() { return sync_.Renew(); }

}  // namespace larder::internal
