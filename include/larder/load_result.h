// SPDX-License-Identifier: Apache-2.0
//
// LoadResult: a value with where it came from.

#ifndef LARDER_LOAD_RESULT_H_
#define LARDER_LOAD_RESULT_H_

#include <string_view>

#include "absl/time/time.h"

namespace larder {

enum class LoadSource {
  kMemory,     // a live entry of the cache
  kJoined,     // a load that another caller had started
  kLoaded,     // this call's own load
  kRefreshed,  // the same, of a value that replaced, or confirmed, one that had been kept
  kStale,      // a value that has expired, returned for want of a newer one
  kRemote,     // this call's own load, which found it in another cache (LoadedFrom), whether it
               // replaced one or not
};

// A lower-case word for logs and metrics: "memory", "joined", ...
constexpr std::string_view LoadSourceName(LoadSource source) {
  constexpr std::string_view kNames[] = {"memory",    "joined", "loaded",
                                         "refreshed", "stale",  "remote"};
  return kNames[static_cast<int>(source)];
}

// What GetOrLoadResult returns.
template <class V>
struct LoadResult {
  V value;
  LoadSource source = LoadSource::kMemory;
  // Since the value was stored, or confirmed as not modified. Infinite where it isn't known: for
  // entries stored by a call that returns no LoadResult, and without tags, refresh or stale
  // windows; and for a value that a loader had from where it had expired.
  absl::Duration age = absl::ZeroDuration();
};

}  // namespace larder

#endif  // LARDER_LOAD_RESULT_H_
