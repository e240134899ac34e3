// SPDX-License-Identifier: Apache-2.0
//
// ValueAccess: reading and writing values that are overwritten while others read them.

#ifndef LARDER_INTERNAL_VALUE_ACCESS_H_
#define LARDER_INTERNAL_VALUE_ACCESS_H_

#include <atomic>
#include <cstring>
#include <type_traits>

namespace larder::internal {

// A put over an entry makes a new node, since readers may be looking at the old value. Values that
// the processor reads and writes as a whole can do without: they are overwritten where they are.
// `kEqualKeysAreTheSame`: otherwise the put's own key has to come in the place of the old one, too.
template <class V, bool kEqualKeysAreTheSame>
struct ValueAccess {
  static constexpr bool kOverwritable =
      kEqualKeysAreTheSame && std::is_trivially_copyable_v<V> && std::is_copy_constructible_v<V> &&
      std::is_copy_assignable_v<V> &&
      (std::has_unique_object_representations_v<V> || std::is_floating_point_v<V>)&&sizeof(V) <=
          sizeof(void*) &&
      alignof(V) == sizeof(V);

  // What a reader may look at: a copy, where the value may be overwritten meanwhile.
  using Seen = std::conditional_t<kOverwritable, const V, const V&>;

  // The value, as of one moment. From any thread.
  static Seen Load(const V& value) {
    if constexpr (kOverwritable) {
      return std::atomic_ref<V>(const_cast<V&>(value)).load(std::memory_order_acquire);
    } else {
      return value;
    }
  }

  // Whether both are the same, bit for bit. Requires: overwritable, and nobody is writing.
  static bool Same(const V& a, const V& b) { return std::memcmp(&a, &b, sizeof(V)) == 0; }

  // Requires: overwritable, and no handle's.
  static void Store(V& value, const V& replacement) {
    std::atomic_ref<V>(value).store(replacement, std::memory_order_release);
  }
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_VALUE_ACCESS_H_
