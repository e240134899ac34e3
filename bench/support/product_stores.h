// SPDX-License-Identifier: Apache-2.0
//
// Stores that have a row, SlowDatabase::ExpectedRow, for each product of the shop.

#ifndef LARDER_BENCH_SUPPORT_PRODUCT_STORES_H_
#define LARDER_BENCH_SUPPORT_PRODUCT_STORES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/support/slow_store.h"
#include "docs/examples/sqlite_store.h"
#include "larder/store.h"
#include "larder/write_id.h"

namespace larder::bench {

// "product:17".
std::string ProductKey(uint32_t product);
// 17; nullopt for what ProductKey doesn't say.
std::optional<uint32_t> ProductOf(std::string_view key);

// Answers at once, and forgets what is written: what a cache takes with it is the cache's own time.
class InstantStore : public Store<std::string, std::string> {
 public:
  absl::StatusOr<std::string> Load(const std::string& key) override;
  absl::Status Write(const std::string&, const std::string&, const WriteId&) override {
    return absl::OkStatus();
  }
  absl::Status Erase(const std::string&, const WriteId&) override { return absl::OkStatus(); }
};

// A SQLite file held back to SlowDatabase's times.
class ProductDatabase {
 public:
  // Creates the file `path`, which must not exist, with kProducts rows. SqliteStore's errors.
  static absl::StatusOr<std::unique_ptr<ProductDatabase>> Create(const std::string& path,
                                                                 uint64_t seed);

  SlowStore& store() { return store_; }

 private:
  ProductDatabase(std::unique_ptr<examples::SqliteStore> file, uint64_t seed)
      : file_(std::move(file)), store_(*file_, seed) {}

  const std::unique_ptr<examples::SqliteStore> file_;
  SlowStore store_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_PRODUCT_STORES_H_
