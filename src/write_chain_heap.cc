// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/write_chain_heap.h"

#include <algorithm>

namespace larder::internal {

void WriteChainHeap::Reserve(size_t chains) {
  if (chains > slots_.capacity()) slots_.reserve(std::max(chains, 2 * slots_.capacity()));
}

void WriteChainHeap::Push(WriteChain* chain) {
  slots_.push_back({});
  Sift(slots_.size() - 1, {.due = chain->due, .chain = chain});
}

void WriteChainHeap::Remove(WriteChain* chain) {
  const size_t index = chain->heap_slot;
  const Slot last = slots_.back();
  slots_.pop_back();
  if (index < slots_.size()) Sift(index, last);
}

void WriteChainHeap::Hasten(int64_t now) {
  // Keeps the order: of two times, the earlier one stays no later than the other.
  for (Slot& slot : slots_) slot.due = std::min(slot.due, now);
}

void WriteChainHeap::Set(size_t index, Slot slot) {
  slots_[index] = slot;
  slot.chain->heap_slot = index;
}

// Puts `slot` where it belongs, from the free place at `index` upwards or downwards.
void WriteChainHeap::Sift(size_t index, Slot slot) {
  for (size_t parent; index > 0 && slot.due < slots_[parent = (index - 1) / 2].due;
       index = parent) {
    Set(index, slots_[parent]);
  }
  for (;;) {
    size_t child = 2 * index + 1;
    if (child + 1 < slots_.size() && slots_[child + 1].due < slots_[child].due) ++child;
    if (child >= slots_.size() || slot.due <= slots_[child].due) break;
    Set(index, slots_[child]);
    index = child;
  }
  Set(index, slot);
}

}  // namespace larder::internal
