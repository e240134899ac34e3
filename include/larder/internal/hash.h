// SPDX-License-Identifier: Apache-2.0
//
// The default hash and equality of keys, and how a hash is divided among the cache's parts.

#ifndef LARDER_INTERNAL_HASH_H_
#define LARDER_INTERNAL_HASH_H_

#include <concepts>
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

// A number is its own hash: HashBits does the mixing.
template <std::integral K>
struct DefaultHash<K> {
  size_t operator()(K key) const { return static_cast<size_t>(key); }
};

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
  // One multiplication to 128 bits and the exclusive or of its halves: the low half spreads what
  // differs in a hash's low bits, the high half what differs in its high ones. The multiplier is
  // that of CityHash (G. Pike and J. Alakuijala, 2011).
  explicit HashBits(size_t user_hash) {
    const auto product =
        static_cast<Wide>(user_hash ^ 0x9e3779b97f4a7c15) * Wide{0x9ddfea08eb382d69};
    bits_ = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  uint64_t all() const { return bits_; }

  // 16 bits to choose a stripe by.
  size_t High() const { return bits_ >> 48; }

  // Where in a stripe's table; kept in the node, for it to be found from there.
  uint32_t Home() const { return static_cast<uint32_t>(bits_); }

  // What the table keeps beside each index; never 0, which marks a free slot there.
  uint8_t Tag() const {
    const auto tag = static_cast<uint8_t>(bits_ >> 32);
    return static_cast<uint8_t>(tag + (tag == 0 ? 1 : 0));
  }

 private:
  __extension__ using Wide = unsigned __int128;

  uint64_t bits_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_HASH_H_
