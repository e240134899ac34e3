// SPDX-License-Identifier: Apache-2.0
//
// Loaders: what may be called for a value that isn't in the cache, and what it may return.

#ifndef LARDER_LOADER_H_
#define LARDER_LOADER_H_

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/async_load.h"
#include "larder/load_context.h"
#include "larder/loaded.h"

namespace larder {

namespace internal {

template <class R, class V>
concept LoadOutcome =
    std::convertible_to<R, absl::StatusOr<V>> || std::convertible_to<R, absl::StatusOr<Loaded<V>>>;

template <class F, class K, class V>
concept PlainLoader =
    std::invocable<F&, const K&> && LoadOutcome<std::invoke_result_t<F&, const K&>, V>;

template <class F, class K, class V>
concept ContextLoader = std::invocable < F&,
        const K&, LoadContext<V>
& > &&LoadOutcome<std::invoke_result_t<F&, const K&, LoadContext<V>&>, V>;

}  // namespace internal

// A loader for Cache<K, V> is any callable
//   (const K&) -> absl::StatusOr<V>          or  absl::StatusOr<Loaded<V>>, or
//   (const K&, LoadContext<V>&) -> the same.
// A NotFound status is an answer, and kept where negative_ttl says so; any other error is a
// failure.
template <class F, class K, class V>
concept LoaderFor = internal::PlainLoader<F, K, V> || internal::ContextLoader<F, K, V>;

// One that starts a load, and finishes it later, on whatever thread: see AsyncLoad.
template <class F, class K, class V>
concept AsyncLoaderFor = std::invocable<F&, const K&, AsyncLoad<V>> && !LoaderFor<F, K, V>;

// One that loads many keys in a call: (const std::vector<K>&) -> absl::StatusOr<R>, where R is a
// range of pairs of a key and a value: a map, a vector of pairs. The value may be a V, a Loaded<V>
// or an absl::StatusOr of either. Keys that aren't in it aren't found.
template <class F, class K, class V>
concept BulkLoaderFor = std::invocable < F&,
        const std::vector<K>
& > &&requires(std::invoke_result_t<F&, const std::vector<K>&> result) {
  { result.ok() } -> std::convertible_to<bool>;
  result.status();
  result->begin()->first;
  result->begin()->second;
};

}  // namespace larder

#endif  // LARDER_LOADER_H_
