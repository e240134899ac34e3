// SPDX-License-Identifier: Apache-2.0

#include "tests/support/write_queue_model.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder::test {
namespace {

constexpr int64_t kAtOnce = std::numeric_limits<int64_t>::min();
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

}  // namespace

bool WriteQueueModel::CanReplace(const Key& key) const {
  if (options_.keeps_all || key.places.empty()) return false;
  if (key.places.back().write.is_through) return false;
  return key.places.size() > 1 || !key.is_in_flight;
}

internal::WriteAmount WriteQueueModel::NeedsOf(int key, uint64_t bytes) const {
  const auto found = keys_.find(key);
  if (found == keys_.end() || !CanReplace(found->second)) return {.entries = 1, .bytes = bytes};
  const uint64_t freed = found->second.places.back().write.bytes;
  return {.entries = 0, .bytes = bytes > freed ? bytes - freed : 0};
}

WriteQueueModel::Resolved WriteQueueModel::Add(int key, const Write& write, int64_t now) {
  Resolved resolved;
  Key& of_key = keys_[key];
  if (!write.is_through && CanReplace(of_key)) {
    resolved[of_key.places.back().write.number] = absl::OkStatus();
    of_key.places.back().write = write;
    ++counts_.coalesced;
    return resolved;
  }
  if (write.is_through) ++counts_.write_through;
  of_key.places.push_back({.write = write, .position = ++last_position_, .queued_at = now});
  return resolved;
}

// Whether it waits for others to go with, not for a moment of its own.
bool WriteQueueModel::IsFresh(const Key& key) const {
  return !key.places.empty() && !key.is_in_flight && !key.backs_off && !IsDueAtOnce(key);
}

bool WriteQueueModel::IsDueAtOnce(const Key& key) const {
  for (const Place& place : key.places) {
    if (place.write.is_through) return true;
  }
  return !key.backs_off && key.places.front().position <= flushed_;
}

int64_t WriteQueueModel::EarliestDue(const Key& key) const {
  if (key.places.empty() || key.is_in_flight) return kNever;
  if (IsDueAtOnce(key)) return kAtOnce;
  return key.backs_off ? key.earliest : key.places.front().queued_at + options_.batch_delay;
}

int64_t WriteQueueModel::LatestDue(const Key& key) const {
  return key.backs_off && !IsDueAtOnce(key) && !key.is_in_flight ? key.latest : EarliestDue(key);
}

size_t WriteQueueModel::Waiting() const {
  size_t waiting = 0;
  for (const auto& [name, key] : keys_) waiting += IsFresh(key) ? 1 : 0;
  return waiting;
}

std::string WriteQueueModel::CheckNextDue(int64_t now, int64_t next_due) const {
  int64_t earliest = kNever;
  int64_t latest = kNever;
  for (const auto& [name, key] : keys_) {
    earliest = std::min(earliest, EarliestDue(key));
    latest = std::min(latest, LatestDue(key));
  }
  if (Waiting() >= options_.batch_size || (hurries_ && Waiting() > 0)) latest = kAtOnce;
  if (latest <= now) return next_due <= now ? "" : absl::StrCat("due only at ", next_due);
  if (next_due >= earliest && next_due <= latest) return "";
  return absl::StrCat("due at ", next_due, ", not within ", earliest, "..", latest);
}

std::string WriteQueueModel::CheckTake(int64_t now, size_t most, size_t before,
                                       const std::vector<int>& taken) {
  const bool must = Waiting() >= options_.batch_size || (hurries_ && Waiting() > 0);
  bool may_begin = before > 0 || must;
  for (const auto& [name, key] : keys_) may_begin |= EarliestDue(key) <= now;
  if (!may_begin && !taken.empty()) return "took what isn't due";
  const size_t room = std::min(most, options_.batch_size - before);
  if (taken.size() > room) return "took too many";

  const std::set<int> distinct(taken.begin(), taken.end());
  if (distinct.size() != taken.size()) return "took a key twice";
  int64_t last_taken = kAtOnce;
  int64_t first_left = kNever;
  bool left_due = false;
  for (const auto& [name, key] : keys_) {
    const bool is_taken = distinct.count(name) > 0;
    if (is_taken && (key.places.empty() || key.is_in_flight)) return "took what it doesn't have";
    if (key.places.empty() || key.is_in_flight) continue;
    const int64_t due = EarliestDue(key);
    if (IsFresh(key)) {
      if (is_taken) last_taken = std::max(last_taken, due);
      if (!is_taken) first_left = std::min(first_left, due);
    } else {
      if (is_taken && due > now) return "took one too early";
      left_due |= !is_taken && LatestDue(key) <= now;
    }
  }
  if (last_taken > first_left) return "took one that waits for less long";
  const bool must_begin = before > 0 || must || !taken.empty() || first_left <= now;
  if (taken.size() < room && (left_due || (first_left != kNever && must_begin))) {
    return "left one that it had room for";
  }
  for (const int name : taken) keys_[name].is_in_flight = true;
  return "";
}

bool WriteQueueModel::Complete(int name, Outcome outcome, const absl::Status& status, int64_t now,
                               Resolved* resolved) {
  Key& key = keys_[name];
  Write& write = key.places.front().write;
  ++write.attempts;
  if (outcome != Outcome::kStored) ++counts_.failures;
  if (outcome == Outcome::kStored || write.is_through) {
    ++(outcome == Outcome::kStored ? counts_.stored : counts_.through_failures);
    Resolve(key, 0, status, resolved);
    GoOn(key);
    return false;
  }
  if (outcome == Outcome::kFailedForGood ||
      (options_.max_attempts > 0 && write.attempts == options_.max_attempts)) {
    return FailForGood(key, resolved);
  }
  TryAgain(key, status, now, resolved);
  return false;
}

bool WriteQueueModel::FailForGood(Key& key, Resolved* resolved) {
  key.places.front().write.failed_for_good = true;
  for (const Place& place : key.places) {
    if (place.write.is_through) return true;
  }
  if (options_.keeps_all || key.places.size() == 1) return true;
  KeepLatest(key, resolved);
  GoOn(key);
  return false;
}

void WriteQueueModel::CompleteGiveUp(int name, const absl::Status& status, int64_t now,
                                     Resolved* resolved) {
  Key& key = keys_[name];
  if (status.ok()) {
    ++counts_.given_up;
    Resolve(key, 0, absl::OkStatus(), resolved);
    GoOn(key);
  } else if (FailForGood(key, resolved)) {
    TryAgain(key, status, now, resolved);
  }
}

void WriteQueueModel::TryAgain(Key& key, const absl::Status& status, int64_t now,
                               Resolved* resolved) {
  for (size_t i = key.places.size(); i-- > 1;) {
    if (!key.places[i].write.is_through) continue;
    ++counts_.through_failures;
    Resolve(key, i, status, resolved);
  }
  if (!options_.keeps_all) KeepLatest(key, resolved);
  key.is_in_flight = false;
  key.backs_off = true;
  int64_t backoff = options_.first_backoff;
  for (uint32_t i = 0; i < key.failures; ++i) backoff = std::min(2 * backoff, options_.max_backoff);
  ++key.failures;
  key.earliest = now + backoff - backoff / 2;
  key.latest = now + backoff;
}

// In the first one's place: who flushed that waits for the key.
void WriteQueueModel::KeepLatest(Key& key, Resolved* resolved) {
  std::swap(key.places.front().write, key.places.back().write);
  while (key.places.size() > 1) {
    ++counts_.coalesced;
    Resolve(key, 1, absl::OkStatus(), resolved);
  }
}

void WriteQueueModel::GoOn(Key& key) {
  key.is_in_flight = false;
  key.backs_off = false;
  key.failures = 0;
}

void WriteQueueModel::Resolve(Key& key, size_t index, const absl::Status& status,
                              Resolved* resolved) {
  (*resolved)[key.places[index].write.number] = status;
  key.places.erase(key.places.begin() + static_cast<std::ptrdiff_t>(index));
}

void WriteQueueModel::Flush() {
  flushed_ = last_position_;
  for (auto& [name, key] : keys_) {
    if (!key.is_in_flight) key.backs_off = false;
  }
}

void WriteQueueModel::Remove(int number, const absl::Status& error, Resolved* resolved) {
  for (auto& [name, key] : keys_) {
    for (size_t i = 0; i < key.places.size(); ++i) {
      const Write& write = key.places[i].write;
      if (write.number != number) continue;
      ++(write.is_through ? counts_.through_failures : counts_.given_up);
      Resolve(key, i, write.is_through ? error : absl::OkStatus(), resolved);
      return;
    }
  }
}

int WriteQueueModel::Find(int name) const {
  int number = 0;
  if (const auto found = keys_.find(name); found != keys_.end()) {
    for (const Place& place : found->second.places) {
      if (!place.write.is_through) number = place.write.number;
    }
  }
  return number;
}

std::vector<int> WriteQueueModel::Queued() const {
  std::map<uint64_t, int> by_position;
  for (const auto& [name, key] : keys_) {
    for (const Place& place : key.places) by_position[place.position] = place.write.number;
  }
  std::vector<int> numbers;
  for (const auto& [position, number] : by_position) numbers.push_back(number);
  return numbers;
}

internal::WriteAmount WriteQueueModel::LeftUpTo(uint64_t position) const {
  internal::WriteAmount left;
  for (const auto& [name, key] : keys_) {
    for (const Place& place : key.places) {
      if (place.position > position) continue;
      ++left.entries;
      left.bytes += place.write.bytes;
    }
  }
  return left;
}

int64_t WriteQueueModel::OldestQueuedAt() const {
  int64_t oldest = kNever;
  for (const auto& [name, key] : keys_) {
    for (const Place& place : key.places) oldest = std::min(oldest, place.queued_at);
  }
  return oldest;
}

WriteQueueModel::Counts WriteQueueModel::counts() const {
  Counts counts = counts_;
  const internal::WriteAmount all = LeftUpTo(last_position_);
  counts.queued = all.entries;
  counts.queued_bytes = all.bytes;
  for (const auto& [name, key] : keys_) counts.in_flight += key.is_in_flight ? 1 : 0;
  return counts;
}

}  // namespace larder::test
