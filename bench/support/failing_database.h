// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_FAILING_DATABASE_H_
#define LARDER_BENCH_SUPPORT_FAILING_DATABASE_H_

#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/slow_database.h"
#include "larder/internal/mutex.h"

namespace larder::bench {

// A query as the database's client saw it. Times since the beginning of the timeline.
struct QueryRecord {
  absl::Duration asked;
  absl::Duration ended;
};

// A SlowDatabase that fares as a timeline says. A query that is answered runs for real and is held
// back for a time drawn for it; one that isn't ends as its client's patience does. How many there
// are at once makes no difference to how long they take. Thread-safe.
class FailingDatabase {
 public:
  // `rows` and `timeline` must outlive it. The timeline begins at `start`.
  FailingDatabase(SlowDatabase& rows, const OutageTimeline& timeline,
                  std::chrono::steady_clock::time_point start, uint64_t seed)
      : rows_(rows), timeline_(timeline), start_(start), random_(seed) {}

  // As SlowDatabase's; Unavailable, too, where there is no answer in time.
  absl::StatusOr<std::string> Query(uint32_t id);

  // All queries that have ended, in the order in which they did.
  std::vector<QueryRecord> queries() const;

 private:
  absl::Duration Elapsed() const;
  double NextShare();

  SlowDatabase& rows_;
  const OutageTimeline& timeline_;
  const std::chrono::steady_clock::time_point start_;
  mutable internal::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::vector<QueryRecord> queries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_FAILING_DATABASE_H_
