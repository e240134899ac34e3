// SPDX-License-Identifier: Apache-2.0
//
// Loaded: what a loader may return, beside a plain value.

#ifndef LARDER_LOADED_H_
#define LARDER_LOADED_H_

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/refresh_after.h"

namespace larder {

// Where a loader had a value from; LoadResult::source says so to the caller.
enum class LoadedFrom {
  kSource,  // what the cache is a cache of
  kRemote,  // another cache, for example a tier that servers share
  kStale,   // another cache, in which it had expired, for want of a newer one
};

// A loaded value with what the loader knows about it; for example a ttl that came with an HTTP
// response. What is set here goes before the options of the call and of the cache.
template <class V>
struct Loaded {
  V value;
  std::optional<absl::Duration> ttl = std::nullopt;          // > 0, as PutOptions::ttl
  std::optional<absl::Duration> idle_ttl = std::nullopt;     // > 0, as PutOptions::idle_ttl
  std::optional<uint64_t> weight = std::nullopt;             // as PutOptions::weight
  std::optional<RefreshAfter> refresh_after = std::nullopt;  // as PutOptions::refresh_after
  std::vector<std::string> tags = {};                        // beside those of the options
  // > 0. The ttl is no longer than this, whatever it is that says what it is: for copies of what
  // has begun its life elsewhere.
  std::optional<absl::Duration> ttl_limit = std::nullopt;
  // It is kept like any other: set ttl or ttl_limit where it is kStale.
  LoadedFrom from = LoadedFrom::kSource;
};

namespace internal {

// From whatever a loader may have: a V, a Loaded<V>, an error, or an absl::StatusOr of either.
template <class V, class R>
absl::StatusOr<Loaded<V>> ToLoaded(R&& result) {
  if constexpr (std::is_convertible_v<R&&, absl::Status>) {
    return absl::Status(std::forward<R>(result));
  } else if constexpr (std::is_convertible_v<R&&, absl::StatusOr<Loaded<V>>>) {
    return std::forward<R>(result);
  } else {
    absl::StatusOr<V> value(std::forward<R>(result));
    if (!value.ok()) return value.status();
    return Loaded<V>{.value = *std::move(value)};
  }
}

}  // namespace internal

}  // namespace larder

#endif  // LARDER_LOADED_H_
