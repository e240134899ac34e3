// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_REMOTE_SYNC_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_REMOTE_SYNC_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "larder/internal/mutex.h"
#include "larder/internal/remote_control.h"
#include "larder/internal/remote_head.h"
#include "larder/internal/remote_sync.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "tests/support/model_tier.h"
#include "tests/support/threads.h"

namespace larder::test {

// Remembers what it was told, in order: "forget", "prefix p", "key k".
class ToldTarget : public internal::RemoteSync::Target {
 public:
  void OnChanges(absl::Span<const std::string> keys) override {
    for (const std::string& key : keys) Add("key " + key);
  }
  void Forget(bool) override { Add("forget"); }
  void InvalidatePrefix(std::string_view prefix) override { Add("prefix " + std::string(prefix)); }

  std::vector<std::string> told() const {
    const internal::MutexLock lock(&mutex_);
    return told_;
  }
  int64_t Count(std::string_view what) const { return std::ranges::count(told(), what); }

 private:
  void Add(std::string what) {
    const internal::MutexLock lock(&mutex_);
    told_.push_back(std::move(what));
  }

  mutable internal::Mutex mutex_;
  std::vector<std::string> told_ ABSL_GUARDED_BY(mutex_);
};

// Quick to come back, and patient with calls: what hangs is said by the test.
inline RemoteOptions QuickRemoteOptions() {
  RemoteOptions options;
  options.timeout = absl::Seconds(30);
  options.failures_to_open = 3;
  options.first_probe = absl::Milliseconds(1);
  options.last_probe = absl::Milliseconds(4);
  options.settle_time = absl::ZeroDuration();
  options.unverified_ttl = absl::Hours(1);
  return options;
}

// The same, but once the tier was away it never comes up again.
inline RemoteOptions NeverSettling() {
  RemoteOptions options = QuickRemoteOptions();
  options.settle_time = absl::Hours(1);
  return options;
}

// `options`, but what failed is tried again an hour later.
inline RemoteOptions TryingHourly(RemoteOptions options = QuickRemoteOptions()) {
  options.first_probe = options.last_probe = absl::Hours(1);
  return options;
}

// One process that shares a server.
struct SyncedProcess {
  // `writer`: another one for each.
  SyncedProcess(ModelServer* server, uint64_t writer, RemoteOptions options = QuickRemoteOptions())
      : tier(server), stamps(writer), sync({WithTier(options), &stamps, &target}) {}

  RemoteOptions WithTier(RemoteOptions options) {
    options.tier = &tier;
    return options;
  }

  bool Start() { return sync.Start().ok() && WaitFor(RemoteHealth::kUp); }

  bool WaitFor(RemoteHealth health) {
    return Eventually([&] { return sync.health() == health; });
  }
  // And that all is done that can be done.
  bool WaitForIdle(RemoteHealth health) {
    return Eventually([&] { return tier.Idle() && sync.health() == health; });
  }

  RemoteStats stats() const {
    RemoteStats stats;
    sync.AddTo(stats);
    return stats;
  }
  // 0 where none is known.
  uint64_t generation() const {
    const auto control = sync.control();
    return control == nullptr ? 0 : control->generation();
  }

  ModelTier tier;
  internal::StampSource stamps;
  ToldTarget target;
  internal::RemoteSync sync;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_REMOTE_SYNC_FIXTURE_H_
