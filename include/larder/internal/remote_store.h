// SPDX-License-Identifier: Apache-2.0
//
// RemoteStore: a store with a tier in front of it that servers share; the typed side of
// RemoteCache.

#ifndef LARDER_INTERNAL_REMOTE_STORE_H_
#define LARDER_INTERNAL_REMOTE_STORE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/codec.h"
#include "larder/internal/hash.h"
#include "larder/internal/open_calls.h"
#include "larder/internal/remote_cache.h"
#include "larder/load_context.h"
#include "larder/loaded.h"
#include "larder/options.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "larder/store.h"

namespace larder::internal {

// The bytes of a key in the tier; nullopt for one that can't be encoded: it is never there.
template <class K>
std::optional<std::string> RemoteKey(const K& key) {
  if constexpr (StringLike<K>) {
    return EscapedKey(std::string(std::string_view(key)));
  } else {
    std::string bytes;
    if (!Encode(key, &bytes).ok()) return std::nullopt;
    return EscapedKey(std::move(bytes));
  }
}

// What a server's memory does where RemoteCache says so.
template <class K>
struct RemoteMemory {
  std::function<void(const K&)> drop;
  std::function<void(std::string_view)> drop_tag;
  std::function<void(std::string_view)> drop_prefix;  // empty: keys have no prefixes
  std::function<void()> drop_all;
  std::function<void()> expire_all;
};

// Reads the tier first, and has it filled; writes the store, and has all servers forget. The store
// and the tier must outlive this.
//
// K and V have a Codec.
//
// Thread safety: as Store, and Close may be called while reads are under way, which then go on
// without touching memory.
template <class K, class V>
class RemoteStore final : public Store<K, V>, private RemoteCache::Memory {
 public:
  // `keeps_writes`: what is written is put into the tier. Errors: as RemoteCache::Create.
  static absl::StatusOr<std::shared_ptr<RemoteStore>> Open(const RemoteOptions& options,
                                                           Store<K, V>* store, bool keeps_writes,
                                                           RemoteMemory<K> memory) {
    std::shared_ptr<RemoteStore> remote(
        new RemoteStore(store, keeps_writes, options.ttl, std::move(memory)));
    auto cache = RemoteCache::Create(options, SchemaOf<V>(), remote.get());
    if (!cache.ok()) return cache.status();
    remote->cache_ = *std::move(cache);
    return remote;
  }

  // From now on nothing in memory is called.
  void Close() {
    cache_->Stop();
    if (!memory_calls_.closed()) memory_calls_.Close();
  }

  absl::StatusOr<V> Load(const K& key) override {
    LoadContext<V> context(nullptr, {});
    absl::StatusOr<Loaded<V>> loaded = LoadEntry(key, context);
    if (!loaded.ok()) return loaded.status();
    return std::move(loaded->value);
  }
  absl::StatusOr<Loaded<V>> LoadEntry(const K& key, LoadContext<V>& context) override;
  std::vector<absl::StatusOr<V>> LoadMany(std::span<const K> keys) override {
    std::vector<absl::StatusOr<V>> values;
    values.reserve(keys.size());
    for (absl::StatusOr<Loaded<V>>& loaded : LoadEntries(keys)) {
      values.push_back(loaded.ok() ? absl::StatusOr<V>(std::move(loaded->value)) : loaded.status());
    }
    return values;
  }
  std::vector<absl::StatusOr<Loaded<V>>> LoadEntries(std::span<const K> keys) override;

  absl::Status Write(const K& key, const V& value, const WriteId& id) override {
    return WriteEntry({.key = key, .value = &value, .id = id});
  }
  absl::Status Erase(const K& key, const WriteId& id) override {
    return WriteEntry({.key = key, .value = nullptr, .id = id});
  }
  // Of a queue, whose writes are in memory before they are here.
  std::vector<absl::Status> WriteMany(std::span<const StoreWrite<K, V>> writes) override {
    return WriteAnnounced(writes, /*is_in_memory=*/true, [&] { return store_->WriteMany(writes); });
  }
  // As Store::Write, or Erase, with the options of the write.
  absl::Status WriteEntry(const StoreWrite<K, V>& write) {
    return WriteAnnounced({&write, 1}, /*is_in_memory=*/false,
                          [&]() -> std::vector<absl::Status> {
                            return {write.value == nullptr
                                        ? store_->Erase(write.key, write.id)
                                        : store_->Write(write.key, *write.value, write.id)};
                          })
        .front();
  }

  // Without the store. The caller then does the same in memory.
  absl::Status Invalidate(const K& key) {
    const std::optional<std::string> bytes = RemoteKey(key);
    return bytes.has_value() ? cache_->InvalidateKeys({&*bytes, 1}) : absl::OkStatus();
  }
  absl::Status InvalidateTag(std::string_view tag) { return cache_->InvalidateTagged(tag); }
  absl::Status InvalidatePrefix(std::string_view prefix) {
    return cache_->InvalidatePrefixed(prefix);
  }
  absl::Status InvalidateAll() { return cache_->InvalidateAll(); }

  // As RemoteCache's.
  uint64_t ForeignMark(const K& key) const {
    const std::optional<std::string> bytes = RemoteKey(key);
    return bytes.has_value() ? cache_->ForeignMark(*bytes) : 0;
  }
  RemoteStats Stats() const { return cache_->Stats(); }

 private:
  using Found = RemoteRead::Found;

  // Gives back, at the end of its scope, what reads were to fill and didn't.
  class Abandoning {
   public:
    Abandoning(RemoteCache& cache, std::span<RemoteRead> reads) : cache_(cache), reads_(reads) {}
    ~Abandoning() {
      std::vector<RemoteCache::Filling> fillings;
      for (RemoteRead& read : reads_) fillings.push_back({.read = &read});
      cache_.FillMany(fillings);
    }
    Abandoning(const Abandoning&) = delete;
    Abandoning& operator=(const Abandoning&) = delete;

   private:
    RemoteCache& cache_;
    const std::span<RemoteRead> reads_;
  };

  RemoteStore(Store<K, V>* store, bool keeps_writes, absl::Duration ttl, RemoteMemory<K> memory)
      : store_(store), keeps_writes_(keeps_writes), ttl_(ttl), memory_(std::move(memory)) {}

  // Nothing is to be longer in memory than it would be in the tier.
  void Limit(absl::StatusOr<Loaded<V>>& loaded) const {
    if (!loaded.ok()) return;
    loaded->ttl_limit = std::min(loaded->ttl_limit.value_or(ttl_), ttl_);
  }

  // What was found in the tier; nullopt: the store has to be asked.
  std::optional<absl::StatusOr<Loaded<V>>> Take(RemoteRead& read);
  // What it is returned for is over; nullopt: there is none.
  std::optional<Loaded<V>> TakeExpired(RemoteRead& read);
  // What the store says, and the tier is to have.
  static RemoteCache::Filling FillingFor(RemoteRead& read, const absl::StatusOr<Loaded<V>>& loaded);
  // That memory's value is still right: what the tier has begins its life anew, too.
  static RemoteCache::Filling Confirming(RemoteRead& read, const LoadContext<V>& context) {
    if (read.found() != Found::kExpired) return {.read = &read};
    return FillingFor(
        read, Loaded<V>{.value = *context.old_value(), .ttl = context.ttl(), .tags = read.tags()});
  }
  // Has the store written by `write_store`, between word of it to the other servers and its
  // result's. `is_in_memory`: memory has the values already.
  template <class WriteStore>
  std::vector<absl::Status> WriteAnnounced(std::span<const StoreWrite<K, V>> writes,
                                           bool is_in_memory, const WriteStore& write_store);
  std::optional<RemoteValue> ValueOf(const StoreWrite<K, V>& write) const;

  // --- RemoteCache::Memory

  // What a removal listener throws has nobody to go to; the entry is gone by then.
  template <class Function, class... Args>
  void InMemory(const Function& function, const Args&... args) {
    const OpenCalls::Call call(memory_calls_);
    if (!call.is_let_in() || !function) return;
    try {
      function(args...);
    } catch (...) {
    }
  }
  void Drop(std::string_view key_in_tier) override {
    const std::string_view bytes = UnescapedKey(key_in_tier);
    if constexpr (StringLike<K>) {
      InMemory(memory_.drop, K(bytes));
    } else if (const absl::StatusOr<K> key = Decode<K>(bytes); key.ok()) {
      InMemory(memory_.drop, *key);
    }
  }
  void DropTag(std::string_view tag) override { InMemory(memory_.drop_tag, tag); }
  void DropPrefix(std::string_view prefix) override { InMemory(memory_.drop_prefix, prefix); }
  void DropAll() override { InMemory(memory_.drop_all); }
  void ExpireAll() override { InMemory(memory_.expire_all); }

  Store<K, V>* const store_;
  const bool keeps_writes_;
  const absl::Duration ttl_;
  const RemoteMemory<K> memory_;
  OpenCalls memory_calls_;
  std::unique_ptr<RemoteCache> cache_;
};

// --- Reads

template <class K, class V>
absl::StatusOr<Loaded<V>> RemoteStore<K, V>::LoadEntry(const K& key, LoadContext<V>& context) {
  std::optional<std::string> bytes = RemoteKey(key);
  if (!bytes.has_value()) return store_->LoadEntry(key, context);
  RemoteRead read = cache_->Read(*std::move(bytes), context.old_value() != nullptr);
  const Abandoning abandoning(*cache_, {&read, 1});
  if (auto found = Take(read); found.has_value()) return *std::move(found);
  absl::StatusOr<Loaded<V>> loaded = store_->LoadEntry(key, context);
  RemoteCache::Filling filling =
      context.not_modified() ? Confirming(read, context) : FillingFor(read, loaded);
  cache_->FillMany({&filling, 1});
  // Then memory goes on with what it has, which may be older than what the tier has now.
  if (context.stop_token().stop_requested()) Drop(RemoteKey(key).value_or(""));
  // A refresh that fails leaves memory's value as it is.
  if (!loaded.ok() && !absl::IsNotFound(loaded.status()) && context.old_value() == nullptr) {
    if (auto expired = TakeExpired(read); expired.has_value()) return *std::move(expired);
  }
  Limit(loaded);
  return loaded;
}

template <class K, class V>
std::vector<absl::StatusOr<Loaded<V>>> RemoteStore<K, V>::LoadEntries(std::span<const K> keys) {
  std::vector<std::string> bytes;
  bytes.reserve(keys.size());
  for (const K& key : keys) {
    std::optional<std::string> encoded = RemoteKey(key);
    // It has to be decided for all of them.
    if (!encoded.has_value()) return store_->LoadEntries(keys);
    bytes.push_back(*std::move(encoded));
  }
  std::vector<RemoteRead> reads = cache_->ReadMany(std::move(bytes));
  const Abandoning abandoning(*cache_, reads);
  std::vector<absl::StatusOr<Loaded<V>>> results;
  results.reserve(keys.size());
  std::vector<size_t> places;
  std::vector<K> rest;
  for (size_t i = 0; i < keys.size(); ++i) {
    auto found = Take(reads[i]);
    results.push_back(found.has_value() ? *std::move(found) : absl::CancelledError());
    if (found.has_value()) continue;
    places.push_back(i);
    rest.push_back(keys[i]);
  }
  if (rest.empty()) return results;
  std::vector<absl::StatusOr<Loaded<V>>> loaded = store_->LoadEntries(rest);
  if (loaded.size() != rest.size()) {
    // Whose they are, nobody knows.
    loaded.assign(rest.size(),
                  absl::InternalError(absl::StrCat("the store returned ", loaded.size(),
                                                   " results for ", rest.size(), " keys")));
  }
  std::vector<RemoteCache::Filling> fillings;
  for (size_t i = 0; i < rest.size(); ++i) {
    fillings.push_back(FillingFor(reads[places[i]], loaded[i]));
  }
  cache_->FillMany(fillings);
  for (size_t i = 0; i < rest.size(); ++i) {
    absl::StatusOr<Loaded<V>>& result = results[places[i]];
    result = std::move(loaded[i]);
    Limit(result);
    if (result.ok() || absl::IsNotFound(result.status())) continue;
    if (auto expired = TakeExpired(reads[places[i]]); expired.has_value()) {
      result = *std::move(expired);
    }
  }
  return results;
}

template <class K, class V>
std::optional<absl::StatusOr<Loaded<V>>> RemoteStore<K, V>::Take(RemoteRead& read) {
  if (read.found() == Found::kNegative) {
    return absl::StatusOr<Loaded<V>>(absl::NotFoundError("the remote tier knows of none"));
  }
  if (read.found() != Found::kValue) return std::nullopt;
  absl::StatusOr<V> value = Decode<V>(read.payload());
  if (!value.ok()) {
    cache_->Reject(read);
    return std::nullopt;
  }
  return absl::StatusOr<Loaded<V>>(Loaded<V>{.value = *std::move(value),
                                             .tags = read.tags(),
                                             .ttl_limit = read.remaining(),
                                             .from = LoadedFrom::kRemote});
}

template <class K, class V>
std::optional<Loaded<V>> RemoteStore<K, V>::TakeExpired(RemoteRead& read) {
  if (read.found() != Found::kExpired) return std::nullopt;
  absl::StatusOr<V> value = Decode<V>(read.payload());
  if (!value.ok()) return std::nullopt;
  cache_->CountStale();
  return Loaded<V>{.value = *std::move(value),
                   .tags = read.tags(),
                   .ttl_limit = read.remaining(),
                   .from = LoadedFrom::kStale};
}

template <class K, class V>
RemoteCache::Filling RemoteStore<K, V>::FillingFor(RemoteRead& read,
                                                   const absl::StatusOr<Loaded<V>>& loaded) {
  RemoteCache::Filling filling = {.read = &read};
  if (absl::IsNotFound(loaded.status())) {
    filling.as = RemoteCache::LoadedAs::kNegative;
  } else if (loaded.ok()) {
    filling.value.ttl = loaded->ttl.value_or(absl::InfiniteDuration());
    // One that isn't positive is for memory to complain of. What is stale isn't passed on as fresh.
    const bool may_fill = filling.value.ttl > absl::ZeroDuration() &&
                          loaded->from != LoadedFrom::kStale &&
                          Encode(loaded->value, &filling.value.payload).ok();
    if (may_fill) filling.as = RemoteCache::LoadedAs::kValue;
    filling.value.tags = loaded->tags;
  }
  return filling;
}

// --- Writes

template <class K, class V>
template <class WriteStore>
std::vector<absl::Status> RemoteStore<K, V>::WriteAnnounced(
    std::span<const StoreWrite<K, V>> writes, bool is_in_memory, const WriteStore& write_store) {
  std::vector<std::string> keys;
  std::vector<size_t> places;
  for (size_t i = 0; i < writes.size(); ++i) {
    std::optional<std::string> key = RemoteKey(writes[i].key);
    if (!key.has_value()) continue;
    keys.push_back(*std::move(key));
    places.push_back(i);
  }
  // Before anything is changed: a Codec may throw.
  std::vector<std::optional<RemoteValue>> values;
  for (const size_t place : places) values.push_back(ValueOf(writes[place]));
  std::vector<RemoteWrite> announced = cache_->BeginWrites(std::move(keys), is_in_memory);
  std::vector<RemoteCache::Committing> committings;
  committings.reserve(announced.size());
  for (RemoteWrite& write : announced) committings.push_back({.write = &write});
  std::vector<absl::Status> results;
  try {
    results = write_store();
  } catch (...) {
    cache_->CommitWrites(committings);
    throw;
  }
  // With another number of results nobody knows which write did well.
  for (size_t i = 0; i < places.size() && results.size() == writes.size(); ++i) {
    if (results[places[i]].ok()) committings[i].value = std::move(values[i]);
  }
  cache_->CommitWrites(committings);
  return results;
}

template <class K, class V>
std::optional<RemoteValue> RemoteStore<K, V>::ValueOf(const StoreWrite<K, V>& write) const {
  if (!keeps_writes_ || write.value == nullptr || write.options == nullptr) return std::nullopt;
  RemoteValue value;
  value.tags = write.options->tags;
  if (!Encode(*write.value, &value.payload).ok()) return std::nullopt;
  value.ttl = write.options->ttl.value_or(absl::InfiniteDuration());
  return value;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_STORE_H_
