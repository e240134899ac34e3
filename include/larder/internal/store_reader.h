// SPDX-License-Identifier: Apache-2.0
//
// StoreReader, BulkStoreReader: the loaders of a cache that has a store behind it.

#ifndef LARDER_INTERNAL_STORE_READER_H_
#define LARDER_INTERNAL_STORE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/internal/hash.h"
#include "larder/internal/key_locks.h"
#include "larder/internal/store_queue.h"
#include "larder/load_context.h"
#include "larder/loaded.h"
#include "larder/store.h"

namespace larder::internal {

template <class Hash, class K>
uint64_t StoreHash(const K& key) {
  return HashBits(Hash{}(key)).all();
}

// Loads a key: what is queued for the store is newer than what the store has. Looking there first
// is enough, since a write leaves the queue only once the store has it, and a write that is queued
// later outdates the load.
//
// Copies share store and queue, for loads that outlive the cache.
template <class K, class V, class Hash, class Eq>
class StoreReader {
 public:
  using Queue = StoreQueue<K, V, Eq>;

  // `queue`: nullptr where writes don't wait. `writes`: held for each key while it is written.
  // `queued_limit`: how long what is read from the queue may be kept.
  StoreReader(std::shared_ptr<Store<K, V>> store, std::shared_ptr<const Queue> queue,
              std::shared_ptr<KeyLocks> writes, absl::Duration queued_limit)
      : store_(std::move(store)),
        queue_(std::move(queue)),
        writes_(std::move(writes)),
        queued_limit_(queued_limit) {}

  absl::StatusOr<Loaded<V>> operator()(const K& key, LoadContext<V>& context) const {
    const uint64_t hash = StoreHash<Hash>(key);
    const auto write = FindQueued(key, hash);
    absl::StatusOr<Loaded<V>> loaded =
        write != nullptr ? FromQueue(*write) : store_->LoadEntry(key, context);
    AwaitWrite(hash);
    return loaded;
  }

 protected:
  // What the store itself asks for, while it is being written to, waits for nobody: a writer may be
  // waiting for the store.
  void AwaitWrite(uint64_t hash) const {
    if (queue_ == nullptr || !queue_->IsInsideStore()) writes_->Await(hash);
  }

  typename Queue::QueuedPtr FindQueued(const K& key, uint64_t hash) const {
    return queue_ == nullptr ? nullptr : queue_->Find(hash, key);
  }

  absl::StatusOr<Loaded<V>> FromQueue(const typename Queue::Queued& write) const {
    if (!write.value.has_value()) return absl::NotFoundError("erased");
    return Loaded<V>{.value = *write.value,
                     .ttl = write.options.ttl,
                     .idle_ttl = write.options.idle_ttl,
                     .weight = write.options.weight,
                     .refresh_after = write.options.refresh_after,
                     .tags = write.options.tags,
                     .ttl_limit = queued_limit_};
  }

  std::shared_ptr<Store<K, V>> store_;
  std::shared_ptr<const Queue> queue_;
  std::shared_ptr<KeyLocks> writes_;
  absl::Duration queued_limit_;
};

// The same for many keys, of which the store is asked for the rest in one call.
template <class K, class V, class Hash, class Eq>
class BulkStoreReader : private StoreReader<K, V, Hash, Eq> {
 public:
  using Results = std::vector<std::pair<K, absl::StatusOr<Loaded<V>>>>;

  explicit BulkStoreReader(const StoreReader<K, V, Hash, Eq>& reader)
      : StoreReader<K, V, Hash, Eq>(reader) {}

  absl::StatusOr<Results> operator()(const std::vector<K>& keys) const {
    absl::StatusOr<Results> results = Load(keys);
    for (const K& key : keys) this->AwaitWrite(StoreHash<Hash>(key));
    return results;
  }

 private:
  absl::StatusOr<Results> Load(const std::vector<K>& keys) const {
    Results results;
    results.reserve(keys.size());
    std::vector<K> rest;
    for (const K& key : keys) {
      if (const auto write = this->FindQueued(key, StoreHash<Hash>(key)); write != nullptr) {
        results.emplace_back(key, this->FromQueue(*write));
      } else {
        rest.push_back(key);
      }
    }
    if (rest.empty()) return results;
    std::vector<absl::StatusOr<Loaded<V>>> loaded = this->store_->LoadEntries(rest);
    if (loaded.size() != rest.size()) {
      return absl::InternalError(absl::StrCat("the store returned ", loaded.size(), " results for ",
                                              rest.size(), " keys"));
    }
    for (size_t i = 0; i < rest.size(); ++i) {
      results.emplace_back(std::move(rest[i]), std::move(loaded[i]));
    }
    return results;
  }
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_STORE_READER_H_
