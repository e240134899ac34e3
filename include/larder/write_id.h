// SPDX-License-Identifier: Apache-2.0
//
// WriteId: names one write of one cache.

#ifndef LARDER_WRITE_ID_H_
#define LARDER_WRITE_ID_H_

#include <compare>
#include <cstdint>

namespace larder {

// An idempotency key: a write that is tried again, or replayed from a journal, has the id that it
// had. Writers are numbered at random, once for each journal or, without one, for each TieredCache.
// Of two writes of one key by one writer the later one has the higher sequence; no sequence is used
// for two writes, also not after a crash.
struct WriteId {
  uint64_t writer = 0;
  uint64_t sequence = 0;  // counts from 1, with gaps

  friend auto operator<=>(const WriteId&, const WriteId&) = default;
};

}  // namespace larder

#endif  // LARDER_WRITE_ID_H_
