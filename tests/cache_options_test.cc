// SPDX-License-Identifier: Apache-2.0
// Bad options are refused with a status that names the field and its value; all others work.
#include <climits>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"

namespace larder::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Values;
using IntCache = Cache<uint64_t, uint64_t>;

MATCHER_P2(IsInvalid, field, value, "") {
  return absl::IsInvalidArgument(arg) &&
         ExplainMatchResult(AllOf(HasSubstr(field), HasSubstr(value)), std::string(arg.message()),
                            result_listener);
}

// --- Cache-wide options.

struct BadOption {
  const char* name;
  const char* field;
  const char* value;  // as the message shows it
  void (*set)(CacheOptions& options);
};

const BadOption kBadOptions[] = {
    {"NoCapacity", "capacity", "0", [](CacheOptions& o) { o.capacity = 0; }},
    {"TtlZero", "ttl", "0", [](CacheOptions& o) { o.ttl = absl::ZeroDuration(); }},
    {"TtlNegative", "ttl", "-3s", [](CacheOptions& o) { o.ttl = absl::Seconds(-3); }},
    {"TtlMinusInfinite", "ttl", "-inf", [](CacheOptions& o) { o.ttl = -absl::InfiniteDuration(); }},
    {"IdleTtlZero", "idle_ttl", "0", [](CacheOptions& o) { o.idle_ttl = absl::ZeroDuration(); }},
    {"IdleTtlNegative", "idle_ttl", "-5ms",
     [](CacheOptions& o) { o.idle_ttl = absl::Milliseconds(-5); }},
    {"JitterNegative", "ttl_jitter", "-0.25", [](CacheOptions& o) { o.ttl_jitter = -0.25; }},
    {"JitterAboveOne", "ttl_jitter", "1.5", [](CacheOptions& o) { o.ttl_jitter = 1.5; }},
    {"JitterInfinite", "ttl_jitter", "inf",
     [](CacheOptions& o) { o.ttl_jitter = std::numeric_limits<double>::infinity(); }},
    {"JitterNotANumber", "ttl_jitter", "nan", [](CacheOptions& o) { o.ttl_jitter = std::nan(""); }},
    {"StripesNegative", "stripes", "-1", [](CacheOptions& o) { o.stripes = -1; }},
    {"StripesLeast", "stripes", "-2147483648", [](CacheOptions& o) { o.stripes = INT_MIN; }},
    {"StripesTooMany", "stripes", "4097", [](CacheOptions& o) { o.stripes = 4097; }},
    {"StripesMost", "stripes", "2147483647", [](CacheOptions& o) { o.stripes = INT_MAX; }},
    {"IntervalZero", "maintenance_interval", "0",
     [](CacheOptions& o) { o.maintenance_interval = absl::ZeroDuration(); }},
    {"IntervalNegative", "maintenance_interval", "-1m",
     [](CacheOptions& o) { o.maintenance_interval = absl::Minutes(-1); }},
};

class BadCacheOptions : public ::testing::TestWithParam<BadOption> {};

TEST_P(BadCacheOptions, AreRefusedByName) {
  IntCache::Options options;
  options.capacity = 100;
  ASSERT_TRUE(options.Validate().ok());
  GetParam().set(options);
  EXPECT_THAT(options.Validate(), IsInvalid(GetParam().field, GetParam().value));
  EXPECT_THAT(IntCache::Create(options).status(), IsInvalid(GetParam().field, GetParam().value));
}

INSTANTIATE_TEST_SUITE_P(Each, BadCacheOptions, ::testing::ValuesIn(kBadOptions),
                         [](const auto& info) { return info.param.name; });

struct GoodOption {
  const char* name;
  void (*set)(CacheOptions& options);
};

const GoodOption kGoodOptions[] = {
    {"CapacityOne", [](CacheOptions& o) { o.capacity = 1; }},
    {"CapacityMost", [](CacheOptions& o) { o.capacity = UINT64_MAX; }},
    {"TtlLong", [](CacheOptions& o) { o.ttl = absl::Hours(24) * 365 * 100'000; }},
    {"IdleTtlLong", [](CacheOptions& o) { o.idle_ttl = absl::Hours(24) * 365 * 100'000; }},
    {"JitterNone", [](CacheOptions& o) { o.ttl_jitter = 0; }},
    {"JitterOfNoTtl", [](CacheOptions& o) { o.ttl_jitter = 1; }},
    {"OneStripe", [](CacheOptions& o) { o.stripes = 1; }},
    {"ThreeStripes", [](CacheOptions& o) { o.stripes = 3; }},
    {"MostStripes", [](CacheOptions& o) { o.stripes = 4096; }},
    {"MoreStripesThanCapacity",
     [](CacheOptions& o) {
       o.stripes = 64;
       o.capacity = 2;
     }},
    {"SystemClock", [](CacheOptions& o) { o.clock = nullptr; }},
    {"IntervalLong", [](CacheOptions& o) { o.maintenance_interval = absl::Hours(24 * 365); }},
    {"IntervalShort", [](CacheOptions& o) { o.maintenance_interval = absl::Nanoseconds(1); }},
};

class GoodCacheOptions : public CacheFixture, public ::testing::WithParamInterface<GoodOption> {};

TEST_P(GoodCacheOptions, Work) {
  auto options = OptionsFor<IntCache>(100);
  GetParam().set(options);
  ASSERT_TRUE(options.Validate().ok());
  IntCache& cache = Make<IntCache>(options);
  EXPECT_EQ(cache.capacity(), options.capacity);
  for (uint64_t key = 0; key < 200; ++key) {
    ASSERT_TRUE(cache.Put(key, key * 10).ok());
    EXPECT_EQ(cache.Get(key), key * 10);
    EXPECT_LE(cache.weight(), cache.capacity());
  }
}

INSTANTIATE_TEST_SUITE_P(Each, GoodCacheOptions, ::testing::ValuesIn(kGoodOptions),
                         [](const auto& info) { return info.param.name; });

// --- What one call may ask for.

// A call that stores key 1 (an entry that is there already, with value 10) or key 2 (none is).
struct Storing {
  const char* name;
  absl::Status (*call)(IntCache& cache, uint64_t key, const PutOptions& options);
};

absl::Status CallPut(IntCache& cache, uint64_t key, const PutOptions& options) {
  return cache.Put(key, 99, options);
}
absl::Status CallCompute(IntCache& cache, uint64_t key, const PutOptions& options) {
  return cache.Compute(
      key, [](std::optional<uint64_t>) { return std::optional<uint64_t>(99); }, options);
}
absl::Status CallGetOrLoad(IntCache& cache, uint64_t, const PutOptions& options) {
  return cache
      .GetOrLoad(2, [](uint64_t) -> absl::StatusOr<uint64_t> { return 99; },
                 {.ttl = options.ttl, .idle_ttl = options.idle_ttl, .weight = options.weight})
      .status();
}

class BadPutOptions : public CacheFixture, public ::testing::WithParamInterface<Storing> {
 protected:
  void SetUp() override {
    cache_ = &Make<IntCache>(10);
    ASSERT_TRUE(cache_->Put(1, 10).ok());
  }
  absl::Status Call(uint64_t key, const PutOptions& options) {
    return GetParam().call(*cache_, key, options);
  }
  void ExpectNothingChanged() {
    EXPECT_EQ(cache_->Get(1), 10u);
    EXPECT_FALSE(cache_->Contains(2));
    EXPECT_EQ(cache_->size(), 1u);
    EXPECT_EQ(cache_->weight(), 1u);
    EXPECT_EQ(cache_->Stats().puts, 1u);
  }

  IntCache* cache_ = nullptr;
};

TEST_P(BadPutOptions, RefusesTtlsThatAreNotPositive) {
  for (const uint64_t key : {1, 2}) {
    EXPECT_THAT(Call(key, {.ttl = absl::ZeroDuration()}), IsInvalid("ttl", "0"));
    EXPECT_THAT(Call(key, {.ttl = absl::Seconds(-7)}), IsInvalid("ttl", "-7s"));
    EXPECT_THAT(Call(key, {.ttl = -absl::InfiniteDuration()}), IsInvalid("ttl", "-inf"));
    EXPECT_THAT(Call(key, {.idle_ttl = absl::ZeroDuration()}), IsInvalid("idle_ttl", "0"));
    EXPECT_THAT(Call(key, {.idle_ttl = absl::Seconds(-8)}), IsInvalid("idle_ttl", "-8s"));
  }
  ExpectNothingChanged();
}

TEST_P(BadPutOptions, LeavesTheCacheUsable) {
  EXPECT_FALSE(Call(2, {.ttl = absl::ZeroDuration()}).ok());
  EXPECT_TRUE(Call(2, {.ttl = absl::Seconds(1)}).ok());
  EXPECT_EQ(cache_->Get(2), 99u);
}

INSTANTIATE_TEST_SUITE_P(Each, BadPutOptions,
                         Values(Storing{"Put", CallPut}, Storing{"Compute", CallCompute},
                                Storing{"GetOrLoad", CallGetOrLoad}),
                         [](const auto& info) { return info.param.name; });

class CacheOptionsTest : public CacheFixture {};

TEST_F(CacheOptionsTest, PutIfAbsentIsFalseForBadOptions) {
  IntCache& cache = Make<IntCache>(10);
  EXPECT_FALSE(cache.PutIfAbsent(1, 10, {.ttl = absl::ZeroDuration()}));
  EXPECT_FALSE(cache.PutIfAbsent(1, 10, {.idle_ttl = absl::Seconds(-1)}));
  EXPECT_FALSE(cache.PutIfAbsent(1, 10, {.weight = 11}));
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_TRUE(cache.PutIfAbsent(1, 10, {.weight = 10}));
}

TEST_F(CacheOptionsTest, AWeightAboveTheCapacityIsNamed) {
  auto options = OptionsFor<IntCache>(1000);
  options.weigher = [](uint64_t, uint64_t value) { return value; };
  IntCache& cache = Make<IntCache>(options);
  for (const absl::Status& status : {cache.Put(1, 1234), cache.Put(1, 1, {.weight = 1234}),
                                     CallCompute(cache, 1, {.weight = 1234})}) {
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("weight"), HasSubstr("1234"), HasSubstr("1000")));
  }
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(CacheOptionsTest, SetCapacityRefusesZero) {
  IntCache& cache = Make<IntCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  EXPECT_THAT(cache.SetCapacity(0), IsInvalid("capacity", "0"));
  EXPECT_EQ(cache.capacity(), 10u);
  EXPECT_EQ(cache.Get(1), 10u);
}

TEST_F(CacheOptionsTest, ALongMaintenanceIntervalDoesNotHoldUpTheDestructor) {
  auto options = OptionsFor<IntCache>(10);
  options.maintenance_interval = absl::Hours(24);
  for (int i = 0; i < 20; ++i) End(Make<IntCache>(options));
}

}  // namespace
}  // namespace larder::test
