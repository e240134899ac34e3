// SPDX-License-Identifier: Apache-2.0
//
// BackoffNanos: how long to wait before what failed is tried again.

#ifndef LARDER_INTERNAL_BACKOFF_H_
#define LARDER_INTERNAL_BACKOFF_H_

#include <cstdint>

namespace larder::internal {

// After the nth failure in a row first * 2^(n-1), at most `max`, of which a random part of at most
// half is taken off, so that those who failed together don't all come back together ("equal jitter"
// of M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). All values within
// that half are equally likely, given 64 random bits. In ns, kNever being infinite.
//
// Requires: 0 < first <= max, failures >= 1.
int64_t BackoffNanos(int64_t first, int64_t max, uint32_t failures, uint64_t random);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_BACKOFF_H_
