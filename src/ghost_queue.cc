// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/ghost_queue.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace larder::internal {
namespace {

// Slots made per 100 ghosts, and ghosts taken per 100 slots: the first leaves some room to grow,
// the second is less than what two buckets of eight can take before placing gets laborious.
constexpr size_t kSlotsPer100Ghosts = 117;
constexpr size_t kGhostsPer100Slots = 94;
// A few buckets more, since small tables fill unevenly.
constexpr size_t kSpareBuckets = 2;
constexpr uint32_t kMostMoves = 64;
// A table for so many ghosts is replaced where a quarter would do.
constexpr size_t kWorthShrinking = 4096;

// Numbers between the oldest ghost and the newest, per ghost: those between that are gone had come
// back. A ghost that never comes back, while nearly all younger ones do, is at last forgotten.
constexpr size_t kNumbersPerGhost = 4;
constexpr size_t kSpareNumbers = 4096;
constexpr size_t kWordBits = 64;

constexpr uint32_t kSlots = 8;

// A permutation: buckets and prints come from different bits, and fingerprints may be small.
uint64_t Mix(uint64_t fingerprint) {
  const uint64_t mixed = fingerprint * 0x9e3779b97f4a7c15;
  return mixed ^ (mixed >> 32);
}

}  // namespace

// --- One table.

struct alignas(64) GhostQueue::Generation::Bucket {
  uint32_t numbers[kSlots];
  uint32_t prints[kSlots];

  // Of two buckets: a bit for each slot of the first with this print, and above them those of the
  // second.
  static uint32_t Matching(const Bucket& first, const Bucket& second, uint32_t print);

  // Where a new ghost should go.
  struct Room {
    uint32_t bucket;  // 0 or 1
    uint32_t slots;   // a bit for each that is free
  };
  // Of two buckets, the emptier one. Numbers from `oldest` to before `next` are alive. Without
  // branches: there is nothing to predict them by.
  static Room Emptier(const Bucket& first, const Bucket& second, uint32_t oldest, uint32_t next);

 private:
#if defined(__SSE2__)
  static __m128i Load(const uint32_t* four) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(four));
  }
  // Makes bytes of what is all ones or all zeros.
  static __m128i Pack(__m128i a, __m128i b, __m128i c, __m128i d) {
    return _mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
  }
#endif
};

#if defined(__SSE2__)

inline uint32_t GhostQueue::Generation::Bucket::Matching(const Bucket& first, const Bucket& second,
                                                         uint32_t print) {
  const __m128i wanted = _mm_set1_epi32(static_cast<int>(print));
  const auto equal = [&](const uint32_t* four) { return _mm_cmpeq_epi32(Load(four), wanted); };
  return static_cast<uint32_t>(
      _mm_movemask_epi8(Pack(equal(first.prints), equal(first.prints + 4), equal(second.prints),
                             equal(second.prints + 4))));
}

inline auto GhostQueue::Generation::Bucket::Emptier(const Bucket& first, const Bucket& second,
                                                    uint32_t oldest, uint32_t next) -> Room {
  // Comparisons are of signed numbers: so all are moved by half their range.
  constexpr uint32_t kHalf = 0x80000000;
  const __m128i base = _mm_set1_epi32(static_cast<int>(oldest + kHalf));
  const __m128i end = _mm_set1_epi32(static_cast<int>(next - oldest + kHalf));
  const auto alive = [&](const uint32_t* four) {
    return _mm_cmplt_epi32(_mm_sub_epi32(Load(four), base), end);
  };
  const __m128i used = Pack(alive(first.numbers), alive(first.numbers + 4), alive(second.numbers),
                            alive(second.numbers + 4));
  const __m128i zero = _mm_setzero_si128();
  const __m128i counts = _mm_sad_epu8(_mm_sub_epi8(zero, used), zero);
  const uint32_t bucket = _mm_extract_epi16(counts, 4) < _mm_cvtsi128_si32(counts) ? 1 : 0;
  const auto free = ~static_cast<uint32_t>(_mm_movemask_epi8(used));
  return {bucket, (free >> (bucket * kSlots)) & ((1u << kSlots) - 1)};
}

#else

inline uint32_t GhostQueue::Generation::Bucket::Matching(const Bucket& first, const Bucket& second,
                                                         uint32_t print) {
  uint32_t found = 0;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    found |= uint32_t{first.prints[slot] == print} << slot;
    found |= uint32_t{second.prints[slot] == print} << (kSlots + slot);
  }
  return found;
}

inline auto GhostQueue::Generation::Bucket::Emptier(const Bucket& first, const Bucket& second,
                                                    uint32_t oldest, uint32_t next) -> Room {
  const auto free_slots = [&](const Bucket& bucket) {
    uint32_t free = 0;
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      free |= uint32_t{bucket.numbers[slot] - oldest >= next - oldest} << slot;
    }
    return free;
  };
  const uint32_t in_first = free_slots(first);
  const uint32_t in_second = free_slots(second);
  const bool second_is_emptier = std::popcount(in_second) > std::popcount(in_first);
  return second_is_emptier ? Room{1, in_second} : Room{0, in_first};
}

#endif

GhostQueue::Generation::Generation(size_t ghosts, uint32_t first_number)
    : oldest_(first_number), next_(first_number) {
  const size_t buckets = ghosts * kSlotsPer100Ghosts / 100 / kSlots + kSpareBuckets;
  const size_t most = buckets * kSlots * kGhostsPer100Slots / 100;
  const size_t words = (most * kNumbersPerGhost + kSpareNumbers) / kWordBits;
  // Numbers have 32 bits, and wrap around.
  if (words * kWordBits > UINT32_MAX / 2) return;
  pages_ = Pages::Allocate(buckets * sizeof(Bucket) + words * sizeof(uint64_t));
  if (pages_.data() == nullptr) return;
  bucket_count_ = static_cast<uint32_t>(buckets);
  window_ = static_cast<uint32_t>(words * kWordBits);
  most_ = static_cast<uint32_t>(most);
}

inline auto GhostQueue::Generation::Buckets() const -> Bucket* {
  return static_cast<Bucket*>(pages_.data());
}

inline uint64_t& GhostQueue::Generation::WordOf(size_t bit) const {
  return reinterpret_cast<uint64_t*>(Buckets() + bucket_count_)[bit / kWordBits];
}

inline uint32_t GhostQueue::Generation::OtherBucket(uint32_t bucket, uint32_t print) const {
  const uint32_t sum = Scale(print * 0x85ebca6b);
  return sum >= bucket ? sum - bucket : sum + bucket_count_ - bucket;
}

inline auto GhostQueue::Generation::PlacesOf(uint64_t mixed) const -> Places {
  const auto print = static_cast<uint32_t>(mixed >> 32);
  const uint32_t first = Scale(static_cast<uint32_t>(mixed));
  return {print, {first, OtherBucket(first, print)}};
}

inline void GhostQueue::Generation::Prefetch(const Places& places) const {
  __builtin_prefetch(Buckets() + places.buckets[0], 1);
  __builtin_prefetch(Buckets() + places.buckets[1], 1);
}

inline void GhostQueue::Generation::Add(uint64_t mixed) {
  PlaceNewest();
  if (next_ - oldest_ >= most_ && (size() == most_ || next_ - oldest_ == window_)) {
    if (most_ == 0) return;
    ForgetOldest();
  }
  newest_ = PlacesOf(mixed);
  newest_unplaced_ = true;
  ++next_;
  Prefetch(newest_);
}

inline void GhostQueue::Generation::PlaceNewest() {
  if (!newest_unplaced_) return;
  newest_unplaced_ = false;
  // It counts as alive, unless it was forgotten, but is nowhere yet.
  const Ghost ghost = {next_ - 1, newest_.print};
  const Bucket::Room room =
      Bucket::Emptier(Buckets()[newest_.buckets[0]], Buckets()[newest_.buckets[1]], oldest_, next_);
  const uint32_t at = newest_.buckets[room.bucket];
  if (room.slots == 0) [[unlikely]]
    return Displace(at, ghost);
  Bucket& bucket = Buckets()[at];
  const int slot = std::countr_zero(room.slots);
  bucket.numbers[slot] = ghost.number;
  bucket.prints[slot] = ghost.print;
}

void GhostQueue::Generation::Displace(uint32_t at, Ghost ghost) {
  for (uint32_t move = 0; move < kMostMoves; ++move) {
    Bucket& full = Buckets()[at];
    // Another one makes room, and goes to its other bucket.
    const size_t slot = (ghost.print + move) % kSlots;
    const Ghost moved = {full.numbers[slot], full.prints[slot]};
    full.numbers[slot] = ghost.number;
    full.prints[slot] = ghost.print;
    ghost = moved;
    at = OtherBucket(at, ghost.print);
    Bucket& other = Buckets()[at];
    for (size_t i = 0; i < kSlots; ++i) {
      if (Alive(other.numbers[i])) continue;
      other.numbers[i] = ghost.number;
      other.prints[i] = ghost.print;
      return;
    }
  }
  if (Alive(ghost.number)) Leave(ghost.number);
}

inline bool GhostQueue::Generation::Remove(const Places& places) {
  if (next_ == oldest_) return false;
  if (newest_unplaced_ && newest_.print == places.print &&
      newest_.buckets[0] == places.buckets[0]) {
    newest_unplaced_ = false;
    return Leave(next_ - 1);
  }
  Bucket& first = Buckets()[places.buckets[0]];
  Bucket& second = Buckets()[places.buckets[1]];
  uint32_t matching = Bucket::Matching(first, second, places.print);
  for (; matching != 0; matching &= matching - 1) {
    const auto slot = static_cast<uint32_t>(std::countr_zero(matching));
    uint32_t& number = (slot < kSlots ? first : second).numbers[slot % kSlots];
    if (Alive(number)) return Leave(std::exchange(number, oldest_ - 1));
  }
  return false;
}

bool GhostQueue::Generation::Leave(uint32_t number) {
  if (number == oldest_) {
    ForgetOldest();
    return true;
  }
  if (gone_ == 0) bits_begin_ = oldest_;
  const size_t bit = BitOf(number);
  const uint64_t mask = uint64_t{1} << (bit % kWordBits);
  uint64_t& word = WordOf(bit);
  // After four billion numbers, a slot that was unused all the time may have one that another has.
  if ((word & mask) != 0) return false;
  word |= mask;
  ++gone_;
  return true;
}

void GhostQueue::Generation::SkipGone() {
  while (gone_ > 0) {
    const size_t bit = BitOf(oldest_);
    if (bit == 0) bits_begin_ = oldest_;
    const size_t offset = bit % kWordBits;
    uint64_t& word = WordOf(bit);
    const auto run = static_cast<uint32_t>(std::countr_one(word >> offset));
    if (run == 0) return;
    // The carry clears the run, and sets a bit that isn't set.
    word &= word + (uint64_t{1} << offset);
    oldest_ += run;
    gone_ -= run;
  }
}

// --- The queue.

void GhostQueue::Resize(size_t capacity) {
  capacity_ = capacity;
  const size_t needed = capacity + 1;
  const bool grow = needed > newer_.most();
  const bool shrink = newer_.most() >= kWorthShrinking && needed < newer_.most() / 4;
  if (!grow && !shrink) return;
  Generation made(grow ? std::max(needed, newer_.most() / 4 * 5) : needed, first_number_);
  if (made.most() == 0) return;
  newer_.PlaceNewest();
  older_.reset(newer_.size() == 0 ? nullptr : new (std::nothrow) Generation(std::move(newer_)));
  newer_ = std::move(made);
  expected_places_ = newer_.PlacesOf(expected_);
}

void GhostQueue::Expect(uint64_t fingerprint) {
  expected_ = Mix(fingerprint);
  expected_places_ = newer_.PlacesOf(expected_);
  newer_.Prefetch(expected_places_);
}

void GhostQueue::Add(uint64_t fingerprint) {
  Trim();
  newer_.Add(Mix(fingerprint));
}

bool GhostQueue::RemoveExpected() {
  return newer_.Remove(expected_places_) || (older_ != nullptr && RemoveFromOlder());
}

bool GhostQueue::RemoveFromOlder() {
  const bool found = older_->Remove(older_->PlacesOf(expected_));
  DropOlderIfEmpty();
  return found;
}

void GhostQueue::TrimOlder() {
  while (size() > capacity_ && older_->size() > 0) older_->ForgetOldest();
  DropOlderIfEmpty();
}

}  // namespace larder::internal
