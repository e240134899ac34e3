// SPDX-License-Identifier: Apache-2.0
//
// TieredRemote: the tier that servers share, where a TieredCache has one.

#ifndef LARDER_INTERNAL_TIERED_REMOTE_H_
#define LARDER_INTERNAL_TIERED_REMOTE_H_

#include <cstdint>
#include <memory>
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
#include "larder/internal/remote_store.h"
#include "larder/options.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "larder/store.h"

namespace larder::internal {

// Where there is no tier, the store is asked alone, and there is nothing else to do. That is so for
// keys and values without a Codec.
//
// Thread safety: all methods may be called from any thread; Open before all others, Close after
// them, but for reads.
template <class K, class V>
class TieredRemote {
 public:
  // InvalidArgument names the option and its value.
  static absl::Status Check(const RemoteOptions& options, const std::string& snapshot_path) {
    if (options.tier == nullptr) return absl::OkStatus();
    if (!kCodable) {
      return absl::InvalidArgumentError("remote.tier needs a Codec of keys and of values");
    }
    if (!snapshot_path.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("snapshot_path is ", snapshot_path,
                       ", and there is a remote.tier: what other servers write while this one is "
                       "not running, a snapshot doesn't know"));
    }
    return options.Validate();
  }

  // `memory` must live until Close; `memory_options`: its own. `keeps_writes`: as RemoteStore's.
  template <class Memory>
  absl::Status Open(const RemoteOptions& options, Store<K, V>* store, bool keeps_writes,
                    const CacheOptions& memory_options, Memory* memory) {
    // Shares nothing: the store isn't ours.
    store_ = std::shared_ptr<Store<K, V>>(std::shared_ptr<void>(), store);
    if (options.tier == nullptr) return absl::OkStatus();
    memory_ttl_ = memory_options.ttl;
    [[maybe_unused]] const bool keeps_stale =
        memory_options.stale_if_error > absl::ZeroDuration() ||
        memory_options.stale_while_revalidate > absl::ZeroDuration();
    ttl_ = options.ttl;
    queued_limit_ = options.unverified_ttl;
    if constexpr (kCodable) {
      auto opened =
          RemoteStore<K, V>::Open(options, store, keeps_writes, Target(memory, keeps_stale));
      if (!opened.ok()) return opened.status();
      remote_ = *std::move(opened);
      store_ = remote_;
    }
    return absl::OkStatus();
  }

  void Close() {
    With([](auto& remote) { remote.Close(); });
  }

  // What a write may say about its entry in memory: it stays there no longer than in the tier.
  // `limited` is where that is put if it isn't what was given.
  const PutOptions& ForMemory(const PutOptions& options, PutOptions& limited) const {
    if (options.ttl.value_or(memory_ttl_) <= ttl_) return options;
    limited = options;
    limited.ttl = ttl_;
    return limited;
  }

  // What is read from the queue may have been overwritten by another server once it leaves that,
  // and word of it have come before.
  absl::Duration queued_limit() const { return queued_limit_; }

  // What reads go through, and write-behind.
  const std::shared_ptr<Store<K, V>>& store() const { return store_; }

  absl::Status Write(const StoreWrite<K, V>& write) {
    if constexpr (kCodable) {
      if (remote_ != nullptr) return remote_->WriteEntry(write);
    }
    return write.value == nullptr ? store_->Erase(write.key, write.id)
                                  : store_->Write(write.key, *write.value, write.id);
  }

  // As RemoteCache's.
  uint64_t ForeignMark(const K& key) const {
    if constexpr (kCodable) {
      if (remote_ != nullptr) return remote_->ForeignMark(key);
    }
    return 0;
  }

  absl::Status Invalidate(const K& key) {
    absl::Status status;
    With([&](auto& remote) { status = remote.Invalidate(key); });
    return status;
  }
  absl::Status InvalidateTag(std::string_view tag) {
    absl::Status status;
    With([&](auto& remote) { status = remote.InvalidateTag(tag); });
    return status;
  }
  absl::Status InvalidatePrefix(std::string_view prefix) {
    absl::Status status;
    With([&](auto& remote) { status = remote.InvalidatePrefix(prefix); });
    return status;
  }
  absl::Status InvalidateAll() {
    absl::Status status;
    With([&](auto& remote) { status = remote.InvalidateAll(); });
    return status;
  }

  RemoteStats Stats() const {
    RemoteStats stats;
    With([&](const auto& remote) { stats = remote.Stats(); });
    return stats;
  }

 private:
  static constexpr bool kCodable = Codable<K> && Codable<V>;

  template <class Memory>
  static RemoteMemory<K> Target(Memory* memory, bool keeps_stale) {
    RemoteMemory<K> target = {.drop = [memory](const K& key) { memory->Erase(key); },
                              .drop_tag = [memory](auto tag) { memory->InvalidateTag(tag); },
                              .drop_prefix = nullptr,
                              .drop_all = [memory] { memory->Clear(); },
                              .expire_all = [memory] { memory->Clear(); }};
    if (keeps_stale) target.expire_all = [memory] { ExpireAll(*memory); };
    if constexpr (StringLike<K>) {
      target.drop_prefix = [memory](auto prefix) { memory->InvalidatePrefix(prefix); };
    }
    return target;
  }

  // Ends all times to live. Entries that have a stale window are there for it, and no load that
  // runs now is stored. O(entries).
  template <class Memory>
  static void ExpireAll(Memory& memory) {
    memory.EraseIf([](const K&, const V&) { return false; });
    std::vector<K> keys;
    memory.ForEach([&keys](const K& key, const V&) { keys.push_back(key); });
    for (const K& key : keys) memory.Expire(key);
  }

  template <class Function>
  void With(const Function& function) const {
    if constexpr (kCodable) {
      if (remote_ != nullptr) function(*remote_);
    }
  }

  absl::Duration memory_ttl_ = absl::InfiniteDuration();
  absl::Duration ttl_ = absl::InfiniteDuration();  // the tier's
  absl::Duration queued_limit_ = absl::InfiniteDuration();
  std::shared_ptr<Store<K, V>> store_;
  std::shared_ptr<RemoteStore<K, V>> remote_;  // nullptr: there is none
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_TIERED_REMOTE_H_
