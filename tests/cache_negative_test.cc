// SPDX-License-Identifier: Apache-2.0
// Keys known not to be found: negative_ttl.
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/load_fixture.h"

namespace larder::test {
namespace {

// Values that are overwritten in place, that need a destructor, and that are watched.
template <class V>
class CacheNegativeTest : public LoadFixture {
 protected:
  using CacheT = Cache<std::string, V>;

  CacheT& MakeNegative() {
    auto options = OptionsFor<CacheT>(100);
    options.executor = &executor_;
    options.ttl = absl::Seconds(100);
    options.negative_ttl = absl::Seconds(10);
    options.on_removal = [this](const std::string& key, const V&, RemovalCause) {
      removed_.push_back(key);
    };
    return Make<CacheT>(options);
  }

  auto NotFound() {
    return [this](const std::string&) -> absl::StatusOr<V> {
      ++loads_;
      return absl::NotFoundError("none");
    };
  }
  auto Found(uint64_t value) {
    return [this, value](const std::string&) -> absl::StatusOr<V> {
      ++loads_;
      return Make(value);
    };
  }
  static V Make(uint64_t value) {
    if constexpr (std::is_same_v<V, std::string>) {
      return std::to_string(value);
    } else {
      return V(value);
    }
  }
  using LoadFixture::Make;
  template <class CacheT>
  CacheT& Make(typename CacheT::Options options) {
    return LoadFixture::Make<CacheT>(std::move(options));
  }

  std::vector<std::string> removed_;
};
using ValueTypes = ::testing::Types<uint64_t, std::string, Counted>;
TYPED_TEST_SUITE(CacheNegativeTest, ValueTypes);

TYPED_TEST(CacheNegativeTest, NotFoundIsAnAnswerForAsLongAsItSays) {
  auto& cache = this->MakeNegative();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(absl::IsNotFound(cache.GetOrLoad("k", this->NotFound()).status()));
  }
  EXPECT_EQ(this->loads_, 1);
  EXPECT_EQ(cache.Stats().negative_hits, 2u);
  EXPECT_EQ(cache.Stats().load_failures, 0u);
  this->Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_TRUE(absl::IsNotFound(cache.GetOrLoad("k", this->Found(1)).status()));
  this->Advance(absl::Nanoseconds(1));
  EXPECT_EQ(*cache.GetOrLoad("k", this->Found(1)), this->Make(1));
  EXPECT_EQ(cache.Get("k"), this->Make(1));
}

TYPED_TEST(CacheNegativeTest, OtherErrorsArentKept) {
  auto& cache = this->MakeNegative();
  for (int i = 0; i < 2; ++i) {
    const auto loader = [this](const std::string&) -> absl::StatusOr<TypeParam> {
      ++this->loads_;
      return absl::UnavailableError("no luck");
    };
    EXPECT_TRUE(absl::IsUnavailable(cache.GetOrLoad("k", loader).status()));
  }
  EXPECT_EQ(this->loads_, 2);
}

TYPED_TEST(CacheNegativeTest, NobodyElseSeesIt) {
  auto& cache = this->MakeNegative();
  (void)cache.GetOrLoad("k", this->NotFound());
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.weight(), 1u);
  EXPECT_EQ(cache.Get("k"), std::nullopt);
  EXPECT_FALSE(cache.Pin("k"));
  EXPECT_FALSE(cache.Contains("k"));
  EXPECT_FALSE(cache.Visit("k", [](const TypeParam&) {}));
  const auto never = [](const std::string&, const TypeParam&) {
    ADD_FAILURE();
    return true;
  };
  cache.ForEach(never);
  EXPECT_EQ(cache.EraseIf(never), 0u);
  EXPECT_TRUE(absl::IsNotFound(cache.GetOrLoad("k", this->Found(1)).status()));
}

TYPED_TEST(CacheNegativeTest, EveryWriteReplacesIt) {
  auto& cache = this->MakeNegative();
  using Maybe = std::optional<TypeParam>;
  const auto is_none = [&](Maybe old) -> Maybe {
    EXPECT_FALSE(old.has_value());
    return this->Make(3);
  };
  for (const std::string key : {"put", "absent", "compute", "none"}) {
    (void)cache.GetOrLoad(key, this->NotFound());
  }
  ASSERT_TRUE(cache.Put("put", this->Make(1)).ok());
  EXPECT_TRUE(cache.PutIfAbsent("absent", this->Make(2)));
  EXPECT_TRUE(cache.Compute("compute", is_none).ok());
  EXPECT_TRUE(cache.Compute("none", [](Maybe) { return Maybe(); }).ok());
  EXPECT_EQ(cache.Get("put"), this->Make(1));
  EXPECT_EQ(cache.Get("absent"), this->Make(2));
  EXPECT_EQ(cache.Get("compute"), this->Make(3));
  EXPECT_EQ(*cache.GetOrLoad("none", this->Found(4)), this->Make(4));
  EXPECT_TRUE(this->removed_.empty());
}

TYPED_TEST(CacheNegativeTest, EveryErasureEndsItAndFindsNothing) {
  auto& cache = this->MakeNegative();
  for (const std::string key : {"erase", "expire", "after", "prefix", "clear"}) {
    (void)cache.GetOrLoad(key, this->NotFound());
  }
  EXPECT_FALSE(cache.Erase("erase"));
  EXPECT_FALSE(cache.Expire("expire"));
  EXPECT_TRUE(cache.InvalidateAfter("after", absl::Seconds(1)).ok());
  this->Advance(absl::Seconds(1));
  cache.RunMaintenance(100);
  cache.InvalidatePrefix("pre");
  EXPECT_EQ(cache.size(), 1u);
  cache.Clear();
  EXPECT_EQ(cache.size(), 0u);
  for (const std::string key : {"erase", "expire", "after", "prefix", "clear"}) {
    EXPECT_TRUE(cache.GetOrLoad(key, this->Found(1)).ok()) << key;
  }
  // A listener has no value to be told of.
  EXPECT_TRUE(this->removed_.empty());
}

TYPED_TEST(CacheNegativeTest, ItReplacesAValueAndExpires) {
  auto& cache = this->MakeNegative();
  const LoadOptions refreshing{.refresh_after = absl::Seconds(50)};
  (void)cache.GetOrLoad("k", this->Found(1), refreshing);
  this->Advance(absl::Seconds(50));
  EXPECT_TRUE(cache.GetOrLoad("k", this->NotFound(), refreshing).ok());
  this->executor_.RunAll();
  EXPECT_TRUE(absl::IsNotFound(cache.GetOrLoad("k", this->Found(2)).status()));
  EXPECT_EQ(this->removed_, std::vector<std::string>{"k"});
  this->Advance(absl::Seconds(12));
  while (cache.RunMaintenance(100) > 0) {
  }
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(this->removed_.size(), 1u);
}

TYPED_TEST(CacheNegativeTest, ItMayBeEvicted) {
  auto& cache = this->MakeNegative();
  for (int i = 0; i < 300; ++i) {
    (void)cache.GetOrLoad(std::to_string(i), this->NotFound());
    EXPECT_LE(cache.size(), 100u);
  }
  EXPECT_EQ(cache.Stats().evictions, 200u);
  EXPECT_TRUE(this->removed_.empty());
}

TYPED_TEST(CacheNegativeTest, EachCallMaySayForHowLong) {
  auto& cache = this->MakeNegative();
  const LoadOptions never{.negative_ttl = absl::ZeroDuration()};
  const LoadOptions always{.negative_ttl = absl::InfiniteDuration()};
  (void)cache.GetOrLoad("never", this->NotFound(), never);
  (void)cache.GetOrLoad("always", this->NotFound(), always);
  EXPECT_EQ(cache.size(), 1u);
  this->Advance(absl::Hours(24 * 365));
  EXPECT_TRUE(absl::IsNotFound(cache.GetOrLoad("always", this->Found(1)).status()));
}

TYPED_TEST(CacheNegativeTest, ItsTagsAreThoseOfTheCall) {
  auto& cache = this->MakeNegative();
  (void)cache.GetOrLoad("k", this->NotFound(), {.tags = {"tag"}});
  (void)cache.GetOrLoad("other", this->NotFound());
  cache.InvalidateTag("tag");
  EXPECT_TRUE(cache.GetOrLoad("k", this->Found(1)).ok());
  EXPECT_FALSE(cache.GetOrLoad("other", this->Found(1)).ok());
}

TYPED_TEST(CacheNegativeTest, WhatWasPutMeanwhileStays) {
  auto& cache = this->MakeNegative();
  const auto loader = [&](const std::string& key) -> absl::StatusOr<TypeParam> {
    EXPECT_TRUE(cache.Put(key, this->Make(1)).ok());
    return absl::NotFoundError("none");
  };
  EXPECT_TRUE(absl::IsNotFound(cache.GetOrLoad("k", loader).status()));
  EXPECT_EQ(cache.Get("k"), this->Make(1));
}

}  // namespace
}  // namespace larder::test
