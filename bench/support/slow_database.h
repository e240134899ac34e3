// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_SLOW_DATABASE_H_
#define LARDER_BENCH_SUPPORT_SLOW_DATABASE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/delays.h"
#include "larder/internal/mutex.h"

namespace larder::bench {

// A SQLite file that answers as slowly as a loaded database across a network does: each query runs
// for real, and its answer is held back until the query has taken a time drawn uniformly from
// kFastest..kSlowest. The n-th query after ResetDelays(seed) is given the n-th time of that seed's
// sequence, whichever thread asks it.
//
// Thread-safe; a query has a connection for itself, as from a pool without a bound.
class SlowDatabase {
 public:
  static constexpr absl::Duration kFastest = absl::Milliseconds(50);
  static constexpr absl::Duration kSlowest = absl::Milliseconds(200);

  // Creates the file `path`, which must not exist, with a table of `products` rows, and the
  // sequence of delays of `seed`. Unavailable with SQLite's message if that fails.
  static absl::StatusOr<std::unique_ptr<SlowDatabase>> Create(std::string path, uint32_t products,
                                                              uint64_t seed);

  // Closes the connections. The file stays.
  ~SlowDatabase();

  SlowDatabase(const SlowDatabase&) = delete;
  SlowDatabase& operator=(const SlowDatabase&) = delete;

  // The row of product `id`, about 90 bytes of JSON. NotFound if there is none, Unavailable if
  // SQLite fails; either after the same delay.
  absl::StatusOr<std::string> Query(uint32_t id);

  // The same without the delay, and not counted in queries().
  absl::StatusOr<std::string> QueryAtOnce(uint32_t id);

  // Starts the sequence of delays of `seed` from its beginning.
  void ResetDelays(uint64_t seed) { delays_.Restart(seed); }

  // Queries begun by Query() since Create().
  uint64_t queries() const { return queries_.load(std::memory_order_relaxed); }

  // What Query() answers for `id`, computed instead of read.
  static std::string ExpectedRow(uint32_t id);

 private:
  class Connection;

  explicit SlowDatabase(std::string path, uint64_t seed);

  absl::StatusOr<std::unique_ptr<Connection>> TakeConnection();
  void ReturnConnection(std::unique_ptr<Connection> connection);

  const std::string path_;
  Delays delays_;
  std::atomic<uint64_t> queries_{0};
  internal::Mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_SLOW_DATABASE_H_
