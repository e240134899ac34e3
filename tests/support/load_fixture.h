// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_LOAD_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_LOAD_FIXTURE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/manual_executor.h"

namespace larder::test {

// Caches whose loads in the background run when the test says so, and a few loaders.
class LoadFixture : public CacheFixture {
 protected:
  using LoadCache = Cache<std::string, std::string>;
  using Value = absl::StatusOr<std::string>;
  using Result = absl::StatusOr<LoadResult<std::string>>;
  using LoadedValue = absl::StatusOr<Loaded<std::string>>;
  using Context = LoadContext<std::string>;

  // A ttl of 100 s.
  LoadCache::Options Options() {
    auto options = OptionsFor<LoadCache>(100);
    options.executor = &executor_;
    options.ttl = absl::Seconds(100);
    return options;
  }

  // Counts its calls in loads_.
  auto Loading(std::string value) {
    return [this, value](const std::string&) -> Value {
      ++loads_;
      return value;
    };
  }
  auto Failing(absl::Status status = absl::UnavailableError("no luck")) {
    return [this, status](const std::string&) -> Value {
      ++loads_;
      return status;
    };
  }

  void Advance(absl::Duration step) { clock_.Advance(step); }

  // What is left to run, runs before the caches are looked at.
  void TearDown() override {
    executor_.Refuse(false);
    executor_.RunAll();
    CacheFixture::TearDown();
  }

  ManualExecutor executor_;
  int loads_ = 0;
};

// As "value, source, age in s", or the status' code.
inline std::string Text(const absl::StatusOr<LoadResult<std::string>>& result) {
  if (!result.ok()) return absl::StatusCodeToString(result.status().code());
  const std::string age = result->age == absl::InfiniteDuration()
                              ? "unknown"
                              : std::to_string(absl::ToInt64Seconds(result->age));
  return result->value + ", " + std::string(LoadSourceName(result->source)) + ", " + age;
}

inline std::string Text(const absl::StatusOr<std::string>& value) {
  return value.ok() ? *value : absl::StatusCodeToString(value.status().code());
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_LOAD_FIXTURE_H_
