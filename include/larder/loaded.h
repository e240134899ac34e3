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
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/load_result.h"
#include "larder/refresh_after.h"

namespace larder {

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
  // Where the loader had it from: kLoaded, the source itself; kRemote, another cache; kStale, a
  // cache where it had expired. LoadResult says so to the caller; kStale also to those who joined.
  LoadSource source = LoadSource::kLoaded;
};

namespace internal {

// InvalidArgument where it isn't one that a loader can have a value from.
inline absl::Status CheckLoadedFrom(LoadSource source) {
  if (source == LoadSource::kLoaded || source == LoadSource::kRemote ||
      source == LoadSource::kStale) [[likely]] {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "Loaded::source must be loaded, remote or stale, is ", std::string(LoadSourceName(source))));
}

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
