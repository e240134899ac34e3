// SPDX-License-Identifier: Apache-2.0
//
// StoreQueue<K, V>: the writes of a cache that wait for its store; the typed side of WriteBehind.

#ifndef LARDER_INTERNAL_STORE_QUEUE_H_
#define LARDER_INTERNAL_STORE_QUEUE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/clock.h"
#include "larder/codec.h"
#include "larder/dead_letter.h"
#include "larder/internal/dead_letter_sink.h"
#include "larder/internal/journal.h"
#include "larder/internal/mutex.h"
#include "larder/internal/pending_write.h"
#include "larder/internal/random_bits.h"
#include "larder/internal/write_behind.h"
#include "larder/internal/write_payload.h"
#include "larder/options.h"
#include "larder/store.h"
#include "larder/write_behind_options.h"

namespace larder::internal {

// A put or an erasure.
template <class K, class V, class Eq>
class KeyedWrite final : public PendingWrite {
 public:
  KeyedWrite(uint64_t hash, uint64_t bytes, K key, std::optional<V> value, PutOptions options)
      : PendingWrite(hash, bytes),
        key(std::move(key)),
        value(std::move(value)),
        options(std::move(options)) {}

  bool SameKey(const PendingWrite& other) const override {
    return Eq{}(key, static_cast<const KeyedWrite&>(other).key);
  }

  const K key;
  const std::optional<V> value;  // nullopt: an erasure
  const PutOptions options;
  bool is_replayed = false;  // from a journal, which doesn't have the options

  // Set once this will never be in the store: then the cache must not keep it.
  mutable std::atomic<bool> given_up{false};

  // That of the thread which has the write in hand, one at a time.
  mutable bool in_dead_letters = false;
};

// What a key or a value counts for in WriteBehindOptions::max_bytes, where it isn't encoded.
template <class T>
uint64_t ByteSize(const T& object) {
  if constexpr (requires { object.size() * sizeof(typename T::value_type); }) {
    return sizeof(T) + object.size() * sizeof(typename T::value_type);
  } else {
    return sizeof(T);
  }
}

// Gives writes what the engine leaves open: bytes for the journal, calls of the store, dead
// letters, and the cache's entries that must go with those.
//
// Thread safety: all methods may be called from any thread, Open and Start before all others.
template <class K, class V, class Eq>
class StoreQueue final : private WriteBehind::Target {
 public:
  using Queued = KeyedWrite<K, V, Eq>;
  using QueuedPtr = std::shared_ptr<const Queued>;

  struct Settings {
    Store<K, V>* store = nullptr;
    WriteBehindOptions options = {};
    const Clock* clock = nullptr;
    std::function<void(const DeadLetter<K, V>&)> on_dead_letter = nullptr;
    std::function<uint64_t(const K&)> hash = nullptr;
    std::function<void(const K&)> drop = nullptr;  // what the cache has of a key
  };

  // Opens the journal, if there is to be one, and queues what it holds; writes nothing yet.
  static absl::StatusOr<std::unique_ptr<StoreQueue>> Open(Settings settings);

  ~StoreQueue() override = default;

  // Begins to write to the store.
  absl::Status Start() { return engine_.Start(); }

  // A write that has room in the queue, or is to wait for the store.
  struct Prepared {
    std::shared_ptr<Queued> write;
    std::string payload;  // for the journal
    WriteBehind::Reservation room;
  };

  // Makes a write (`value`: nullptr for an erasure) and takes room for it, for which it may wait,
  // as the options say. What is thrown is user code's.
  absl::StatusOr<Prepared> Prepare(uint64_t hash, const K& key, const V* value,
                                   const PutOptions& options);

  // Queues a write, or waits for the store where it found no room. On an error nothing has changed,
  // but see Journal for those of the disk. Not for two writes of one key at a time.
  absl::StatusOr<QueuedPtr> Add(Prepared prepared);

  // The newest write of a key that isn't in the store yet; nullptr where there is none.
  QueuedPtr Find(uint64_t hash, const K& key) const {
    return std::static_pointer_cast<const Queued>(
        engine_.Find(hash, [&key](const PendingWrite& write) {
          return Eq{}(static_cast<const Queued&>(write).key, key);
        }));
  }

  absl::Status Flush(absl::Duration timeout) { return engine_.Flush(timeout); }

  // No write is taken from now on. What isn't in the store after `timeout` stays in the journal or,
  // without one, becomes dead letters; the error says how much that is. `is_refused` is set where
  // this is called by the store: nothing was closed.
  absl::Status Close(absl::Duration timeout, bool* is_refused);

  void RunDue() { engine_.RunDue(); }

  // Whether the calling thread is inside a call of the store or of on_dead_letter, for which a
  // write of any key may be waiting.
  bool IsInsideStore() const { return engine_.IsInsideTarget(); }

  // For caches that write no journal: FailedPrecondition where there is one in the options'
  // directory that has writes left.
  static absl::Status CheckNoneLeft(const WriteBehindOptions& options);

  uint64_t writer() const { return writer_; }
  WriteBehindStats stats() const { return engine_.Stats(); }
  const JournalReport& journal_report() const { return report_; }
  JournalStats journal_stats() const {
    return journal_ == nullptr ? JournalStats{} : journal_->Stats();
  }

 private:
  using Batch = std::span<const WriteBehind::WritePtr>;

  // What a write costs beside its key and value, about.
  static constexpr uint64_t kOverhead = 200;
  static constexpr bool kCodable = Codable<K> && Codable<V>;

  StoreQueue(Settings settings, std::unique_ptr<Journal> journal, uint64_t writer, uint64_t seed);

  static absl::Status CheckCodecs(const WriteBehindOptions& options);
  static JournalSettings JournalSettingsOf(const WriteBehindOptions& options);
  // Of the journal's writes.
  absl::Status Restore(const JournalRecovery& recovery);

  // --- WriteBehind::Target
  std::vector<absl::Status> Write(Batch batch) override;
  absl::Status GiveUp(const PendingWrite& write, const absl::Status& reason, int attempts) override;
  void Acknowledge(std::span<const uint64_t> sequences) override;
  void AfterAcknowledge() override;
  // The key of a write that was given up and has left the queue; nullopt: there is none.
  std::optional<K> TakeResolved();

  const Settings settings_;
  const std::unique_ptr<Journal> journal_;  // nullptr: in memory only
  const uint64_t writer_;
  JournalReport report_;
  DeadLetterSink<K, V> dead_letters_;

  // Keys of writes that were given up, by their sequences, until they have left the queue: as long
  // as they are there, a load would bring them back into the cache.
  std::atomic<size_t> given_up_count_{0};
  Mutex given_up_mutex_;
  struct GivenUp {
    K key;
    bool is_resolved = false;
  };
  absl::flat_hash_map<uint64_t, GivenUp> given_up_ ABSL_GUARDED_BY(given_up_mutex_);

  WriteBehind engine_;  // last: its threads use all of the above
};

template <class K, class V, class Eq>
StoreQueue<K, V, Eq>::StoreQueue(Settings settings, std::unique_ptr<Journal> journal,
                                 uint64_t writer, uint64_t seed)
    : settings_(std::move(settings)),
      journal_(std::move(journal)),
      writer_(writer),
      dead_letters_(settings_.options, settings_.on_dead_letter),
      engine_(settings_.options, settings_.clock, this, seed) {}

template <class K, class V, class Eq>
absl::Status StoreQueue<K, V, Eq>::CheckCodecs(const WriteBehindOptions& options) {
  if (kCodable) return absl::OkStatus();
  if (options.durability != Durability::kMemory) {
    return absl::InvalidArgumentError("durability: a journal needs a Codec of keys and of values");
  }
  if (!options.dead_letter_path.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("dead_letter_path is ", options.dead_letter_path,
                     ": such a file needs a Codec of keys and of values"));
  }
  return absl::OkStatus();
}

template <class K, class V, class Eq>
JournalSettings StoreQueue<K, V, Eq>::JournalSettingsOf(const WriteBehindOptions& options) {
  JournalSettings settings;
  settings.directory = options.journal_directory;
  if constexpr (kCodable) settings.schema = WriteSchema<K, V>();
  settings.durability = options.durability;
  settings.sync_interval = options.sync_interval;
  settings.segment_bytes = options.segment_bytes;
  settings.file_system = options.file_system;
  return settings;
}

template <class K, class V, class Eq>
absl::StatusOr<std::unique_ptr<StoreQueue<K, V, Eq>>> StoreQueue<K, V, Eq>::Open(
    Settings settings) {
  for (const absl::Status& status : {settings.options.Validate(), CheckCodecs(settings.options)}) {
    if (!status.ok()) return status;
  }
  JournalRecovery recovery;
  std::unique_ptr<Journal> journal;
  if (settings.options.durability != Durability::kMemory) {
    auto opened = Journal::Open(JournalSettingsOf(settings.options), &recovery);
    if (!opened.ok()) return opened.status();
    journal = *std::move(opened);
  }
  const uint64_t writer = journal == nullptr ? RandomBits() : journal->writer();
  std::unique_ptr<StoreQueue> queue(
      new StoreQueue(std::move(settings), std::move(journal), writer, RandomBits()));
  if (absl::Status status = queue->dead_letters_.Open(); !status.ok()) return status;
  if (absl::Status status = queue->Restore(recovery); !status.ok()) return status;
  return queue;
}

template <class K, class V, class Eq>
absl::Status StoreQueue<K, V, Eq>::CheckNoneLeft(const WriteBehindOptions& options) {
  FileSystem& files = options.file_system == nullptr ? FileSystem::Default() : *options.file_system;
  if (!kCodable || options.journal_directory.empty() ||
      !files.List(options.journal_directory).ok()) {
    return absl::OkStatus();
  }
  JournalSettings settings = JournalSettingsOf(options);
  settings.durability = Durability::kJournal;
  JournalRecovery recovery;
  const auto journal = Journal::Open(settings, &recovery);
  if (!journal.ok()) return journal.status();
  if (recovery.unacknowledged == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the journal in ", options.journal_directory, " has ", recovery.unacknowledged,
      " writes that the store may not have: write_policy and durability must go on to use it"));
}

template <class K, class V, class Eq>
absl::Status StoreQueue<K, V, Eq>::Restore(const JournalRecovery& recovery) {
  report_ = recovery;
  if (recovery.damaged_bytes + recovery.missing_files > 0) {
    std::fprintf(
        stderr,
        "larder: the journal in %s has lost writes: %llu bytes damaged, %llu files missing\n",
        settings_.options.journal_directory.c_str(),
        static_cast<unsigned long long>(recovery.damaged_bytes),
        static_cast<unsigned long long>(recovery.missing_files));
  }
  std::vector<WriteBehind::WritePtr> writes;
  if constexpr (kCodable) {
    writes.reserve(recovery.writes.size());
    for (const JournalWrite& found : recovery.writes) {
      auto write = DecodeWrite<K, V>(found.payload);
      if (!write.ok()) {
        return absl::DataLossError(absl::StrCat("write ", found.sequence, " of the journal in ",
                                                settings_.options.journal_directory, ": ",
                                                write.status().message()));
      }
      const uint64_t hash = settings_.hash(write->first);
      auto queued =
          std::make_shared<Queued>(hash, kOverhead + found.payload.size(), std::move(write->first),
                                   std::move(write->second), PutOptions::Default());
      queued->set_sequence(found.sequence);
      queued->is_replayed = true;
      writes.push_back(std::move(queued));
    }
  }
  engine_.Restore(std::move(writes));
  return absl::OkStatus();
}

template <class K, class V, class Eq>
absl::StatusOr<typename StoreQueue<K, V, Eq>::Prepared> StoreQueue<K, V, Eq>::Prepare(
    uint64_t hash, const K& key, const V* value, const PutOptions& options) {
  std::string payload;
  if constexpr (kCodable) {
    if (journal_ != nullptr) {
      absl::StatusOr<std::string> encoded = EncodeWrite(key, value);
      if (!encoded.ok()) return encoded.status();
      payload = *std::move(encoded);
    }
  }
  uint64_t bytes = kOverhead;
  bytes += journal_ != nullptr ? payload.size()
                               : ByteSize(key) + (value == nullptr ? 0 : ByteSize(*value));
  for (const std::string& tag : options.tags) bytes += ByteSize(tag);
  auto write = std::make_shared<Queued>(
      hash, bytes, key, value == nullptr ? std::nullopt : std::optional<V>(*value), options);
  absl::StatusOr<WriteBehind::Reservation> room = engine_.Reserve(*write);
  if (!room.ok()) return room.status();
  return Prepared{std::move(write), std::move(payload), *std::move(room)};
}

template <class K, class V, class Eq>
absl::StatusOr<std::shared_ptr<const KeyedWrite<K, V, Eq>>> StoreQueue<K, V, Eq>::Add(
    Prepared prepared) {
  Queued& write = *prepared.write;
  if (journal_ == nullptr) {
    write.set_sequence(engine_.NextSequence());
  } else {
    const absl::StatusOr<uint64_t> sequence = journal_->Append(prepared.payload);
    if (!sequence.ok()) return sequence.status();
    write.set_sequence(*sequence);
  }
  try {
    if (prepared.room.write_through()) {
      absl::Status status = engine_.EnqueueAndWait(std::move(prepared.room), prepared.write);
      if (!status.ok()) return status;
    } else {
      engine_.Enqueue(std::move(prepared.room), prepared.write);
    }
  } catch (...) {
    // It isn't queued: nor is it to be replayed.
    const uint64_t sequence = write.sequence();
    Acknowledge(std::span(&sequence, 1));
    throw;
  }
  return QueuedPtr(std::move(prepared.write));
}

template <class K, class V, class Eq>
absl::Status StoreQueue<K, V, Eq>::Close(absl::Duration timeout, bool* is_refused) {
  const bool journaled = journal_ != nullptr;
  // Without one, nothing but these will be left of what wasn't written.
  dead_letters_.set_syncs_each(journaled);
  WriteBehind::Left left = engine_.Close(timeout, /*give_up_rest=*/!journaled);
  if (left.is_refused) {
    dead_letters_.set_syncs_each(true);
    *is_refused = true;
    return left.status;
  }
  left.status.Update(dead_letters_.Sync());
  if (!journaled) return left.status;
  const absl::Status closed = journal_->Close();
  if (left.status.ok()) return closed;
  return absl::Status(left.status.code(),
                      absl::StrCat(left.status.message(), "; what is left is in the journal in ",
                                   settings_.options.journal_directory));
}

template <class K, class V, class Eq>
std::vector<absl::Status> StoreQueue<K, V, Eq>::Write(Batch batch) {
  std::vector<StoreWrite<K, V>> writes;
  writes.reserve(batch.size());
  for (const WriteBehind::WritePtr& pending : batch) {
    const auto& write = static_cast<const Queued&>(*pending);
    writes.push_back({.key = write.key,
                      .value = write.value.has_value() ? &*write.value : nullptr,
                      .id = {.writer = writer_, .sequence = write.sequence()},
                      .options = write.is_replayed ? nullptr : &write.options});
  }
  std::vector<absl::Status> results = settings_.store->WriteMany(writes);
  for (size_t i = 0; i < std::min(results.size(), writes.size()); ++i) {
    if (writes[i].value == nullptr && absl::IsNotFound(results[i])) results[i] = absl::OkStatus();
  }
  return results;
}

template <class K, class V, class Eq>
absl::Status StoreQueue<K, V, Eq>::GiveUp(const PendingWrite& pending, const absl::Status& reason,
                                          int attempts) {
  const auto& write = static_cast<const Queued&>(pending);
  absl::Status told = dead_letters_.Take({.key = write.key,
                                          .value = write.value,
                                          .id = {.writer = writer_, .sequence = write.sequence()},
                                          .reason = reason,
                                          .attempts = attempts},
                                         &write.in_dead_letters);
  if (!told.ok()) return told;
  K key = write.key;
  MutexLock lock(&given_up_mutex_);
  given_up_.insert_or_assign(write.sequence(), GivenUp{std::move(key)});
  given_up_count_.store(given_up_.size(), std::memory_order_release);
  write.given_up.store(true);
  return absl::OkStatus();
}

template <class K, class V, class Eq>
void StoreQueue<K, V, Eq>::Acknowledge(std::span<const uint64_t> sequences) {
  if (journal_ != nullptr) {
    journal_->Acknowledge(absl::MakeConstSpan(sequences.data(), sequences.size()));
  }
  if (given_up_count_.load(std::memory_order_acquire) == 0) return;
  MutexLock lock(&given_up_mutex_);
  for (uint64_t sequence : sequences) {
    const auto found = given_up_.find(sequence);
    if (found != given_up_.end()) found->second.is_resolved = true;
  }
}

template <class K, class V, class Eq>
void StoreQueue<K, V, Eq>::AfterAcknowledge() {
  while (std::optional<K> key = TakeResolved()) {
    try {
      settings_.drop(*key);
    } catch (...) {
      // A removal listener threw; the entry is gone.
    }
  }
}

template <class K, class V, class Eq>
std::optional<K> StoreQueue<K, V, Eq>::TakeResolved() {
  if (given_up_count_.load(std::memory_order_acquire) == 0) return std::nullopt;
  MutexLock lock(&given_up_mutex_);
  for (auto i = given_up_.begin(); i != given_up_.end(); ++i) {
    if (!i->second.is_resolved) continue;
    std::optional<K> key(std::move(i->second.key));
    given_up_.erase(i);
    given_up_count_.store(given_up_.size(), std::memory_order_release);
    return key;
  }
  return std::nullopt;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_STORE_QUEUE_H_
