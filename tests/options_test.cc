// SPDX-License-Identifier: Apache-2.0
#include "larder/options.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/refresh_after.h"

namespace larder {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Valid but for what the test sets.
CacheOptions Valid() { return {.capacity = 100}; }

template <class Options>
void ExpectInvalid(const Options& options, const std::string& field, const std::string& value) {
  const absl::Status status = options.Validate();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(field), HasSubstr(value)));
}

struct BadDuration {
  absl::Duration value;
  std::string text;
};

std::vector<BadDuration> BadDurations() {
  return {{absl::ZeroDuration(), "0"},
          {absl::Seconds(-5), "-5s"},
          {-absl::Nanoseconds(1), "-1ns"},
          {-absl::InfiniteDuration(), "-inf"}};
}

TEST(CacheOptionsTest, TheDefaultsNeedACapacityOnly) {
  EXPECT_TRUE(Valid().Validate().ok());
  ExpectInvalid(CacheOptions{}, "capacity", "0");
}

TEST(CacheOptionsTest, ExtremeValuesThatAreFine) {
  CacheOptions options = Valid();
  options.capacity = std::numeric_limits<uint64_t>::max();
  options.ttl = absl::Nanoseconds(1) / 4;
  options.idle_ttl = absl::Hours(24 * 365 * 1'000);
  options.ttl_jitter = 1;
  options.stripes = 4'096;
  options.maintenance_interval = absl::Nanoseconds(1);
  EXPECT_TRUE(options.Validate().ok()) << options.Validate();
  options.ttl_jitter = 0;
  options.stripes = 0;
  EXPECT_TRUE(options.Validate().ok());
}

TEST(CacheOptionsTest, DurationsMustBePositive) {
  for (const auto& [value, text] : BadDurations()) {
    CacheOptions options = Valid();
    options.ttl = value;
    ExpectInvalid(options, "ttl", text);
    options = Valid();
    options.idle_ttl = value;
    ExpectInvalid(options, "idle_ttl", text);
    options = Valid();
    options.maintenance_interval = value;
    ExpectInvalid(options, "maintenance_interval", text);
  }
}

TEST(CacheOptionsTest, JitterMustBeWithinZeroAndOne) {
  CacheOptions options = Valid();
  options.ttl_jitter = 1.5;
  ExpectInvalid(options, "ttl_jitter", "1.5");
  options.ttl_jitter = -0.25;
  ExpectInvalid(options, "ttl_jitter", "-0.25");
  options.ttl_jitter = std::numeric_limits<double>::quiet_NaN();
  ExpectInvalid(options, "ttl_jitter", "nan");
  options.ttl_jitter = std::numeric_limits<double>::infinity();
  ExpectInvalid(options, "ttl_jitter", "inf");
}

TEST(CacheOptionsTest, StripesMustBeWithinTheirBounds) {
  CacheOptions options = Valid();
  options.stripes = -1;
  ExpectInvalid(options, "stripes", "-1");
  options.stripes = std::numeric_limits<int>::min();
  ExpectInvalid(options, "stripes", "-2147483648");
  options.stripes = 4'097;
  ExpectInvalid(options, "stripes", "4097");
}

TEST(CacheOptionsTest, CreateRefusesWhatIsInvalid) {
  Cache<int, int>::Options options;
  EXPECT_EQ((Cache<int, int>::Create(options).status().code()), absl::StatusCode::kInvalidArgument);
  options.capacity = 1;
  options.ttl_jitter = 2;
  EXPECT_THAT(std::string(Cache<int, int>::Create(options).status().message()),
              AllOf(HasSubstr("ttl_jitter"), HasSubstr("2")));
  options.ttl_jitter = 0;
  EXPECT_TRUE((Cache<int, int>::Create(options).ok()));
}

// PutOptions and LoadOptions say the same of an entry.
template <class Options>
class EntryOptionsTest : public ::testing::Test {};
using EntryOptionTypes = ::testing::Types<PutOptions, LoadOptions>;
TYPED_TEST_SUITE(EntryOptionsTest, EntryOptionTypes);

TYPED_TEST(EntryOptionsTest, NothingNeedsToBeSet) { EXPECT_TRUE(TypeParam{}.Validate().ok()); }

TYPED_TEST(EntryOptionsTest, AnyWeightAndAnyPositiveDurationWillDo) {
  for (const uint64_t weight : {uint64_t{0}, std::numeric_limits<uint64_t>::max()}) {
    for (const absl::Duration duration : {absl::Nanoseconds(1), absl::InfiniteDuration()}) {
      EXPECT_TRUE(
          (TypeParam{.ttl = duration, .idle_ttl = duration, .weight = weight}).Validate().ok());
    }
  }
}

TYPED_TEST(EntryOptionsTest, DurationsMustBePositive) {
  for (const auto& [value, text] : BadDurations()) {
    TypeParam options;
    options.ttl = value;
    ExpectInvalid(options, "ttl", text);
    options = {};
    options.idle_ttl = value;
    ExpectInvalid(options, "idle_ttl", text);
  }
}

// --- Of loads: the same in the cache's options and in a call's.

template <class Options>
class LoadFieldsTest : public ::testing::Test {
 protected:
  static Options Valid() {
    Options options;
    if constexpr (std::is_same_v<Options, CacheOptions>) options.capacity = 100;
    return options;
  }

  // `set` sets the field of an option to a duration.
  template <class Set>
  static void ExpectRange(const std::string& field, bool zero_will_do, Set set) {
    for (const auto& [value, text] : BadDurations()) {
      Options options = Valid();
      set(options, value);
      if (zero_will_do && value == absl::ZeroDuration()) {
        EXPECT_TRUE(options.Validate().ok()) << field;
      } else {
        ExpectInvalid(options, field, text);
      }
    }
    for (const absl::Duration fine : {absl::Nanoseconds(1), absl::InfiniteDuration()}) {
      Options options = Valid();
      set(options, fine);
      EXPECT_TRUE(options.Validate().ok()) << field << ": " << options.Validate();
    }
  }
};
using LoadFieldTypes = ::testing::Types<CacheOptions, LoadOptions>;
TYPED_TEST_SUITE(LoadFieldsTest, LoadFieldTypes);

TYPED_TEST(LoadFieldsTest, DurationsHaveTheirBounds) {
  using Options = TypeParam;
#define EXPECT_RANGE(field, zero_will_do) \
  this->ExpectRange(#field, zero_will_do, \
                    [](Options& options, absl::Duration value) { options.field = value; })
  EXPECT_RANGE(stale_while_revalidate, true);
  EXPECT_RANGE(stale_if_error, true);
  EXPECT_RANGE(retry_after, true);
  EXPECT_RANGE(negative_ttl, true);
  EXPECT_RANGE(soft_timeout, false);
  EXPECT_RANGE(hard_timeout, false);
  EXPECT_RANGE(background_timeout, false);
  EXPECT_RANGE(refresh_after, false);
#undef EXPECT_RANGE
}

TYPED_TEST(LoadFieldsTest, ARefreshIsAtAShareWithinTheTtl) {
  for (const double share : {0.0, 1.0, -0.5, 1.5, std::nan("")}) {
    TypeParam options = this->Valid();
    options.refresh_after = RefreshAfter::Share(share);
    ExpectInvalid(options, "refresh_after", absl::StrCat(share));
  }
  TypeParam options = this->Valid();
  options.refresh_after = RefreshAfter::Share(0.8);
  EXPECT_TRUE(options.Validate().ok());
  options.refresh_after = RefreshAfter::Never();
  EXPECT_TRUE(options.Validate().ok());
}

TYPED_TEST(LoadFieldsTest, AnEarlyRefreshHasAFactor) {
  for (const double beta : {-1.0, -0.001, std::nan("")}) {
    TypeParam options = this->Valid();
    options.early_refresh = beta;
    ExpectInvalid(options, "early_refresh", absl::StrCat(beta));
  }
  for (const double beta : {0.0, 1.0, 1e9, std::numeric_limits<double>::infinity()}) {
    TypeParam options = this->Valid();
    options.early_refresh = beta;
    EXPECT_TRUE(options.Validate().ok()) << beta;
  }
}

TEST(PutOptionsTest, ARefreshIsChecked) {
  PutOptions options;
  options.refresh_after = absl::Seconds(-5);
  ExpectInvalid(options, "refresh_after", "-5s");
  options.refresh_after = RefreshAfter::Share(2);
  ExpectInvalid(options, "refresh_after", "2");
  options.refresh_after = RefreshAfter::Share(0.5);
  EXPECT_TRUE(options.Validate().ok());
}

TEST(CacheOptionsTest, LimitsOfLoadsArentNegative) {
  CacheOptions options = Valid();
  options.max_concurrent_loads = -1;
  ExpectInvalid(options, "max_concurrent_loads", "-1");
  options = Valid();
  options.max_queued_loads = -7;
  ExpectInvalid(options, "max_queued_loads", "-7");
  options = Valid();
  options.max_concurrent_loads = std::numeric_limits<int>::max();
  options.max_queued_loads = 0;
  EXPECT_TRUE(options.Validate().ok());
}

TEST(CacheOptionsTest, TheCircuitBreakersOptionsAreChecked) {
  CacheOptions options = Valid();
  options.circuit_breaker = {.failures = 3, .open_for = absl::Seconds(-1)};
  ExpectInvalid(options, "open_for", "-1s");
}

TEST(CacheOptionsTest, AnInvalidCallFindsWhatIsThere) {
  Cache<int, int>::Options options;
  options.capacity = 10;
  const auto cache = Cache<int, int>::Create(options).value();
  const LoadOptions invalid{.hard_timeout = absl::Seconds(-1)};
  const auto result = cache->GetOrLoad(
      1, [](int) { return 1; }, invalid);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("hard_timeout"));
  EXPECT_FALSE(cache->Contains(1));
  ASSERT_TRUE(cache->Put(1, 2).ok());
  EXPECT_EQ(*cache->GetOrLoad(
                1, [](int) { return 1; }, invalid),
            2);
}

}  // namespace
}  // namespace larder
