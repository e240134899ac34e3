// SPDX-License-Identifier: Apache-2.0
//
// LoadingCore's beginning and end, and what concerns the whole of it. See loading_core.h.

#ifndef LARDER_INTERNAL_LOADING_LIFECYCLE_H_
#define LARDER_INTERNAL_LOADING_LIFECYCLE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/internal/core_lifecycle.h"
#include "larder/internal/core_walk.h"
#include "larder/internal/load_limiter.h"
#include "larder/internal/loading_core.h"
#include "larder/internal/loading_task.h"
#include "larder/internal/maintenance_thread.h"
#include "larder/internal/sizing.h"

namespace larder::internal {

template <class K, class V, class P, class H, class E>
LoadingCore<K, V, P, H, E>::LoadingCore(const CacheOptions& options, const Sizing& sizing,
                                        Weigher weigher, RemovalListener on_removal)
    : Base(options, sizing, std::move(weigher), std::move(on_removal)),
      loads_(options),
      abandons_loads_(options.loads_at_close == LoadsAtClose::kAbandon) {}

template <class K, class V, class P, class H, class E>
auto LoadingCore<K, V, P, H, E>::Create(const CacheOptions& options, Weigher weigher,
                                        RemovalListener on_removal) -> absl::StatusOr<Pointer> {
  const Sizing sizing = Sizing::For(options, weigher != nullptr, sizeof(NodeT));
  const auto exhausted = [&sizing](std::string_view what) {
    return absl::ResourceExhaustedError(
        absl::StrCat("can't make a cache of ", sizing.stripe_count(),
                     " stripes: ", absl::string_view(what.data(), what.size())));
  };
  try {
    Pointer core(new LoadingCore(options, sizing, std::move(weigher), std::move(on_removal)));
    if (!core->slab_.ok()) return exhausted("no address space");
    if (!core->SetUp()) return exhausted("no memory");
    if (options.maintenance_interval != absl::InfiniteDuration()) {
      core->StartMaintenance(options.maintenance_interval);
    }
    return core;
  } catch (const std::bad_alloc&) {
    return exhausted("no memory");
  } catch (const std::system_error& error) {
    return exhausted(error.what());
  }
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::StartMaintenance(absl::Duration interval) {
  maintenance_ = std::make_unique<MaintenanceThread>(interval, [this] {
    try {
      RunMaintenance(SIZE_MAX);
    } catch (...) {
      // A listener threw, and this thread has no caller to tell.
    }
  });
}

template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::Close() {
  maintenance_.reset();
  CloseLoads();
  Base::Close();
}

template <class K, class V, class P, class H, class E>
size_t LoadingCore<K, V, P, H, E>::RunMaintenance(size_t budget) {
  const size_t alarms = loads_.RunAlarms(budget);
  return alarms + Base::RunMaintenance(budget - std::min(alarms, budget));
}

template <class K, class V, class P, class H, class E>
CacheStats LoadingCore<K, V, P, H, E>::Stats() const {
  CacheStats stats = Base::Stats();
  stats.circuit = loads_.breaker().state(Now());
  stats.circuit_opens = loads_.breaker().opens();
  if (const LoadLimiter* limiter = loads_.limiter()) {
    const LoadLimiter::Stats limits = limiter->stats();
    stats.queued_loads = limits.queued;
    stats.refused_loads = limits.refused;
  }
  return stats;
}

// What is there is given an end then. What is put or loaded until then, an alarm erases.
template <class K, class V, class P, class H, class E>
template <class Q>
absl::Status LoadingCore<K, V, P, H, E>::InvalidateAfter(const Q& key, absl::Duration delay) {
  if (delay < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("delay must not be negative, is ", absl::FormatDuration(delay)));
  }
  if (delay == absl::InfiniteDuration()) return absl::OkStatus();
  if (delay == absl::ZeroDuration()) {
    this->Erase(key);
    return absl::OkStatus();
  }
  const int64_t end = SaturatingAdd(Now(), ToNanos(delay));
  if (const std::shared_ptr<Alarms> alarms = loads_.alarms()) {
    alarms->Set(end, [this, erased = K(key)] { EraseQuietly(erased); });
  }
  const HashBits hash(hash_(key));
  StripeT& stripe = StripeOf(hash);
  {
    MutexLock lock(&stripe.mutex);
    const NodeIndex index = Table::NodeAt(Locate(stripe, key, hash));
    if (index != kNoNode && (IsLive(*NodeAt(index), index) || IsKept(*NodeAt(index), index))) {
      this->EndBy(stripe, index, end);
    }
  }
  FullFence();
  return absl::OkStatus();
}

// On the alarms' thread, which has no caller to tell of what a listener throws.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::EraseQuietly(const K& key) {
  try {
    this->Erase(key);
  } catch (...) {
    // It is erased.
  }
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOADING_LIFECYCLE_H_
