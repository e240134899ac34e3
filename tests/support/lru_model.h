// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_LRU_MODEL_H_
#define LARDER_TESTS_SUPPORT_LRU_MODEL_H_

#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <ostream>
#include <utility>
#include <vector>

#include "larder/clock.h"
#include "larder/removal_cause.h"

namespace larder::test {

// What an exact LRU cache of one stripe must do, written to be seen to be right: a list from the
// most to the least recently used entry, and a map into it. For one thread.
//
//  - A hit of Get (as of Visit and Pin, and a GetOrLoad that finds the key) makes an entry the most
//    recent. Contains, and a PutIfAbsent that finds the key, have no effect.
//  - A write removes the key's old entry, then the least recent ones until the new one fits, and
//    inserts it as the most recent. One heavier than the whole capacity changes nothing.
//  - An entry is expired from its deadline on: `ttl` after it was written or `idle_ttl` after it
//  was
//    last hit or written. It is then absent to every operation. Whenever it is removed, the cause
//    is kExpired. Where room is needed, expired entries go before live ones.
class LruModel {
 public:
  static constexpr int64_t kForever = std::numeric_limits<int64_t>::max();

  struct Entry {
    uint64_t key = 0;
    uint64_t value = 0;
    uint64_t weight = 1;
    int64_t ttl = kForever;  // ns
    int64_t idle_ttl = kForever;
    int64_t written = 0;
    int64_t used = 0;
  };

  struct Removal {
    uint64_t key;
    uint64_t value;
    RemovalCause cause;

    friend auto operator<=>(const Removal&, const Removal&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Removal& removal) {
      return out << removal.key << " => " << removal.value << " "
                 << RemovalCauseName(removal.cause);
    }
  };

  LruModel(uint64_t capacity, const Clock* clock) : capacity_(capacity), clock_(*clock) {}

  std::optional<uint64_t> Get(uint64_t key) {
    const auto entry = FindLive(key);
    if (entry == recency_.end()) return std::nullopt;
    entry->used = clock_.NowNanos();
    recency_.splice(recency_.begin(), recency_, entry);
    return entry->value;
  }

  bool Contains(uint64_t key) { return FindLive(key) != recency_.end(); }

  // Whether it was stored. `entry.written` and `entry.used` are set here.
  bool Put(Entry entry) {
    if (entry.weight > capacity_) return false;
    const auto old = index_.find(entry.key);
    if (old != index_.end()) Remove(old->second, RemovalCause::kReplaced);
    MakeRoomFor(entry.weight);
    entry.written = entry.used = clock_.NowNanos();
    weight_ += entry.weight;
    recency_.push_front(entry);
    index_[entry.key] = recency_.begin();
    return true;
  }

  bool PutIfAbsent(const Entry& entry) { return !Contains(entry.key) && Put(entry); }

  // `result` is what the computation answers when it is given what Peek(key) returns.
  bool Compute(uint64_t key, const std::optional<Entry>& result) {
    if (result.has_value()) return Put(*result);
    Erase(key);
    return true;
  }
  std::optional<uint64_t> Peek(uint64_t key) {
    const auto entry = FindLive(key);
    return entry == recency_.end() ? std::nullopt : std::optional<uint64_t>(entry->value);
  }

  bool Erase(uint64_t key) {
    const auto entry = FindLive(key);
    if (entry == recency_.end()) return false;
    Remove(entry, RemovalCause::kErased);
    return true;
  }

  uint64_t EraseIf(const std::function<bool(uint64_t key, uint64_t value)>& predicate) {
    uint64_t erased = 0;
    for (auto entry = recency_.begin(); entry != recency_.end();) {
      const auto next = std::next(entry);
      if (!Expired(*entry) && predicate(entry->key, entry->value)) {
        Remove(entry, RemovalCause::kErased);
        ++erased;
      }
      entry = next;
    }
    return erased;
  }

  void Clear() {
    while (!recency_.empty()) Remove(recency_.begin(), RemovalCause::kCleared);
  }

  void SetCapacity(uint64_t capacity) {
    capacity_ = capacity;
    MakeRoomFor(0);
  }

  void DropExpired() {
    for (auto entry = recency_.begin(); entry != recency_.end();) {
      const auto next = std::next(entry);
      if (Expired(*entry)) Remove(entry, RemovalCause::kExpired);
      entry = next;
    }
  }

  // Drops this one, if it is expired; returns whether it was.
  bool DropExpired(uint64_t key) {
    const auto found = index_.find(key);
    if (found == index_.end() || !Expired(*found->second)) return false;
    Remove(found->second, RemovalCause::kExpired);
    return true;
  }

  // What was removed since the last call, in order.
  std::vector<Removal> TakeRemoved() { return std::exchange(removed_, {}); }

  // Live entries; of them, the first is the next to be evicted.
  std::vector<std::pair<uint64_t, uint64_t>> LiveInEvictionOrder() const {
    std::vector<std::pair<uint64_t, uint64_t>> live;
    for (auto entry = recency_.rbegin(); entry != recency_.rend(); ++entry) {
      if (!Expired(*entry)) live.emplace_back(entry->key, entry->value);
    }
    return live;
  }

  // Both with expired entries that were not dropped yet.
  uint64_t size() const { return recency_.size(); }
  uint64_t weight() const { return weight_; }
  uint64_t capacity() const { return capacity_; }

 private:
  using List = std::list<Entry>;  // the most recent one first

  bool Expired(const Entry& entry) const {
    const int64_t now = clock_.NowNanos();
    return now - entry.written >= entry.ttl || now - entry.used >= entry.idle_ttl;
  }

  List::iterator FindLive(uint64_t key) {
    const auto found = index_.find(key);
    return found == index_.end() || Expired(*found->second) ? recency_.end() : found->second;
  }

  void Remove(List::iterator entry, RemovalCause cause) {
    removed_.push_back(
        {entry->key, entry->value, Expired(*entry) ? RemovalCause::kExpired : cause});
    weight_ -= entry->weight;
    index_.erase(entry->key);
    recency_.erase(entry);
  }

  void MakeRoomFor(uint64_t weight) {
    if (weight_ + weight <= capacity_) return;
    DropExpired();
    while (weight_ + weight > capacity_) {
      Remove(std::prev(recency_.end()), RemovalCause::kEvicted);
    }
  }

  uint64_t capacity_;
  const Clock& clock_;
  uint64_t weight_ = 0;
  List recency_;
  std::map<uint64_t, List::iterator> index_;
  std::vector<Removal> removed_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_LRU_MODEL_H_
