// SPDX-License-Identifier: Apache-2.0
//
// Loaded: what a loader may return, beside a plain value.

#ifndef LARDER_LOADED_H_
#define LARDER_LOADED_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
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
};

}  // namespace larder

#endif  // LARDER_LOADED_H_
