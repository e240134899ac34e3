// SPDX-License-Identifier: Apache-2.0
//
// Table: a hash index from key hashes to node indices that readers search without a lock.

#ifndef LARDER_INTERNAL_TABLE_H_
#define LARDER_INTERNAL_TABLE_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
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

// A fixed number of buckets. An entry lives in its home bucket or, where that was full, in one
// after it (cyclically); each bucket it was displaced past counts it, so that a search knows when
// to stop. Entries never move inside a table: a reader finds every entry that is there throughout
// its search.
//
// Thread safety: Find from any thread; all else by one writer at a time. Whoever frees a table or a
// node that was in it waits for the readers (epoch.h).
class Table {
 public:
  // Where an entry is.
  struct Position {
    Bucket* bucket = nullptr;
    int slot = 0;
    explicit operator bool() const { return bucket != nullptr; }
  };

  // A table for `entries` at a good load; nullptr where memory is out.
  static std::unique_ptr<Table> Create(size_t entries);

  // Reader's search: calls matches(index) for candidates until one returns true, and returns
  // whether one did. `matches` may be called for nodes of other keys, and for ones just removed.
  template <class Matches>
  bool Find(uint32_t home, uint8_t tag, Matches&& matches) const {
    const Bucket* const first = &HomeBucket(home);
    const Bucket* bucket = first;
    do {
      if (bucket->Find(tag, matches)) return true;
      if (bucket->Displaced() == 0) return false;
      if (++bucket == data() + buckets_) bucket = data();
    } while (bucket != first);
    return false;
  }

  // Where a search begins. What isn't there is elsewhere only if the bucket has displaced entries.
  const Bucket& HomeBucket(uint32_t home) const { return data()[HomeNumber(home)]; }

  // Starts to fetch the bucket where a search or an insertion begins, to be written to.
  void Prefetch(uint32_t home) const { __builtin_prefetch(&HomeBucket(home), 1); }

  // Writer's search.
  template <class Matches>
  Position Locate(uint32_t home, uint8_t tag, Matches&& matches) {
    size_t at = HomeNumber(home);
    for (size_t probes = 0; probes < buckets_; ++probes) {
      Bucket& bucket = data()[at];
      for (uint32_t slots = bucket.Match(tag); slots != 0; slots &= slots - 1) {
        const int slot = std::countr_zero(slots);
        if (matches(bucket.nodes[slot].load(std::memory_order_relaxed))) return {&bucket, slot};
      }
      if (bucket.Displaced() == 0) break;
      at = at + 1 == buckets_ ? 0 : at + 1;
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

  // There is room for any number of entries up to the table's slots; past capacity() it gets slow.
  void Insert(uint32_t home, uint8_t tag, NodeIndex node);

  // Takes out the entry at `position`, whose key has the hash `home`.
  void Erase(uint32_t home, Position position);

  // Puts `node`, of the same key, in the place of what is at `position`, in one atomic step.
  static void Replace(Position position, NodeIndex node) {
    position.bucket->nodes[position.slot].store(node, std::memory_order_release);
  }

  size_t size() const { return size_; }
  // How many entries fit at a good load.
  size_t capacity() const { return capacity_; }

  // For walks: the buckets, in no order of meaning.
  size_t bucket_count() const { return buckets_; }
  const Bucket& bucket(size_t i) const { return data()[i]; }

  // Whether tags, displaced counts and size agree with each other. For tests; slow.
  // `home_of(index)`: HashBits::Home() of a node's key.
  template <class HomeOf>
  bool Consistent(HomeOf&& home_of) const;

 private:
  Table(Pages pages, size_t buckets, size_t capacity)
      : buckets_(static_cast<uint32_t>(buckets)), capacity_(capacity), pages_(std::move(pages)) {}

  // Maps 32 hash bits onto 0..buckets-1 (D. Lemire, "Fast random integer generation in an
  // interval", 2019): any number of buckets will do, so a table is as large as it has to be.
  size_t HomeNumber(uint32_t home) const { return (uint64_t{home} * buckets_) >> 32; }

  Bucket* data() const { return static_cast<Bucket*>(pages_.data()); }

  const uint32_t buckets_;
  const size_t capacity_;
  alignas(64) size_t size_ = 0;
  Pages pages_;
};

template <class HomeOf>
bool Table::Consistent(HomeOf&& home_of) const {
  std::unique_ptr<uint32_t[]> displaced(new uint32_t[buckets_]());
  size_t entries = 0;
  for (size_t i = 0; i < buckets_; ++i) {
    for (int slot = 0; slot < Bucket::kSlots; ++slot) {
      if (bucket(i).TagAt(slot) == 0) continue;
      ++entries;
      const NodeIndex node = bucket(i).nodes[slot].load(std::memory_order_relaxed);
      size_t at = HomeNumber(home_of(node));
      for (; at != i; at = at + 1 == buckets_ ? 0 : at + 1) ++displaced[at];
    }
  }
  for (size_t i = 0; i < buckets_; ++i) {
    if (bucket(i).Displaced() != displaced[i]) return false;
  }
  return entries == size_;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_TABLE_H_
