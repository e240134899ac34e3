// SPDX-License-Identifier: Apache-2.0

#include "bench/support/write_database.h"

#include <cstdint>
#include <memory>
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
namespace {

using examples::SqliteStore;

std::string Describe(const absl::StatusOr<std::string>& value) {
  return value.ok() ? *value : value.status().ToString();
}

}  // namespace

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
    const absl::StatusOr<std::string> cached = cache.Get(key);
    const absl::StatusOr<std::string> stored = file_->Load(key);
    const bool same = cached.ok() ? stored.ok() && *cached == *stored
                                  : cached.status().code() == stored.status().code();
    if (same) continue;
    return absl::InternalError(absl::StrCat(key, ": the cache has ", Describe(cached),
                                            ", the database ", Describe(stored)));
  }
  return absl::OkStatus();
}

}  // namespace larder::bench
