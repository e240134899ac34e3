// SPDX-License-Identifier: Apache-2.0

#include "bench/support/failing_database.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/slow_database.h"
#include "larder/internal/mutex.h"

namespace larder::bench {

absl::StatusOr<std::string> FailingDatabase::Query(uint32_t id) {
  const absl::Duration asked = Elapsed();
  const QueryFate fate = timeline_.FateOf(asked, NextShare());
  absl::StatusOr<std::string> row = absl::UnavailableError("the database did not answer in time");
  if (fate.answered) row = rows_.QueryAtOnce(id);
  std::this_thread::sleep_until(start_ + absl::ToChronoNanoseconds(fate.ends_at));
  const absl::Duration ended = Elapsed();
  const internal::MutexLock lock(&mutex_);
  queries_.push_back({asked, ended});
  return row;
}

std::vector<QueryRecord> FailingDatabase::queries() const {
  const internal::MutexLock lock(&mutex_);
  return queries_;
}

absl::Duration FailingDatabase::Elapsed() const {
  return absl::FromChrono(std::chrono::steady_clock::now() - start_);
}

double FailingDatabase::NextShare() {
  const internal::MutexLock lock(&mutex_);
  return static_cast<double>(random_() >> 11) * 0x1.0p-53;
}

}  // namespace larder::bench
