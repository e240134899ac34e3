// SPDX-License-Identifier: Apache-2.0
//
// FullFence: a change is over when all can see it.

#ifndef LARDER_INTERNAL_FULL_FENCE_H_
#define LARDER_INTERNAL_FULL_FENCE_H_

#include <atomic>

#include "absl/base/config.h"

namespace larder::internal {

// Nothing that the calling thread reads from here on was read before all it has written was there
// for others to see. What a release store leaves open: two threads that each change one entry and
// then read the other's could both miss the other's change, though it was made before they looked.
inline void FullFence() {
#if defined(ABSL_HAVE_THREAD_SANITIZER)
  // ThreadSanitizer knows no fences.
  std::atomic<int> written{0};
  written.exchange(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_FULL_FENCE_H_
