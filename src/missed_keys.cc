// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/missed_keys.h"

#include <utility>

namespace larder::internal {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

void MissedKeys::Add(std::string_view key) {
  MutexLock lock(&mutex_);
  const uint64_t number = ++last_number_;
  if (overflow_number_ != 0) {
    overflow_number_ = number;
    return;
  }
  const auto found = numbers_.find(View(key));
  if (found != numbers_.end()) {
    // The node stays where it is in memory, and with it what numbers_ refers to.
    auto node = keys_.extract(found->second);
    node.key() = number;
    keys_.insert(keys_.end(), std::move(node));
    found->second = number;
  } else if (numbers_.size() >= max_keys_) {
    overflow_number_ = number;
  } else {
    const auto added = keys_.emplace_hint(keys_.end(), number, std::string(key));
    numbers_.emplace(View(added->second), number);
  }
  SetAny();
}

bool MissedKeys::Contains(std::string_view key) const {
  if (empty()) return false;
  MutexLock lock(&mutex_);
  return overflow_number_ != 0 || numbers_.contains(View(key));
}

std::vector<MissedKeys::Missed> MissedKeys::Take(size_t most) const {
  std::vector<Missed> taken;
  if (empty()) return taken;
  MutexLock lock(&mutex_);
  if (overflow_number_ != 0) return taken;
  for (auto key = keys_.begin(); key != keys_.end() && taken.size() < most; ++key) {
    taken.push_back({key->second, key->first});
  }
  return taken;
}

void MissedKeys::Removed(const Missed& missed) {
  MutexLock lock(&mutex_);
  const auto key = keys_.find(missed.number);
  if (key == keys_.end()) return;
  numbers_.erase(View(key->second));
  keys_.erase(key);
  SetAny();
}

uint64_t MissedKeys::last_number() const {
  MutexLock lock(&mutex_);
  return last_number_;
}

void MissedKeys::RemovedAll(uint64_t number) {
  MutexLock lock(&mutex_);
  if (overflow_number_ <= number) overflow_number_ = 0;
  if (number >= last_number_) {
    numbers_.clear();
    keys_.clear();
  }
  while (!keys_.empty() && keys_.begin()->first <= number) {
    numbers_.erase(View(keys_.begin()->second));
    keys_.erase(keys_.begin());
  }
  SetAny();
}

bool MissedKeys::overflowed() const {
  if (empty()) return false;
  MutexLock lock(&mutex_);
  return overflow_number_ != 0;
}

size_t MissedKeys::size() const {
  MutexLock lock(&mutex_);
  return numbers_.size();
}

void MissedKeys::SetAny() {
  any_.store(overflow_number_ != 0 || !numbers_.empty(), std::memory_order_release);
}

}  // namespace larder::internal
