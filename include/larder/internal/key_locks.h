// SPDX-License-Identifier: Apache-2.0
//
// KeyLocks: one lock for each key, of keys without end.

#ifndef LARDER_INTERNAL_KEY_LOCKS_H_
#define LARDER_INTERNAL_KEY_LOCKS_H_

#include <cstddef>
#include <cstdint>
#include <memory>

namespace larder::internal {

// Makes the writes of a key follow each other, and lets those of other keys go on beside them, for
// as long as a write to a database takes. Keys are told apart by 64 bits of hash; two that share
// them wait for each other, which costs time and nothing else.
//
// O(1); a lock that is free costs a short critical section to take and one to give back. Who waits
// sleeps. Not fair.
//
// Thread safety: all methods may be called from any thread.
class KeyLocks {
 public:
  KeyLocks();
  ~KeyLocks();
  KeyLocks(const KeyLocks&) = delete;
  KeyLocks& operator=(const KeyLocks&) = delete;

  // Waits until who holds the lock of a hash now, if anybody but the calling thread does, has
  // released it; not for who takes it then.
  void Await(uint64_t hash);

  // Holds the lock of a hash for the scope it lives in. Waits until others have released it, unless
  // `waits` is false.
  class Hold {
   public:
    Hold(KeyLocks& locks, uint64_t hash, bool waits = true);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    // False where another thread has it and this one doesn't wait, or where the calling thread
    // holds this lock already: it would wait for itself.
    bool held() const { return held_; }

   private:
    KeyLocks& locks_;
    const uint64_t hash_;
    bool held_;
  };

 private:
  // Enough for threads that write different keys to meet rarely, even with many processors.
  static constexpr size_t kShards = 64;
  struct Shard;

  Shard& ShardOf(uint64_t hash) const;

  const std::unique_ptr<Shard[]> shards_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_KEY_LOCKS_H_
