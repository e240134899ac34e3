// SPDX-License-Identifier: Apache-2.0
//
// Loaded<V>: what a loader may return, beside a plain value.

#ifndef LARDER_LOADER_H_
#define LARDER_LOADER_H_

#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder {

// A loaded value with what the loader knows about it; for example a ttl that came with an HTTP
// response. A loader for Cache<K, V> is any callable
//   (const K&) -> absl::StatusOr<V>          or
//   (const K&) -> absl::StatusOr<Loaded<V>>.
// An error status is handed to every caller that waits for the key and is not stored.
template <class V>
struct Loaded {
  V value;
  std::optional<absl::Duration> ttl = std::nullopt;       // > 0, as PutOptions::ttl
  std::optional<absl::Duration> idle_ttl = std::nullopt;  // > 0, as PutOptions::idle_ttl
  std::optional<uint64_t> weight = std::nullopt;          // as PutOptions::weight
};

// Loader concept: F can load a V for a K.
template <class F, class K, class V>
concept LoaderFor = std::is_invocable_r_v<absl::StatusOr<V>, F&, const K&> ||
                    std::is_invocable_r_v<absl::StatusOr<Loaded<V>>, F&, const K&>;

}  // namespace larder

#endif  // LARDER_LOADER_H_
