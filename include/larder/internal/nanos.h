// SPDX-License-Identifier: Apache-2.0
//
// Times and durations as the engine keeps them: int64_t nanoseconds.

#ifndef LARDER_INTERNAL_NANOS_H_
#define LARDER_INTERNAL_NANOS_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "larder/internal/node.h"

namespace larder::internal {

// A positive duration; kNever for an infinite one. What is shorter than a nanosecond becomes one,
// so that positive stays positive.
inline int64_t ToNanos(absl::Duration duration) {
  return std::max<int64_t>(1, absl::ToInt64Nanoseconds(duration));  // saturates at kNever
}

// `time` + `nanos`; kNever where that is past the end of time. Requires: nanos >= 0.
inline int64_t SaturatingAdd(int64_t time, int64_t nanos) {
  int64_t sum;
  return nanos == kNever || __builtin_add_overflow(time, nanos, &sum) ? kNever : sum;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_NANOS_H_
