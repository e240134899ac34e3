// SPDX-License-Identifier: Apache-2.0
//
// How abseil's and other libraries' maps hash and compare keys here: as larder does.

#ifndef LARDER_BENCH_SUPPORT_ABSEIL_INDEX_H_
#define LARDER_BENCH_SUPPORT_ABSEIL_INDEX_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "bench/support/key_sequences.h"

namespace larder::bench {

// absl::Hash; takes std::string_view also where abseil has a string_view of its own.
template <class K>
struct KeyHash : absl::Hash<K> {};

template <>
struct KeyHash<std::string> {
  using is_transparent = void;
  size_t operator()(std::string_view key) const {
    return absl::Hash<absl::string_view>{}(AbseilView(key));
  }
};

template <class K, class Mapped>
using FlatIndex = absl::flat_hash_map<K, Mapped, KeyHash<K>, std::equal_to<>>;

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_ABSEIL_INDEX_H_
