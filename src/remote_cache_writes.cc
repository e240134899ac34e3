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

template <class Key>
std::vector<std::string_view> Views(std::span<const Key> keys) {
  return {keys.begin(), keys.end()};
}

}  // namespace

absl::Status RemoteCache::NotWatched() {
  return absl::UnavailableError("the remote tier's changes were not heard of meanwhile");
}

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
  if (fillings.empty()) return;
  bool may_call = sync_.MayCall();
  Patience patience = fillings[0].read->patience_;
  std::vector<RemoteRead*> abandoned;
  std::vector<Filling*> filled;
  std::vector<std::string> bytes;
  bytes.reserve(fillings.size());
  std::vector<SharedTier::Change> changes;
  for (Filling& filling : fillings) {
    RemoteRead& read = *filling.read;
    if (!std::exchange(read.may_fill_, false)) continue;
    absl::Duration ttl;
    absl::StatusOr<std::optional<std::string>> encoded = std::nullopt;
    if (may_call) encoded = EncodeFilling(filling, ttl, patience);
    may_call = may_call && encoded.ok();
    if (!encoded.ok() || !encoded->has_value()) {
      abandoned.push_back(&read);
      continue;
    }
    bytes.push_back(**std::move(encoded));
    filled.push_back(&filling);
    changes.push_back({read.key_, bytes.back(), ttl, read.replaces_});
  }
  if (!filled.empty()) Put(filled, changes, patience, may_call);
  if (!abandoned.empty()) ReturnLeases(abandoned, patience, may_call);
}

void RemoteCache::Put(std::span<Filling* const> filled,
                      absl::Span<const SharedTier::Change> changes, Patience& patience,
                      bool& may_call) {
  absl::StatusOr<std::vector<bool>> are_set = absl::CancelledError();
  if (may_call) {
    for (Filling* const filling : filled) filling->read->operation_.MarkSent();
    are_set = patience.Spend(
        [&](absl::Duration timeout) { return tier_.SetManyIfHead(changes, timeout); });
    may_call = Succeeded(are_set.status());
  }
  const bool succeeded = are_set.ok();
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
                                                                      absl::Duration& ttl,
                                                                      Patience& patience) {
  const RemoteRead& read = *filling.read;
  if (filling.as == LoadedAs::kNothing || !sync_.MayRead()) return std::nullopt;
  const Control now = sync_.control();
  if (read.control_ == nullptr || now == nullptr ||
      now->generation() != read.control_->generation()) {
    return std::nullopt;
  }
  const Stamp stamp = read.operation_.stamp();
  if (filling.as == LoadedAs::kValue) {
    const absl::StatusOr<bool> count = HaveTagRecords(filling.value.tags, *read.control_, patience);
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

void RemoteCache::ReturnLeases(std::span<RemoteRead* const> reads, Patience& patience,
                               bool may_call) {
  std::vector<std::string_view> keys;
  const RemoteRead* last = nullptr;
  for (const RemoteRead* const read : reads) {
    if (!read->holds_lease_) continue;
    keys.push_back(read->key_);
    last = read;
  }
  if (may_call && keys.size() == 1) {
    Succeeded(patience
                  .Spend([&](absl::Duration timeout) {
                    return tier_.EraseIfHead(last->key_, last->replaces_, timeout);
                  })
                  .status());
  } else if (may_call && !keys.empty()) {
    // In one call; what others have put there meanwhile goes, too.
    Succeeded(
        patience.Spend([&](absl::Duration timeout) { return tier_.Invalidate(keys, timeout); }));
  }
  for (RemoteRead* const read : reads) Finish(read->operation_, read->key_, false);
}

void RemoteCache::Finish(OwnChanges::Operation& operation, std::string_view key, bool success) {
  if (operation.Finish(success, ProcessClock::NowNanos())) ChangedByOthers(key);
}

// --- Writes

std::vector<RemoteWrite> RemoteCache::BeginWrites(std::vector<std::string> keys,
                                                  bool is_in_memory) {
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
  Patience patience(options_.timeout);
  const auto replaced = patience.Spend(
      [&](absl::Duration timeout) { return tier_.ExchangeMany(changes, kPeekBytes, timeout); });
  const bool succeeded = Succeeded(replaced.status());
  for (size_t i = 0; i < announced.size(); ++i) {
    announced[i]->patience_ = patience;
    announced[i]->is_missed_ = !succeeded;
    // One that is full answers, and can be removed from.
    announced[i]->is_unanswered_ = !succeeded && !absl::IsResourceExhausted(replaced.status());
    if (!succeeded) continue;
    const auto& head = (*replaced)[i];
    const auto old = head.has_value() ? PeekEntry(*head) : std::nullopt;
    // Word of what was replaced may not have come yet, and won't be told from word of this.
    if (!is_in_memory && !(old.has_value() && own_.IsOwn(announced[i]->key_, old->stamp))) {
      memory_.Drop(announced[i]->key_);
    }
    // Of this server only one writes the key at a time: an own one was left behind.
    announced[i]->is_contended_ = old.has_value() && old->kind == RemoteEntryKind::kIntent &&
                                  old->stamp.writer != stamps_.writer();
  }
  return writes;
}

void RemoteCache::CommitWrites(std::span<Committing> committings) {
  if (committings.empty()) return;
  // Where the first call had no answer, there is no other: RemoteSync will remove the keys.
  bool may_call = sync_.MayCall();
  for (const Committing& committing : committings) {
    may_call = may_call && !committing.write->is_unanswered_;
  }
  Patience patience = committings[0].write->patience_;
  std::vector<RemoteWrite*> to_remove;
  SetWritten(committings, patience, may_call, to_remove);
  if (!to_remove.empty()) {
    std::vector<std::string_view> keys;
    for (const RemoteWrite* const write : to_remove) keys.push_back(write->key_);
    may_call = may_call && Succeeded(patience.Spend([&](absl::Duration timeout) {
                 return tier_.Invalidate(keys, timeout);
               }));
  }
  for (RemoteWrite* const write : to_remove) {
    write->is_missed_ = !may_call;
    Finish(write->operation_, write->key_, false);
  }
  for (const Committing& committing : committings) {
    const RemoteWrite& write = *committing.write;
    if (write.is_reserved_) continue;
    // What was changed while nobody watched may have been changed elsewhere.
    if (write.is_missed_ || !IsWatchedSince(write.watch_)) Miss(write.key_);
  }
}

bool RemoteCache::MayCount(const RemoteValue& value, const ControlBlock& control,
                           Patience& patience, bool& may_call) {
  if (!may_call) return false;
  const absl::StatusOr<bool> count = HaveTagRecords(value.tags, control, patience);
  may_call = count.ok();
  return count.ok() && *count;
}

// Puts there what may be; `to_remove` gets the others: also what two servers write at once, since
// only the store knows which was last. `may_call` becomes false where the tier failed.
void RemoteCache::SetWritten(std::span<Committing> committings, Patience& patience, bool& may_call,
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
    if (write.is_contended_ || write.is_missed_ || !committing.value.has_value() ||
        !sync_.MayRead() || write.control_ == nullptr ||
        !MayCount(*committing.value, *write.control_, patience, may_call)) {
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
    are_set = patience.Spend(
        [&](absl::Duration timeout) { return tier_.SetManyIfHead(changes, timeout); });
    may_call = Succeeded(are_set.status());
  }
  for (size_t i = 0; i < set.size(); ++i) {
    if (may_call && (*are_set)[i]) {
      Finish(set[i]->operation_, set[i]->key_, true);
    } else {
      to_remove.push_back(set[i]);
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

absl::Status RemoteCache::InvalidatePrefixed(std::string_view prefix) {
  return sync_.Tick(prefix).status();
}

absl::Status RemoteCache::InvalidateAll() { return sync_.Renew(); }

}  // namespace larder::internal
