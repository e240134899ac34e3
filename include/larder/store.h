// SPDX-License-Identifier: Apache-2.0
//
// Store: the system of record behind a cache.

#ifndef LARDER_STORE_H_
#define LARDER_STORE_H_

#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/load_context.h"
#include "larder/loaded.h"
#include "larder/options.h"
#include "larder/write_id.h"

namespace larder {

// One write of a batch. Refers to what must outlive it; not assignable: to sort a batch, sort
// pointers.
template <class K, class V>
struct StoreWrite {
  const K& key;
  const V* value;  // nullptr: erase the key
  WriteId id;
  // As in Put. nullptr where that isn't known any more: for a write from a journal.
  const PutOptions* options = nullptr;
};

// A database, a service, a file: what holds the truth, and is slow. Derive from it and give it to a
// TieredCache. docs/examples/sqlite_store.h is one.
//
// Errors: NotFound from a load says that there is no such key, and is an answer. A write fails for
// good with InvalidArgument, AlreadyExists, FailedPrecondition, OutOfRange, PermissionDenied,
// Unimplemented or DataLoss (WriteBehindOptions::is_permanent may say otherwise); after any other
// error it may be tried again, whether it took place or not.
//
// Writes are repeated after errors and, from a journal, after crashes. To write the same value
// twice does no harm; where that isn't so, or others write the same keys meanwhile, keep the
// WriteId of a key's last write with it, and pass over a write (return OK) whose writer is that
// one's and whose sequence isn't higher.
//
// Thread safety: all methods are called from many threads at once, but never two writes of one key.
template <class K, class V>
class Store {
 public:
  virtual ~Store() = default;

  // The value of `key`, or NotFound.
  virtual absl::StatusOr<V> Load(const K& key) = 0;

  // The same with what a cache knows of the load (an older value, whether anybody still waits), and
  // with what the store knows of the value (its ttl, its tags). What TieredCache calls; by default
  // it calls Load.
  virtual absl::StatusOr<Loaded<V>> LoadEntry(const K& key, LoadContext<V>& context);

  // The values of many keys: element i of the result belongs to keys[i]. By default calls Load for
  // each.
  virtual std::vector<absl::StatusOr<V>> LoadMany(std::span<const K> keys);

  // The same with what the store knows of the values. What TieredCache calls; by default it calls
  // LoadMany.
  virtual std::vector<absl::StatusOr<Loaded<V>>> LoadEntries(std::span<const K> keys);

  // Creates or replaces what `key` has.
  virtual absl::Status Write(const K& key, const V& value, const WriteId& id) = 0;

  // Removes what `key` has; OK, or NotFound, where it had nothing.
  virtual absl::Status Erase(const K& key, const WriteId& id) = 0;

  // Many writes and erasures, of different keys: element i of the result belongs to writes[i]. By
  // default calls Write or Erase for each.
  virtual std::vector<absl::Status> WriteMany(std::span<const StoreWrite<K, V>> writes);
};

template <class K, class V>
absl::StatusOr<Loaded<V>> Store<K, V>::LoadEntry(const K& key, LoadContext<V>&) {
  absl::StatusOr<V> value = Load(key);
  if (!value.ok()) return value.status();
  return Loaded<V>{.value = *std::move(value)};
}

template <class K, class V>
std::vector<absl::StatusOr<V>> Store<K, V>::LoadMany(std::span<const K> keys) {
  std::vector<absl::StatusOr<V>> values;
  values.reserve(keys.size());
  for (const K& key : keys) values.push_back(Load(key));
  return values;
}

template <class K, class V>
std::vector<absl::StatusOr<Loaded<V>>> Store<K, V>::LoadEntries(std::span<const K> keys) {
  std::vector<absl::StatusOr<Loaded<V>>> entries;
  entries.reserve(keys.size());
  for (absl::StatusOr<V>& value : LoadMany(keys)) {
    entries.push_back(internal::ToLoaded<V>(std::move(value)));
  }
  return entries;
}

template <class K, class V>
std::vector<absl::Status> Store<K, V>::WriteMany(std::span<const StoreWrite<K, V>> writes) {
  std::vector<absl::Status> results;
  results.reserve(writes.size());
  for (const StoreWrite<K, V>& write : writes) {
    results.push_back(write.value == nullptr ? Erase(write.key, write.id)
                                             : Write(write.key, *write.value, write.id));
  }
  return results;
}

}  // namespace larder

#endif  // LARDER_STORE_H_
