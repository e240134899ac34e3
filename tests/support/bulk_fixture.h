// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_BULK_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_BULK_FIXTURE_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/manual_executor.h"

namespace larder::test {

using IntCache = Cache<uint64_t, uint64_t>;
using Keys = std::vector<uint64_t>;
using Result = absl::StatusOr<uint64_t>;
using Values = std::map<uint64_t, uint64_t>;

// What a call has returned, a value or the code of an error, to compare with.
inline std::string Seen(const Result& result) {
  return result.ok() ? absl::StrCat(*result) : absl::StatusCodeToString(result.status().code());
}

inline std::vector<std::string> Seen(const std::vector<Result>& results) {
  std::vector<std::string> seen;
  for (const Result& result : results) seen.push_back(Seen(result));
  return seen;
}

// Bulk loads from a database that does what the test says.
class BulkFixture : public CacheFixture {
 protected:
  IntCache::Options Options() {
    auto options = OptionsFor<IntCache>(1000);
    options.executor = &executor_;
    return options;
  }
  // Entries of 10 s that are refreshed after 5.
  IntCache::Options Refreshing() {
    auto options = Options();
    options.ttl = absl::Seconds(10);
    options.refresh_after = absl::Seconds(5);
    return options;
  }

  // A loader that returns factor_ times each key that isn't missing_, or else status_.
  auto TenTimes() {
    return [this](const Keys& keys) -> absl::StatusOr<Values> {
      calls_.push_back(keys);
      if (!status_.ok()) return status_;
      Values values;
      for (const uint64_t key : keys) {
        if (!missing_.contains(key)) values[key] = factor_ * key;
      }
      return values;
    };
  }

  ManualExecutor executor_;
  std::vector<Keys> calls_;  // of that loader
  uint64_t factor_ = 10;
  std::set<uint64_t> missing_;
  absl::Status status_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_BULK_FIXTURE_H_
