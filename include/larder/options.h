// SPDX-License-Identifier: Apache-2.0
//
// CacheOptions, PutOptions, LoadOptions: plain aggregates, checked by Validate().

#ifndef LARDER_OPTIONS_H_
#define LARDER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/circuit_breaker_options.h"
#include "larder/clock.h"
#include "larder/refresh_after.h"

namespace larder {

class Executor;

// What becomes of a load that runs past its caller's hard_timeout, where nobody else waits for it.
enum class AfterTimeout {
  kGoOn,     // it goes on, and what it brings is stored
  kAbandon,  // it is told to stop, what it brings is dropped, and the next caller starts anew
};

// What becomes of loads that others than a caller's thread run when the cache is destroyed. Those
// that haven't begun are dropped either way, and their callbacks get a Cancelled error.
enum class LoadsAtClose {
  // The destructor tells them to stop, and waits until their loaders have returned, and those that
  // are asynchronous are finished; callbacks get what they bring. So it must not run on a thread
  // that
  // these need: one of an executor that has no other, say.
  kWait,
  // It tells them to stop, and doesn't wait: what loaders refer to must live on. Callbacks get a
  // Cancelled error.
  kAbandon,
};

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

  // Must outlive the cache. nullptr: Clock::Monotonic(). On a clock of your own, what has to happen
  // at a time without a call that asks for it (timeouts of asynchronous and background loads)
  // happens in RunMaintenance.
  const Clock* clock = nullptr;

  // How often a background thread reclaims expired entries, > 0. Infinite: no thread. Writers
  // reclaim as they go, so only a cache that is idle for long, and holds entries that expire,
  // needs one.
  absl::Duration maintenance_interval = absl::InfiniteDuration();

  // --- Loads. Those up to `early_refresh` can be set for each call (LoadOptions).

  // From when on a GetOrLoad that finds the entry returns it and starts one load in the background,
  // to replace it before it expires. A duration, > 0, or RefreshAfter::Share(0.8) of the ttl.
  RefreshAfter refresh_after = RefreshAfter::Never();

  // How long past its expiry an entry is still returned by GetOrLoad, while one load in the
  // background replaces it. >= 0.
  absl::Duration stale_while_revalidate = absl::ZeroDuration();

  // How long past its expiry an entry is still returned by GetOrLoad where the load of a newer one
  // fails, takes longer than soft_timeout, or can't be had. >= 0.
  absl::Duration stale_if_error = absl::ZeroDuration();

  // How long after a failed load no other is started for an entry that can be returned instead.
  // >= 0.
  absl::Duration retry_after = absl::Seconds(1);

  // After this long, a GetOrLoad that could return a stale value does; the load goes on, and lands
  // later. > 0. Without stale_if_error there is none to return, and this changes nothing.
  absl::Duration soft_timeout = absl::InfiniteDuration();

  // After this long, a GetOrLoad returns a stale value or DeadlineExceeded. > 0. With any of the
  // timeouts loads run on the executor.
  absl::Duration hard_timeout = absl::InfiniteDuration();
  AfterTimeout after_timeout = AfterTimeout::kGoOn;

  // The time that a load in the background gets, whoever waits for it. > 0. After that it has
  // failed: it is told to stop, and what it brings is dropped. Infinite: while one hangs, its key
  // isn't refreshed again, and who needs a newer value waits for it.
  absl::Duration background_timeout = absl::InfiniteDuration();

  // How long a loader's NotFound is kept as the answer (without its message). >= 0; 0: it isn't
  // kept.
  absl::Duration negative_ttl = absl::ZeroDuration();

  // The factor beta of probabilistic early refresh (XFetch): each hit refreshes, in the background,
  // with a probability that grows towards the entry's expiry, over a time of about as long as its
  // load took, times beta. >= 0; 0: off; 1: as in the paper. Set
  // for single calls only, it may pass over what calls without it have stored.
  double early_refresh = 0;

  // The most loads that run at once, others wait in order. 0: no limit. A load that was started by
  // another's loader isn't counted, since that waits for it.
  int max_concurrent_loads = 0;
  // The most that wait; past that a load fails with ResourceExhausted.
  int max_queued_loads = 1024;

  // Stops loads for a while where too many fail: they fail with Unavailable at once. Off by
  // default.
  CircuitBreakerOptions circuit_breaker = {};

  // Where background, timed and asynchronous loads run, and callbacks. Must outlive the cache and
  // all of its loads. nullptr: Executor::Default(), whose few threads all caches of the process
  // share: loads that hang in one hold up those of others.
  Executor* executor = nullptr;

  LoadsAtClose loads_at_close = LoadsAtClose::kWait;

  // Prefixes of (string) keys whose entries InvalidatePrefix is to invalidate at once, whatever
  // their number. They may contain each other. Each costs its entries what a tag does.
  std::vector<std::string> prefixes = {};

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const;
};

// What one Put may say about its entry. A field that isn't set takes the cache's default.
struct PutOptions {
  std::optional<absl::Duration> ttl = std::nullopt;  // > 0; infinite: this entry doesn't expire
  std::optional<absl::Duration> idle_ttl = std::nullopt;  // > 0; infinite: not by idleness
  std::optional<uint64_t> weight = std::nullopt;          // instead of the weigher's answer
  // As in CacheOptions.
  std::optional<RefreshAfter> refresh_after = std::nullopt;
  // Names for groups of entries, for InvalidateTag.
  std::vector<std::string> tags = {};

  // With no field set.
  static const PutOptions& Default();

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const {
    return ttl.has_value() || idle_ttl.has_value() || refresh_after.has_value() ? ValidateTimes()
                                                                                : absl::OkStatus();
  }

 private:
  absl::Status ValidateTimes() const;
};

// What one GetOrLoad may say about the entry that it stores and about the load. What the loader
// itself returns in Loaded<V> goes before these, and these before the cache's defaults.
struct LoadOptions {
  std::optional<absl::Duration> ttl = std::nullopt;       // as in PutOptions
  std::optional<absl::Duration> idle_ttl = std::nullopt;  // as in PutOptions
  std::optional<uint64_t> weight = std::nullopt;          // as in PutOptions
  // As in CacheOptions. The windows for stale values are those of the call that asks, as far as
  // the entry was kept by the call that stored it.
  std::optional<RefreshAfter> refresh_after = std::nullopt;
  std::optional<absl::Duration> stale_while_revalidate = std::nullopt;
  std::optional<absl::Duration> stale_if_error = std::nullopt;
  std::optional<absl::Duration> retry_after = std::nullopt;
  std::optional<absl::Duration> soft_timeout = std::nullopt;
  std::optional<absl::Duration> hard_timeout = std::nullopt;
  std::optional<AfterTimeout> after_timeout = std::nullopt;
  std::optional<absl::Duration> background_timeout = std::nullopt;
  std::optional<absl::Duration> negative_ttl = std::nullopt;
  std::optional<double> early_refresh = std::nullopt;
  std::vector<std::string> tags = {};  // as in PutOptions, beside those in Loaded<V>

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const;

  // With no field set.
  static const LoadOptions& Default();
};

namespace internal {

// Made once, not for each call.
inline const PutOptions kNoPutOptions;
inline const LoadOptions kNoLoadOptions;

}  // namespace internal

inline const PutOptions& PutOptions::Default() { return internal::kNoPutOptions; }
inline const LoadOptions& LoadOptions::Default() { return internal::kNoLoadOptions; }

}  // namespace larder

#endif  // LARDER_OPTIONS_H_
