// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_MUTEX_LIST_LRU_H_
#define LARDER_BENCH_SUPPORT_MUTEX_LIST_LRU_H_

#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "bench/support/list_lru.h"

namespace larder::bench {

// Finds strings by views of them.
struct StdTextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

template <class K, class Mapped>
using StdIndex =
    std::conditional_t<std::is_same_v<K, std::string>,
                       std::unordered_map<std::string, Mapped, StdTextHash, std::equal_to<>>,
                       std::unordered_map<K, Mapped>>;

// The cache that services write for themselves, as a baseline: one std::mutex around a
// std::unordered_map into a std::list, most recently used first. Thread-safe; one thread at a time.
template <class K, class V>
class MutexListLru {
 public:
  // capacity: the most entries kept, > 0.
  explicit MutexListLru(size_t capacity) : lru_(capacity) {}

  // A copy of the value, which becomes the most recently used.
  template <class Q>
  std::optional<V> Get(const Q& key) {
    const std::lock_guard lock(mutex_);
    const V* const value = lru_.Find(key);
    return value == nullptr ? std::nullopt : std::optional<V>(*value);
  }

  // Calls look(const V&) under the lock, if there is a value. Returns whether there was.
  template <class Q, class Look>
  bool Visit(const Q& key, Look&& look) {
    const std::lock_guard lock(mutex_);
    const V* const value = lru_.Find(key);
    if (value == nullptr) return false;
    look(*value);
    return true;
  }

  // Inserts or replaces, and evicts the least recently used entry where that exceeds the capacity.
  void Put(const K& key, V value) {
    const std::lock_guard lock(mutex_);
    lru_.Put(key, std::move(value));
  }

  size_t size() const {
    const std::lock_guard lock(mutex_);
    return lru_.size();
  }

 private:
  mutable std::mutex mutex_;
  ListLru<K, V, StdIndex> lru_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_MUTEX_LIST_LRU_H_
