// SPDX-License-Identifier: Apache-2.0
// Entries stand in the order of eviction, after a snapshot was loaded, as they did when it was
// saved.
#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "larder/policy.h"
#include "larder/snapshot.h"
#include "tests/support/snapshot_fixture.h"

namespace larder::test {
namespace {

template <class Policy>
class CacheSnapshotPolicyTest : public CacheSnapshotTest {};
using Policies = ::testing::Types<Lru, Sieve, S3Fifo>;
TYPED_TEST_SUITE(CacheSnapshotPolicyTest, Policies);

TYPED_TEST(CacheSnapshotPolicyTest, EntriesComeBack) {
  using CacheT = Cache<uint64_t, uint64_t, TypeParam>;
  for (const int stripes : {1, 16}) {
    auto options = this->template OptionsFor<CacheT>(1000);
    options.stripes = stripes;
    auto& before = this->template Make<CacheT>(options);
    for (uint64_t i = 0; i < 1500; ++i) {
      ASSERT_TRUE(before.Put(i, ~i).ok());
      before.Get(i / 3);
    }
    const CacheStats stats = before.Stats();
    const absl::StatusOr<SnapshotInfo> saved = this->Save(before);
    ASSERT_EQ(saved.status(), absl::OkStatus());
    EXPECT_EQ(saved->entries, before.size());
    EXPECT_EQ(saved->saved_at, this->wall_);
    EXPECT_EQ(saved->bytes, this->files_.Files().at(this->kPath).size());
    EXPECT_EQ(before.Stats().hits, stats.hits);
    EXPECT_EQ(before.Stats().misses, stats.misses);

    options.stripes = 17 - stripes;
    auto& after = this->template Make<CacheT>(options);
    const absl::StatusOr<SnapshotInfo> loaded = this->Load(after);
    ASSERT_EQ(loaded.status(), absl::OkStatus());
    EXPECT_EQ(loaded->entries, before.size());
    EXPECT_EQ(loaded->bytes, saved->bytes);
    EXPECT_EQ(loaded->saved_at, this->wall_);
    EXPECT_EQ(loaded->expired + loaded->present + loaded->no_room + loaded->refused, 0u);
    EXPECT_EQ(ContentsOf(after), ContentsOf(before));
    EXPECT_EQ(after.weight(), before.weight());
  }
}

// A cache that tells whose turn it was.
template <class CacheT>
struct Telling {
  explicit Telling(uint64_t capacity) {
    options.capacity = capacity;
    options.stripes = 1;
    options.on_removal = [this](uint64_t key, uint64_t, RemovalCause cause) {
      if (cause == RemovalCause::kEvicted) evicted.push_back(key);
    };
  }

  typename CacheT::Options options;
  std::vector<uint64_t> evicted;
};

// Evicts one entry after the other, but for the last.
template <class CacheT>
std::vector<uint64_t> EvictAll(CacheT& cache, Telling<CacheT>& telling) {
  telling.evicted.clear();
  for (uint64_t size = cache.size(); --size > 0;) EXPECT_TRUE(cache.SetCapacity(size).ok());
  return telling.evicted;
}

TYPED_TEST(CacheSnapshotPolicyTest, EntriesLeaveInTheOrderInWhichTheyWouldHave) {
  using CacheT = Cache<uint64_t, uint64_t, TypeParam>;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    Telling<CacheT> telling_before(200);
    auto& before = this->template Make<CacheT>(telling_before.options);
    for (int i = 0; i < 3000; ++i) {
      const uint64_t key = std::min(random() % 400, random() % 400);
      if (!before.Get(key).has_value()) before.Put(key, key).IgnoreError();
      if (i % 100 == 0) before.Erase(random() % 400);
    }
    ASSERT_TRUE(this->Save(before).ok());
    Telling<CacheT> telling_after(200);
    auto& after = this->template Make<CacheT>(telling_after.options);
    ASSERT_EQ(this->Load(after)->entries, before.size());
    const std::vector<uint64_t> order = EvictAll(before, telling_before);
    EXPECT_GT(order.size(), 150u);
    EXPECT_EQ(EvictAll(after, telling_after), order);
    this->End(before);
    this->End(after);
  }
}

// Not only those that were there: also what comes later hits and leaves as if nothing had happened.
TEST_F(CacheSnapshotTest, LruGoesOnAsIfItHadNeverEnded) {
  using CacheT = Cache<uint64_t, uint64_t>;
  for (const int stripes : {1, 8}) {
    auto options = OptionsFor<CacheT>(500);
    options.stripes = stripes;
    auto& before = Make<CacheT>(options);
    std::mt19937_64 random(7);
    const auto step = [](CacheT& cache, uint64_t key) {
      const bool hit = cache.Get(key).has_value();
      if (!hit) cache.Put(key, key).IgnoreError();
      return hit;
    };
    const auto draw = [&random] { return std::min(random() % 2000, random() % 2000); };
    for (int i = 0; i < 5000; ++i) step(before, draw());
    ASSERT_TRUE(Save(before).ok());
    auto& after = Make<CacheT>(options);
    ASSERT_TRUE(Load(after).ok());
    for (int i = 0; i < 5000; ++i) {
      const uint64_t key = draw();
      ASSERT_EQ(step(after, key), step(before, key)) << "at request " << i;
    }
  }
}

TYPED_TEST(CacheSnapshotPolicyTest, HitsGoOnAsBefore) {
  using CacheT = Cache<uint64_t, uint64_t, TypeParam>;
  auto options = this->template OptionsFor<CacheT>(1000);
  auto& before = this->template Make<CacheT>(options);
  std::mt19937_64 random(3);
  const auto hits = [&random](CacheT& cache, int requests) {
    int count = 0;
    for (int i = 0; i < requests; ++i) {
      // About Zipf, with keys that are asked for once in between.
      const double u = static_cast<double>(random() % 1'000'000 + 1) / 1'000'000;
      const uint64_t key = i % 4 == 0 ? random() : static_cast<uint64_t>(1 / u);
      if (cache.Get(key).has_value()) {
        ++count;
      } else {
        EXPECT_TRUE(cache.Put(key, key).ok());
      }
    }
    return count;
  };
  hits(before, 50'000);
  ASSERT_TRUE(this->Save(before).ok());
  auto& after = this->template Make<CacheT>(options);
  ASSERT_TRUE(this->Load(after).ok());
  auto& cold = this->template Make<CacheT>(options);
  const std::mt19937_64 from_here = random;
  const int would_have = hits(before, 2000);
  random = from_here;
  const int warm = hits(after, 2000);
  random = from_here;
  EXPECT_NEAR(warm, would_have, 20);
  EXPECT_LT(hits(cold, 2000), would_have - 40);
}

TEST_F(CacheSnapshotTest, AnotherPolicyTakesOverTheOrder) {
  using Before = Cache<uint64_t, uint64_t, Sieve>;
  using After = Cache<uint64_t, uint64_t, Lru>;
  Telling<Before> telling_before(100);
  auto& before = Make<Before>(telling_before.options);
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(before.Put(i, i).ok());
  ASSERT_TRUE(Save(before).ok());
  Telling<After> telling_after(100);
  auto& after = Make<After>(telling_after.options);
  ASSERT_EQ(Load(after)->entries, 100u);
  EXPECT_EQ(EvictAll(after, telling_after), EvictAll(before, telling_before));
  End(before);
  End(after);
}

}  // namespace
}  // namespace larder::test
