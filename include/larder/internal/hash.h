// SPDX-License-Identifier: Apache-2.0
//
// The default hash and equality of keys, and how a hash is divided among the cache's parts.

#ifndef LARDER_INTERNAL_HASH_H_
#define LARDER_INTERNAL_HASH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace larder::internal {

// std::string and views of strings; not other types that convert to one, whose equality may differ.
template <class K>
concept StringLike = std::is_convertible_v<const K&, std::string_view> && requires {
  typename K::traits_type;
};

// absl::Hash; transparent for strings, so that a std::string_view finds a std::string key.
template <class K>
struct DefaultHash : absl::Hash<K> {};

template <StringLike K>
struct DefaultHash<K> {
  using is_transparent = void;
  size_t operator()(std::string_view key) const {
    return absl::Hash<absl::string_view>{}(absl::string_view(key.data(), key.size()));
  }
};

template <class K>
struct DefaultEq : std::equal_to<K> {};

template <StringLike K>
struct DefaultEq<K> {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const { return a == b; }
};

// A key's 64 hash bits, spread again: users bring hashes as weak as the identity, and each part of
// a cache looks at other bits.
class HashBits {
 public:
  // Two rounds of multiply and shift, with D. Stafford's constants for splitmix64: one round leaves
  // patterns where keys are, say, multiples of a power of two and the hash is the identity.
  explicit HashBits(size_t user_hash) : bits_(user_hash + 0x9e3779b97f4a7c15) {
    bits_ = (bits_ ^ (bits_ >> 30)) * 0xbf58476d1ce4e5b9;
    bits_ = (bits_ ^ (bits_ >> 27)) * 0x94d049bb133111eb;
    bits_ ^= bits_ >> 31;
  }

  uint64_t all() const { return bits_; }

  // Which of `1 << log2` stripes. Requires: log2 < 16.
  size_t Stripe(int log2) const { return (bits_ >> 48) & ((size_t{1} << log2) - 1); }

  // Where in a stripe's table; kept in the node, for it to be found from there.
  uint32_t Home() const { return static_cast<uint32_t>(bits_); }

  // What the table keeps beside each index; never 0, which marks a free slot there.
  uint8_t Tag() const {
    const auto tag = static_cast<uint8_t>(bits_ >> 32);
    return tag == 0 ? 1 : tag;
  }

 private:
  uint64_t bits_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_HASH_H_
