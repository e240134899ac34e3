// SPDX-License-Identifier: Apache-2.0
//
// Cache<K, V, Policy>: a concurrent in-process cache, bounded by count or weight, with per-entry
// time to live and one load per key. The one header that most users need.

#ifndef LARDER_CACHE_H_
#define LARDER_CACHE_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/handle.h"
#include "larder/internal/core_invalidate.h"
#include "larder/internal/core_read.h"
#include "larder/internal/core_removal.h"
#include "larder/internal/core_walk.h"
#include "larder/internal/core_write.h"
#include "larder/internal/hash.h"
#include "larder/internal/loading_async.h"
#include "larder/internal/loading_bulk.h"
#include "larder/internal/loading_call.h"
#include "larder/internal/loading_core.h"
#include "larder/internal/loading_lifecycle.h"
#include "larder/load_awaiter.h"
#include "larder/load_result.h"
#include "larder/loader.h"
#include "larder/options.h"
#include "larder/policy.h"
#include "larder/removal_cause.h"
#include "larder/snapshot_options.h"
#include "larder/stats.h"

namespace larder {

namespace internal {
template <class Core>
class Snapshots;  // larder/snapshot.h, to be included by who saves or loads snapshots
}

// A map from K to V that keeps the most useful entries within its capacity.
//
//   larder::Cache<std::string, User>::Options options;
//   options.capacity = 100'000;
//   options.ttl = absl::Minutes(5);
//   auto users = larder::Cache<std::string, User>::Create(options).value();
//   absl::StatusOr<User> user = users->GetOrLoad(id, [&](const std::string& key) {
//     return database.FindUser(key);  // once, however many threads ask for it
//   });
//
// K and V are objects, movable; V copyable for Get, Compute and GetOrLoad, K copyable for Compute
// and GetOrLoad. Hash and Eq: default-constructible, callable from many threads; where both name a
// type is_transparent, lookups take anything they accept (by default a std::string_view finds a
// std::string, without an allocation).
//
// Thread safety: all methods but the destructor from any thread. Per key, operations are
// linearizable: a lookup that begins after a Put or Erase of the key returned never sees an older
// state. Entries may leave at any time by eviction or expiry.
//
// Lookups take no lock, but for a Pin that meets a put that overwrites that very value. Changes
// lock one stripe for well under a microsecond; O(1) amortised. Callbacks (loaders, listeners,
// weighers, hashes) and destructors of keys and values run under no lock; they may call the cache,
// except from Visit. Comparisons and moves may run under a stripe's lock and must not. What a
// callback or a copy throws reaches the caller, and leaves nothing locked, leaked or half stored.
//
// Removed values are destroyed once no lookup can be looking at them: soon after their removal, by
// whichever thread next removes something; at the latest when RunMaintenance returns 0 while no
// lookup is running, or by the destructor.
template <class K, class V, EvictionPolicy Policy = Lru, class Hash = internal::DefaultHash<K>,
          class Eq = internal::DefaultEq<K>>
class Cache {
 public:
  using Handle = larder::Handle<K, V>;

  struct Options : CacheOptions {
    // What an entry weighs, where PutOptions::weight doesn't say. Empty: 1.
    std::function<uint64_t(const K&, const V&)> weigher = nullptr;
    // Told of each removed entry, once, after it left; on the thread that removed it. Not called
    // for what the destructor finds. What it throws reaches the caller of the operation, which is
    // done.
    std::function<void(const K&, const V&, RemovalCause)> on_removal = nullptr;
  };

  // InvalidArgument names the option and its value; ResourceExhausted where memory or threads are
  // out.
  static absl::StatusOr<std::unique_ptr<Cache>> Create(Options options) {
    if (absl::Status status = options.Validate(); !status.ok()) return status;
    if (!internal::StringLike<K> && !options.prefixes.empty()) {
      return absl::InvalidArgumentError("prefixes are for keys that are strings");
    }
    auto core = Core::Create(options, std::move(options.weigher), std::move(options.on_removal));
    if (!core.ok()) return core.status();
    std::unique_ptr<Cache> cache(new (std::nothrow) Cache(*std::move(core)));
    if (cache == nullptr) return absl::ResourceExhaustedError("no memory for a cache");
    return cache;
  }

  // No other call may be running. Values still pinned by handles live on until those are dropped.
  ~Cache() = default;
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // --- Lookups. Lock-free; O(1). Each counts as a hit or a miss, and a hit as an access for
  // recency and idle_ttl, unless said otherwise.

  // A copy of the value, if there is one that hasn't expired.
  template <class Q = K>
  ABSL_ATTRIBUTE_ALWAYS_INLINE std::optional<V> Get(
      const Q& key) requires std::copy_constructible<V> {
    return core_->Get(Lookup(key));
  }

  // The same for each of a range of keys, in their order.
  template <std::ranges::input_range Keys>
  std::vector<std::optional<V>> GetAll(Keys&& keys) requires std::copy_constructible<V> {
    std::vector<std::optional<V>> values;
    if constexpr (std::ranges::sized_range<Keys>) values.reserve(std::ranges::size(keys));
    for (auto&& key : keys) values.push_back(Get(key));
    return values;
  }

  // A reference to the value without copying it, which keeps it alive also past its removal and
  // ~Cache; empty where there is none.
  template <class Q = K>
  ABSL_ATTRIBUTE_ALWAYS_INLINE Handle Pin(const Q& key) {
    return core_->Pin(Lookup(key));
  }

  // Calls f(const V&) in place, or with a copy of a value of at most a pointer's size, if there is
  // a value. Returns whether there was. `f` should be short, since no removed value is destroyed
  // meanwhile, and must not call this cache (checked in debug builds).
  template <class Q = K, std::invocable<const V&> F>
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Visit(const Q& key, F&& f) {
    return core_->Visit(Lookup(key), f);
  }

  // Whether there is a value that hasn't expired. Changes nothing: not recency, not statistics.
  template <class Q = K>
  bool Contains(const Q& key) const {
    return core_->Contains(Lookup(key));
  }

  // --- Changes.

  // Stores `value` in place of whatever `key` had. InvalidArgument for a ttl that isn't positive;
  // ResourceExhausted for an entry heavier than the whole cache, or where memory is out. On error
  // nothing has changed.
  absl::Status Put(K key, V value, const PutOptions& options = PutOptions::Default()) {
    return core_->Put(std::move(key), std::move(value), options);
  }

  // Stores `value` if `key` has none. Returns whether it did; false also where Put would have
  // failed.
  bool PutIfAbsent(K key, V value, const PutOptions& options = PutOptions::Default()) {
    return core_->PutIfAbsent(std::move(key), std::move(value), options);
  }

  // Replaces what `key` has by f(what it has), atomically. `f`: std::optional<V> ->
  // std::optional<V>; nullopt stands for no entry, before and after. Where another writer of the
  // key gets in between, f is called again with what that wrote; it should have no effects but its
  // result. Errors as Put.
  template <class F>
  requires std::is_invocable_r_v<std::optional<V>, F&, std::optional<V>> absl::Status Compute(
      K key, F&& f, const PutOptions& options = PutOptions::Default()) {
    return core_->Compute(std::move(key), f, options);
  }

  // Removes the entry. Returns whether there was one that hadn't expired. A load of the key that is
  // in progress won't be stored.
  template <class Q = K>
  bool Erase(const Q& key) {
    return core_->Erase(Lookup(key));
  }

  // Removes each entry for which pred(const K&, const V&) is true; returns how many. Entries that
  // are put meanwhile may be missed. No load that is in progress will be stored. O(entries).
  template <std::predicate<const K&, const V&> Pred>
  size_t EraseIf(Pred&& pred) {
    return core_->EraseIf(pred);
  }

  // Removes every entry. No load that is in progress will be stored. O(stripes): what was removed
  // is reclaimed by later puts and by maintenance. O(entries) where there is an `on_removal` to be
  // told of each, and where memory is out.
  void Clear() { core_->Clear(); }

  // Ends the entry's time to live now. Kept as a fallback for loads where stale_while_revalidate or
  // stale_if_error say so, else removed. Returns whether there was one that hadn't expired. A load
  // of the key that is in progress won't be stored.
  template <class Q = K>
  bool Expire(const Q& key) {
    return core_->Expire(Lookup(key));
  }

  // Erases what `key` has at a time `delay` from now: for what is written elsewhere then, or can be
  // read stale until then. What is there now has expired by then; what is stored meanwhile is
  // erased soon after (on a clock of your own, by RunMaintenance). A load in progress then won't be
  // stored. InvalidArgument for a negative delay.
  template <class Q = K>
  absl::Status InvalidateAfter(const Q& key, absl::Duration delay) {
    return core_->InvalidateAfter(Lookup(key), delay);
  }

  // Removes each entry that was stored with this tag (PutOptions::tags and others), in a time that
  // doesn't depend on how many there are: from now on no lookup finds one. Their memory is freed by
  // RunMaintenance, by eviction and as they are replaced. No load that was started before and comes
  // back with the tag will be stored.
  void InvalidateTag(std::string_view tag) { core_->InvalidateTag(tag); }

  // The same for each entry whose key begins with `prefix`. O(entries), as EraseIf, where that
  // isn't one of CacheOptions::prefixes.
  void InvalidatePrefix(std::string_view prefix) requires internal::StringLike<K> {
    core_->InvalidatePrefix(prefix);
  }

  // --- Loading.

  // The value; if there is none, the one that `loader` (see loader.h) returns, which is stored.
  // However many threads ask for a key, one runs its loader and the others wait and share the
  // outcome, error included. While it runs no lock is held. A load whose key was put, erased or
  // cleared after it started isn't stored; its value still goes to those who had asked by then, and
  // who asks later waits for a new one.
  //
  // Returns the loader's error; FailedPrecondition where a loader asks for the key that it is
  // loading, itself or through other keys, caches and threads that wait for each other;
  // InvalidArgument for an option out of range, also one of the loader's, unless there is a value
  // already. What the loader throws reaches its own caller; those who wait get an Internal error.
  //
  // CacheOptions and LoadOptions say more: entries are refreshed in the background before they
  // expire (refresh_after, early_refresh), returned past their expiry while that happens
  // (stale_while_revalidate), where it fails (stale_if_error) or takes too long (soft_timeout);
  // callers give up (hard_timeout: DeadlineExceeded); NotFound is remembered (negative_ttl); too
  // many loads wait for each other (ResourceExhausted past max_queued_loads) or, while a database
  // fails, aren't tried (circuit_breaker: Unavailable). docs/semantics.md has all of it in a table.
  // With any of the first and with timeouts, the loader may run on the executor and outlast the
  // call: it is copied or moved for that (the load fails with FailedPrecondition if it can't be),
  // and what it refers to must live on; see LoadsAtClose.
  template <class Q = K, LoaderFor<K, V> Loader>
  absl::StatusOr<V> GetOrLoad(const Q& key, Loader&& loader,
                              const LoadOptions& options = LoadOptions::Default()) requires
      std::copy_constructible<V> && std::copy_constructible<K> {
    return core_->GetOrLoad(Lookup(key), std::forward<Loader>(loader), options);
  }

  // The same, and says where the value came from and how old it is.
  template <class Q = K, LoaderFor<K, V> Loader>
  absl::StatusOr<LoadResult<V>> GetOrLoadResult(
      const Q& key, Loader&& loader, const LoadOptions& options = LoadOptions::Default()) requires
      std::copy_constructible<V> && std::copy_constructible<K> {
    return core_->GetOrLoadResult(Lookup(key), std::forward<Loader>(loader), options);
  }

  // The same without waiting. `loader` (see loader.h), asynchronous or not, runs on the executor.
  // `callback` is called once, with an absl::StatusOr<V> or an absl::StatusOr<LoadResult<V>>: by
  // this call if the value is there, else on the executor, or, if that refuses, wherever the load
  // ended. If the cache is destroyed first: see LoadsAtClose. It must not throw.
  template <class Q = K, class Loader, class Callback>
  requires(LoaderFor<Loader, K, V> || AsyncLoaderFor<Loader, K, V>) void GetOrLoadAsync(
      const Q& key, Loader&& loader, Callback&& callback,
      const LoadOptions& options = LoadOptions::Default()) {
    if constexpr (std::is_invocable_v<Callback&, absl::StatusOr<V>>) {
      core_->LoadAsync(
          Lookup(key), std::forward<Loader>(loader),
          [callback =
               std::forward<Callback>(callback)](absl::StatusOr<LoadResult<V>> result) mutable {
            if (!result.ok())
              return static_cast<void>(callback(absl::StatusOr<V>(result.status())));
            callback(absl::StatusOr<V>(std::move(result->value)));
          },
          options, /*wants_age=*/false);
    } else {
      core_->LoadAsync(Lookup(key), std::forward<Loader>(loader), std::forward<Callback>(callback),
                       options, /*wants_age=*/true);
    }
  }

  // The same for a coroutine: co_await returns an absl::StatusOr<V>, at once if the value is there.
  // Else the coroutine is suspended, and goes on where a callback would be called. See LoadAwaiter.
  //
  //   absl::StatusOr<User> user = co_await cache->GetOrLoadAwait(id, FindUser);
  //
  // `key`, `loader` and `options` are copied or moved.
  template <class Q = K, class Loader>
  requires(LoaderFor<Loader, K, V> || AsyncLoaderFor<Loader, K, V>) auto GetOrLoadAwait(
      const Q& key, Loader&& loader, const LoadOptions& options = LoadOptions::Default()) {
    auto start = [this, key = K(key), loader = std::forward<Loader>(loader),
                  options](auto callback) mutable {
      this->GetOrLoadAsync(key, std::move(loader), std::move(callback), options);
    };
    return LoadAwaiter<V, decltype(start)>(std::move(start));
  }

  // The values of a range of keys, in their order; each as from GetOrLoad. All that have to be
  // loaded, and that nobody else is loading, are loaded by one call of `loader` (see
  // BulkLoaderFor): once each, however often they are in `keys`. Then it waits for those that
  // others load; calls whose keys overlap never wait for each other in a circle.
  //
  // A key that the loader doesn't return is NotFound, and remembered as such (negative_ttl). An
  // error of one key is that key's; one of the call is that of all keys that it was to load; each
  // is answered by its stale value instead where the options say so. What the loader throws reaches
  // its own caller. Of entries that are due to be refreshed, one more call of the loader, a copy,
  // on the executor brings all. With timeouts all calls run there, and the caller waits for each
  // key until its time is up. For max_concurrent_loads and circuit_breaker a call is one load.
  template <std::ranges::input_range Keys, BulkLoaderFor<K, V> Loader>
  std::vector<absl::StatusOr<V>> GetOrLoadAll(
      Keys&& keys, Loader&& loader, const LoadOptions& options = LoadOptions::Default()) requires
      std::copy_constructible<V> && std::copy_constructible<K> {
    const auto lookups = Lookups(keys);
    return core_->LoadAll(std::span(lookups), loader, options);
  }

  // --- The cache as a whole.

  // Entries held, expired ones that aren't reclaimed yet included.
  size_t size() const { return core_->size(); }
  // Their total weight: at most capacity() once a Put has returned and no other is running; with n
  // running, at most n entries more.
  uint64_t weight() const { return core_->weight(); }
  uint64_t capacity() const { return core_->capacity(); }

  // Changes the capacity, and evicts at once what is over it. InvalidArgument for 0.
  absl::Status SetCapacity(uint64_t capacity) { return core_->SetCapacity(capacity); }

  CacheStats Stats() const { return core_->Stats(); }

  // Calls f(const K&, const V&) for entries that haven't expired. Weakly consistent: sees each
  // entry that is there throughout, once; may or may not see others. `f` may call the cache; no
  // removed value is destroyed meanwhile.
  template <std::invocable<const K&, const V&> F>
  void ForEach(F&& f) const {
    core_->ForEach(f);
  }

  // Reclaims expired and invalidated entries and destroys removed values, working on `budget` of
  // them at most; returns how many it worked on. 0: there is nothing to do now. Writers and the
  // background thread, if there is one, do the same. On a clock of your own it also does what has
  // come due (see CacheOptions::clock).
  size_t RunMaintenance(size_t budget) { return core_->RunMaintenance(budget); }

  // Writes all entries to a file, and reads them from it: see larder/snapshot.h, which has to be
  // included for that. `wanted`: only keys for which it is true are saved, or loaded; empty: all.
  absl::StatusOr<SnapshotInfo> SaveSnapshot(
      const std::string& path, const SnapshotOptions& options = {},
      const std::function<bool(const K&)>& wanted = nullptr) const {
    return internal::Snapshots<Core>::Save(*core_, path, options, wanted);
  }
  absl::StatusOr<SnapshotInfo> LoadSnapshot(const std::string& path,
                                            const SnapshotOptions& options = {},
                                            const std::function<bool(const K&)>& wanted = nullptr) {
    return internal::Snapshots<Core>::Load(*core_, path, options, wanted);
  }

  // Looks for contradictions in the cache's inner state; Internal says what is wrong. For tests:
  // slow, and no other call may be running.
  absl::Status CheckInvariants() const { return core_->CheckInvariants(); }

 private:
  using Core = internal::LoadingCore<K, V, Policy, Hash, Eq>;

  explicit Cache(typename Core::Pointer core) : core_(std::move(core)) {}

  // Keys that hash and equality can't take as they are become a K.
  template <class Q>
  static decltype(auto) Lookup(const Q& key) {
    if constexpr (std::is_same_v<Q, K>) {
      return (key);
    } else if constexpr (internal::StringLike<K> &&
                         std::is_same_v<Hash, internal::DefaultHash<K>> &&
                         std::is_same_v<Eq, internal::DefaultEq<K>>) {
      // Here, once: a conversion may be a user's code, which must not run inside a lookup.
      return std::string_view(key);
    } else if constexpr (requires {
                           typename Hash::is_transparent;
                           typename Eq::is_transparent;
                         }) {
      return (key);
    } else {
      static_assert(std::convertible_to<const Q&, K>, "a key is looked up by a K");
      K converted = key;
      return converted;
    }
  }

  // The same for a range of keys, which may have to be gone through more than once.
  template <class Keys>
  static auto Lookups(Keys& keys) {
    using Reference = std::ranges::range_reference_t<Keys>;
    using Q = std::remove_cvref_t<Reference>;
    using Looked = std::remove_cvref_t<decltype(Lookup(std::declval<const Q&>()))>;
    if constexpr (std::ranges::contiguous_range<Keys> && std::is_same_v<Q, Looked>) {
      return std::span<const Q>(std::ranges::data(keys), std::ranges::size(keys));
    } else {
      // What the range makes as it goes doesn't live long enough to be looked at.
      using Kept = std::conditional_t<std::is_reference_v<Reference>, Looked, K>;
      std::vector<Kept> kept;
      for (auto&& key : keys) {
        if constexpr (std::is_same_v<Kept, Looked>) {
          kept.push_back(Lookup(static_cast<const Q&>(key)));
        } else {
          kept.push_back(Kept(std::forward<decltype(key)>(key)));
        }
      }
      return kept;
    }
  }

  const typename Core::Pointer core_;
};

}  // namespace larder

#endif  // LARDER_CACHE_H_
