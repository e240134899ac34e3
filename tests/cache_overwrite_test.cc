// SPDX-License-Identifier: Apache-2.0

// Puts over entries whose values are overwritten where they are: those that a processor reads and
// writes as a whole.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/internal/value_access.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"

namespace larder {
namespace {

using test::CacheFixture;
using test::Rounds;
using test::RunThreads;

template <class Policy>
class CacheOverwriteTest : public CacheFixture {
 protected:
  using CacheT = Cache<int, uint64_t, Policy>;

  CacheT& MakeWithTtl(int stripes, absl::Duration ttl) {
    auto options = OptionsFor<CacheT>(1'000);
    options.stripes = stripes;
    options.ttl = ttl;
    return Make<CacheT>(std::move(options));
  }
};

using Policies = ::testing::Types<Lru, Sieve, S3Fifo>;
TYPED_TEST_SUITE(CacheOverwriteTest, Policies);

template <class V>
constexpr bool kOverwritable = internal::ValueAccess<V, true>::kOverwritable;

TEST(ValueAccessTest, OverwritesWhatIsReadAndWrittenAsAWhole) {
  struct Pair {
    uint32_t a;
    uint32_t b;
  };
  struct alignas(8) AlignedPair {
    uint32_t a;
    uint32_t b;
  };
  struct alignas(8) Padded {
    uint32_t a;
  };
  EXPECT_TRUE(kOverwritable<uint64_t>);
  EXPECT_TRUE(kOverwritable<char>);
  EXPECT_TRUE(kOverwritable<double>);
  EXPECT_TRUE(kOverwritable<const void*>);
  EXPECT_TRUE(kOverwritable<AlignedPair>);
  EXPECT_FALSE(kOverwritable<Pair>);
  EXPECT_FALSE(kOverwritable<Padded>);
  EXPECT_FALSE(kOverwritable<std::string>);
  EXPECT_FALSE((internal::ValueAccess<uint64_t, false>::kOverwritable));
}

TYPED_TEST(CacheOverwriteTest, CountsAsAReplacement) {
  for (const int stripes : {1, 4}) {
    auto& cache = this->MakeWithTtl(stripes, absl::InfiniteDuration());
    for (uint64_t value = 0; value < 10; ++value) {
      for (int key = 0; key < 100; ++key) ASSERT_TRUE(cache.Put(key, value).ok());
    }
    for (int key = 0; key < 100; ++key) EXPECT_EQ(cache.Get(key), std::optional<uint64_t>(9));
    EXPECT_EQ(cache.size(), 100u);
    EXPECT_EQ(cache.Stats().puts, 1'000u);
    EXPECT_EQ(cache.Stats().replaced, 900u);
  }
}

TYPED_TEST(CacheOverwriteTest, AHandleKeepsTheValueItWasMadeFor) {
  auto& cache = this->MakeWithTtl(1, absl::InfiniteDuration());
  ASSERT_TRUE(cache.Put(1, 10).ok());
  const auto first = cache.Pin(1);
  ASSERT_TRUE(cache.Put(1, 11).ok());
  ASSERT_TRUE(cache.Put(1, 12).ok());
  const auto second = cache.Pin(1);
  ASSERT_TRUE(cache.Put(1, 13).ok());
  EXPECT_EQ(*first, 10u);
  EXPECT_EQ(*second, 12u);
  EXPECT_EQ(cache.Get(1), std::optional<uint64_t>(13));
}

TYPED_TEST(CacheOverwriteTest, AVisitSeesOneValueThroughout) {
  auto& cache = this->MakeWithTtl(1, absl::InfiniteDuration());
  ASSERT_TRUE(cache.Put(1, 10).ok());
  EXPECT_TRUE(cache.Visit(1, [&](const uint64_t& value) {
    EXPECT_EQ(value, 10u);
    std::thread([&cache] { EXPECT_TRUE(cache.Put(1, 11).ok()); }).join();
    EXPECT_EQ(value, 10u);
  }));
  EXPECT_EQ(cache.Get(1), std::optional<uint64_t>(11));
}

TYPED_TEST(CacheOverwriteTest, TheTtlStartsAnew) {
  for (const int stripes : {1, 4}) {
    auto& cache = this->MakeWithTtl(stripes, absl::Seconds(10));
    ASSERT_TRUE(cache.Put(1, 10).ok());
    for (uint64_t value = 11; value < 20; ++value) {
      this->clock_.Advance(absl::Seconds(9));
      cache.RunMaintenance(SIZE_MAX);
      ASSERT_TRUE(cache.Put(1, value).ok());
      EXPECT_EQ(cache.Get(1), std::optional<uint64_t>(value));
    }
    this->clock_.Advance(absl::Seconds(10));
    EXPECT_EQ(cache.Get(1), std::nullopt);
    cache.RunMaintenance(SIZE_MAX);
    EXPECT_EQ(cache.size(), 0u);
  }
}

TYPED_TEST(CacheOverwriteTest, AnEarlierEndHolds) {
  auto& cache = this->MakeWithTtl(1, absl::InfiniteDuration());
  for (const absl::Duration later : {absl::Seconds(100), absl::InfiniteDuration()}) {
    ASSERT_TRUE(cache.Put(1, 10, {.ttl = later}).ok());
    ASSERT_TRUE(cache.Put(1, 11, {.ttl = absl::Seconds(1)}).ok());
    EXPECT_EQ(cache.Get(1), std::optional<uint64_t>(11));
    this->clock_.Advance(absl::Seconds(1));
    EXPECT_EQ(cache.Get(1), std::nullopt);
    cache.RunMaintenance(SIZE_MAX);
    EXPECT_EQ(cache.size(), 0u);
  }
}

TYPED_TEST(CacheOverwriteTest, AnExpiredEntryIsNotRevived) {
  auto& cache = this->MakeWithTtl(1, absl::Seconds(1));
  ASSERT_TRUE(cache.Put(1, 10).ok());
  this->clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(cache.Put(1, 11).ok());
  EXPECT_EQ(cache.Get(1), std::optional<uint64_t>(11));
  EXPECT_EQ(cache.Stats().expirations, 1u);
  EXPECT_EQ(cache.Stats().replaced, 0u);
}

TYPED_TEST(CacheOverwriteTest, AListenerIsToldOfEachValue) {
  using CacheT = Cache<int, uint64_t, TypeParam>;
  auto options = this->template OptionsFor<CacheT>(10);
  std::vector<uint64_t> replaced;
  options.on_removal = [&replaced](const int&, const uint64_t& value, RemovalCause cause) {
    EXPECT_EQ(cause, RemovalCause::kReplaced);
    replaced.push_back(value);
  };
  CacheT& cache = this->template Make<CacheT>(std::move(options));
  for (uint64_t value = 0; value < 4; ++value) ASSERT_TRUE(cache.Put(1, value).ok());
  EXPECT_EQ(replaced, (std::vector<uint64_t>{0, 1, 2}));
}

TYPED_TEST(CacheOverwriteTest, EraseIfSparesAValueThatItWasNotAskedAbout) {
  auto& cache = this->MakeWithTtl(1, absl::InfiniteDuration());
  ASSERT_TRUE(cache.Put(1, 10).ok());
  ASSERT_TRUE(cache.Put(2, 10).ok());
  const auto is_ten = [&cache](const int& key, const uint64_t& value) {
    if (key == 1) {
      EXPECT_TRUE(cache.Put(1, 11).ok());
    }
    return value == 10;
  };
  EXPECT_EQ(cache.EraseIf(is_ten), 1u);
  EXPECT_EQ(cache.Get(1), std::optional<uint64_t>(11));
  EXPECT_EQ(cache.Get(2), std::nullopt);
}

// An overwritten entry is as one that was hit: it outlives those that weren't.
TYPED_TEST(CacheOverwriteTest, IsAnAccess) {
  using CacheT = Cache<int, uint64_t, TypeParam>;
  auto options = this->template OptionsFor<CacheT>(10);
  options.stripes = 1;
  CacheT& cache = this->template Make<CacheT>(std::move(options));
  for (int key = 0; key < 10; ++key) ASSERT_TRUE(cache.Put(key, 0).ok());
  for (uint64_t value = 1; value < 4; ++value) ASSERT_TRUE(cache.Put(0, value).ok());
  for (int key = 10; key < 15; ++key) ASSERT_TRUE(cache.Put(key, 0).ok());
  EXPECT_EQ(cache.Get(0), std::optional<uint64_t>(3));
}

// Its characters are the user's, who may end the old key's with the replacement.
TYPED_TEST(CacheOverwriteTest, AKeyThatOnlyPointsIsReplacedWithItsValue) {
  using CacheT = Cache<std::string_view, uint64_t, TypeParam>;
  CacheT& cache = this->template Make<CacheT>(10);
  const std::string first = "key";
  const std::string second = "key";
  ASSERT_TRUE(cache.Put(first, 1).ok());
  ASSERT_TRUE(cache.Put(second, 2).ok());
  EXPECT_EQ(cache.Pin("key").key().data(), second.data());
  this->End(cache);
}

// Each writer's values are its number and a count that only rises, twice, so that a torn one shows.
TYPED_TEST(CacheOverwriteTest, ReadersSeeWholeValuesInOrder) {
  constexpr int kWriters = 2;
  constexpr int kReaders = 2;
  const auto rounds = static_cast<uint64_t>(Rounds(3'000));
  auto& cache = this->MakeWithTtl(1, absl::Seconds(1'000));
  const auto value_of = [](uint64_t count) { return count << 32 | count; };
  std::atomic<int> writing{kWriters};
  RunThreads(kWriters + kReaders, [&](int thread) {
    if (thread < kWriters) {
      for (uint64_t count = 1; count <= rounds; ++count) {
        EXPECT_TRUE(cache.Put(thread, value_of(count)).ok());
        if (count % 64 == 0) this->clock_.Advance(absl::Milliseconds(1));
      }
      writing.fetch_sub(1);
      return;
    }
    std::vector<uint64_t> seen(kWriters, 0);
    const auto look = [&seen](int key, uint64_t value) {
      EXPECT_EQ(value >> 32, value & 0xffffffff);
      EXPECT_GE(value, seen[static_cast<size_t>(key)]);
      seen[static_cast<size_t>(key)] = value;
    };
    while (writing.load() > 0) {
      for (int key = 0; key < kWriters; ++key) {
        if (const auto value = cache.Get(key)) look(key, *value);
        cache.Visit(key, [&](const uint64_t& value) { look(key, value); });
        if (const auto handle = cache.Pin(key)) {
          const uint64_t value = *handle;
          look(key, value);
          EXPECT_EQ(*handle, value);
        }
      }
      cache.ForEach([&](const int& key, const uint64_t& value) { look(key, value); });
    }
  });
  for (int key = 0; key < kWriters; ++key) {
    EXPECT_EQ(cache.Get(key), std::optional<uint64_t>(value_of(rounds)));
  }
}

}  // namespace
}  // namespace larder
