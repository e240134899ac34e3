// SPDX-License-Identifier: Apache-2.0
//
// CoreTraits: what the types of keys, values and policies allow a cache to do more simply.

#ifndef LARDER_INTERNAL_CORE_TRAITS_H_
#define LARDER_INTERNAL_CORE_TRAITS_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/base/config.h"
#include "larder/internal/epoch.h"
#include "larder/internal/hash.h"
#include "larder/internal/node.h"
#include "larder/internal/value_access.h"

namespace larder::internal {

template <class K, class V, class PolicyT, class Hash, class Eq>
struct CoreTraits {
  using NodeT = Node<K, V>;

  // Whether a key's hash is our own code and quicker made than kept: no user's hash runs under a
  // stripe's lock.
  static constexpr bool kCheapHash = std::is_integral_v<K> && std::is_same_v<Hash, DefaultHash<K>>;
  // Bytes before each node: nothing, where nothing that is kept there is needed.
  static constexpr size_t kPrefix =
      kCheapHash && !PolicyT::kLinked ? 0 : std::max(sizeof(NodePrefix), alignof(NodeT));
  // Whether finding a key runs no code but ours and the standard library's.
  static constexpr bool kPlainKey =
      (std::is_arithmetic_v<K> || std::is_same_v<K, std::string> ||
       std::is_same_v<K, std::string_view>)&&std::is_same_v<Hash, DefaultHash<K>> &&
      std::is_same_v<Eq, DefaultEq<K>>;
  // Entries that need no destructor aren't looked at when they are reclaimed, but when their slot
  // is used again. AddressSanitizer wants to be told of each node's end.
#if defined(ABSL_HAVE_ADDRESS_SANITIZER)
  static constexpr bool kNothingToDestroy = false;
#else
  static constexpr bool kNothingToDestroy =
      std::is_trivially_destructible_v<K> && std::is_trivially_destructible_v<V>;
#endif
  // Whether of keys that compare equal one is as good as the other, for whatever a user does.
  static constexpr bool kEqualKeysAreTheSame =
      (std::is_integral_v<K> || std::is_same_v<K, std::string>)&&std::is_same_v<Eq, DefaultEq<K>>;
  using Access = ValueAccess<V, kEqualKeysAreTheSame>;
  // Tells a guard whether code of the user's runs inside it.
  struct Nothing {};
  template <bool kRuns>
  using UserCode = std::conditional_t<kRuns, NotQuick, Nothing>;
  // A number by value: a key whose address is taken has to be in memory.
  template <class Q>
  using KeyParameter = std::conditional_t<std::is_arithmetic_v<Q>, const Q, const Q&>;
  static_assert(alignof(NodeT) <= 64,
                "keys and values aligned to more than a line aren't supported");
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_TRAITS_H_
