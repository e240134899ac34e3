// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/tags.h"

#include <algorithm>
#include <functional>

#include "absl/hash/hash.h"
#include "larder/internal/full_fence.h"

namespace larder::internal {

size_t Tags::SetHash::operator()(const std::vector<TagRecord*>& records) const {
  return absl::Hash<std::vector<TagRecord*>>{}(records);
}

// Of the prefixes of a string, each is at most the string, and whatever lies between the two in
// order begins with it as well. So those that a name begins with are all on the way from its
// predecessor to ever shorter ones; LongestPrefixSet() relies on the same.
Tags::Tags(std::vector<std::string> prefixes, size_t remembered) : remembered_(remembered) {
  idle_.older = &idle_;
  idle_.newer = &idle_;
  std::sort(prefixes.begin(), prefixes.end());
  prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
  prefixes_ = std::vector<Prefix>(prefixes.size());
  const Prefix* shorter = nullptr;
  for (size_t i = 0; i < prefixes.size(); ++i) {
    Prefix& prefix = prefixes_[i];
    prefix.name = std::move(prefixes[i]);
    while (shorter != nullptr && !prefix.name.starts_with(shorter->name)) {
      shorter = shorter->shorter;
    }
    prefix.shorter = shorter;
    if (shorter != nullptr) prefix.set.records_ = shorter->set.records_;
    prefix.set.records_.push_back(&prefix.record);  // the last one by its address, too
    prefix.set.permanent_ = true;
    prefix.record.sets = 1;
    shorter = &prefix;
  }
}

Tags::~Tags() = default;

const TagSet* Tags::LongestPrefixSet(std::string_view key) const {
  const auto after =
      std::upper_bound(prefixes_.begin(), prefixes_.end(), key,
                       [](std::string_view k, const Prefix& prefix) { return k < prefix.name; });
  if (after == prefixes_.begin()) return nullptr;
  const Prefix* prefix = &*(after - 1);
  while (prefix != nullptr && !key.starts_with(prefix->name)) prefix = prefix->shorter;
  return prefix == nullptr ? nullptr : &prefix->set;
}

TagRecord* Tags::RecordOfPrefix(std::string_view prefix) {
  const auto found = std::lower_bound(
      prefixes_.begin(), prefixes_.end(), prefix,
      [](const Prefix& registered, std::string_view p) { return registered.name < p; });
  return found != prefixes_.end() && found->name == prefix ? &found->record : nullptr;
}

const TagSet* Tags::Acquire(std::span<const std::string> tags, const TagSet* prefixes) {
  if (tags.empty() && prefixes == nullptr) return nullptr;
  if (!InUse()) in_use_.store(true, std::memory_order_relaxed);
  if (tags.empty()) return prefixes;

  std::vector<TagRecord*> records;
  records.reserve(tags.size() + (prefixes == nullptr ? 0 : prefixes->records_.size()));
  if (prefixes != nullptr) {
    records.insert(records.end(), prefixes->records_.begin(), prefixes->records_.end());
  }
  MutexLock lock(&mutex_);
  try {
    for (const std::string& tag : tags) records.push_back(&FindOrAdd(tag));
    std::sort(records.begin(), records.end(), std::less<>());
    records.erase(std::unique(records.begin(), records.end()), records.end());
    if (const auto found = sets_.find(records); found != sets_.end()) {
      found->holders_.fetch_add(1, std::memory_order_relaxed);
      return &*found;
    }
    const TagSet& set = *sets_.emplace(std::move(records)).first;
    for (TagRecord* record : set.records_) {
      if (record->idle) TakeFromIdle(*record);
      ++record->sets;
    }
    return &set;
  } catch (...) {
    DropUnused(tags);
    throw;
  }
}

void Tags::ReleaseLast(const TagSet* set) {
  MutexLock lock(&mutex_);
  if (set->holders_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  const auto place = sets_.find(*set);
  for (TagRecord* record : set->records_) {
    if (--record->sets > 0) continue;
    if (record->invalidated_at.load(std::memory_order_relaxed) > forgotten_) {
      Remember(*record);
    } else {
      Drop(*record);
    }
  }
  sets_.erase(place);
}

// Relaxed loads: the generation up to which the caller wants to know was read before, with acquire.
bool Tags::Valid(const TagSet* set, uint64_t validated) {
  if (set == nullptr) return true;
  for (const TagRecord* record : set->records_) {
    if (record->invalidated_at.load(std::memory_order_relaxed) > validated) return false;
  }
  return true;
}

std::vector<std::string_view> Tags::NamesOf(const TagSet* set) {
  std::vector<std::string_view> names;
  if (set == nullptr) return names;
  for (const TagRecord* record : set->records_) {
    if (record->tag != nullptr) names.push_back(*record->tag);
  }
  return names;
}

uint64_t Tags::Invalidate(std::string_view tag) {
  uint64_t generation = 0;
  {
    MutexLock lock(&mutex_);
    generation = BeginGeneration(tag);
  }
  FullFence();
  return generation;
}

bool Tags::InvalidatePrefix(std::string_view prefix) {
  TagRecord* const record = RecordOfPrefix(prefix);
  if (record == nullptr) return false;
  {
    MutexLock lock(&mutex_);
    BeginGeneration(*record);
  }
  FullFence();
  return true;
}

uint64_t Tags::BeginGeneration(TagRecord& record) {
  const uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
  record.invalidated_at.store(generation, std::memory_order_relaxed);
  if (record.sets == 0) {
    if (record.idle) TakeFromIdle(record);
    Remember(record);  // which may be the end of it
  }
  generation_.store(generation, std::memory_order_release);
  return generation;
}

uint64_t Tags::BeginGeneration(std::string_view tag) {
  if (const auto found = records_.find(tag); found != records_.end()) {
    return BeginGeneration(found->second);
  }
  try {
    return BeginGeneration(FindOrAdd(std::string(tag)));
  } catch (...) {
    forgotten_ = generation_.load(std::memory_order_relaxed) + 1;
    generation_.store(forgotten_, std::memory_order_release);
    return forgotten_;
  }
}

TagRecord& Tags::FindOrAdd(const std::string& tag) {
  const auto [place, added] = records_.try_emplace(tag);
  TagRecord& record = place->second;
  if (added) {
    record.tag = &place->first;
    record.invalidated_at.store(forgotten_, std::memory_order_relaxed);
  }
  return record;
}

// What FindOrAdd() added, where no set came of it.
void Tags::DropUnused(std::span<const std::string> tags) {
  for (const std::string& tag : tags) {
    const auto found = records_.find(tag);
    if (found == records_.end()) continue;
    if (found->second.sets == 0 && !found->second.idle) records_.erase(found);
  }
}

// Requires: `record` is in no set and not idle.
void Tags::Remember(TagRecord& record) {
  record.idle = true;
  record.older = idle_.older;
  record.newer = &idle_;
  idle_.older->newer = &record;
  idle_.older = &record;
  if (++idle_count_ <= remembered_) return;
  TagRecord& oldest = *idle_.newer;
  forgotten_ = std::max(forgotten_, oldest.invalidated_at.load(std::memory_order_relaxed));
  TakeFromIdle(oldest);
  Drop(oldest);
}

void Tags::TakeFromIdle(TagRecord& record) {
  record.idle = false;
  record.older->newer = record.newer;
  record.newer->older = record.older;
  --idle_count_;
}

void Tags::Drop(const TagRecord& record) { records_.erase(records_.find(*record.tag)); }

size_t Tags::records() const {
  MutexLock lock(&mutex_);
  return records_.size();
}

size_t Tags::sets() const {
  MutexLock lock(&mutex_);
  return sets_.size();
}

}  // namespace larder::internal
