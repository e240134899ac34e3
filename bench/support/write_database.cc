// SPDX-License-Identifier: Apache-2.0

#include "bench/support/write_database.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/put_loop.h"
#include "bench/support/put_target.h"
#include "bench/support/slow_database.h"
#include "bench/support/slow_store.h"
#include "docs/examples/sqlite_store.h"

namespace larder::bench {

using examples::SqliteStore;

absl::StatusOr<std::unique_ptr<WriteDatabase>> WriteDatabase::Create(const std::string& path,
                                                                     Speed speed, uint64_t seed) {
  absl::StatusOr<std::unique_ptr<SqliteStore>> file =
      SqliteStore::Open(path, {.setup = speed == Speed::kSlow ? "PRAGMA synchronous = OFF" : ""});
  if (!file.ok()) return file.status();
  return std::unique_ptr<WriteDatabase>(new WriteDatabase(*std::move(file), speed, seed));
}

WriteDatabase::WriteDatabase(std::unique_ptr<SqliteStore> file, Speed speed, uint64_t seed)
    : file_(std::move(file)),
      store_(*file_, seed, speed == Speed::kSlow ? SlowDatabase::kFastest : absl::ZeroDuration(),
             speed == Speed::kSlow ? SlowDatabase::kSlowest : absl::ZeroDuration()) {}

absl::Status WriteDatabase::CompareWith(PutTarget& cache, uint32_t keys) {
  for (uint32_t i = 0; i < keys; ++i) {
    const std::string key = PutKey(i);
    const std::optional<std::string> cached = cache.Get(key);
    const absl::StatusOr<std::string> stored = file_->Load(key);
    if (!stored.ok() && !absl::IsNotFound(stored.status())) return stored.status();
    if (cached == (stored.ok() ? std::optional(*stored) : std::nullopt)) continue;
    return absl::InternalError(absl::StrCat(key, ": the cache has ", cached.value_or("nothing"),
                                            ", the database ", stored.value_or("nothing")));
  }
  return absl::OkStatus();
}

}  // namespace larder::bench
