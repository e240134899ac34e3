// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_MUTEX_LIST_LRU_H_
#define LARDER_BENCH_SUPPORT_MUTEX_LIST_LRU_H_

#include <cstddef>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

namespace larder::bench {

// The cache that services write for themselves, as a baseline: one std::mutex around a
// std::unordered_map into a std::list, most recently used first. Thread-safe; one thread at a time.
template <class K, class V>
class MutexListLru {
 public:
  // capacity: the most entries kept, > 0.
  explicit MutexListLru(size_t capacity) : capacity_(capacity) { index_.reserve(capacity); }

  // A copy of the value, which becomes the most recently used.
  std::optional<V> Get(const K& key) {
    const std::lock_guard lock(mutex_);
    const auto it = index_.find(key);
    if (it == index_.end()) return std::nullopt;
    entries_.splice(entries_.begin(), entries_, it->second);
    return it->second->second;
  }

  // Inserts or replaces, and evicts the least recently used entry where that exceeds the capacity.
  void Put(const K& key, V value) {
    const std::lock_guard lock(mutex_);
    if (const auto it = index_.find(key); it != index_.end()) {
      it->second->second = std::move(value);
      entries_.splice(entries_.begin(), entries_, it->second);
      return;
    }
    entries_.emplace_front(key, std::move(value));
    index_.emplace(key, entries_.begin());
    if (index_.size() > capacity_) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
  }

  size_t size() const {
    const std::lock_guard lock(mutex_);
    return index_.size();
  }

 private:
  using Entries = std::list<std::pair<K, V>>;

  const size_t capacity_;
  mutable std::mutex mutex_;
  Entries entries_;
  std::unordered_map<K, typename Entries::iterator> index_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_MUTEX_LIST_LRU_H_
