// SPDX-License-Identifier: Apache-2.0
//
// Loaders: what may be called for a value that isn't in the cache, and what it may return.

#ifndef LARDER_LOADER_H_
#define LARDER_LOADER_H_

#include <concepts>
#include <ranges>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

template <class R, class K, class V>
concept BulkOutcome = requires(R& result) {
  { result.ok() } -> std::convertible_to<bool>;
  { result.status() } -> std::convertible_to<absl::Status>;
  { (*std::ranges::begin(*result)).first } -> std::convertible_to<const K&>;
  requires LoadOutcome<decltype(std::move((*std::ranges::begin(*result)).second)), V>;
};

template <class F, class K, class V>
concept PlainBulkLoader = std::invocable < F&,
        const std::vector<K>
& > &&BulkOutcome<std::invoke_result_t<F&, const std::vector<K>&>, K, V>;

template <class F, class K, class V>
concept StoppableBulkLoader = std::invocable < F&,
        const std::vector<K>
&, std::stop_token >
       &&BulkOutcome<std::invoke_result_t<F&, const std::vector<K>&, std::stop_token>, K, V>;

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

// One that loads many keys in a call:
//   (const std::vector<K>&) -> absl::StatusOr<R>, or
//   (const std::vector<K>&, std::stop_token) -> the same, told when nobody wants any of them,
// where R is a range of pairs of a key and a value: a map, a vector of pairs. The value may be a V,
// a Loaded<V> or an absl::StatusOr of either. Keys that aren't in it aren't found; those that
// weren't asked for are ignored, as is all but the first of equal ones.
template <class F, class K, class V>
concept BulkLoaderFor =
    internal::PlainBulkLoader<F, K, V> || internal::StoppableBulkLoader<F, K, V>;

}  // namespace larder

#endif  // LARDER_LOADER_H_
