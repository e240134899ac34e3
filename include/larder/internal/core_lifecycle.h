// SPDX-License-Identifier: Apache-2.0
//
// Core's beginning and end. See core.h.

#ifndef LARDER_INTERNAL_CORE_LIFECYCLE_H_
#define LARDER_INTERNAL_CORE_LIFECYCLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "larder/internal/core.h"
#include "larder/internal/core_clear.h"
#include "larder/internal/core_removal.h"
#include "larder/internal/core_walk.h"

namespace larder::internal {

template <class K, class V, class P, class H, class E>
Core<K, V, P, H, E>::Core(const CacheOptions& options, const Sizing& sizing, Weigher weigher,
                          RemovalListener on_removal)
    : clock_(options.clock),
      ttl_(ToNanos(options.ttl)),
      idle_ttl_(ToNanos(options.idle_ttl)),
      ttl_jitter_(options.ttl_jitter),
      load_settings_(options),
      always_terms_(load_settings_.needs_terms() || (StringLike<K> && !options.prefixes.empty())),
      sizing_(sizing),
      weigher_(std::move(weigher)),
      on_removal_(std::move(on_removal)),
      tags_(options.prefixes),
      slab_(sizeof(NodeT), sizing.chunk_log2, sizing.most_nodes, kPrefix, sizing.full_nodes),
      stripe_mask_(stripe_count() - 1),
      fronts_(new Front[stripe_count()]),
      stripes_(std::allocator<StripeT>().allocate(stripe_count())),
      capacity_(options.capacity) {
  for (size_t i = 0; i < stripe_count(); ++i) {
    std::construct_at(&stripes_[i], &fronts_[i], &slab_, static_cast<uint32_t>(i));
  }
}

template <class K, class V, class P, class H, class E>
Core<K, V, P, H, E>::~Core() {
  std::destroy_n(stripes_, stripe_count());
  std::allocator<StripeT>().deallocate(stripes_, stripe_count());
}

template <class K, class V, class P, class H, class E>
bool Core<K, V, P, H, E>::SetUp() {
  for (StripeT& stripe : stripes()) {
    MutexLock lock(&stripe.mutex);
    if (!stripe.table.StartAnew(sizing_.FirstTable())) return false;
  }
  return true;
}

template <class K, class V, class P, class H, class E>
void Core<K, V, P, H, E>::Close() {
  // There are no readers any more, so nothing has to wait.
  for (StripeT& stripe : stripes()) {
    NodeChain all;
    {
      MutexLock lock(&stripe.mutex);
      if constexpr (kNothingToDestroy) {
        // Pinned slots go on without the cache; among those that are free, too, some are pinned.
        stripe.slots.ForEachSlotAndCleared([this](NodeIndex, NodeHeader& node) {
          const uint32_t state = node.state.load(std::memory_order_relaxed);
          if ((state & NodeHeader::kOrphaned) == 0) this->MayFree(node);
        });
        continue;
      }
      CollectCleared(stripe, SIZE_MAX);
      all = stripe.limbo.TakeAll();
      all.Append(slab_, stripe.cleared);
      if (!stripe.table.exists()) continue;  // Create has failed
      stripe.table.ForEach([&](NodeIndex index) { all.Append(slab_, index, 0); });
    }
    FreeNodes(stripe, all);
  }
  this->DropReference();
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_LIFECYCLE_H_
