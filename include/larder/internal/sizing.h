// SPDX-License-Identifier: Apache-2.0
//
// Sizing: how a cache is cut into parts, decided once from its options.

#ifndef LARDER_INTERNAL_SIZING_H_
#define LARDER_INTERNAL_SIZING_H_

#include <cstddef>
#include <cstdint>

#include "larder/options.h"

namespace larder::internal {

struct Sizing {
  int stripes_log2;         // stripes: 1 << this
  int chunk_log2;           // slots in a chunk of the slab: 1 << this
  size_t most_nodes;        // address space is reserved for as many
  size_t full_nodes;        // nodes in a full cache; 0: not known
  size_t stripe_entries;    // entries a stripe is expected to hold when full; 0: not known
  uint64_t reclaim_weight;  // removed nodes of one stripe are reclaimed once they weigh this

  // `weighed`: the options have a weigher, so that capacity isn't a number of entries.
  static Sizing For(const CacheOptions& options, bool weighed, size_t node_size);

  size_t stripe_count() const { return size_t{1} << stripes_log2; }

  // The size to make a table that has to grow: twice the old one, but no larger than a full stripe
  // needs where that is known.
  size_t GrownTable(size_t old_entries) const;
  size_t FirstTable() const;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SIZING_H_
