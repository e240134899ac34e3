// SPDX-License-Identifier: Apache-2.0
//
// NodeOwner: who frees a node that was pinned when it left the cache.

#ifndef LARDER_INTERNAL_NODE_OWNER_H_
#define LARDER_INTERNAL_NODE_OWNER_H_

#include <atomic>
#include <cstdint>

#include "larder/internal/node.h"

namespace larder::internal {

// The part of a cache that outlives it for as long as handles are held.
//
// A node that is reclaimed while it is pinned becomes an orphan: it is marked, and whoever drops
// its last pin frees it. Once a node can be reclaimed no reader can find it, so its pins only go
// down.
class NodeOwner {
 public:
  // Drops one pin of `node`. Thread-safe; also after the cache is gone.
  void Unpin(NodeIndex index, NodeHeader& node) {
    const uint32_t before = node.state.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & NodeHeader::kPins) == 1 && (before & NodeHeader::kOrphaned) != 0) {
      FreeOrphan(index);
    }
  }

 protected:
  virtual ~NodeOwner() = default;

  // Whether a node that no reader can hold may be freed now. If not, it is pinned, and FreeOrphan
  // is called for it once it no longer is.
  bool MayFree(NodeHeader& node) {
    if ((node.state.load(std::memory_order_acquire) & NodeHeader::kPins) == 0) return true;
    references_.fetch_add(1, std::memory_order_relaxed);
    const uint32_t before = node.state.fetch_or(NodeHeader::kOrphaned, std::memory_order_acq_rel);
    if ((before & NodeHeader::kPins) != 0) return false;
    // The last pin went in between, unaware.
    references_.fetch_sub(1, std::memory_order_relaxed);
    return true;
  }

  // For a node that was never in the cache and is pinned once from the start, and for whoever else
  // needs this object to stay.
  void AddReference() { references_.fetch_add(1, std::memory_order_relaxed); }

  // Destroys the entry and gives its slot back; ends with DropReference().
  virtual void FreeOrphan(NodeIndex index) = 0;

  // Called for each orphan freed, for each AddReference, and once for the cache itself.
  void DropReference() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  std::atomic<int64_t> references_{1};  // the cache, the orphans, and others
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_NODE_OWNER_H_
