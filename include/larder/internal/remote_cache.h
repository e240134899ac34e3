// SPDX-License-Identifier: Apache-2.0
//
// RemoteCache: entries in a tier that servers share, kept coherent with each server's own memory.

#ifndef LARDER_INTERNAL_REMOTE_CACHE_H_
#define LARDER_INTERNAL_REMOTE_CACHE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/internal/own_changes.h"
#include "larder/internal/process_clock.h"
#include "larder/internal/remote_control.h"
#include "larder/internal/remote_entry.h"
#include "larder/internal/remote_sync.h"
#include "larder/internal/remote_tags.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "larder/shared_tier.h"

namespace larder::internal {

// What goes into the tier for a key.
struct RemoteValue {
  std::string payload = {};
  std::vector<std::string> tags = {};
  absl::Duration ttl = absl::InfiniteDuration();  // at most that of RemoteOptions
};

// What is left of the time for which one operation may wait for the tier, in however many calls.
class Patience {
 public:
  Patience() = default;
  explicit Patience(absl::Duration left) : left_(left) {}

  // The result of call(timeout), whose time is taken off.
  template <class Call>
  auto Spend(const Call& call) {
    const int64_t start = ProcessClock::NowNanos();
    auto result = call(left_);
    left_ -= absl::Nanoseconds(ProcessClock::NowNanos() - start);
    return result;
  }

 private:
  absl::Duration left_ = absl::ZeroDuration();
};

// A read of one key: what was found, and perhaps the right to put there what the store says.
class RemoteRead {
 public:
  enum class Found {
    kNothing,
    kValue,
    kNegative,  // the store had no such key
    kExpired,   // a value that may be returned where the store fails
  };

  Found found() const { return found_; }

  // Of kValue and kExpired.
  const std::string& payload() const { return payload_; }
  const std::vector<std::string>& tags() const { return tags_; }
  // How long the tier will still have it. Positive. Infinite where that isn't known.
  absl::Duration remaining() const { return remaining_; }

 private:
  friend class RemoteCache;

  std::string key_;
  Found found_ = Found::kNothing;
  std::string payload_;
  std::vector<std::string> tags_;
  absl::Duration remaining_ = absl::InfiniteDuration();

  Patience patience_;
  bool is_bypassed_ = false;         // the tier wasn't asked, or failed
  bool is_loaded_by_other_ = false;  // another server has a lease

  // --- The right to fill
  bool may_fill_ = false;
  bool holds_lease_ = false;
  std::string replaces_;  // the head of what is there
  OwnChanges::Operation operation_;
  std::shared_ptr<const ControlBlock> control_;  // before the store was asked
};

// A write of one key, around the store's.
class RemoteWrite {
 private:
  friend class RemoteCache;

  std::string key_;
  Patience patience_;
  bool is_reserved_ = false;    // not for the tier
  bool is_missed_ = false;      // the tier doesn't know that the key is being written, ...
  bool is_unanswered_ = false;  // ... since it didn't answer
  uint64_t watch_ = 0;          // RemoteSync::watch() when it began
  bool is_contended_ = false;
  OwnChanges::Operation operation_;
  std::shared_ptr<const ControlBlock> control_;
};

// The tier as a server sees it: reads that may fill it, writes that make everybody forget, and word
// of what others do. docs/design.md, "A tier that servers share", has the protocol, and why it
// holds.
//
// No read or write fails because of the tier: where that is away, reads find nothing, and what must
// be removed there is remembered. None waits for the tier longer than RemoteOptions::timeout in
// all, but for what wait_for_other_loads adds. Keys are bytes.
//
// Thread safety: all methods may be called from any thread.
class RemoteCache final : private RemoteSync::Target {
 public:
  // This server's memory. Called by a thread of this, or within calls, which hold nothing.
  class Memory {
   public:
    virtual ~Memory() = default;
    // Has no value of the key that was there, or was being loaded, before.
    virtual void Drop(std::string_view key) = 0;
    virtual void DropTag(std::string_view tag) = 0;
    virtual void DropPrefix(std::string_view prefix) = 0;
    virtual void DropAll() = 0;
    // The same, but what it may return where the store fails is kept for that.
    virtual void ExpireAll() = 0;
  };

  // Options that are valid. `schema` names the format of payloads. Errors: ResourceExhausted where
  // no thread can be had; a tier that can't be reached is none.
  static absl::StatusOr<std::unique_ptr<RemoteCache>> Create(const RemoteOptions& options,
                                                             std::string schema, Memory* memory);

  ~RemoteCache() override;
  // Stops the thread; from now on the tier isn't used. What is under way may still call Memory.
  void Stop();

  // --- Reads. What isn't found is to be loaded from the store, and then one of Fill,
  // FillNegative or Abandon has to be called.

  // `is_refresh`: memory has an older value. What the tier has is taken only in the first half of
  // its life; where it has nothing, it isn't filled, since memory is told of that, and loses the
  // older value.
  RemoteRead Read(std::string key, bool is_refresh);
  // One round trip, and one more where some aren't there. Some may be read as not there that are.
  std::vector<RemoteRead> ReadMany(std::vector<std::string> keys);

  // The payload that was found can't be decoded: it wasn't found.
  void Reject(RemoteRead& read);

  void Fill(RemoteRead& read, RemoteValue value);
  void FillNegative(RemoteRead& read);
  void Abandon(RemoteRead& read);
  // The same for many; nullopt: abandon. An empty RemoteValue without a ttl is no NotFound.
  enum class LoadedAs { kValue, kNegative, kNothing };
  struct Filling {
    RemoteRead* read;
    LoadedAs as = LoadedAs::kNothing;
    RemoteValue value = {};
  };
  void FillMany(std::span<Filling> fillings);

  // A value that was found kExpired has been returned.
  void CountStale();

  // --- Writes. BeginWrites, then the store, then CommitWrites; not two of one key at a time.

  // `is_in_memory`: memory has what is being written already; else it drops what it may have got
  // from before a change that it hasn't been told of.
  std::vector<RemoteWrite> BeginWrites(std::vector<std::string> keys, bool is_in_memory);
  struct Committing {
    RemoteWrite* write;
    // What the key has now; nullopt: nothing, or it isn't known.
    std::optional<RemoteValue> value = std::nullopt;
  };
  void CommitWrites(std::span<Committing> committings);

  // Changes where others may have changed the key: who puts a value into memory that may be older
  // drops it where this changed meanwhile.
  uint64_t ForeignMark(std::string_view key) const { return foreign_.Of(key); }

  // --- Invalidation, on all servers but this one's memory. An error says why it is delayed: what
  // must go goes when the tier is back. All but InvalidateKeys may take some timeouts.

  absl::Status InvalidateKeys(std::span<const std::string> keys);
  absl::Status InvalidateTagged(std::string_view tag);
  absl::Status InvalidatePrefixed(std::string_view prefix);
  absl::Status InvalidateAll();

  RemoteHealth health() const { return sync_.health(); }
  RemoteStats Stats() const;

 private:
  using Control = std::shared_ptr<const ControlBlock>;
  struct Counters;  // in remote_counters.h

  RemoteCache(const RemoteOptions& options, std::string schema, Memory* memory);

  // How each call of the tier ended; returns whether it did well.
  bool Succeeded(const absl::Status& status);
  bool MayRead(std::string_view key) const;
  static absl::Status NotWatched();
  bool IsWatchedSince(uint64_t watch) const { return watch != 0 && sync_.watch() == watch; }

  // --- remote_cache.cc
  void Look(RemoteRead& read, bool is_refresh);
  void Count(const RemoteRead& read);
  void Take(RemoteRead& read, std::string_view bytes, bool is_refresh);
  void TakeEntry(RemoteRead& read, const RemoteEntry& entry, bool is_refresh);
  void TakePlain(RemoteRead& read, std::string_view bytes);
  void MayReplace(RemoteRead& read, std::string_view bytes);
  void Lease(std::span<RemoteRead* const> reads, Patience& patience);
  void WaitForOther(RemoteRead& read);

  // --- remote_cache_tags.cc
  absl::StatusOr<bool> AreTagsValid(const RemoteEntry& entry, Patience& patience);
  bool LearnTags(std::span<RemoteRead* const> reads,
                 const std::vector<std::optional<std::string>>& values, Patience& patience);
  absl::StatusOr<std::vector<std::optional<RemoteTagRecord>>> ReadTags(
      std::span<const std::string> tags, Patience& patience);
  absl::StatusOr<bool> HaveTagRecords(std::span<const std::string> tags,
                                      const ControlBlock& control, Patience& patience);
  absl::StatusOr<RemoteTagRecord> MakeTagRecord(const std::string& tag, Patience& patience);
  absl::StatusOr<RemoteTagRecord> PutTagRecord(const std::string& tag,
                                               const RemoteTagRecord& record, bool raises,
                                               Patience& patience);
  absl::Duration TagTtl() const;

  // --- remote_cache_writes.cc
  absl::StatusOr<std::optional<std::string>> EncodeFilling(Filling& filling, absl::Duration& ttl,
                                                           Patience& patience);
  std::string EncodeValue(std::string_view key, Stamp stamp, const ControlBlock& control,
                          const RemoteValue& value, absl::Duration& ttl) const;
  void Put(std::span<Filling* const> filled, absl::Span<const SharedTier::Change> changes,
           Patience& patience, bool& may_call);
  void ReturnLeases(std::span<RemoteRead* const> reads, Patience& patience, bool may_call);
  void Finish(OwnChanges::Operation& operation, std::string_view key, bool success);
  bool MayCount(const RemoteValue& value, const ControlBlock& control, Patience& patience,
                bool& may_call);
  void SetWritten(std::span<Committing> committings, Patience& patience, bool& may_call,
                  std::vector<RemoteWrite*>& to_remove);
  void Miss(std::string_view key);

  // --- remote_cache_changes.cc; RemoteSync::Target
  void OnChanges(absl::Span<const std::string> keys) override;
  void Forget(bool expires) override;
  void InvalidatePrefix(std::string_view prefix) override;
  void CheckOwn(absl::Span<const std::string_view> keys);
  void ChangedByOthers(std::string_view key);
  void DropForeign(std::string_view key);

  const RemoteOptions options_;
  SharedTier& tier_;
  const std::string schema_;
  Memory& memory_;
  StampSource stamps_;
  OwnChanges own_;
  ForeignMarks foreign_;
  RemoteTags tags_;
  const std::unique_ptr<Counters> counters_;
  RemoteSync sync_;  // last: its thread uses all of the above
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_CACHE_H_
