// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/backoff.h"

#include <algorithm>

namespace larder::internal {

int64_t BackoffNanos(int64_t first, int64_t max, uint32_t failures, uint64_t random) {
  const uint32_t doublings = std::min<uint32_t>(failures - 1, 63);
  const int64_t longest = first > (max >> doublings) ? max : first << doublings;
  const auto half = static_cast<uint64_t>(longest / 2);
  return longest - static_cast<int64_t>(random % (half + 1));
}

}  // namespace larder::internal
