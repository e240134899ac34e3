// SPDX-License-Identifier: Apache-2.0
//
// CacheOptions, PutOptions, LoadOptions: plain aggregates, checked by Validate().

#ifndef LARDER_OPTIONS_H_
#define LARDER_OPTIONS_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/clock.h"

namespace larder {

struct CacheOptions {
  // REQUIRED, > 0. The most that all entries together may weigh. An entry weighs 1 unless a
  // weigher or PutOptions::weight says otherwise, so without those it is a number of entries.
  uint64_t capacity = 0;

  // Time to live, counted from the write of an entry. > 0; infinite: entries don't expire.
  absl::Duration ttl = absl::InfiniteDuration();

  // Time to live, counted from the last access (hit or write) of an entry. > 0. Where both are
  // set, whichever runs out first ends the entry.
  absl::Duration idle_ttl = absl::InfiniteDuration();

  // 0..1. Each ttl is shortened by a random share of up to this much, so that entries written
  // together don't expire together. Doesn't apply to idle_ttl.
  double ttl_jitter = 0;

  // Number of independently locked parts, rounded up to a power of two; at most 4096. 0 chooses
  // it from the capacity and the cores: a cache too small to stripe well gets one stripe, and
  // its eviction order is then exact over the whole cache. With more, it is exact per stripe.
  int stripes = 0;

  // Must outlive the cache. nullptr: Clock::Monotonic().
  const Clock* clock = nullptr;

  // How often a background thread reclaims expired entries, > 0. Infinite: no thread. Writers
  // reclaim as they go, so only a cache that is idle for long, and holds entries that expire,
  // needs one.
  absl::Duration maintenance_interval = absl::InfiniteDuration();

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const;
};

// What one Put may say about its entry. A field that isn't set takes the cache's default.
struct PutOptions {
  std::optional<absl::Duration> ttl = std::nullopt;  // > 0; infinite: this entry doesn't expire
  std::optional<absl::Duration> idle_ttl = std::nullopt;  // > 0; infinite: not by idleness
  std::optional<uint64_t> weight = std::nullopt;          // instead of the weigher's answer

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const {
    return ttl.has_value() || idle_ttl.has_value() ? ValidateTtls() : absl::OkStatus();
  }

 private:
  absl::Status ValidateTtls() const;
};

// What one GetOrLoad may say about the entry that it stores. What the loader itself returns in
// Loaded<V> goes before these, and these before the cache's defaults.
struct LoadOptions {
  std::optional<absl::Duration> ttl = std::nullopt;       // as in PutOptions
  std::optional<absl::Duration> idle_ttl = std::nullopt;  // as in PutOptions
  std::optional<uint64_t> weight = std::nullopt;          // as in PutOptions

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const;
};

}  // namespace larder

#endif  // LARDER_OPTIONS_H_
