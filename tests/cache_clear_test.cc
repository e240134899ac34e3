// SPDX-License-Identifier: Apache-2.0
//
// Clear looks at no entry, and what it leaves is gone by and by: for each policy, with one stripe
// and several, with and without a ttl.

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/policy.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

// What a put may destroy: two chunks of slots, twice, and some more.
constexpr int64_t kMostDestroyed = 1'536;
// Removed nodes of a stripe that wait for their readers, and the part of a chunk that isn't used.
constexpr size_t kSlack = 1'024;

// A value that needs no destructor, and is too large to be overwritten where it is.
struct Plain {
  Plain(uint64_t n) : numbers{n, n, n} {}  // NOLINT: implicit, as a number is
  uint64_t number() const { return numbers[0]; }
  uint64_t numbers[3];
};

template <class PolicyT, class ValueT>
struct Kind {
  using Value = ValueT;
  using CacheT = Cache<uint64_t, ValueT, PolicyT>;
};

struct Options {
  int stripes;
  absl::Duration ttl = absl::InfiniteDuration();
  absl::Duration idle_ttl = absl::InfiniteDuration();
};
const Options kOptions[] = {{1},
                            {8},
                            {1, absl::Hours(1)},
                            {8, absl::Hours(1)},
                            {8, absl::InfiniteDuration(), absl::Hours(1)}};

template <class KindT>
class CacheClearTest : public CacheFixture {
 protected:
  using CacheT = typename KindT::CacheT;

  CacheT& MakeOf(uint64_t capacity, const Options& options) {
    auto made = OptionsFor<CacheT>(capacity);
    made.stripes = options.stripes;
    made.ttl = options.ttl;
    made.idle_ttl = options.idle_ttl;
    return Make<CacheT>(made);
  }

  // Runs test(options) with each kind of cache.
  template <class Test>
  void ForEachKind(Test&& test) {
    for (const Options& options : kOptions) {
      SCOPED_TRACE(absl::StrCat(options.stripes, " stripes, ttl ",
                                absl::FormatDuration(options.ttl), ", idle_ttl ",
                                absl::FormatDuration(options.idle_ttl)));
      test(options);
      if (this->HasFailure()) return;
    }
  }

  static void Fill(CacheT& cache, uint64_t begin, uint64_t end) {
    for (uint64_t key = begin; key < end; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  }

  static size_t Found(CacheT& cache, uint64_t begin, uint64_t end) {
    size_t found = 0;
    for (uint64_t key = begin; key < end; ++key) {
      const auto value = cache.Get(key);
      if (value.has_value()) {
        EXPECT_EQ(value->number(), key);
      }
      found += value.has_value() ? 1 : 0;
    }
    return found;
  }

  static void WorkOff(CacheT& cache) {
    while (cache.RunMaintenance(SIZE_MAX) > 0) {
    }
  }

  static void ExpectSound(CacheT& cache) {
    const absl::Status status = cache.CheckInvariants();
    EXPECT_TRUE(status.ok()) << status;
  }
};

using Kinds = ::testing::Types<Kind<Lru, Counted>, Kind<Sieve, Counted>, Kind<S3Fifo, Counted>,
                               Kind<Lru, Plain>, Kind<Sieve, Plain>, Kind<S3Fifo, Plain>>;
TYPED_TEST_SUITE(CacheClearTest, Kinds);

// --- What Clear does itself.

TYPED_TEST(CacheClearTest, LooksAtNoEntry) {
  constexpr uint64_t kEntries = 20'000;
  constexpr uintptr_t kPage = 4096;
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(kEntries, options);
    this->Fill(cache, 0, kEntries);
    // S3Fifo lets an entry into its queue with the stripe's next change.
    for (uint64_t key = 0; key < 500; ++key) EXPECT_TRUE(cache.Erase(key));
    this->WorkOff(cache);
    uintptr_t begin = UINTPTR_MAX;
    uintptr_t end = 0;
    for (uint64_t key = 500; key < kEntries; ++key) {
      cache.Visit(key, [&](const typename TypeParam::Value& value) {
        begin = std::min(begin, reinterpret_cast<uintptr_t>(&value));
        end = std::max(end, reinterpret_cast<uintptr_t>(&value));
      });
    }
    begin = (begin + kPage - 1) / kPage * kPage;
    end = end / kPage * kPage;
    ASSERT_GT(end, begin + kEntries * sizeof(typename TypeParam::Value));
    // Whoever reads or writes an entry now dies.
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_NONE), 0);
    cache.Clear();
    const uint64_t size = cache.size();
    const uint64_t weight = cache.weight();
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(size, 0u);
    EXPECT_EQ(weight, 0u);
    EXPECT_EQ(this->Found(cache, 0, kEntries), 0u);
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, SubtractsAllAtOnce) {
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(100'000, options);
    uint64_t weight = 0;
    for (uint64_t key = 0; key < 3'000; ++key) {
      ASSERT_TRUE(cache.Put(key, key, {.weight = key % 7}).ok());
      weight += key % 7;
    }
    EXPECT_EQ(cache.weight(), weight);
    cache.Clear();
    EXPECT_EQ(cache.size(), 0u);
    EXPECT_EQ(cache.weight(), 0u);
    EXPECT_EQ(cache.Stats().cleared, 3'000u);
    this->ExpectSound(cache);
    size_t walked = 0;
    cache.ForEach([&](uint64_t, const auto&) { ++walked; });
    EXPECT_EQ(walked, 0u);
    // What is left counts for nothing a second time.
    cache.Clear();
    this->Fill(cache, 0, 100);
    this->WorkOff(cache);
    EXPECT_EQ(cache.Stats().cleared, 3'000u);
    EXPECT_EQ(cache.size(), 100u);
    EXPECT_EQ(cache.weight(), 100u);
    this->End(cache);
  });
}

// --- What is left of the entries.

TYPED_TEST(CacheClearTest, LaterPutsDestroyWhatWasCleared) {
  if (!std::is_same_v<typename TypeParam::Value, Counted>) return;
  constexpr int64_t kEntries = 10'000;
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(kEntries, options);
    this->Fill(cache, 0, kEntries);
    const int64_t full = Counted::Live();
    EXPECT_EQ(full, static_cast<int64_t>(cache.size()));
    cache.Clear();
    EXPECT_EQ(Counted::Live(), full);
    int64_t live = full;
    int64_t most_live = full;
    for (int64_t put = 0; put < kEntries; ++put) {
      ASSERT_TRUE(cache.Put(static_cast<uint64_t>(put), static_cast<uint64_t>(put)).ok());
      ASSERT_LE(live - Counted::Live(), kMostDestroyed);
      live = Counted::Live();
      most_live = std::max(most_live, live);
      if (put % 1'000 == 0) this->ExpectSound(cache);
    }
    // All are gone long before as many have been put again.
    EXPECT_LE(most_live, full + static_cast<int64_t>(kSlack));
    EXPECT_LE(live, static_cast<int64_t>(cache.size() + kSlack * 2));
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, MaintenanceDestroysTheRestWithinItsBudget) {
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(5'000, options);
    this->Fill(cache, 0, 5'000);
    cache.Clear();
    this->Fill(cache, 0, 10);
    const size_t budgets[] = {1, 7, 100, 1'000};
    size_t worked = 1;
    for (size_t i = 0; worked > 0; ++i) {
      const size_t budget = budgets[i % std::size(budgets)];
      worked = cache.RunMaintenance(budget);
      ASSERT_LE(worked, budget);
      if (i % 16 == 0) this->ExpectSound(cache);
    }
    EXPECT_EQ(cache.size(), 10u);
    EXPECT_EQ(this->Found(cache, 0, 5'000), 10u);
    if (std::is_same_v<typename TypeParam::Value, Counted>) {
      EXPECT_EQ(Counted::Live(), 10);
    }
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, TheDestructorDestroysTheRest) {
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(5'000, options);
    this->Fill(cache, 0, 5'000);
    cache.Clear();
    this->Fill(cache, 0, 300);
    cache.Clear();
    this->Fill(cache, 0, 20);
    this->End(cache);
    EXPECT_EQ(Counted::Live(), 0);
  });
}

TYPED_TEST(CacheClearTest, ACacheClearedOverAndOverNeedsNoMoreMemory) {
  constexpr uint64_t kEntries = 8'000;
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(kEntries, options);
    std::mt19937_64 random(1);
    uintptr_t begin = UINTPTR_MAX;
    uintptr_t end = 0;
    const auto look = [&](uint64_t key) {
      cache.Visit(key, [&](const typename TypeParam::Value& value) {
        begin = std::min(begin, reinterpret_cast<uintptr_t>(&value));
        end = std::max(end, reinterpret_cast<uintptr_t>(&value));
      });
    };
    uintptr_t bytes_once = 0;
    int64_t most_live = 0;
    for (int round = 0; round < 20; ++round) {
      // At times not nearly full, at times past that.
      const uint64_t puts = round == 0 ? kEntries : 1 + random() % (kEntries * 5 / 4);
      for (uint64_t key = 0; key < puts; ++key) {
        ASSERT_TRUE(cache.Put(key, key).ok());
        look(key);
        most_live = std::max(most_live, Counted::Live());
      }
      if (round == 0) bytes_once = end - begin;
      cache.Clear();
      if (round % 4 == 0) this->ExpectSound(cache);
    }
    const size_t stride = bytes_once / kEntries;
    EXPECT_LE(end - begin, bytes_once + stride * kSlack * static_cast<size_t>(options.stripes));
    EXPECT_LE(end - begin, 2 * bytes_once);
    EXPECT_LE(most_live, static_cast<int64_t>(kEntries * 3 / 2));
    this->End(cache);
  });
}

// --- What comes after.

TYPED_TEST(CacheClearTest, ACacheThatIsFilledAgainHoldsWhatWasPutSince) {
  constexpr uint64_t kEntries = 4'000;
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(kEntries * 2, options);
    for (uint64_t round = 0; round < 4; ++round) {
      this->Fill(cache, round * kEntries, (round + 1) * kEntries);
      EXPECT_EQ(cache.size(), kEntries);
      EXPECT_EQ(this->Found(cache, 0, 5 * kEntries), kEntries);
      cache.Clear();
      this->ExpectSound(cache);
      EXPECT_EQ(this->Found(cache, 0, 5 * kEntries), 0u);
    }
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, ManyClearsInARowWithAFewPutsBetween) {
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(5'000, options);
    this->Fill(cache, 0, 5'000);
    uint64_t cleared = cache.size();
    for (uint64_t round = 0; round < 300; ++round) {
      cache.Clear();
      ASSERT_EQ(cache.Stats().cleared, cleared);
      const uint64_t puts = round % 13;
      this->Fill(cache, round, round + puts);
      ASSERT_EQ(cache.size(), puts);
      ASSERT_EQ(this->Found(cache, round, round + puts), puts);
      if (round % 10 == 0) this->ExpectSound(cache);
      cleared += puts;
    }
    this->End(cache);
  });
}

// A cache that was cleared evicts what a new one would, while it works off what was cleared, and
// passes over none of that.
TYPED_TEST(CacheClearTest, EvictsAsANewCacheWould) {
  constexpr uint64_t kCapacity = 1'500;
  for (const uint64_t before : {10u, 700u, 1'500u, 5'000u}) {
    SCOPED_TRACE(before);
    auto& cleared = this->MakeOf(std::max(before, kCapacity), {1});
    this->Fill(cleared, 1'000'000, 1'000'000 + before);
    std::mt19937_64 random(before);
    for (int hit = 0; hit < 1'000; ++hit) cleared.Get(1'000'000 + random() % before);
    cleared.Clear();
    // At once, with nothing in it.
    ASSERT_TRUE(cleared.SetCapacity(kCapacity).ok());
    auto& fresh = this->MakeOf(kCapacity, {1});
    for (uint64_t key = 0; key < 6'000; ++key) {
      // Keys that were evicted don't come back: S3Fifo remembers those from before a Clear as well.
      ASSERT_TRUE(cleared.Put(key, key).ok());
      ASSERT_TRUE(fresh.Put(key, key).ok());
      for (int hit = 0; hit < 3; ++hit) {
        const uint64_t other = key - std::min(key, random() % 2'000);
        ASSERT_EQ(cleared.Get(other).has_value(), fresh.Get(other).has_value())
            << other << " after " << key;
      }
      if (key % 500 == 0) {
        for (uint64_t other = 0; other <= key; ++other) {
          ASSERT_EQ(cleared.Contains(other), fresh.Contains(other)) << other << " after " << key;
        }
      }
    }
    EXPECT_EQ(cleared.Stats().evictions, fresh.Stats().evictions);
    this->End(cleared);
    this->End(fresh);
  }
}

TYPED_TEST(CacheClearTest, ALowerCapacityIsReachedWhileMuchIsLeft) {
  this->ForEachKind([&](const Options& options) {
    auto& cache = this->MakeOf(20'000, options);
    this->Fill(cache, 0, 20'000);
    cache.Clear();
    this->Fill(cache, 0, 2'000);
    ASSERT_TRUE(cache.SetCapacity(100).ok());
    EXPECT_EQ(cache.size(), 100u);
    this->Fill(cache, 2'000, 2'500);
    EXPECT_EQ(cache.size(), 100u);
    this->ExpectSound(cache);
    this->End(cache);
  });
}

TYPED_TEST(CacheClearTest, WhatWasClearedDoesNotExpireAndWhatFollowedDoes) {
  for (const int stripes : {1, 8}) {
    auto& cache = this->MakeOf(10'000, {stripes, absl::Minutes(10)});
    this->Fill(cache, 0, 5'000);
    this->clock_.Advance(absl::Minutes(5));
    cache.Clear();
    this->Fill(cache, 0, 1'000);
    // Past the deadlines of what was cleared.
    this->clock_.Advance(absl::Minutes(6));
    EXPECT_EQ(this->Found(cache, 0, 5'000), 1'000u);
    this->ExpectSound(cache);
    this->Fill(cache, 1'000, 1'100);
    this->WorkOff(cache);
    EXPECT_EQ(cache.Stats().expirations, 0u);
    EXPECT_EQ(cache.size(), 1'100u);
    this->clock_.Advance(absl::Minutes(5));
    this->WorkOff(cache);
    EXPECT_EQ(cache.size(), 100u);
    EXPECT_EQ(cache.Stats().expirations, 1'000u);
    EXPECT_EQ(cache.Stats().cleared, 5'000u);
    this->End(cache);
  }
}

// --- Those who still know of an entry.

TYPED_TEST(CacheClearTest, APinnedValueStaysWhateverBecomesOfItsSlot) {
  using Handle = typename TypeParam::CacheT::Handle;
  this->ForEachKind([&](const Options& options) {
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
  this->ForEachKind([&](const Options& options) {
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
