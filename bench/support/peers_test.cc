// SPDX-License-Identifier: Apache-2.0
//
// The caches that larder is compared with have to be caches before a comparison is fair.

#include "bench/support/peers.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "bench/support/contenders.h"
#include "bench/support/key_sequences.h"
#include "bench/support/policies.h"
#include "bench/support/type_list.h"
#include "gtest/gtest.h"

namespace larder::bench {
namespace {

// LRU as its definition says it, in O(n).
class ReferenceLru {
 public:
  explicit ReferenceLru(size_t capacity) : capacity_(capacity) {}

  std::optional<uint64_t> Get(uint64_t key) {
    const auto it = Find(key);
    if (it == entries_.end()) return std::nullopt;
    std::rotate(entries_.begin(), it, it + 1);
    return entries_.front().second;
  }

  void Put(uint64_t key, uint64_t value) {
    if (const auto it = Find(key); it != entries_.end()) entries_.erase(it);
    entries_.insert(entries_.begin(), {key, value});
    if (entries_.size() > capacity_) entries_.pop_back();
  }

 private:
  using Entries = std::vector<std::pair<uint64_t, uint64_t>>;

  Entries::iterator Find(uint64_t key) {
    return std::find_if(entries_.begin(), entries_.end(),
                        [key](const auto& entry) { return entry.first == key; });
  }

  const size_t capacity_;
  Entries entries_;  // most recently used first
};

// Uses the cache and a reference for each of its parts in the same way; part_of tells which.
template <class Cache>
void ExpectExactLruPerPart(Cache& cache, size_t capacity_of_part, size_t parts,
                           const std::function<size_t(uint64_t)>& part_of) {
  std::vector<ReferenceLru> references(parts, ReferenceLru(capacity_of_part));
  std::mt19937_64 random(20'250'131);
  size_t hits = 0;
  for (uint64_t step = 0; step < 20'000; ++step) {
    const uint64_t key = random() % (3 * capacity_of_part * parts);
    ReferenceLru& reference = references.at(part_of(key));
    if (random() % 3 == 0) {
      cache.Put(key, step);
      reference.Put(key, step);
    } else {
      const std::optional<uint64_t> expected = reference.Get(key);
      ASSERT_EQ(cache.Get(key), expected) << "step " << step << ", key " << key;
      hits += expected ? 1 : 0;
    }
  }
  EXPECT_GT(hits, 1000u);
}

TEST(MutexListLruTest, IsExactLru) {
  MutexListLru<uint64_t, uint64_t> cache(50);
  ExpectExactLruPerPart(cache, 50, 1, [](uint64_t) { return 0; });
}

TEST(SpinStripedLruTest, IsExactLruPerStripe) {
  SpinStripedLru<uint64_t, uint64_t> cache(80, 8);
  ExpectExactLruPerPart(cache, 10, 8, [&cache](uint64_t key) { return cache.StripeIndex(key); });
}

TEST(SpinStripedLruTest, OneStripeIsEnough) {
  SpinStripedLru<uint64_t, uint64_t> cache(50, 1);
  ExpectExactLruPerPart(cache, 50, 1, [](uint64_t) { return 0; });
}

TEST(SpinStripedLruTest, KeepsKeysAndValuesTogetherForManyThreads) {
  SpinStripedLru<uint64_t, uint64_t> cache(64, 4);
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&cache, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 5'000; ++i) {
        const uint64_t key = random() % 128;
        if (const std::optional<uint64_t> value = cache.Get(key)) {
          EXPECT_EQ(*value, NumberValue(key));
        } else {
          cache.Put(key, NumberValue(key));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

#if defined(LARDER_BENCH_HAS_TBB)
TEST(TbbLruCacheTest, UsedByOneThreadIsExactLruPerShard) {
  TbbLruCache<uint64_t, uint64_t> cache(80, 8);
  ExpectExactLruPerPart(cache, 10, 8, [&cache](uint64_t key) { return cache.ShardIndex(key); });
}
#endif

// All contenders, as the works use them.
template <class Contender>
class ContenderTest : public ::testing::Test {};

template <class List>
struct GoogleTestTypes;
template <class... Types>
struct GoogleTestTypes<TypeList<Types...>> {
  using List = ::testing::Types<Types...>;
};

using Contenders = Concat<TypeList<FlatHashMap, MutexList, SpinStripes>, Policies::Each<Larder>,
                          Policies::Each<LarderWithTtl>, RocksPeers, TbbPeers>;
TYPED_TEST_SUITE(ContenderTest, GoogleTestTypes<Contenders>::List);

TYPED_TEST(ContenderTest, MapsNumbers) {
  typename TypeParam::template Cache<uint64_t, uint64_t> cache(10'000);
  EXPECT_EQ(cache.Get(NumberKey(1)), std::nullopt);
  for (uint64_t i = 0; i < 1'000; ++i) cache.Put(NumberKey(i), i + 1);
  for (uint64_t i = 0; i < 1'000; ++i) ASSERT_EQ(cache.Get(NumberKey(i)), i + 1) << i;
  cache.Put(NumberKey(7), 4711);
  EXPECT_EQ(cache.Get(NumberKey(7)), 4711u);
  EXPECT_EQ(cache.Get(NumberKey(1'000)), std::nullopt);
}

TYPED_TEST(ContenderTest, MapsTexts) {
  typename TypeParam::template Cache<std::string, std::string> cache(10'000);
  for (uint32_t i = 0; i < 1'000; ++i) cache.Put(std::string(TextKey(i).view()), TextValue(i));
  for (uint32_t i = 0; i < 1'000; ++i) {
    std::string seen;
    const auto look = [&seen](const std::string& value) { seen = value; };
    ASSERT_TRUE(cache.Visit(TextKey(i).view(), look)) << i;
    ASSERT_EQ(seen, TextValue(i));
    ASSERT_EQ(cache.Get(TextKey(i).view()), TextValue(i));
  }
  EXPECT_FALSE(cache.Visit(TextKey(1'000).view(), [](const std::string&) {}));
  cache.Put("user:7", "another");
  EXPECT_EQ(cache.Get(std::string_view("user:7")), "another");
}

TYPED_TEST(ContenderTest, PinsTextsWhereItSaysSo) {
  typename TypeParam::template Cache<std::string, std::string> cache(10'000);
  cache.Put("user:7", TextValue(7));
  const std::string_view key = "user:7";
  if constexpr (requires { cache.Pin(key); }) {
    const auto pinned = cache.Pin(key);
    ASSERT_TRUE(pinned);
    EXPECT_EQ(*pinned, TextValue(7));
    EXPECT_FALSE(cache.Pin(std::string_view("user:8")));
  }
}

TYPED_TEST(ContenderTest, IsBoundedIfItEvicts) {
  constexpr uint64_t kCapacity = 6'400;
  typename TypeParam::template Cache<uint64_t, uint64_t> cache(kCapacity);
  for (uint64_t i = 0; i < 4 * kCapacity; ++i) cache.Put(NumberKey(i), i);
  uint64_t held = 0;
  for (uint64_t i = 0; i < 4 * kCapacity; ++i) held += cache.Get(NumberKey(i)) ? 1 : 0;
  if (TypeParam::kEvicts) {
    EXPECT_LE(held, kCapacity);
    EXPECT_GE(held, kCapacity * 9 / 10);
  } else {
    EXPECT_EQ(held, 4 * kCapacity);
  }
}

}  // namespace
}  // namespace larder::bench
