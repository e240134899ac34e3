// SPDX-License-Identifier: Apache-2.0
#include "larder/options.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"

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

}  // namespace
}  // namespace larder
