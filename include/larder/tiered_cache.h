// SPDX-License-Identifier: Apache-2.0
//
// TieredCache<K, V>: a cache with the store behind it: reads and writes go through it.

#ifndef LARDER_TIERED_CACHE_H_
#define LARDER_TIERED_CACHE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/cache.h"
#include "larder/dead_letter.h"
#include "larder/internal/key_locks.h"
#include "larder/internal/open_calls.h"
#include "larder/internal/random_bits.h"
#include "larder/internal/store_queue.h"
#include "larder/internal/store_reader.h"
#include "larder/internal/tiered_remote.h"
#include "larder/internal/tiered_snapshots.h"
#include "larder/journal_report.h"
#include "larder/load_result.h"
#include "larder/options.h"
#include "larder/policy.h"
#include "larder/remote_options.h"
#include "larder/snapshot_options.h"
#include "larder/store.h"
#include "larder/tiered_stats.h"
#include "larder/write_behind_options.h"
#include "larder/write_policy.h"

namespace larder {

// A Cache and the Store that has the truth, as one map.
//
//   larder::TieredCache<std::string, User>::Options options;
//   options.cache.capacity = 100'000;
//   options.cache.ttl = absl::Minutes(5);
//   options.store = &database;
//   options.write_policy = larder::WritePolicy::kThrough;
//   auto users = larder::TieredCache<std::string, User>::Create(options).value();
//   absl::StatusOr<User> user = users->Get(id);      // from memory, else from the database
//   absl::Status status = users->Put(id, new_user);  // to the database, then to memory
//
// K and V are copyable; Hash and Eq as for Cache.
//
// Writes of one key, put or erase, follow each other, each one waiting for the one before; of
// different keys they go on side by side. Reads and writes of a key are linearizable, whatever is
// evicted or expires meanwhile, with any policy, as long as nobody else writes to the store: who
// does should have the cache told, by Invalidate. Of servers with a common Options::remote each
// sees what the others write within the times in docs/semantics.md, "A tier that servers share".
//
// WritePolicy::kAround, kThrough: a write that the store fails leaves the cache as it was, and
// returns the store's error; whether it took place in the store is the store's affair. So cache and
// store don't differ, but for what the store did in spite of an error, until the entry's ttl ends.
//
// WritePolicy::kBehind: a write is acknowledged once it is queued, and as durable as
// WriteBehindOptions::durability says. What is acknowledged reaches the store, in order for each
// key, or, where the store refuses it for good, becomes a DeadLetter; then the cache drops the key.
// Reads find what is queued. docs/semantics.md has the details.
//
// A store must not write to the cache that it is behind: a write of a key from inside a write of
// the same key fails with FailedPrecondition.
//
// Thread safety: all methods but the destructor from any thread. Not for use in a child after
// fork().
template <class K, class V, EvictionPolicy Policy = Lru, class Hash = internal::DefaultHash<K>,
          class Eq = internal::DefaultEq<K>>
class TieredCache {
 public:
  using Memory = Cache<K, V, Policy, Hash, Eq>;

  struct Options {
    // The cache's own; all that is said there of loads holds for Get.
    typename Memory::Options cache = {};
    // REQUIRED. Must outlive this, and all loads that are abandoned (LoadsAtClose::kAbandon).
    Store<K, V>* store = nullptr;
    WritePolicy write_policy = WritePolicy::kThrough;

    // A tier between memory and store, which servers share. Where it is away, all goes on without
    // it. Keys and values need a Codec, and equal keys equal bytes.
    RemoteOptions remote = {};

    // --- For kBehind only.
    WriteBehindOptions write_behind = {};
    // Told of each write that failed for good, after the dead-letter file has it; on a thread that
    // writes to the store. Where it throws it is told again later. Without it, and without the
    // file, a line goes to stderr.
    std::function<void(const DeadLetter<K, V>&)> on_dead_letter = nullptr;

    // --- Warm restart, see snapshot.h; keys and values need a Codec. Empty: none. Create loads the
    // snapshot at this path, but for keys that the journal has writes of, and removes it; one that
    // can't be loaded leaves the cache cold. Close, and the destructor, save one.
    //
    // What others write to the store while no process has it in memory, a snapshot doesn't know.
    // Each cache needs a path of its own: what is there is replaced, whatever it is.
    std::string snapshot_path = {};
    // How often one is saved beside, > 0. It is found after a crash; entries that were written
    // since are then as old as it is, until their ttl ends. Infinite: never. Keys with queued
    // writes are left out.
    absl::Duration snapshot_interval = absl::InfiniteDuration();
    // One that is older isn't loaded. > 0
    absl::Duration snapshot_max_age = absl::InfiniteDuration();
    SnapshotOptions snapshot_options = {};
  };

  // InvalidArgument names the option and its value; ResourceExhausted where memory or threads are
  // out. With a journal, also its errors: FailedPrecondition where another process has it, or it
  // was written with other types; DataLoss for a write that can't be decoded; those of the file
  // system. Writes that the journal held are queued again: reads see them at once.
  static absl::StatusOr<std::unique_ptr<TieredCache>> Create(Options options);

  // Close(write_behind.close_timeout), where Close wasn't called. No other call may be running.
  ~TieredCache();
  TieredCache(const TieredCache&) = delete;
  TieredCache& operator=(const TieredCache&) = delete;

  // --- Reads. As those of Cache, with queue, tier and store as loader; where none has it,
  // NotFound.

  template <class Q = K>
  absl::StatusOr<V> Get(const Q& key, const LoadOptions& options = LoadOptions::Default()) {
    return memory_->GetOrLoad(key, reader_, options);
  }

  template <class Q = K>
  absl::StatusOr<LoadResult<V>> GetResult(const Q& key,
                                          const LoadOptions& options = LoadOptions::Default()) {
    return memory_->GetOrLoadResult(key, reader_, options);
  }

  template <class Q = K, class Callback>
  void GetAsync(const Q& key, Callback&& callback,
                const LoadOptions& options = LoadOptions::Default()) {
    memory_->GetOrLoadAsync(key, reader_, std::forward<Callback>(callback), options);
  }

  template <class Q = K>
  auto GetAwait(const Q& key, const LoadOptions& options = LoadOptions::Default()) {
    return memory_->GetOrLoadAwait(key, reader_, options);
  }

  // What isn't in memory comes with one Store::LoadMany.
  template <std::ranges::input_range Keys>
  std::vector<absl::StatusOr<V>> GetAll(Keys&& keys,
                                        const LoadOptions& options = LoadOptions::Default()) {
    return memory_->GetOrLoadAll(std::forward<Keys>(keys), bulk_reader_, options);
  }

  // --- Writes.

  // Stores `value` in place of whatever `key` had. InvalidArgument for an option out of range; what
  // the store, or the journal's disk, says; kBehind: what WhenFull says, FailedPrecondition after
  // Close. On error nothing has changed, but see above. A value too heavy for the cache is written
  // all the same, and read from the store. What the store throws reaches the caller (but kBehind).
  absl::Status Put(const K& key, V value, const PutOptions& options = PutOptions::Default());

  // Removes what `key` has; OK also where that is nothing. Errors as Put.
  template <class Q = K>
  absl::Status Erase(const Q& key) {
    return Write(K(key), nullptr, PutOptions::Default());
  }

  // --- Invalidation of what was changed in the store directly, on all servers and in the tier that
  // they share: here, before these return; elsewhere, soon after. An error says why the tier can't
  // be told now: it will be.

  template <class Q = K>
  absl::Status Invalidate(const Q& key) {
    absl::Status status = remote_.Invalidate(K(key));
    memory_->Erase(key);
    return status;
  }
  absl::Status InvalidateTag(std::string_view tag) {
    absl::Status status = remote_.InvalidateTag(tag);
    memory_->InvalidateTag(tag);
    return status;
  }
  absl::Status InvalidatePrefix(std::string_view prefix) requires internal::StringLike<K> {
    absl::Status status = remote_.InvalidatePrefix(prefix);
    memory_->InvalidatePrefix(prefix);
    return status;
  }
  absl::Status Clear() {
    absl::Status status = remote_.InvalidateAll();
    memory_->Clear();
    return status;
  }

  // --- The queue of kBehind; with other policies there is nothing to wait for.

  // Waits until all that was queued by now is in the store, or has failed for good. After `timeout`
  // DeadlineExceeded, which says how many writes are left, and why.
  absl::Status Flush(absl::Duration timeout) {
    return queue_ == nullptr ? absl::OkStatus() : queue_->Flush(timeout);
  }

  // Refuses further writes with FailedPrecondition, whatever the policy, waits for those under way,
  // and flushes. What is left after `timeout` stays in the journal, for the next Create, or,
  // without one, becomes dead letters; DeadlineExceeded says how much that is. Then saves a
  // snapshot, if there is to be one. Reads go on. FailedPrecondition from inside a call of the
  // store.
  absl::Status Close(absl::Duration timeout);
  absl::Status Close() { return Close(close_timeout_); }

  // What Create found in the journal: how much was left to write, whether any of it was damaged.
  JournalReport OpenedJournal() const {
    return queue_ == nullptr ? JournalReport{} : queue_->journal_report();
  }

  // --- Snapshots.

  // What became of the one that Create was to load: NotFound where there was none, else why the
  // cache began without; FailedPrecondition for one too old, or where no snapshot_path was set.
  const absl::StatusOr<SnapshotInfo>& LoadedSnapshot() const { return snapshots_.loaded(); }

  // Saves one now. FailedPrecondition where no snapshot_path was set.
  absl::StatusOr<SnapshotInfo> SaveSnapshot() { return snapshots_.Save(); }

  // --- The rest.

  // The cache itself: to invalidate (Erase, Expire, InvalidateTag, Clear, ...) on this server
  // alone, and to look at what it has. What is put there directly isn't in the store.
  Memory& memory() { return *memory_; }

  TieredStats Stats() const;

  // Cache::RunMaintenance; on a clock of your own also wakes what is due to be written.
  size_t RunMaintenance(size_t budget) {
    if (queue_ != nullptr) queue_->RunDue();
    return memory_->RunMaintenance(budget);
  }

 private:
  using Queue = internal::StoreQueue<K, V, Eq>;
  using Reader = internal::StoreReader<K, V, Hash, Eq>;
  using Snapshots = internal::TieredSnapshots<K, V, Memory>;
  using Remote = internal::TieredRemote<K, V>;

  TieredCache(const Options& options, std::unique_ptr<Memory> memory, Remote remote,
              std::shared_ptr<Queue> queue);

  static internal::TieredSnapshotSettings SnapshotSettings(const Options& options) {
    return {.path = options.snapshot_path,
            .interval = options.snapshot_interval,
            .max_age = options.snapshot_max_age,
            .options = options.snapshot_options};
  }

  // `value`: nullptr for an erasure.
  absl::Status Write(const K& key, V* value, const PutOptions& options);
  absl::Status WriteBehind(uint64_t hash, const K& key, V* value, const PutOptions& options);
  absl::Status WriteToStore(const K& key, const V* value, const PutOptions& options);
  static absl::Status OwnKeyError() {
    return absl::FailedPreconditionError("a store writes the key that it is being asked to write");
  }
  // Has the memory show what was written. Its own failures only cost it the entry.
  void Apply(const K& key, V* value, const PutOptions& options);

  const WritePolicy policy_;
  const absl::Duration close_timeout_;
  const uint64_t writer_ = internal::RandomBits();    // WriteId::writer, without a queue
  std::atomic<uint64_t> sequence_{0};                 // the last WriteId::sequence, without a queue
  const std::shared_ptr<internal::KeyLocks> writes_;  // held for each key while it is written
  const std::unique_ptr<Memory> memory_;
  Remote remote_;
  const std::shared_ptr<Queue> queue_;  // nullptr but for kBehind
  internal::OpenCalls writing_;         // until it is closed
  const Reader reader_;
  const internal::BulkStoreReader<K, V, Hash, Eq> bulk_reader_;

  Snapshots snapshots_;
};

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
TieredCache<K, V, Policy, Hash, Eq>::TieredCache(const Options& options,
                                                 std::unique_ptr<Memory> memory, Remote remote,
                                                 std::shared_ptr<Queue> queue)
    : policy_(options.write_policy),
      close_timeout_(options.write_behind.close_timeout),
      writes_(std::make_shared<internal::KeyLocks>()),
      memory_(std::move(memory)),
      remote_(std::move(remote)),
      queue_(std::move(queue)),
      reader_(remote_.store(), queue_, writes_, remote_.queued_limit()),
      bulk_reader_(reader_),
      snapshots_(SnapshotSettings(options)) {}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
absl::StatusOr<std::unique_ptr<TieredCache<K, V, Policy, Hash, Eq>>>
TieredCache<K, V, Policy, Hash, Eq>::Create(Options options) {
  if (options.store == nullptr) return absl::InvalidArgumentError("store must be set, is nullptr");
  if (const int policy = static_cast<int>(options.write_policy); policy < 0 || policy > 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("write_policy must be one that is named, is ", policy));
  }
  absl::Status checked = Snapshots::Check(SnapshotSettings(options));
  checked.Update(Remote::Check(options.remote, options.snapshot_path));
  if (!checked.ok()) return checked;
  absl::StatusOr<std::unique_ptr<Memory>> memory = Memory::Create(options.cache);
  if (!memory.ok()) return memory.status();
  Remote remote;
  absl::Status opened =
      remote.Open(options.remote, options.store, options.write_policy != WritePolicy::kAround,
                  options.cache, memory->get());
  if (!opened.ok()) return opened;
  std::shared_ptr<Queue> queue;
  const bool is_behind = options.write_policy == WritePolicy::kBehind;
  if (!is_behind || options.write_behind.durability == Durability::kMemory) {
    absl::Status status = Queue::CheckNoneLeft(options.write_behind);
    if (!status.ok()) return status;
  }
  if (is_behind) {
    typename Queue::Settings settings;
    settings.store = remote.store().get();
    settings.options = options.write_behind;
    settings.clock = options.cache.clock;
    settings.on_dead_letter = options.on_dead_letter;
    settings.hash = internal::StoreHash<Hash, K>;
    settings.drop = [memory = memory->get()](const K& key) { memory->Erase(key); };
    auto opened = Queue::Open(std::move(settings));
    if (!opened.ok()) return opened.status();
    queue = *std::move(opened);
  }
  std::unique_ptr<TieredCache> cache(new (std::nothrow) TieredCache(
      options, *std::move(memory), std::move(remote), std::move(queue)));
  if (cache == nullptr) return absl::ResourceExhaustedError("no memory for a cache");
  // Of what is queued the journal is the one to tell.
  cache->snapshots_.Start(*cache->memory_, [queue = cache->queue_.get()](const K& key) {
    return queue == nullptr || queue->Find(internal::StoreHash<Hash>(key), key) == nullptr;
  });
  if (cache->queue_ != nullptr) {
    if (absl::Status status = cache->queue_->Start(); !status.ok()) return status;
  }
  return cache;
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
TieredCache<K, V, Policy, Hash, Eq>::~TieredCache() {
  if (!writing_.closed()) Close(close_timeout_).IgnoreError();
  remote_.Close();
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
absl::Status TieredCache<K, V, Policy, Hash, Eq>::Close(absl::Duration timeout) {
  if (writing_.IsInside()) {
    return absl::FailedPreconditionError("a store closes the cache that it is being written for");
  }
  absl::Status status;
  if (queue_ != nullptr) {
    bool is_refused = false;
    status = queue_->Close(timeout, &is_refused);
    if (is_refused) return status;
  }
  // Those that are under way are still to be seen in the cache, which is then saved.
  writing_.Close();
  status.Update(snapshots_.SaveLast());
  return status;
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
TieredStats TieredCache<K, V, Policy, Hash, Eq>::Stats() const {
  TieredStats stats = {.memory = memory_->Stats(), .remote = remote_.Stats()};
  if (queue_ != nullptr) {
    stats.write_behind = queue_->stats();
    stats.journal = queue_->journal_stats();
  }
  snapshots_.AddTo(stats);
  return stats;
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
absl::Status TieredCache<K, V, Policy, Hash, Eq>::Put(const K& key, V value,
                                                      const PutOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return Write(key, &value, options);
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
absl::Status TieredCache<K, V, Policy, Hash, Eq>::Write(const K& key, V* value,
                                                        const PutOptions& options) {
  const internal::OpenCalls::Call call(writing_);
  if (!call.is_let_in()) return absl::FailedPreconditionError("the cache is closed");
  const uint64_t hash = internal::StoreHash<Hash>(key);
  if (queue_ != nullptr) return WriteBehind(hash, key, value, options);
  const internal::KeyLocks::Hold hold(*writes_, hash);
  if (!hold.held()) return OwnKeyError();
  const uint64_t mark = remote_.ForeignMark(key);
  if (absl::Status status = WriteToStore(key, value, options); !status.ok()) return status;
  Apply(key, policy_ == WritePolicy::kAround ? nullptr : value, options);
  // Another server may have written it since, and this one been told before it was applied.
  if (remote_.ForeignMark(key) != mark) memory_->Erase(key);
  return absl::OkStatus();
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
absl::Status TieredCache<K, V, Policy, Hash, Eq>::WriteBehind(uint64_t hash, const K& key, V* value,
                                                              const PutOptions& options) {
  // Before the key is locked: reads of the key don't wait for room.
  auto prepared = queue_->Prepare(hash, key, value, options);
  if (!prepared.ok()) return prepared.status();
  // Whoever holds the lock may wait for the store, and the store for this.
  const internal::KeyLocks::Hold hold(*writes_, hash, /*waits=*/!queue_->IsInsideStore());
  if (!hold.held()) return OwnKeyError();
  const auto write = queue_->Add(*std::move(prepared));
  if (!write.ok()) return write.status();
  Apply(key, value, options);
  // The store may have refused it before it was applied; then it was dropped too early.
  if ((*write)->given_up.load()) memory_->Erase(key);
  return absl::OkStatus();
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
absl::Status TieredCache<K, V, Policy, Hash, Eq>::WriteToStore(const K& key, const V* value,
                                                               const PutOptions& options) {
  absl::Status status = remote_.Write({.key = key,
                                       .value = value,
                                       .id = {.writer = writer_, .sequence = ++sequence_},
                                       .options = &options});
  return value == nullptr && absl::IsNotFound(status) ? absl::OkStatus() : status;
}

template <class K, class V, EvictionPolicy Policy, class Hash, class Eq>
void TieredCache<K, V, Policy, Hash, Eq>::Apply(const K& key, V* value, const PutOptions& options) {
  // What the cache can't take must not leave an older value there.
  PutOptions limited;
  const PutOptions& its = remote_.ForMemory(options, limited);
  try {
    if (value != nullptr && memory_->Put(key, std::move(*value), its).ok()) return;
  } catch (...) {
    memory_->Erase(key);
    throw;
  }
  memory_->Erase(key);
}

}  // namespace larder

#endif  // LARDER_TIERED_CACHE_H_
