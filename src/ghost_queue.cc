// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/ghost_queue.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace larder::internal {
namespace {

// Slots made per 100 ghosts, and ghosts taken per 100 slots: the first leaves some room to grow,
// the second is less than what two buckets of eight can take before placing gets laborious.
constexpr size_t kSlotsPer100Ghosts = 117;
constexpr size_t kGhostsPer100Slots = 94;
// A few buckets more, since small tables fill unevenly.
constexpr size_t kSpareBuckets = 2;
constexpr int kMostMoves = 64;
// A table for so many ghosts is replaced where a quarter would do.
constexpr size_t kWorthShrinking = 4096;

// Numbers between the oldest ghost and the newest, per ghost: those between that are gone had come
// back. A ghost that never comes back, while nearly all younger ones do, is at last forgotten.
constexpr size_t kNumbersPerGhost = 4;
constexpr size_t kSpareNumbers = 4096;
constexpr size_t kWordBits = 64;

// A permutation: buckets and prints come from different bits, and fingerprints may be small.
uint64_t Mix(uint64_t fingerprint) {
  const uint64_t mixed = fingerprint * 0x9e3779b97f4a7c15;
  return mixed ^ (mixed >> 32);
}

}  // namespace

// --- One table.

GhostQueue::Generation::Generation(size_t ghosts) {
  const size_t buckets = ghosts * kSlotsPer100Ghosts / 100 / kSlots + kSpareBuckets;
  const size_t most = buckets * kSlots * kGhostsPer100Slots / 100;
  const size_t words = (most * kNumbersPerGhost + kSpareNumbers) / kWordBits;
  // Numbers have 32 bits, and wrap around.
  if (words * kWordBits > UINT32_MAX / 2) return;
  pages_ = Pages::Allocate(buckets * sizeof(Bucket) + words * sizeof(uint64_t));
  if (pages_.data() == nullptr) return;
  buckets_ = static_cast<Bucket*>(pages_.data());
  bits_ = reinterpret_cast<uint64_t*>(buckets_ + buckets);
  bucket_count_ = buckets;
  window_ = words * kWordBits;
  most_ = most;
}

size_t GhostQueue::Generation::OtherBucket(size_t bucket, uint32_t print) const {
  const size_t sum = Scale(print * 0x85ebca6b);
  return sum >= bucket ? sum - bucket : sum + bucket_count_ - bucket;
}

size_t GhostQueue::Generation::BitOf(uint32_t number) const {
  const size_t bit = oldest_bit_ + (number - oldest_);
  return bit < window_ ? bit : bit - window_;
}

void GhostQueue::Generation::ClearBit(uint32_t number) {
  const size_t bit = BitOf(number);
  bits_[bit / kWordBits] &= ~(uint64_t{1} << (bit % kWordBits));
  --size_;
}

void GhostQueue::Generation::SkipNumbers(size_t count) {
  oldest_ += static_cast<uint32_t>(count);
  oldest_bit_ += count;
  if (oldest_bit_ >= window_) oldest_bit_ -= window_;
}

void GhostQueue::Generation::Add(uint64_t mixed) {
  if (next_ - oldest_ == window_) SkipGone();
  if (next_ - oldest_ == window_) ForgetOldest();
  const uint32_t number = next_++;
  const size_t bit = BitOf(number);
  bits_[bit / kWordBits] |= uint64_t{1} << (bit % kWordBits);
  ++size_;
  Place(FirstBucket(mixed), {number, PrintOf(mixed)});
}

bool GhostQueue::Generation::Remove(uint64_t mixed) {
  if (size_ == 0) return false;
  const size_t bucket = FirstBucket(mixed);
  const uint32_t print = PrintOf(mixed);
  return RemoveFrom(bucket, print) || RemoveFrom(OtherBucket(bucket, print), print);
}

void GhostQueue::Generation::SkipGone() {
  if (size_ == 0) return SkipNumbers(next_ - oldest_);
  for (;;) {
    // The rest of the word. Bits of numbers that aren't given yet are 0.
    const size_t offset = oldest_bit_ % kWordBits;
    const uint64_t word = bits_[oldest_bit_ / kWordBits] >> offset;
    if (word != 0) return SkipNumbers(static_cast<size_t>(std::countr_zero(word)));
    SkipNumbers(kWordBits - offset);
  }
}

void GhostQueue::Generation::ForgetOldest() {
  SkipGone();
  ClearBit(oldest_);
  SkipNumbers(1);
}

void GhostQueue::Generation::Prefetch(uint64_t mixed) const {
  if (bucket_count_ == 0) return;
  const size_t bucket = FirstBucket(mixed);
  __builtin_prefetch(&buckets_[bucket], 1);
  __builtin_prefetch(&buckets_[OtherBucket(bucket, PrintOf(mixed))], 1);
}

bool GhostQueue::Generation::PlaceIn(size_t bucket, Ghost ghost) {
  Bucket& slots = buckets_[bucket];
  for (size_t i = 0; i < kSlots; ++i) {
    // The number that is being placed counts as alive, but is nowhere yet.
    if (Alive(slots.numbers[i])) continue;
    slots.numbers[i] = ghost.number;
    slots.prints[i] = ghost.print;
    return true;
  }
  return false;
}

void GhostQueue::Generation::Place(size_t first_bucket, Ghost ghost) {
  if (PlaceIn(first_bucket, ghost)) return;
  size_t bucket = OtherBucket(first_bucket, ghost.print);
  for (int move = 0; move < kMostMoves; ++move) {
    if (PlaceIn(bucket, ghost)) return;
    // Another one makes room, and goes to its other bucket.
    const size_t slot = (ghost.print + static_cast<uint32_t>(move)) % kSlots;
    Bucket& slots = buckets_[bucket];
    const Ghost moved = {slots.numbers[slot], slots.prints[slot]};
    slots.numbers[slot] = ghost.number;
    slots.prints[slot] = ghost.print;
    ghost = moved;
    bucket = OtherBucket(bucket, ghost.print);
  }
  ClearBit(ghost.number);
}

bool GhostQueue::Generation::RemoveFrom(size_t bucket, uint32_t print) {
  Bucket& slots = buckets_[bucket];
  for (size_t i = 0; i < kSlots; ++i) {
    if (slots.prints[i] != print || !Alive(slots.numbers[i])) continue;
    ClearBit(slots.numbers[i]);
    slots.numbers[i] = oldest_ - 1;
    return true;
  }
  return false;
}

// --- The queue.

void GhostQueue::SetCapacity(size_t capacity) {
  capacity_ = capacity;
  const size_t needed = capacity + 1;
  const bool grow = needed > newer_.most();
  const bool shrink = newer_.most() >= kWorthShrinking && needed < newer_.most() / 4;
  if (!grow && !shrink) return;
  Generation made(grow ? std::max(needed, newer_.most() / 4 * 5) : needed);
  if (made.most() == 0) return;
  older_ = std::exchange(newer_, std::move(made));
}

void GhostQueue::Prefetch(uint64_t fingerprint) const { newer_.Prefetch(Mix(fingerprint)); }

void GhostQueue::Add(uint64_t fingerprint) {
  TrimTo(capacity_);
  if (newer_.most() == 0) return;
  if (newer_.size() == newer_.most()) newer_.ForgetOldest();
  newer_.Add(Mix(fingerprint));
}

bool GhostQueue::Remove(uint64_t fingerprint) {
  const uint64_t mixed = Mix(fingerprint);
  return newer_.Remove(mixed) || older_.Remove(mixed);
}

void GhostQueue::TrimTo(size_t count) {
  while (size() > count && older_.size() > 0) older_.ForgetOldest();
  if (older_.size() == 0 && older_.bytes() > 0) older_ = Generation();
  while (newer_.size() > count) newer_.ForgetOldest();
}

}  // namespace larder::internal
