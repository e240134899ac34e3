// SPDX-License-Identifier: Apache-2.0
//
// WriteChainHeap: chains by the time at which they are due.

#ifndef LARDER_INTERNAL_WRITE_CHAIN_HEAP_H_
#define LARDER_INTERNAL_WRITE_CHAIN_HEAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "larder/internal/write_chain.h"

namespace larder::internal {

// A binary heap on WriteChain::due, in which each chain knows its slot, so that it can leave from
// anywhere. Of chains due at the same time any may be first. A chain is in one heap at most.
//
// Not thread-safe. Push and Remove are O(log n).
class WriteChainHeap {
 public:
  bool empty() const { return slots_.empty(); }
  size_t size() const { return slots_.size(); }

  // Room for so many; amortised O(1) a chain. std::bad_alloc: nothing has changed.
  void Reserve(size_t chains);

  // Requires: there is room.
  void Push(WriteChain* chain);

  // The one that is due first. Requires: not empty.
  WriteChain* top() const { return slots_.front().chain; }
  int64_t next_due() const { return slots_.front().due; }

  // Requires: it is in this heap.
  void Remove(WriteChain* chain);

  // Whatever is due after `now` is due at `now`. O(n), but passes over the times alone, 16 bytes
  // each.
  void Hasten(int64_t now);

  void Clear() { slots_.clear(); }

 private:
  struct Slot {
    int64_t due;
    WriteChain* chain;
  };

  void Set(size_t index, Slot slot);
  void Sift(size_t index, Slot slot);

  std::vector<Slot> slots_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_CHAIN_HEAP_H_
