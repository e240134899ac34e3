// SPDX-License-Identifier: Apache-2.0
//
// Caches that can't know how many entries they will hold: their tables grow while they are used.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

// The first table's capacity: with one more entry it starts to grow.
constexpr uint64_t kFirstTable = 576;

template <class K, class Policy>
struct Case {
  using Key = K;
  using CacheT = Cache<K, uint64_t, Policy>;
};

template <class CaseT>
class CacheGrowthTest : public CacheFixture {
 protected:
  using Key = typename CaseT::Key;
  using CacheT = typename CaseT::CacheT;

  static Key KeyOf(uint64_t n) {
    if constexpr (std::is_same_v<Key, std::string>) {
      return absl::StrCat("key:", n);
    } else {
      return n;
    }
  }

  // One stripe, so that it is known when the table grows.
  CacheT& MakeGrowing() {
    auto options = OptionsFor<CacheT>(uint64_t{1} << 40);
    options.stripes = 1;
    options.weigher = [](const Key&, const uint64_t&) { return uint64_t{3}; };
    return Make<CacheT>(std::move(options));
  }

  // With the table at its first, second, third ... stage of growing; 0: not yet.
  CacheT& MakeAtStage(uint64_t stage) {
    CacheT& cache = MakeGrowing();
    for (uint64_t n = 0; n < kFirstTable + stage; ++n) EXPECT_TRUE(cache.Put(KeyOf(n), n).ok());
    return cache;
  }
};

using Cases = ::testing::Types<Case<uint64_t, Lru>, Case<uint64_t, S3Fifo>, Case<std::string, Lru>,
                               Case<std::string, Sieve>>;
TYPED_TEST_SUITE(CacheGrowthTest, Cases);

TYPED_TEST(CacheGrowthTest, OperationsAgreeWithAModelFromAFewEntriesToManyThousands) {
  auto& cache = this->MakeGrowing();
  std::mt19937_64 random(1);
  std::map<uint64_t, uint64_t> model;
  const auto most = static_cast<uint64_t>(Rounds(30'000));
  uint64_t keys = 500;  // in use; ever more
  const auto check = [&](uint64_t n) {
    const auto known = model.find(n);
    ASSERT_EQ(cache.Get(TestFixture::KeyOf(n)),
              known == model.end() ? std::optional<uint64_t>() : std::optional(known->second));
  };
  for (uint64_t step = 0; keys < most; ++step) {
    const uint64_t n = random() % keys;
    const uint64_t choice = random() % 16;
    if (choice < 6) {
      const uint64_t fresh = keys++;
      ASSERT_TRUE(cache.Put(TestFixture::KeyOf(fresh), step).ok());
      model[fresh] = step;
    } else if (choice < 9) {
      ASSERT_TRUE(cache.Put(TestFixture::KeyOf(n), step).ok());
      model[n] = step;
    } else if (choice < 10) {
      ASSERT_EQ(cache.PutIfAbsent(TestFixture::KeyOf(n), step), model.try_emplace(n, step).second);
    } else if (choice < 12) {
      ASSERT_EQ(cache.Erase(TestFixture::KeyOf(n)), model.erase(n) == 1);
    } else if (choice < 13) {
      const auto increment = [](std::optional<uint64_t> old) { return old.value_or(0) + 1; };
      ASSERT_TRUE(cache.Compute(TestFixture::KeyOf(n), increment).ok());
      ++model[n];
    }
    // Among others those that came or went lately.
    for (const uint64_t other : {n, keys - 1, random() % keys, keys}) check(other);
    if (::testing::Test::HasFailure()) return;
    if (step % 32'768 == 0) {
      const absl::Status invariants = cache.CheckInvariants();
      ASSERT_TRUE(invariants.ok()) << invariants;
      for (uint64_t other = 0; other < keys; other += 7) check(other);
    }
    if (step == 10'000 || step == 30'000) {
      cache.Clear();
      model.clear();
    }
  }
  EXPECT_EQ(cache.size(), model.size());
}

TYPED_TEST(CacheGrowthTest, AWalkVisitsEachEntryOnceInEveryStage) {
  auto& cache = this->MakeGrowing();
  for (uint64_t n = 0; n < 2'400; ++n) {
    ASSERT_TRUE(cache.Put(TestFixture::KeyOf(n), n).ok());
    // Around the times at which the table grows.
    const uint64_t since = n % kFirstTable;
    if (n < 550 || (since > 40 && since < 570)) continue;
    std::vector<int> seen(n + 1, 0);
    cache.ForEach([&](const auto&, uint64_t value) { ++seen.at(value); });
    ASSERT_EQ(seen, std::vector<int>(n + 1, 1));
    const absl::Status invariants = cache.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
  }
}

TYPED_TEST(CacheGrowthTest, EraseIfAndClearFindAllInEveryStage) {
  for (uint64_t stage = 0; stage < 8; ++stage) {
    auto& cache = this->MakeAtStage(stage);
    const uint64_t entries = kFirstTable + stage;
    EXPECT_EQ(cache.EraseIf([](const auto&, uint64_t value) { return value % 3 == 0; }),
              (entries + 2) / 3);
    for (uint64_t n = 0; n < entries; ++n) {
      ASSERT_EQ(cache.Contains(TestFixture::KeyOf(n)), n % 3 != 0);
    }
    ASSERT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants();
    cache.Clear();
    EXPECT_EQ(cache.size(), 0u);
    EXPECT_EQ(cache.Stats().cleared, entries - (entries + 2) / 3);
    for (uint64_t n = 0; n < entries; ++n) ASSERT_FALSE(cache.Contains(TestFixture::KeyOf(n)));
    ASSERT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants();
    this->End(cache);
  }
}

TYPED_TEST(CacheGrowthTest, MaintenanceGoesOnGrowingWhereNobodyWrites) {
  auto& cache = this->MakeAtStage(1);
  // Some entries are copied; the rest of the budget is not used up by that.
  size_t copied = 0;
  while (const size_t now = cache.RunMaintenance(100)) {
    EXPECT_LE(now, 100u);
    copied += now;
    ASSERT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants();
  }
  EXPECT_GT(copied, 0u);
  for (uint64_t n = 0; n <= kFirstTable; ++n) ASSERT_EQ(cache.Get(TestFixture::KeyOf(n)), n);
}

// One thread makes the table grow, two replace entries that stay by ever newer ones, and the others
// look at these.
TYPED_TEST(CacheGrowthTest, ReadersMissNothingAndWalksSeeItOnceWhileTheTableGrows) {
  constexpr uint64_t kStay = 100;
  for (int round = 0; round < Rounds(1); ++round) {
    auto& cache = this->MakeGrowing();
    for (uint64_t n = 0; n < kStay; ++n) ASSERT_TRUE(cache.Put(TestFixture::KeyOf(n), 1).ok());
    std::atomic<bool> done{false};
    std::atomic<uint64_t> newest[kStay] = {};  // that any reader has seen
    RunThreads(4, [&](int thread) {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      if (thread == 0) {
        for (uint64_t i = 0; i < 20'000; ++i) {
          EXPECT_TRUE(cache.Put(TestFixture::KeyOf(kStay + i), 0).ok());
          if (i % 4 == 0) cache.Erase(TestFixture::KeyOf(kStay + random() % (i + 1)));
        }
        done.store(true);
      } else if (thread == 1) {
        for (uint64_t version = 2; !done.load(); ++version) {
          for (uint64_t n = 0; n < kStay; ++n) {
            EXPECT_TRUE(cache.Put(TestFixture::KeyOf(n), version).ok());
          }
        }
      } else if (thread == 2) {
        while (!done.load()) {
          const uint64_t n = random() % kStay;
          const uint64_t before = newest[n].load();
          const std::optional<uint64_t> seen = cache.Get(TestFixture::KeyOf(n));
          ASSERT_TRUE(seen.has_value());
          ASSERT_GE(*seen, before);
          newest[n].store(*seen);
        }
      } else {
        while (!done.load()) {
          uint64_t stayed = 0;
          cache.ForEach([&stayed](const auto&, uint64_t value) { stayed += value > 0 ? 1 : 0; });
          ASSERT_EQ(stayed, kStay);
        }
      }
    });
  }
}

}  // namespace
}  // namespace larder::test
