// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_WRITE_DATABASE_H_
#define LARDER_BENCH_SUPPORT_WRITE_DATABASE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/support/put_target.h"
#include "bench/support/slow_store.h"
#include "docs/examples/sqlite_store.h"

namespace larder::bench {

// A new SQLite file, as it is or held back, that counts the calls it gets. Thread-safe.
class WriteDatabase {
 public:
  enum class Speed {
    kSlow,    // SlowStore's delays, which stand for the syncs, too
    kItsOwn,  // synced at the end of each transaction
  };

  // `path` must not exist. SqliteStore's errors.
  static absl::StatusOr<std::unique_ptr<WriteDatabase>> Create(const std::string& path, Speed speed,
                                                               uint64_t seed);

  SlowStore& store() { return store_; }

  // OK if `cache` and the file have the same values for the first `keys` keys of RunPuts, else
  // Internal, naming one.
  absl::Status CompareWith(PutTarget& cache, uint32_t keys);

 private:
  WriteDatabase(std::unique_ptr<examples::SqliteStore> file, Speed speed, uint64_t seed);

  const std::unique_ptr<examples::SqliteStore> file_;
  SlowStore store_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_WRITE_DATABASE_H_
