// SPDX-License-Identifier: Apache-2.0
//
// Clear in use: pins and walks that still know of what was cleared, tables that grow, a model,
// threads. For each policy, with one stripe and several, with and without a ttl.

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/policy.h"
#include "tests/support/clear_fixture.h"
#include "tests/support/rounds.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

TYPED_TEST_SUITE(CacheClearTest, ClearKinds);

// --- Those who still know of an entry.

TYPED_TEST(CacheClearTest, APinnedValueStaysWhateverBecomesOfItsSlot) {
  using Handle = typename TypeParam::CacheT::Handle;
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(2'000, options);
    std::vector<Handle> handles;
    for (uint64_t round = 0; round < 5; ++round) {
      this->Fill(cache, 0, 2'000);
      for (uint64_t key = round; key < 2'000; key += 40) {
        if (Handle handle = cache.Pin(key)) handles.push_back(std::move(handle));
      }
      cache.Clear();
      if (round == 3) this->WorkOff(cache);
      // Some go while they wait.
      for (size_t i = 0; i < handles.size(); i += 3) handles[i] = Handle();
      std::erase_if(handles, [](const Handle& handle) { return !handle; });
    }
    this->ExpectSound(cache);
    for (const Handle& handle : handles) EXPECT_LT(handle->number(), 2'000u);
    this->End(cache);
    for (const Handle& handle : handles) EXPECT_LT(handle->number(), 2'000u);
    handles.clear();
    EXPECT_EQ(Counted::Live(), 0);
  });
}

TYPED_TEST(CacheClearTest, EraseIfLeavesAloneWhatIsClearedMeanwhile) {
  this->ForEachKind([&](const ClearOptions& options) {
    auto& cache = this->MakeOf(3'000, options);
    this->Fill(cache, 0, 2'000);
    const uint64_t size = cache.size();
    uint64_t asked = 0;
    const size_t erased = cache.EraseIf([&](uint64_t, const auto&) {
      if (++asked == 100) {
        cache.Clear();
        for (uint64_t key = 5'000; key < 5'050; ++key) EXPECT_TRUE(cache.Put(key, key).ok());
      }
      return true;
    });
    const CacheStats stats = cache.Stats();
    EXPECT_EQ(stats.erased, erased);
    EXPECT_EQ(stats.erased + stats.cleared + cache.size(), size + 50);
    EXPECT_EQ(cache.size(), cache.weight());
    this->ExpectSound(cache);
    this->WorkOff(cache);
    EXPECT_EQ(cache.Stats().cleared, stats.cleared);
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, AWalkThatClearsGoesOnOverWhatItBeganWith) {
  auto& cache = this->MakeOf(3'000, {1});
  this->Fill(cache, 0, 3'000);
  size_t walked = 0;
  cache.ForEach([&](uint64_t key, const auto& value) {
    EXPECT_EQ(value.number(), key);
    if (++walked % 700 == 1) {
      cache.Clear();
      this->Fill(cache, 0, 200);
      this->WorkOff(cache);
    }
  });
  EXPECT_GE(walked, 3'000u - 200u);
  EXPECT_EQ(cache.size(), 200u);
}

TYPED_TEST(CacheClearTest, ATableThatGrowsIsClearedInEveryStage) {
  using CacheT = typename TypeParam::CacheT;
  for (const uint64_t entries : {560u, 577u, 600u, 640u, 700u, 1'200u, 2'400u, 5'000u}) {
    SCOPED_TRACE(entries);
    auto options = this->template OptionsFor<CacheT>(1'000'000);
    options.stripes = 1;
    // How many there will be isn't known.
    options.weigher = [](uint64_t, const typename TypeParam::Value&) { return 2; };
    auto& cache = this->template Make<CacheT>(options);
    for (uint64_t round = 0; round < 3; ++round) {
      this->Fill(cache, 0, entries + round);
      EXPECT_EQ(cache.weight(), 2 * (entries + round));
      cache.Clear();
      EXPECT_EQ(cache.weight(), 0u);
      this->ExpectSound(cache);
      EXPECT_EQ(this->Found(cache, 0, entries + round), 0u);
      this->Fill(cache, entries, 2 * entries);
      EXPECT_EQ(this->Found(cache, 0, 2 * entries), entries);
      this->ExpectSound(cache);
      cache.Clear();
    }
    this->End(cache);
  }
}

// --- Against a map.

TYPED_TEST(CacheClearTest, HoldsWhatAMapHolds) {
  constexpr uint64_t kKeys = 1'000;
  for (int round = 0; round < Rounds(4); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    const int stripes = random() % 2 == 0 ? 1 : 8;
    // Large enough for nothing to be evicted.
    auto& cache = this->MakeOf(kKeys * 5, {stripes});
    struct Entry {
      uint64_t number;
      uint64_t weight;
      absl::Duration deadline;
    };
    std::map<uint64_t, Entry> map;
    absl::Duration now;
    uint64_t removed = 0;
    for (int step = 0; step < 5'000; ++step) {
      const uint64_t key = random() % kKeys;
      const auto there = map.find(key);
      const bool live = there != map.end() && there->second.deadline > now;
      switch (random() % 12) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4: {
          const uint64_t weight = random() % 4;
          PutOptions options{.weight = weight};
          Entry entry{random(), weight, absl::InfiniteDuration()};
          if (random() % 3 == 0) {
            options.ttl = absl::Seconds(1 + static_cast<int64_t>(random() % 100));
            entry.deadline = now + *options.ttl;
          }
          ASSERT_TRUE(cache.Put(key, entry.number, options).ok());
          map.insert_or_assign(key, entry);
          break;
        }
        case 5:
        case 6:
        case 7: {
          const auto value = cache.Get(key);
          ASSERT_EQ(value.has_value(), live) << key;
          if (live) {
            ASSERT_EQ(value->number(), there->second.number);
          }
          break;
        }
        case 8:
          ASSERT_EQ(cache.Erase(key), live);
          map.erase(key);
          break;
        case 9:
          cache.RunMaintenance(random() % 50);
          break;
        case 10:
          if (random() % 10 == 0) {
            const absl::Duration step_time = absl::Seconds(static_cast<int64_t>(random() % 20));
            this->clock_.Advance(step_time);
            now += step_time;
          } else if (random() % 10 == 0) {
            const uint64_t rest = random() % 3;
            const size_t erased =
                cache.EraseIf([rest](uint64_t k, const auto&) { return k % 3 == rest; });
            ASSERT_EQ(erased, std::erase_if(map, [&](const auto& entry) {
                        return entry.first % 3 == rest && entry.second.deadline > now;
                      }));
          }
          break;
        case 11:
          // Often one after the other.
          if (random() % 64 < 4) {
            for (uint64_t clears = random() % 3 + 1; clears > 0; --clears) cache.Clear();
            removed += map.size();
            map.clear();
            ASSERT_EQ(cache.size(), 0u);
            ASSERT_EQ(cache.weight(), 0u);
            this->ExpectSound(cache);
          }
          break;
      }
    }
    std::erase_if(map, [&](const auto& entry) { return entry.second.deadline <= now; });
    this->clock_.Advance(absl::Milliseconds(2));
    this->WorkOff(cache);
    std::erase_if(map, [&](const auto& entry) {
      return entry.second.deadline <= now + absl::Milliseconds(2);
    });
    uint64_t weight = 0;
    for (const auto& [key, entry] : map) weight += entry.weight;
    EXPECT_EQ(cache.size(), map.size());
    EXPECT_EQ(cache.weight(), weight);
    EXPECT_LE(cache.Stats().cleared, removed);
    cache.ForEach([&](uint64_t key, const auto& value) {
      ASSERT_TRUE(map.contains(key));
      EXPECT_EQ(value.number(), map.at(key).number);
    });
    this->End(cache);
  }
}

// --- By several threads.

TYPED_TEST(CacheClearTest, ThreadsMayClearWhileOthersReadAndWrite) {
  constexpr uint64_t kKeys = 2'000;
  for (const int stripes : {1, 8}) {
    auto& cache = this->MakeOf(kKeys * 3 / 4, {stripes, absl::Seconds(1)});
    const auto steps = static_cast<uint64_t>(Rounds(4'000));
    RunThreads(4, [&](int thread) {
      std::mt19937_64 random(static_cast<uint64_t>(thread) + 1);
      typename TypeParam::CacheT::Handle handle;
      for (uint64_t step = 0; step < steps; ++step) {
        const uint64_t key = random() % kKeys;
        const uint64_t choice = random() % 100;
        if (choice < 45) {
          ASSERT_TRUE(cache.Put(key, key).ok());
        } else if (choice < 80) {
          const auto value = cache.Get(key);
          if (value.has_value()) {
            ASSERT_EQ(value->number(), key);
          }
        } else if (choice < 86) {
          handle = cache.Pin(key);
          if (handle) {
            ASSERT_EQ(handle->number(), key);
          }
        } else if (choice < 92) {
          cache.Erase(key);
        } else if (choice < 95) {
          cache.RunMaintenance(random() % 100);
        } else if (choice < 96) {
          cache.EraseIf([](uint64_t k, const auto&) { return k % 50 == 0; });
        } else if (choice < 97) {
          cache.ForEach([](uint64_t k, const auto& value) { ASSERT_EQ(value.number(), k); });
        } else if (choice < 98) {
          this->clock_.Advance(absl::Milliseconds(10));
        } else if (random() % 4 == 0) {
          cache.Clear();
        }
      }
    });
    this->ExpectSound(cache);
    const CacheStats stats = cache.Stats();
    EXPECT_EQ(stats.puts, stats.size + stats.evictions + stats.expirations + stats.erased +
                              stats.replaced + stats.cleared);
    cache.Clear();
    this->WorkOff(cache);
    EXPECT_EQ(Counted::Live(), 0);
    this->End(cache);
  }
}

}  // namespace
}  // namespace larder::test
