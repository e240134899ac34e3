// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_ROCKSDB_CACHE_H_
#define LARDER_BENCH_SUPPORT_ROCKSDB_CACHE_H_

#if defined(LARDER_BENCH_HAS_ROCKSDB)

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "rocksdb/cache.h"

namespace larder::bench {

enum class RocksKind { kLru, kHyperClock };

// A key as RocksDB takes it: bytes. HyperClockCache takes 16 of them, no more and no fewer, so keys
// are filled up with zeros for it, and must not be longer.
class RocksKey {
 public:
  RocksKey(uint64_t key, RocksKind kind) : RocksKey(kind, sizeof(key)) {
    std::memcpy(bytes_.data(), &key, sizeof(key));
  }
  RocksKey(std::string_view key, RocksKind kind)
      : RocksKey(kind, std::min(key.size(), kMostBytes)) {
    std::copy_n(key.data(), std::min(key.size(), kMostBytes), bytes_.data());
  }

  rocksdb::Slice slice() const { return rocksdb::Slice(bytes_.data(), size_); }

 private:
  static constexpr size_t kMostBytes = 16;

  RocksKey(RocksKind kind, size_t size)
      : size_(kind == RocksKind::kHyperClock ? kMostBytes : size) {}

  std::array<char, kMostBytes> bytes_ = {};
  size_t size_;
};

// RocksDB's block caches as caches of objects. What fits into a pointer is kept in the pointer that
// RocksDB keeps, other values on the heap, with a deleter. Each is charged 1, metadata not charged;
// 64 shards, no part reserved for a priority. Thread-safe.
template <class K, class V, RocksKind kKind>
class RocksCache {
  static constexpr bool kInPointer = std::is_trivially_copyable_v<V> && sizeof(V) <= sizeof(void*);

 public:
  // Keeps the value alive while held. Must not outlive the cache.
  class Pinned {
   public:
    Pinned(rocksdb::Cache* cache, rocksdb::Cache::Handle* handle)
        : cache_(cache), handle_(handle) {}
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
    ~Pinned() {
      if (handle_ != nullptr) cache_->Release(handle_);
    }
    explicit operator bool() const { return handle_ != nullptr; }
    auto operator*() const -> std::conditional_t<kInPointer, V, const V&> {
      void* const kept = cache_->Value(handle_);
      if constexpr (kInPointer) {
        V value;
        std::memcpy(&value, &kept, sizeof(value));
        return value;
      } else {
        return *static_cast<const V*>(kept);
      }
    }

   private:
    rocksdb::Cache* const cache_;
    rocksdb::Cache::Handle* const handle_;
  };

  explicit RocksCache(size_t capacity) : cache_(Make(capacity)) {}

  template <class Q>
  Pinned Pin(const Q& key) {
    return Pinned(cache_.get(), cache_->Lookup(RocksKey(key, kKind).slice()));
  }
  template <class Q>
  std::optional<V> Get(const Q& key) {
    const Pinned pinned = Pin(key);
    return pinned ? std::optional<V>(*pinned) : std::nullopt;
  }
  template <class Q, class Look>
  bool Visit(const Q& key, Look&& look) {
    const Pinned pinned = Pin(key);
    if (pinned) look(*pinned);
    return static_cast<bool>(pinned);
  }

  void Put(const K& key, V value) {
    const RocksKey bytes(key, kKind);
    // Over an entry that is there HyperClockCache's Insert does nothing, and says that it is OK.
    if (kKind == RocksKind::kHyperClock) cache_->Erase(bytes.slice());
    void* kept = nullptr;
    if constexpr (kInPointer) {
      std::memcpy(&kept, &value, sizeof(value));
    } else {
      kept = new V(std::move(value));
    }
    cache_->Insert(bytes.slice(), kept, /*charge=*/1, Delete);
  }

 private:
  static constexpr int kShardBits = 6;

  static void Delete(const rocksdb::Slice&, void* kept) {
    if constexpr (!kInPointer) delete static_cast<V*>(kept);
  }

  static std::shared_ptr<rocksdb::Cache> Make(size_t capacity) {
    if constexpr (kKind == RocksKind::kHyperClock) {
      rocksdb::HyperClockCacheOptions options(capacity, /*_estimated_entry_charge=*/1);
      options.num_shard_bits = kShardBits;
      options.metadata_charge_policy = rocksdb::kDontChargeCacheMetadata;
      return options.MakeSharedCache();
    } else {
      rocksdb::LRUCacheOptions options;
      options.capacity = capacity;
      options.num_shard_bits = kShardBits;
      options.high_pri_pool_ratio = 0;
      options.metadata_charge_policy = rocksdb::kDontChargeCacheMetadata;
      return rocksdb::NewLRUCache(options);
    }
  }

  const std::shared_ptr<rocksdb::Cache> cache_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_HAS_ROCKSDB

#endif  // LARDER_BENCH_SUPPORT_ROCKSDB_CACHE_H_
