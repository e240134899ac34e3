// SPDX-License-Identifier: Apache-2.0
//
// PendingWrite: a write on its way to the store, as write-behind sees it.

#ifndef LARDER_INTERNAL_PENDING_WRITE_H_
#define LARDER_INTERNAL_PENDING_WRITE_H_

#include <cstdint>

namespace larder::internal {

// What is written is known to the class that derives from this one. Held by
// std::shared_ptr<const PendingWrite>, and read by many threads: nothing of it changes once it was
// queued.
class PendingWrite {
 public:
  // `hash`: of the key, equal for equal keys. `bytes`: what it counts for in
  // WriteBehindOptions::max_bytes.
  PendingWrite(uint64_t hash, uint64_t bytes) : hash_(hash), bytes_(bytes) {}
  virtual ~PendingWrite() = default;
  PendingWrite(const PendingWrite&) = delete;
  PendingWrite& operator=(const PendingWrite&) = delete;

  uint64_t hash() const { return hash_; }
  uint64_t bytes() const { return bytes_; }

  // WriteId::sequence, the journal's or WriteBehind::NextSequence(). To be set before it is queued.
  uint64_t sequence() const { return sequence_; }
  void set_sequence(uint64_t sequence) { sequence_ = sequence; }

  // Whether both are of one key. Called only for equal hashes, under the engine's lock: compares
  // keys and does nothing else. If it throws, the operation that asked throws, and did nothing.
  virtual bool SameKey(const PendingWrite& other) const = 0;

 private:
  const uint64_t hash_;
  const uint64_t bytes_;
  uint64_t sequence_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_PENDING_WRITE_H_
