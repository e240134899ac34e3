// SPDX-License-Identifier: Apache-2.0
//
// Which entries count as far as their tags go.

#include <algorithm>
#include <utility>

#include "larder/internal/remote_cache.h"

namespace larder::internal {
namespace {

// To change what others change at the same time.
constexpr int kMostTries = 8;

}  // namespace

absl::StatusOr<bool> RemoteCache::AreTagsValid(const RemoteEntry& entry, Patience& patience) {
  if (entry.tags.empty()) return true;
  const std::vector<std::string> tags(entry.tags.begin(), entry.tags.end());
  const auto records = ReadTags(tags, patience);
  if (!records.ok()) return records.status();
  return std::all_of(records->begin(), records->end(), [&entry](const auto& record) {
    return record.has_value() && record->Covers(entry.generation, entry.clock);
  });
}

// Reads the records of all entries' tags at once, so that they are known to AreTagsValid.
bool RemoteCache::LearnTags(std::span<RemoteRead* const> reads,
                            const std::vector<std::optional<std::string>>& values,
                            Patience& patience) {
  std::vector<std::string> tags;
  for (size_t i = 0; i < reads.size(); ++i) {
    if (!values[i].has_value()) continue;
    const auto entry = DecodeRemoteEntry(reads[i]->key_, schema_, *values[i]);
    if (entry.ok()) tags.insert(tags.end(), entry->tags.begin(), entry->tags.end());
  }
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
  return tags.empty() || ReadTags(tags, patience).ok();
}

// The records of tags; nullopt for one that doesn't exist.
absl::StatusOr<std::vector<std::optional<RemoteTagRecord>>> RemoteCache::ReadTags(
    std::span<const std::string> tags, Patience& patience) {
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
  const auto values =
      patience.Spend([&](absl::Duration timeout) { return tier_.GetMany(views, timeout); });
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

// Whether an entry with these tags that was loaded under `control` counts, now that each of them
// has a record. The records of tags that have none are made.
absl::StatusOr<bool> RemoteCache::HaveTagRecords(std::span<const std::string> tags,
                                                 const ControlBlock& control, Patience& patience) {
  if (tags.empty()) return true;
  auto records = ReadTags(tags, patience);
  if (!records.ok()) return records.status();
  for (size_t i = 0; i < tags.size(); ++i) {
    std::optional<RemoteTagRecord>& record = (*records)[i];
    if (!record.has_value() || record->generation != control.generation()) {
      auto made = MakeTagRecord(tags[i], patience);
      if (!made.ok()) return made.status();
      record = *made;
    }
    if (!record->Covers(control.generation(), control.clock())) return false;
  }
  return true;
}

absl::StatusOr<RemoteTagRecord> RemoteCache::MakeTagRecord(const std::string& tag,
                                                           Patience& patience) {
  const Control control = sync_.control();
  if (control == nullptr) return absl::UnavailableError("the remote tier isn't trusted now");
  return PutTagRecord(tag, {control->generation(), control->clock()}, /*raises=*/false, patience);
}

// Has the tier keep a record of the generation: `record`, or one that is there already; with
// `raises`, only one that is as new. Returns that. It is never replaced by an older one: that would
// make entries count again.
absl::StatusOr<RemoteTagRecord> RemoteCache::PutTagRecord(const std::string& tag,
                                                          const RemoteTagRecord& record,
                                                          bool raises, Patience& patience) {
  const std::string key = TagKey(tag);
  auto operation = own_.Begin(key, stamps_.Next());
  const std::string bytes = EncodeTagRecord(tag, operation.stamp(), record);
  operation.MarkSent();
  absl::StatusOr<RemoteTagRecord> result = absl::AbortedError("others keep changing the tag");
  bool is_made = false;
  for (int i = 0; i < kMostTries && !is_made && absl::IsAborted(result.status()); ++i) {
    const auto there =
        patience.Spend([&](absl::Duration timeout) { return tier_.Get(key, timeout); });
    absl::StatusOr<bool> is_set = absl::UnknownError("");
    if (!there.ok()) is_set = there.status();
    if (there.ok() && there->has_value() && !(*there)->empty()) {
      const auto old = DecodeTagRecord(tag, **there);
      if (old.ok() && old->generation == record.generation &&
          (!raises || old->clock >= record.clock)) {
        result = *old;
        break;
      }
      const std::string head = (*there)->substr(0, kHeadBytes);
      is_set = patience.Spend([&](absl::Duration timeout) {
        return tier_.SetIfHead(key, head, bytes, TagTtl(), timeout);
      });
    } else if (there.ok()) {
      is_set = patience.Spend(
          [&](absl::Duration timeout) { return tier_.SetIfAbsent(key, bytes, TagTtl(), timeout); });
    }
    if (!Succeeded(is_set.status())) {
      result = is_set.status();
    } else if (*is_set) {
      is_made = true;
      result = record;
    }
  }
  // What was read before isn't learned after this.
  tags_.Forget(tag);
  Finish(operation, key, is_made);
  return result;
}

// A record must be there for as long as any entry that it covers.
absl::Duration RemoteCache::TagTtl() const { return 2 * (options_.ttl + options_.stale_if_error); }

absl::Status RemoteCache::InvalidateTagged(std::string_view tag) {
  const uint64_t watch = sync_.watch();
  const auto control = sync_.Tick();
  if (!control.ok()) return control.status();
  Patience patience(options_.timeout);
  absl::Status status =
      PutTagRecord(std::string(tag), {(*control)->generation(), (*control)->clock()},
                   /*raises=*/true, patience)
          .status();
  if (status.ok() && !IsWatchedSince(watch)) status = NotWatched();
  if (!status.ok()) sync_.RenewLater();
  return status;
}

}  // namespace larder::internal
