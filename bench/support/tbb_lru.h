// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TBB_LRU_H_
#define LARDER_BENCH_SUPPORT_TBB_LRU_H_

#if defined(LARDER_BENCH_HAS_TBB)

#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "bench/support/abseil_index.h"
#include "tbb/concurrent_hash_map.h"

namespace larder::bench {

// oneTBB's concurrent_hash_map as a bounded LRU, in the way that T. Starling's scalable-cache made
// common: lookups go through the map's own locks, the list of use has a mutex of its own, which a
// hit only tries, so under contention a hit may leave the order as it was. Used by one thread it is
// exact LRU. List links live in the map's nodes. Thread-safe.
template <class K, class V>
class TbbLruShard {
 public:
  // capacity: > 0.
  explicit TbbLruShard(size_t capacity) : capacity_(capacity), map_(capacity) {
    list_.next = list_.previous = &list_;
  }
  TbbLruShard(const TbbLruShard&) = delete;
  TbbLruShard& operator=(const TbbLruShard&) = delete;

  // Calls look(const V&) under the entry's lock for reading. Returns whether there was one.
  template <class Q, class Look>
  bool Visit(const Q& key, Look&& look) {
    typename Map::const_accessor found;
    if (!map_.find(found, key)) return false;
    look(found->second.value);
    // Only the links change, and those belong to the list's mutex.
    TryTouch(const_cast<Entry&>(found->second));
    return true;
  }

  void Put(const K& key, V value) {
    {
      typename Map::accessor found;
      const bool inserted = map_.insert(found, key);
      Entry& entry = found->second;
      entry.value = std::move(value);
      if (!inserted) {
        TryTouch(entry);
        return;
      }
      entry.key = &found->first;
      const std::lock_guard lock(list_mutex_);
      LinkFirst(entry);
    }
    if (size_.fetch_add(1, std::memory_order_relaxed) >= capacity_) Evict();
  }

 private:
  struct Links {
    Links* previous = nullptr;  // nullptr: not in the list
    Links* next = nullptr;
  };
  struct Entry : Links {
    const K* key = nullptr;  // where the map has it
    V value{};
  };
  struct HashCompare {
    using is_transparent = void;
    template <class Q>
    size_t hash(const Q& key) const {
      return KeyHash<K>{}(key);
    }
    template <class A, class B>
    bool equal(const A& a, const B& b) const {
      return a == b;
    }
  };
  using Map = tbb::concurrent_hash_map<K, Entry, HashCompare>;

  void TryTouch(Entry& entry) {
    const std::unique_lock lock(list_mutex_, std::try_to_lock);
    // An entry may be about to be linked, or to be erased.
    if (!lock || entry.previous == nullptr) return;
    Unlink(entry);
    LinkFirst(entry);
  }

  void Evict() {
    const K* victim;
    {
      const std::lock_guard lock(list_mutex_);
      if (list_.previous == &list_) return;
      Entry& last = static_cast<Entry&>(*list_.previous);
      Unlink(last);
      victim = last.key;
    }
    // Whoever unlinks an entry is the only one to erase it, so the key is still there.
    typename Map::accessor found;
    if (!map_.find(found, *victim)) return;
    map_.erase(found);
    size_.fetch_sub(1, std::memory_order_relaxed);
  }

  void LinkFirst(Links& links) {
    links.previous = &list_;
    links.next = list_.next;
    list_.next->previous = &links;
    list_.next = &links;
  }

  static void Unlink(Links& links) {
    links.previous->next = links.next;
    links.next->previous = links.previous;
    links.previous = nullptr;
  }

  const size_t capacity_;
  Map map_;
  std::atomic<size_t> size_{0};
  alignas(64) std::mutex list_mutex_;
  Links list_;  // a ring; `next` is the most recently used
};

// Shards of the above, chosen by the key's hash. Thread-safe.
template <class K, class V>
class TbbLruCache {
 public:
  // capacity: > 0, divided evenly. shards: a power of two, at most 2^16.
  explicit TbbLruCache(size_t capacity, size_t shards = 64)
      : shift_(63 - std::bit_width(shards - 1)) {
    for (size_t i = 0; i < shards; ++i) {
      shards_.push_back(std::make_unique<TbbLruShard<K, V>>((capacity + shards - 1) / shards));
    }
  }

  template <class Q>
  std::optional<V> Get(const Q& key) {
    std::optional<V> copy;
    Visit(key, [&copy](const V& value) { copy = value; });
    return copy;
  }

  template <class Q, class Look>
  bool Visit(const Q& key, Look&& look) {
    return Shard(key).Visit(key, look);
  }

  void Put(const K& key, V value) { Shard(key).Put(key, std::move(value)); }

  // Which shard has the key: 0..shards-1.
  template <class Q>
  size_t ShardIndex(const Q& key) const {
    // The map itself uses the hash's low bits.
    return (KeyHash<K>{}(key) >> shift_) & (shards_.size() - 1);
  }

 private:
  template <class Q>
  TbbLruShard<K, V>& Shard(const Q& key) {
    return *shards_[ShardIndex(key)];
  }

  const int shift_;
  std::vector<std::unique_ptr<TbbLruShard<K, V>>> shards_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_HAS_TBB

#endif  // LARDER_BENCH_SUPPORT_TBB_LRU_H_
