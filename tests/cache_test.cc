// SPDX-License-Identifier: Apache-2.0
// What each method of a cache does, for one thread and without expiry.
#include "larder/cache.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using CountedCache = Cache<uint64_t, Counted>;

class CacheTest : public CacheFixture {};

template <class CacheT>
std::map<uint64_t, uint64_t> Contents(CacheT& cache) {
  std::map<uint64_t, uint64_t> contents;
  cache.ForEach([&contents](uint64_t key, uint64_t value) {
    EXPECT_TRUE(contents.emplace(key, value).second) << "met twice: " << key;
  });
  return contents;
}

TEST_F(CacheTest, IsEmptyAtFirst) {
  IntCache& cache = Make<IntCache>(10);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.weight(), 0u);
  EXPECT_EQ(cache.capacity(), 10u);
  EXPECT_EQ(cache.Get(1), std::nullopt);
  EXPECT_FALSE(cache.Pin(1));
  EXPECT_FALSE(cache.Contains(1));
  EXPECT_FALSE(cache.Erase(1));
  EXPECT_FALSE(cache.Visit(1, [](uint64_t) { ADD_FAILURE() << "nothing to visit"; }));
  EXPECT_EQ(cache.EraseIf([](uint64_t, uint64_t) { return true; }), 0u);
  cache.Clear();
  EXPECT_EQ(Contents(cache).size(), 0u);
}

TEST_F(CacheTest, PutStoresAndReplaces) {
  IntCache& cache = Make<IntCache>(10);
  EXPECT_TRUE(cache.Put(1, 10).ok());
  EXPECT_TRUE(cache.Put(2, 20).ok());
  EXPECT_EQ(cache.Get(1), 10u);
  EXPECT_TRUE(cache.Put(1, 11).ok());
  EXPECT_EQ(cache.Get(1), 11u);
  EXPECT_EQ(cache.Get(2), 20u);
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.weight(), 2u);
}

TEST_F(CacheTest, PutIfAbsentLeavesWhatIsThere) {
  IntCache& cache = Make<IntCache>(10);
  EXPECT_TRUE(cache.PutIfAbsent(1, 10));
  EXPECT_FALSE(cache.PutIfAbsent(1, 11));
  EXPECT_EQ(cache.Get(1), 10u);
  EXPECT_TRUE(cache.Erase(1));
  EXPECT_TRUE(cache.PutIfAbsent(1, 12));
  EXPECT_EQ(cache.Get(1), 12u);
}

TEST_F(CacheTest, PinSeesTheValueThatItWasMadeFor) {
  CountedCache& cache = Make<CountedCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  CountedCache::Handle handle = cache.Pin(1);
  ASSERT_TRUE(handle);
  const Counted* const address = &*handle;
  ASSERT_TRUE(cache.Put(1, 11).ok());
  const CountedCache::Handle second = cache.Pin(1);
  ASSERT_TRUE(cache.Erase(1));
  while (cache.RunMaintenance(100) != 0) {
  }
  EXPECT_EQ(&*handle, address);
  EXPECT_EQ(handle->number(), 10u);
  EXPECT_EQ(handle.key(), 1u);
  EXPECT_EQ(second->number(), 11u);
  EXPECT_EQ(Counted::Live(), 2);
  EXPECT_FALSE(cache.Pin(1));
}

TEST_F(CacheTest, PinsOfOneEntryAreTheSameObject) {
  Cache<uint64_t, std::string>& cache = Make<Cache<uint64_t, std::string>>(10);
  ASSERT_TRUE(cache.Put(1, "value").ok());
  const auto first = cache.Pin(1);
  const auto second = cache.Pin(1);
  EXPECT_EQ(&*first, &*second);
  EXPECT_TRUE(cache.Visit(1, [&first](const std::string& seen) { EXPECT_EQ(&seen, &*first); }));
}

TEST_F(CacheTest, PinnedValuesOutliveEvictionAndTheCache) {
  CountedCache& cache = Make<CountedCache>(1);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  const CountedCache::Handle evicted = cache.Pin(1);
  ASSERT_TRUE(cache.Put(2, 20).ok());
  CountedCache::Handle last = cache.Pin(2);
  End(cache);
  EXPECT_EQ(evicted->number(), 10u);
  EXPECT_EQ(last->number(), 20u);
  EXPECT_EQ(last.key(), 2u);
  EXPECT_EQ(Counted::Live(), 2);
  last = CountedCache::Handle();
  EXPECT_EQ(Counted::Live(), 1);
}

TEST_F(CacheTest, HandlesMove) {
  CountedCache& cache = Make<CountedCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  ASSERT_TRUE(cache.Put(2, 20).ok());
  CountedCache::Handle empty;
  EXPECT_FALSE(empty);
  CountedCache::Handle one = cache.Pin(1);
  CountedCache::Handle moved = std::move(one);
  EXPECT_FALSE(one);  // NOLINT: what is moved from is empty
  EXPECT_EQ(moved->number(), 10u);
  moved = cache.Pin(2);  // lets go of 1
  EXPECT_EQ((*moved).number(), 20u);
  cache.Clear();
  while (cache.RunMaintenance(100) != 0) {
  }
  EXPECT_EQ(Counted::Live(), 1);
  moved = std::move(empty);
  EXPECT_FALSE(moved);
  EXPECT_EQ(Counted::Live(), 0);
}

TEST_F(CacheTest, VisitSeesTheValueWithoutACopy) {
  struct Unshareable {
    explicit Unshareable(int n) : number(n) {}
    Unshareable(Unshareable&&) = default;
    int number;
  };
  using CacheT = Cache<std::string, Unshareable>;
  CacheT& cache = Make<CacheT>(10);
  ASSERT_TRUE(cache.Put("a", Unshareable(7)).ok());
  int seen = 0;
  EXPECT_TRUE(cache.Visit("a", [&seen](const Unshareable& value) { seen = value.number; }));
  EXPECT_EQ(seen, 7);
}

TEST_F(CacheTest, VisitCallbackIsCaughtCallingTheCacheInDebugBuilds) {
#ifndef NDEBUG
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  IntCache& cache = Make<IntCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  EXPECT_DEATH(cache.Visit(1, [&cache](uint64_t) { cache.Erase(1); }), "");
  EXPECT_DEATH(cache.Visit(1, [&cache](uint64_t) { cache.Get(2); }), "");
  // Another cache may be called.
  IntCache& other = Make<IntCache>(10);
  EXPECT_TRUE(cache.Visit(1, [&other](uint64_t value) { EXPECT_TRUE(other.Put(1, value).ok()); }));
  EXPECT_EQ(other.Get(1), 10u);
#endif
}

TEST_F(CacheTest, ContainsHasNoEffect) {
  auto options = OptionsFor<IntCache>(2);
  options.stripes = 1;
  IntCache& cache = Make<IntCache>(options);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  ASSERT_TRUE(cache.Put(2, 20).ok());
  EXPECT_TRUE(cache.Contains(1));
  EXPECT_FALSE(cache.Contains(3));
  EXPECT_EQ(cache.Stats().hits, 0u);
  EXPECT_EQ(cache.Stats().misses, 0u);
  ASSERT_TRUE(cache.Put(3, 30).ok());
  EXPECT_FALSE(cache.Contains(1)) << "was the least recently used";
  EXPECT_TRUE(cache.Contains(2));
}

TEST_F(CacheTest, EraseTellsWhetherThereWasAnEntry) {
  IntCache& cache = Make<IntCache>(10);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  EXPECT_FALSE(cache.Erase(2));
  EXPECT_TRUE(cache.Erase(1));
  EXPECT_FALSE(cache.Erase(1));
  EXPECT_EQ(cache.Get(1), std::nullopt);
  EXPECT_EQ(cache.size(), 0u);
}

TEST_F(CacheTest, EraseIfRemovesWhatThePredicateNames) {
  IntCache& cache = Make<IntCache>(100'000);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, key * 10).ok());
  EXPECT_EQ(cache.EraseIf([](uint64_t key, uint64_t value) {
    EXPECT_EQ(value, key * 10);
    return key % 3 == 0;
  }),
            334u);
  EXPECT_EQ(cache.size(), 666u);
  for (uint64_t key = 0; key < 1000; ++key) EXPECT_EQ(cache.Contains(key), key % 3 != 0);
}

TEST_F(CacheTest, EraseIfPredicateMayCallTheCache) {
  IntCache& cache = Make<IntCache>(1000);
  for (uint64_t key = 0; key < 100; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  cache.EraseIf([&cache](uint64_t key, uint64_t) {
    EXPECT_TRUE(cache.Put(key + 200, key).ok());
    return key < 100;
  });
  for (uint64_t key = 0; key < 100; ++key) EXPECT_FALSE(cache.Contains(key));
}

TEST_F(CacheTest, ClearRemovesEverything) {
  IntCache& cache = Make<IntCache>(100'000);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  cache.Clear();
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.weight(), 0u);
  EXPECT_FALSE(cache.Contains(1));
  ASSERT_TRUE(cache.Put(1, 11).ok());
  EXPECT_EQ(cache.Get(1), 11u);
}

TEST_F(CacheTest, ForEachSeesEachEntryOnce) {
  IntCache& cache = Make<IntCache>(100'000);
  std::map<uint64_t, uint64_t> expected;
  for (uint64_t key = 0; key < 1000; ++key) {
    expected[key] = key * 2;
    ASSERT_TRUE(cache.Put(key, key * 2).ok());
  }
  EXPECT_EQ(Contents(cache), expected);
}

TEST_F(CacheTest, ForEachCallbackMayChangeTheCache) {
  CountedCache& cache = Make<CountedCache>(10'000);
  for (uint64_t key = 0; key < 500; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  cache.ForEach([&cache](uint64_t key, const Counted& value) {
    cache.Erase(key);
    EXPECT_TRUE(cache.Put(key + 1000, key).ok());
    EXPECT_EQ(value.number() % 1000, key % 1000) << "still alive after its Erase";
  });
  for (uint64_t key = 0; key < 500; ++key) EXPECT_FALSE(cache.Contains(key));
}

TEST_F(CacheTest, GetOrLoadLoadsWhatIsMissing) {
  IntCache& cache = Make<IntCache>(10);
  int loads = 0;
  const auto loader = [&loads](uint64_t key) -> absl::StatusOr<uint64_t> {
    ++loads;
    return key * 10;
  };
  EXPECT_EQ(*cache.GetOrLoad(4, loader), 40u);
  EXPECT_EQ(*cache.GetOrLoad(4, loader), 40u);
  EXPECT_EQ(loads, 1);
  EXPECT_EQ(cache.Get(4), 40u);
}

TEST_F(CacheTest, GrowsToManyEntries) {
  IntCache& cache = Make<IntCache>(1 << 20);
  for (uint64_t key = 0; key < 200'000; ++key) ASSERT_TRUE(cache.Put(key, ~key).ok());
  EXPECT_EQ(cache.size(), 200'000u);
  for (uint64_t key = 0; key < 200'000; ++key) ASSERT_EQ(cache.Get(key), ~key);
}

TEST_F(CacheTest, RemovedValuesAreDestroyedAtTheLatestByRunMaintenance) {
  CountedCache& cache = Make<CountedCache>(100);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key % 300, key).ok());
  cache.Erase(299);
  while (cache.RunMaintenance(10) != 0) {
  }
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache.size()));
}

}  // namespace
}  // namespace larder::test
