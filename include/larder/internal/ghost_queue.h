// SPDX-License-Identifier: Apache-2.0
//
// GhostQueue: remembers which keys were evicted lately, in about ten bytes each.

#ifndef LARDER_INTERNAL_GHOST_QUEUE_H_
#define LARDER_INTERNAL_GHOST_QUEUE_H_

#include <cstddef>
#include <cstdint>

#include "larder/internal/pages.h"

namespace larder::internal {

// A first-in-first-out queue of the fingerprints of evicted keys, from whose middle one that comes
// back is taken. Belongs to a lock of its owner; nothing here throws.
//
// A fingerprint is kept as 32 bits in one of two buckets of eight that its other bits lead to, so
// one that was never added is found with a probability of about 2^-28. All operations are O(1)
// expected, amortised where they forget. Memory comes from the kernel and is committed when first
// used. A queue that has to grow doesn't move what it has: new ghosts go to a larger table, while
// those in the old one grow old and leave. Where memory is out, ghosts are forgotten early.
class GhostQueue {
 public:
  GhostQueue() = default;
  GhostQueue(const GhostQueue&) = delete;
  GhostQueue& operator=(const GhostQueue&) = delete;

  // How many to remember from now on; what is too much goes at the next Trim. O(1), and cheap where
  // little changes. Where it has to grow again before its first table is empty, that is forgotten.
  void SetCapacity(size_t capacity);

  // Adds the newest. There may be one more than the capacity, until Trim: whoever evicts to make
  // room for a key can thus ask for that key after the eviction as if he had asked before.
  void Add(uint64_t fingerprint);

  // Whether it is there; it is then taken out.
  bool Remove(uint64_t fingerprint);

  // Starts to fetch where the fingerprint is, or will be.
  void Prefetch(uint64_t fingerprint) const;

  // Forgets the oldest, down to the capacity.
  void Trim() { TrimTo(capacity_); }

  size_t size() const { return older_.size() + newer_.size(); }
  size_t capacity() const { return capacity_; }
  // Of address space, all of which will be used.
  size_t bytes() const { return older_.bytes() + newer_.bytes(); }

 private:
  // A hash table of fingerprints that also knows their order. Each ghost is numbered as it comes;
  // one whose number is below `oldest_` is dead, and its slot free, without anybody having to find
  // it. One bit a number says whether that ghost is still there, so the oldest is found at once.
  //
  // Collisions: cuckoo hashing with buckets of a cache line (R. Pagh and F. F. Rodler, "Cuckoo
  // hashing", 2004; B. Fan et al., "Cuckoo filter: practically better than Bloom", 2014, for the
  // second bucket, which follows from the first and what is stored).
  class Generation {
   public:
    // Holds nothing.
    Generation() = default;
    // For `ghosts`; holds nothing where memory is out.
    explicit Generation(size_t ghosts);

    size_t size() const { return size_; }
    size_t most() const { return most_; }
    size_t bytes() const { return pages_.bytes(); }

    void Prefetch(uint64_t mixed) const;
    // Requires: size() < most().
    void Add(uint64_t mixed);
    bool Remove(uint64_t mixed);
    // Requires: size() > 0.
    void ForgetOldest();

   private:
    static constexpr size_t kSlots = 8;
    struct alignas(64) Bucket {
      uint32_t numbers[kSlots];
      uint32_t prints[kSlots];
    };
    struct Ghost {
      uint32_t number;
      uint32_t print;
    };

    static uint32_t PrintOf(uint64_t mixed) { return static_cast<uint32_t>(mixed >> 32); }
    // Maps 32 random bits to a bucket.
    size_t Scale(uint32_t bits) const {
      return static_cast<size_t>((uint64_t{bits} * bucket_count_) >> 32);
    }
    size_t FirstBucket(uint64_t mixed) const { return Scale(static_cast<uint32_t>(mixed)); }
    // The other bucket of a ghost that is in `bucket`, and back again.
    size_t OtherBucket(size_t bucket, uint32_t print) const;

    bool Alive(uint32_t number) const { return number - oldest_ < next_ - oldest_; }
    // Where the bit of a number is that is alive.
    size_t BitOf(uint32_t number) const;
    // The ghost with this number has left.
    void ClearBit(uint32_t number);
    // Moves `oldest_` on.
    void SkipNumbers(size_t count);
    // Moves `oldest_` on to the oldest ghost that is still there.
    void SkipGone();

    bool PlaceIn(size_t bucket, Ghost ghost);
    void Place(size_t first_bucket, Ghost ghost);
    bool RemoveFrom(size_t bucket, uint32_t print);

    Pages pages_;  // the buckets, then the bits
    Bucket* buckets_ = nullptr;
    uint64_t* bits_ = nullptr;
    size_t bucket_count_ = 0;
    size_t window_ = 0;  // bits: a multiple of 64
    size_t most_ = 0;
    size_t size_ = 0;
    // Numbers in use: oldest_ <= number < next_, of which at most window_. They wrap around; 0,
    // which fresh memory holds, is not given until then.
    uint32_t oldest_ = 1;
    uint32_t next_ = 1;
    size_t oldest_bit_ = 0;
  };

  void TrimTo(size_t count);

  size_t capacity_ = 0;
  Generation older_;  // all in it are older than all in newer_
  Generation newer_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_GHOST_QUEUE_H_
