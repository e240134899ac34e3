// SPDX-License-Identifier: Apache-2.0
//
// Table: a hash index from key hashes to node indices that readers search without a lock.

#ifndef LARDER_INTERNAL_TABLE_H_
#define LARDER_INTERNAL_TABLE_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/config.h"
#include "larder/internal/node.h"
#include "larder/internal/pages.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace larder::internal {

// One cache line: twelve tags, how many entries were displaced past this bucket, and twelve
// indices. A lookup reads the tags, and follows only indices whose tag matches; usually that is
// this line and one node. The layout follows F14 (N. Bronson and X. Shi, "Open-sourcing F14 for
// faster, more memory-efficient hash tables", 2019), with indices for pointers.
struct alignas(64) Bucket {
  static constexpr int kSlots = 12;

  // First, so that a slot's number is its offset.
  std::atomic<NodeIndex> nodes[kSlots];

  // Tags 0..7, and tags 8..11 with the count of displaced entries above. Two words instead of
  // bytes, so that atomic loads feed the vector comparison.
  std::atomic<uint64_t> tags_low;
  std::atomic<uint64_t> tags_high;

  // A bit for each slot whose tag is `tag`.
  uint32_t Match(uint8_t tag) const {
#if defined(__SSE2__) && !defined(ABSL_HAVE_THREAD_SANITIZER)
    // Both words at once. On this processor any load has acquire semantics, and each tag is looked
    // at by itself, so that it doesn't matter whether the two words are of one moment.
    const __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(&tags_low));
    const __m128i equal =
        _mm_cmpeq_epi8(tags, _mm_set1_epi32(static_cast<int>(uint32_t{tag} * 0x01010101)));
    return static_cast<uint32_t>(_mm_movemask_epi8(equal)) & ((1u << kSlots) - 1);
#else
    // Acquire: a reader that sees a tag sees the index and the node that were written before it.
    return MatchWords(tags_low.load(std::memory_order_acquire),
                      tags_high.load(std::memory_order_acquire), tag);
#endif
  }

  // Calls matches(index) for the slots whose tag is `tag` until one returns true, and returns
  // whether one did.
  template <class Matches>
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Find(uint8_t tag, Matches&& matches) const {
    for (uint32_t slots = Match(tag); slots != 0; slots &= slots - 1) {
      // Acquire: the slot may meanwhile hold another node, published by this very store.
      const NodeIndex node =
          nodes[static_cast<uint32_t>(__builtin_ctz(slots))].load(std::memory_order_acquire);
      if (matches(node)) [[likely]]
        return true;
    }
    return false;
  }

  // A bit for each slot that has `node`. For the writer, who alone changes indices.
  uint32_t MatchNode(NodeIndex node) const {
#if defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(node));
    const auto equal = [&](int slot) {
      return _mm_cmpeq_epi32(wanted,
                             _mm_load_si128(reinterpret_cast<const __m128i*>(&nodes[slot])));
    };
    const __m128i first = _mm_packs_epi32(equal(0), equal(4));
    const __m128i last = _mm_packs_epi32(equal(8), _mm_setzero_si128());
    const auto found = static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(first, last)));
#else
    uint32_t found = 0;
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      found |= uint32_t{nodes[slot].load(std::memory_order_relaxed) == node} << slot;
    }
#endif
    return found & Used();
  }

  // A bit for each slot that isn't free.
  uint32_t Used() const { return ~Match(0) & ((1u << kSlots) - 1); }

  uint32_t Displaced() const {
    return static_cast<uint32_t>(tags_high.load(std::memory_order_acquire) >> 32);
  }

  // --- For the writer, who holds the stripe's lock.

  uint8_t TagAt(int slot) const {
    const auto& word = slot < 8 ? tags_low : tags_high;
    return static_cast<uint8_t>(word.load(std::memory_order_relaxed) >> (8 * (slot & 7)));
  }

  void SetTag(int slot, uint8_t tag) {
    auto& word = slot < 8 ? tags_low : tags_high;
    const int shift = 8 * (slot & 7);
    const uint64_t others = word.load(std::memory_order_relaxed) & ~(uint64_t{0xff} << shift);
    word.store(others | (uint64_t{tag} << shift), std::memory_order_release);
  }

  void AddDisplaced(int32_t change) {
    const uint64_t word = tags_high.load(std::memory_order_relaxed);
    const uint64_t count = static_cast<uint32_t>(word >> 32) + static_cast<uint32_t>(change);
    tags_high.store((count << 32) | static_cast<uint32_t>(word), std::memory_order_release);
  }

 private:
  static uint32_t MatchWords(uint64_t low, uint64_t high, uint8_t tag) {
    uint32_t found = 0;
    for (int slot = 0; slot < kSlots; ++slot) {
      const uint64_t word = slot < 8 ? low : high;
      found |= uint32_t{static_cast<uint8_t>(word >> (8 * (slot & 7))) == tag} << slot;
    }
    return found;
  }
};
static_assert(sizeof(Bucket) == 64);

// What readers know of a table: where its buckets are, and, in a table that is growing, where those
// entries are that haven't been moved yet (growing_table.h). Never changes, so that a reader may
// look at its parts in any order.
struct TableView {
  Bucket* buckets;
  uint32_t bucket_count;
  // Searched for what isn't here. Has no older one itself.
  const TableView* older;

  // Calls matches(index) for candidates until one returns true, and returns whether one did.
  // `matches` may be called for nodes of other keys, and for ones just removed.
  template <class Matches>
  bool Find(uint32_t home, uint8_t tag, Matches&& matches) const {
    return FindHere(home, tag, matches) ||
           (older != nullptr && older->FindHere(home, tag, matches));
  }

  // The same without the older table.
  template <class Matches>
  bool FindHere(uint32_t home, uint8_t tag, Matches&& matches) const {
    const Bucket* const first = &HomeBucket(home);
    const Bucket* bucket = first;
    do {
      if (bucket->Find(tag, matches)) return true;
      if (bucket->Displaced() == 0) return false;
      if (++bucket == buckets + bucket_count) bucket = buckets;
    } while (bucket != first);
    return false;
  }

  // Where a search begins. What isn't there is elsewhere only if the bucket has displaced entries,
  // or there is an older table.
  const Bucket& HomeBucket(uint32_t home) const { return buckets[HomeNumber(home)]; }

  // Starts to fetch where a search or a change begins, to be written to.
  void Prefetch(uint32_t home) const {
    __builtin_prefetch(&HomeBucket(home), 1);
    if (older != nullptr) older->Prefetch(home);
  }

  // Maps 32 hash bits onto 0..bucket_count-1 (D. Lemire, "Fast random integer generation in an
  // interval", 2019): any number of buckets will do, so a table is as large as it has to be.
  size_t HomeNumber(uint32_t home) const { return (uint64_t{home} * bucket_count) >> 32; }
};

// A fixed number of buckets. An entry lives in its home bucket or, where that was full, in one
// after it (cyclically); each bucket it was displaced past counts it, so that a search knows when
// to stop. Entries never move inside a table: a reader finds every entry that is there throughout
// its search.
//
// Thread safety: readers use a view, from any thread; all else by one writer at a time. Whoever
// frees a table or a node that was in it waits for the readers (epoch.h).
//
// Nothing in the object itself changes while it is in use, and it has its line to itself: every
// hit reads it.
class alignas(64) Table {
 public:
  // Where an entry is.
  struct Position {
    Bucket* bucket = nullptr;
    int slot = 0;
    explicit operator bool() const { return bucket != nullptr; }
  };

  // A table for `entries` at a good load; nullptr where memory is out.
  static std::unique_ptr<Table> Create(size_t entries);
  ~Table();

  const TableView& view() const { return view_; }

  // A view of this table while entries are still moved here from `older`, which must outlive it.
  // Requires: no reader has seen the one of an earlier call.
  const TableView& ViewBefore(const Table& older) {
    growing_view_.older = &older.view_;
    return growing_view_;
  }

  // Has the system find memory for the next `bytes` of the table, which it would do when they are
  // first written to otherwise. Returns whether that was all. For a table not yet in use.
  bool Populate(size_t bytes);

  // Writer's search.
  template <class Matches>
  Position Locate(uint32_t home, uint8_t tag, Matches&& matches) {
    size_t at = view_.HomeNumber(home);
    for (size_t probes = 0; probes < bucket_count(); ++probes) {
      Bucket& bucket = view_.buckets[at];
      for (uint32_t slots = bucket.Match(tag); slots != 0; slots &= slots - 1) {
        const int slot = std::countr_zero(slots);
        if (matches(bucket.nodes[slot].load(std::memory_order_relaxed))) return {&bucket, slot};
      }
      if (bucket.Displaced() == 0) break;
      at = After(at);
    }
    return {};
  }

  // Writer's search for a node, whose key has the hash `home`.
  Position LocateNode(uint32_t home, NodeIndex node);

  // The node at a position that was found; kNoNode where none was.
  static NodeIndex NodeAt(Position position) {
    return position ? position.bucket->nodes[position.slot].load(std::memory_order_relaxed)
                    : kNoNode;
  }

  // Requires: a slot is free. Past capacity() entries it gets slow.
  void Insert(uint32_t home, uint8_t tag, NodeIndex node);

  // Takes out the entry at `position`, whose key has the hash `home`.
  void Erase(uint32_t home, Position position);

  // Puts `node`, of the same key, in the place of what is at `position`, in one atomic step.
  static void Replace(Position position, NodeIndex node) {
    position.bucket->nodes[position.slot].store(node, std::memory_order_release);
  }

  // Whether `position` is in this table.
  bool Holds(Position position) const {
    return std::less_equal<>()(view_.buckets, position.bucket) &&
           std::less<>()(position.bucket, view_.buckets + bucket_count());
  }

  // How many entries fit at a good load.
  size_t capacity() const { return bucket_count() * kGoodLoad; }
  // How many fit with searches still of a bearable length.
  size_t limit() const { return bucket_count() * kMostLoad; }

  // For walks: the buckets, in no order of meaning.
  size_t bucket_count() const { return view_.bucket_count; }
  const Bucket& bucket(size_t i) const { return view_.buckets[i]; }

  // Whether tags and displaced counts agree with each other, and there are `entries`. For tests;
  // slow. `home_of(index)`: HashBits::Home() of a node's key.
  template <class HomeOf>
  bool Consistent(size_t entries, HomeOf&& home_of) const;
  // How many entries there are. For tests; slow.
  size_t Count() const;

 private:
  // Entries a bucket. At nine, about one entry in fifty is displaced; at eleven, one in eight.
  static constexpr size_t kGoodLoad = 9;
  static constexpr size_t kMostLoad = 11;

  Table(Pages pages, size_t buckets);

  size_t After(size_t bucket) const { return bucket + 1 == bucket_count() ? 0 : bucket + 1; }

  const TableView view_;
  TableView growing_view_;
  Pages pages_;
  size_t populated_ = 0;  // bytes

  // Of a table that readers may still be looking at after it was replaced: since when, and the one
  // that was replaced before it.
  friend class GrowingTable;
  uint64_t retired_in_ = 0;
  std::unique_ptr<Table> retired_before_;
};

template <class HomeOf>
bool Table::Consistent(size_t entries, HomeOf&& home_of) const {
  std::unique_ptr<uint32_t[]> displaced(new uint32_t[bucket_count()]());
  for (size_t i = 0; i < bucket_count(); ++i) {
    for (uint32_t used = bucket(i).Used(); used != 0; used &= used - 1) {
      const NodeIndex node =
          bucket(i).nodes[std::countr_zero(used)].load(std::memory_order_relaxed);
      for (size_t at = view_.HomeNumber(home_of(node)); at != i; at = After(at)) ++displaced[at];
    }
  }
  for (size_t i = 0; i < bucket_count(); ++i) {
    if (bucket(i).Displaced() != displaced[i]) return false;
  }
  return Count() == entries;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_TABLE_H_
