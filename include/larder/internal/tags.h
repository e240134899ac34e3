// SPDX-License-Identifier: Apache-2.0
//
// Tags: many entries made invalid at once, by a tag they carry or by how their keys begin.

#ifndef LARDER_INTERNAL_TAGS_H_
#define LARDER_INTERNAL_TAGS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "larder/internal/hash.h"
#include "larder/internal/mutex.h"

namespace larder::internal {

// What is known of one tag, or of one registered prefix. All but `invalidated_at` and `tag` belongs
// to the lock of its Tags.
struct TagRecord {
  std::atomic<uint64_t> invalidated_at{
      0};                      // the generation that the last invalidation began; 0: none
  uint32_t sets = 0;           // how many sets it is in
  bool idle = false;           // is in the queue of those remembered without a set
  TagRecord* older = nullptr;  // its neighbours there
  TagRecord* newer = nullptr;
  const std::string* tag = nullptr;  // its key in the table, constant; nullptr: it is a prefix's
};

// The tags and prefixes that an entry belongs to; never changes. Entries with the same ones share
// it. Made and ended by Tags alone.
class TagSet {
 public:
  TagSet() = default;
  explicit TagSet(std::vector<TagRecord*> records) : records_(std::move(records)) {}
  TagSet(const TagSet&) = delete;
  TagSet& operator=(const TagSet&) = delete;

 private:
  friend class Tags;

  std::vector<TagRecord*> records_;           // in the order of addresses, each of them once
  mutable std::atomic<uint32_t> holders_{1};  // falls to 0 only under the lock
  bool permanent_ = false;                    // of prefixes alone: nobody counts its holders
};

// The tags of one cache.
//
// Time is counted in generations: each invalidation begins a new one, and marks the record of its
// tag with it. The entries that carry the tag aren't touched. An entry keeps its TagSet and a
// number `validated`: it is known to be valid as of that generation. Whoever looks at it does
//   g = generation();
//   if (validated < g) {
//     if (!Valid(set, validated)) the entry has been invalidated;
//     else replace `validated` by g, by a compare-exchange that expects what was read
//   }
// and so looks at records only once after each invalidation of any tag.
//
// A write stamps its entry with the generation it read when it began, a load with the one it read
// before it called the loader: that is the entry's first `validated`. An entry with tags or
// prefixes is stored only if Valid(set, stamp) for the set that Acquire() gave; if a tag is
// invalidated after that question was answered, the entry is found invalid when it is looked at. So
// a value whose load began before Invalidate(tag) was called is never served after that returned,
// also where no entry had the tag at that time; and an entry stamped after it returned isn't
// affected by it. Of what is stamped meanwhile either may be true.
//
// For the sake of those loads, an invalidation is remembered though no entry carries the tag. The
// `remembered` tags that did so last are; of others it is known only that none was invalidated in a
// later generation than `forgotten`, and a tag without a record is taken to have been invalidated
// then. What that costs is that a load which began before is not stored; no entry is lost by it.
//
// A tag is any string, the empty one too; tags and prefixes have nothing to do with each other even
// if they have the same name.
//
// Memory: a set for each combination of tags that entries have at the time, a record for each tag
// of these, and `remembered` more at most.
//
// Thread-safe. Lock: a Tags has one, which may be taken under a stripe's; nothing is locked or
// called under it. What takes it says so.
//
// Memory ordering. Invalidate() stores the record's `invalidated_at` before it stores the new
// generation, with release, both under the lock. So who reads a generation g, with acquire, sees
// all invalidations up to g in the records.
class Tags {
 public:
  static constexpr size_t kRemembered = 65536;

  // `prefixes`: which beginnings of keys can be invalidated; the empty one stands for all keys.
  // Duplicates count once. O(n log n) for n of them, and as much memory as there are pairs of one
  // prefix with another that it begins with.
  explicit Tags(std::vector<std::string> prefixes = {}, size_t remembered = kRemembered);

  // Ends all sets, those still held included.
  ~Tags();

  Tags(const Tags&) = delete;
  Tags& operator=(const Tags&) = delete;

  // The current one; the first is 1. Acquire.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  // Whether a set was ever asked for. Asked after an entry was found, no means that it has none.
  bool InUse() const { return in_use_.load(std::memory_order_relaxed); }

  // The set of all registered prefixes that `key` begins with; nullptr if there are none. It lives
  // as long as the Tags and needs no Release(). No lock, no allocation; compares `key` with O(log
  // n) prefixes, and with those that begin with one another: "a", "aa", "aaa" ...
  const TagSet* PrefixesOf(std::string_view key) const {
    return prefixes_.empty() ? nullptr : LongestPrefixSet(key);
  }

  // The set of `tags`, in any order, duplicates counting once, together with the records of
  // `prefixes`, which must come from PrefixesOf() or be nullptr. nullptr if there is neither. To be
  // given to Release() once. Without tags it is `prefixes`, and costs nothing; else takes the lock,
  // O(number of tags). Throws std::bad_alloc, and has then changed nothing.
  const TagSet* Acquire(std::span<const std::string> tags, const TagSet* prefixes = nullptr);

  // Another hold on one that the caller holds, or nullptr; for Release(), too. No lock.
  static const TagSet* Share(const TagSet* set) {
    if (set != nullptr && !set->permanent_) set->holders_.fetch_add(1, std::memory_order_relaxed);
    return set;
  }

  // One that Acquire() gave, or nullptr, is used no more: neither by the entry nor by a reader that
  // found it there. Takes the lock only for the last holder. Doesn't throw.
  void Release(const TagSet* set) {
    if (set == nullptr || set->permanent_) return;
    uint32_t holders = set->holders_.load(std::memory_order_relaxed);
    while (holders > 1) {
      if (set->holders_.compare_exchange_weak(holders, holders - 1, std::memory_order_release,
                                              std::memory_order_relaxed)) {
        return;
      }
    }
    ReleaseLast(set);
  }

  // Whether none of the set's tags and prefixes was invalidated after generation `validated`, as
  // far as the caller can see: all invalidations up to a generation that it has read. No lock. The
  // set must stay while this runs: in an epoch guard, sets of nodes that were found in it do.
  static bool Valid(const TagSet* set, uint64_t validated);

  // The set's tags, in no order, without prefixes. No lock. They, and the set, must stay, as for
  // Valid. May throw std::bad_alloc.
  static std::vector<std::string_view> NamesOf(const TagSet* set);

  // All that carries `tag` is invalid from now on. Begins a generation, and returns it; when it
  // returns, all threads see it. Takes the lock; O(1) in the number of entries. Where memory for a
  // tag without a record runs out, it is forgotten at once (see above); so this doesn't throw.
  uint64_t Invalidate(std::string_view tag);

  // The same for all keys that begin with `prefix`. False, and nothing has changed, where it isn't
  // registered.
  bool InvalidatePrefix(std::string_view prefix);

  // For tests. Records of tags, remembered ones included; sets but those of prefixes alone. Take
  // the lock.
  size_t records() const;
  size_t sets() const;

 private:
  struct Prefix {
    std::string name;
    TagRecord record;
    const Prefix* shorter = nullptr;  // the longest other one that this one begins with
    TagSet set;                       // of this one and all that it begins with
  };

  struct SetHash {
    using is_transparent = void;
    size_t operator()(const std::vector<TagRecord*>& records) const;
    size_t operator()(const TagSet& set) const { return (*this)(set.records_); }
  };

  struct SetEq {
    using is_transparent = void;
    static const std::vector<TagRecord*>& RecordsOf(const std::vector<TagRecord*>& records) {
      return records;
    }
    static const std::vector<TagRecord*>& RecordsOf(const TagSet& set) { return set.records_; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return RecordsOf(a) == RecordsOf(b);
    }
  };

  const TagSet* LongestPrefixSet(std::string_view key) const;
  TagRecord* RecordOfPrefix(std::string_view prefix);
  void ReleaseLast(const TagSet* set);

  uint64_t BeginGeneration(std::string_view tag) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t BeginGeneration(TagRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  TagRecord& FindOrAdd(const std::string& tag) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropUnused(std::span<const std::string> tags) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(TagRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeFromIdle(TagRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop(const TagRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t remembered_;
  std::vector<Prefix> prefixes_;  // by name; never changes, but for the records

  std::atomic<uint64_t> generation_{1};  // written under the lock
  std::atomic<bool> in_use_{false};

  // Apart from what is read without it.
  alignas(64) mutable Mutex mutex_;

  // Unlike absl's, these are whole after an allocation that failed; and what is in them stays where
  // it is.
  std::unordered_map<std::string, TagRecord, DefaultHash<std::string>, DefaultEq<std::string>>
      records_ ABSL_GUARDED_BY(mutex_);
  std::unordered_set<TagSet, SetHash, SetEq> sets_ ABSL_GUARDED_BY(mutex_);

  // The latest generation whose invalidation isn't remembered; 0: all are.
  uint64_t forgotten_ ABSL_GUARDED_BY(mutex_) = 0;

  // The records that no set has, but that were invalidated after `forgotten_`: a ring, its own
  // `newer` is the oldest.
  TagRecord idle_ ABSL_GUARDED_BY(mutex_);
  size_t idle_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Holds a set of tags until its end.
class TagSetHold {
 public:
  TagSetHold() = default;
  // Takes over what Acquire() gave.
  TagSetHold(Tags& tags, const TagSet* set) : tags_(&tags), set_(set) {}
  TagSetHold(TagSetHold&& other) noexcept
      : tags_(other.tags_), set_(std::exchange(other.set_, nullptr)) {}
  TagSetHold& operator=(TagSetHold&& other) noexcept {
    std::swap(tags_, other.tags_);
    std::swap(set_, other.set_);
    return *this;
  }
  ~TagSetHold() {
    if (set_ != nullptr) tags_->Release(set_);
  }

  TagSetHold Share() const {
    return tags_ == nullptr ? TagSetHold() : TagSetHold(*tags_, Tags::Share(set_));
  }

  const TagSet* get() const { return set_; }
  // From now on the caller's to release.
  const TagSet* Take() { return std::exchange(set_, nullptr); }

 private:
  Tags* tags_ = nullptr;
  const TagSet* set_ = nullptr;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_TAGS_H_
