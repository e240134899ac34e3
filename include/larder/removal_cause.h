// SPDX-License-Identifier: Apache-2.0
//
// RemovalCause: why an entry left a cache.

#ifndef LARDER_REMOVAL_CAUSE_H_
#define LARDER_REMOVAL_CAUSE_H_

#include <cstdint>
#include <string_view>

namespace larder {

enum class RemovalCause : uint8_t {
  kErased,    // Erase, EraseIf, Expire, a Compute that returned nothing, a refresh that brought
              // NotFound; or its tag or prefix was invalidated
  kReplaced,  // a newer value was put under the same key
  kEvicted,   // the cache was over its capacity
  kExpired,   // its ttl or idle_ttl ran out
  kCleared,   // Clear
};

inline constexpr int kRemovalCauses = 5;

// A lower-case word for logs and metrics: "erased", "replaced", ...
constexpr std::string_view RemovalCauseName(RemovalCause cause) {
  constexpr std::string_view kNames[kRemovalCauses] = {"erased", "replaced", "evicted", "expired",
                                                       "cleared"};
  return kNames[static_cast<int>(cause)];
}

}  // namespace larder

#endif  // LARDER_REMOVAL_CAUSE_H_
