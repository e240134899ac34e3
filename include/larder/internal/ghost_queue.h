// SPDX-License-Identifier: Apache-2.0
//
// GhostQueue: remembers which keys were evicted lately, in about ten bytes each.

#ifndef LARDER_INTERNAL_GHOST_QUEUE_H_
#define LARDER_INTERNAL_GHOST_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

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
//
// The table is larger than the processor's caches, so nothing here waits for it: an operation
// starts to fetch what it needs, and is done by the next one.
class GhostQueue {
 public:
  // Ghosts are numbered from `first_number` on, by 32 bits that wrap around.
  explicit GhostQueue(uint32_t first_number = 1) : first_number_(first_number) {}
  GhostQueue(const GhostQueue&) = delete;
  GhostQueue& operator=(const GhostQueue&) = delete;

  // How many to remember from now on; what is too much goes at the next Trim. O(1). Where it has to
  // grow again before its first table is empty, that is forgotten. Where it can't grow, another
  // capacity tries again.
  void SetCapacity(size_t capacity) {
    if (capacity != capacity_) Resize(capacity);
  }

  // Adds the newest. There may be one more than the capacity, until Trim: whoever evicts to make
  // room for a key can thus ask for that key after the eviction as if he had asked before.
  void Add(uint64_t fingerprint);

  // Starts to fetch what RemoveExpected will read.
  void Expect(uint64_t fingerprint);
  // Whether the fingerprint last expected is there now; it is then taken out.
  bool RemoveExpected();
  // Both at once.
  bool Remove(uint64_t fingerprint) {
    Expect(fingerprint);
    return RemoveExpected();
  }

  // Forgets the oldest, down to the capacity.
  void Trim() {
    if (older_ != nullptr) [[unlikely]]
      TrimOlder();
    while (newer_.size() > capacity_) newer_.ForgetOldest();
  }

  size_t size() const { return newer_.size() + (older_ != nullptr ? older_->size() : 0); }
  size_t capacity() const { return capacity_; }
  // Of address space, all of which will be used.
  size_t bytes() const { return newer_.bytes() + (older_ != nullptr ? older_->bytes() : 0); }

 private:
  // A hash table of fingerprints that also knows their order. Each ghost is numbered as it comes;
  // one whose number is below `oldest_` is dead, and its slot free, without anybody having to find
  // it. Those that left before their turn have a bit, by which the oldest is found.
  //
  // Collisions: cuckoo hashing with buckets of a cache line (R. Pagh and F. F. Rodler, "Cuckoo
  // hashing", 2004; B. Fan et al., "Cuckoo filter: practically better than Bloom", 2014, for the
  // second bucket, which follows from the first and what is stored). Of its two buckets a new ghost
  // goes to the emptier one, so that few have to move. What is declared inline is so in
  // ghost_queue.cc, its only user.
  class Generation {
   public:
    // Holds nothing.
    Generation() = default;
    // For `ghosts`; holds nothing where memory is out.
    Generation(size_t ghosts, uint32_t first_number);

    // What is kept of a fingerprint, and the buckets where.
    struct Places {
      uint32_t print = 0;
      uint32_t buckets[2] = {};
    };
    inline Places PlacesOf(uint64_t mixed) const;
    inline void Prefetch(const Places& places) const;

    size_t size() const { return next_ - oldest_ - gone_; }
    size_t most() const { return most_; }
    size_t bytes() const { return pages_.bytes(); }

    // Forgets the oldest where it is full.
    inline void Add(uint64_t mixed);
    // Puts the newest in its bucket, if it isn't there yet.
    inline void PlaceNewest();
    inline bool Remove(const Places& places);
    // Requires: size() > 0.
    void ForgetOldest() {
      ++oldest_;
      if (gone_ > 0) SkipGone();
    }

   private:
    struct Bucket;
    struct Ghost {
      uint32_t number;
      uint32_t print;
    };

    inline Bucket* Buckets() const;
    // One bit for each of window_ numbers.
    inline uint64_t& WordOf(size_t bit) const;
    // Maps 32 random bits to a bucket.
    uint32_t Scale(uint32_t bits) const {
      return static_cast<uint32_t>((uint64_t{bits} * bucket_count_) >> 32);
    }
    // The other bucket of a ghost that is in this one, and back again.
    inline uint32_t OtherBucket(uint32_t bucket, uint32_t print) const;
    // Makes room for a ghost, in a bucket that is full as its other one is.
    void Displace(uint32_t bucket, Ghost ghost);

    bool Alive(uint32_t number) const { return number - oldest_ < next_ - oldest_; }
    // The ghost leaves before its turn. False where it has already. Requires: Alive(number).
    bool Leave(uint32_t number);
    // Moves `oldest_` on to the oldest ghost that is still there, or to `next_`.
    void SkipGone();
    // The bit of a number that is alive.
    size_t BitOf(uint32_t number) const {
      const uint32_t bit = number - bits_begin_;
      return bit < window_ ? bit : bit - window_;
    }

    Pages pages_;  // the buckets, then the bits
    uint32_t bucket_count_ = 0;
    uint32_t most_ = 0;
    uint32_t window_ = 0;  // a multiple of 64

    // Numbers in use: oldest_ <= number < next_, of which at most window_. They wrap around; 0,
    // which fresh memory holds, is not given until then. The oldest one's ghost is there.
    uint32_t oldest_ = 1;
    uint32_t next_ = 1;
    uint32_t gone_ = 0;        // numbers in use whose ghosts have left: those whose bits are set
    uint32_t bits_begin_ = 0;  // the number whose bit is the first, where any is set

    bool newest_unplaced_ = false;
    Places newest_;  // where it is unplaced
  };

  void Resize(size_t capacity);
  void TrimOlder();
  bool RemoveFromOlder();
  void DropOlderIfEmpty() {
    if (older_->size() == 0) older_.reset();
  }

  Generation newer_;
  std::unique_ptr<Generation> older_;  // all in it are older than all in newer_; not empty
  size_t capacity_ = 0;
  uint64_t expected_ = 0;  // mixed
  Generation::Places expected_places_;
  const uint32_t first_number_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_GHOST_QUEUE_H_
