// SPDX-License-Identifier: Apache-2.0

#include "bench/support/product_stores.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "bench/support/slow_database.h"
#include "bench/support/tier_parts.h"
#include "docs/examples/sqlite_store.h"
#include "larder/store.h"

namespace larder::bench {
namespace {

constexpr std::string_view kKeyPrefix = "product:";

}  // namespace

using examples::SqliteStore;

std::string ProductKey(uint32_t product) { return absl::StrCat(std::string(kKeyPrefix), product); }

std::optional<uint32_t> ProductOf(std::string_view key) {
  uint32_t product = 0;
  if (!key.starts_with(kKeyPrefix) ||
      !absl::SimpleAtoi(std::string(key.substr(kKeyPrefix.size())), &product)) {
    return std::nullopt;
  }
  return product;
}

absl::StatusOr<std::string> InstantStore::Load(const std::string& key) {
  const std::optional<uint32_t> product = ProductOf(key);
  if (!product.has_value()) return absl::NotFoundError(absl::StrCat("no product: ", key));
  return SlowDatabase::ExpectedRow(*product);
}

absl::StatusOr<std::unique_ptr<ProductDatabase>> ProductDatabase::Create(const std::string& path,
                                                                         uint64_t seed) {
  absl::StatusOr<std::unique_ptr<SqliteStore>> file =
      SqliteStore::Open(path, {.setup = "PRAGMA synchronous = OFF"});
  if (!file.ok()) return file.status();
  std::vector<std::string> keys;
  std::vector<std::string> rows;
  for (uint32_t product = 0; product < kProducts; ++product) {
    keys.push_back(ProductKey(product));
    rows.push_back(SlowDatabase::ExpectedRow(product));
  }
  std::vector<StoreWrite<std::string, std::string>> writes;
  for (uint32_t product = 0; product < kProducts; ++product) {
    writes.push_back({keys[product], &rows[product], {}});
  }
  for (const absl::Status& written : (*file)->WriteMany(writes)) {
    if (!written.ok()) return written;
  }
  return std::unique_ptr<ProductDatabase>(new ProductDatabase(*std::move(file), seed));
}

}  // namespace larder::bench
