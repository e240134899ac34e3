// SPDX-License-Identifier: Apache-2.0
// The removal listener hears of each removed entry once, with its cause, outside all locks; and
// values are destroyed outside all locks too.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/lru_model.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using IntCache = Cache<uint64_t, uint64_t>;
using Removal = LruModel::Removal;
using enum RemovalCause;

class CacheRemovalTest : public CacheFixture {
 protected:
  // One stripe, so that a lock held during a callback would be the one that the callback needs.
  IntCache& MakeLogging(uint64_t capacity, int stripes = 1) {
    auto options = OptionsFor<IntCache>(capacity);
    options.stripes = stripes;
    options.on_removal = [this](uint64_t key, uint64_t value, RemovalCause cause) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        removed_.push_back({key, value, cause});
      }
      if (then_) then_({key, value, cause});
    };
    IntCache& cache = Make<IntCache>(options);
    cache_ = &cache;
    return cache;
  }

  void Fill(uint64_t n) {
    for (uint64_t key = 1; key <= n; ++key) ASSERT_TRUE(cache_->Put(key, key * 10).ok());
  }

  IntCache* cache_ = nullptr;
  std::mutex mutex_;
  std::vector<Removal> removed_;
  std::function<void(const Removal&)> then_;  // what the listener does after it took a note
};

TEST_F(CacheRemovalTest, TellsEachCause) {
  IntCache& cache = MakeLogging(4);
  Fill(4);
  EXPECT_THAT(removed_, IsEmpty());
  const auto expect = [this](std::vector<Removal> expected) {
    EXPECT_THAT(std::exchange(removed_, {}), ::testing::UnorderedElementsAreArray(expected));
  };
  ASSERT_TRUE(cache.Put(1, 11).ok());
  expect({{1, 10, kReplaced}});
  ASSERT_TRUE(cache.Compute(1, [](auto) { return std::optional<uint64_t>(12); }).ok());
  expect({{1, 11, kReplaced}});
  ASSERT_TRUE(cache.Put(5, 50).ok());
  expect({{2, 20, kEvicted}});
  ASSERT_TRUE(cache.Erase(5));
  expect({{5, 50, kErased}});
  ASSERT_TRUE(cache.Compute(1, [](auto) { return std::optional<uint64_t>(); }).ok());
  expect({{1, 12, kErased}});
  ASSERT_TRUE(cache.PutIfAbsent(6, 60));
  EXPECT_EQ(cache.EraseIf([](uint64_t key, uint64_t) { return key == 6; }), 1u);
  expect({{6, 60, kErased}});
  ASSERT_TRUE(cache.Put(7, 70, {.ttl = absl::Seconds(1)}).ok());
  clock_.Advance(absl::Hours(1));
  while (cache.RunMaintenance(10) != 0) {
  }
  expect({{7, 70, kExpired}});
  ASSERT_TRUE(cache.SetCapacity(1).ok());
  expect({{3, 30, kEvicted}});
  cache.Clear();
  expect({{4, 40, kCleared}});
}

TEST_F(CacheRemovalTest, IsSilentWhereNothingIsRemoved) {
  IntCache& cache = MakeLogging(10);
  Fill(3);
  EXPECT_FALSE(cache.PutIfAbsent(1, 11));
  EXPECT_FALSE(cache.Put(1, 11, {.weight = 11}).ok());
  EXPECT_FALSE(cache.Put(1, 11, {.ttl = absl::ZeroDuration()}).ok());
  EXPECT_FALSE(cache.Erase(9));
  ASSERT_TRUE(cache.Compute(9, [](auto) { return std::optional<uint64_t>(); }).ok());
  EXPECT_EQ(*cache.GetOrLoad(8, [](uint64_t) { return absl::StatusOr<uint64_t>(80); }), 80u);
  EXPECT_THAT(removed_, IsEmpty());
  End(cache);
  EXPECT_THAT(removed_, IsEmpty()) << "not told of what the destructor finds";
}

TEST_F(CacheRemovalTest, ListenerIsToldAfterTheEntryLeft) {
  IntCache& cache = MakeLogging(10);
  Fill(2);
  std::vector<std::optional<uint64_t>> seen;
  then_ = [&](const Removal& removal) { seen.push_back(cache.Get(removal.key)); };
  cache.Erase(1);
  ASSERT_TRUE(cache.Put(2, 21).ok());
  EXPECT_THAT(seen, ElementsAre(std::nullopt, 21u));
}

TEST_F(CacheRemovalTest, ListenerIsNotDelayedByAPin) {
  IntCache& cache = MakeLogging(10);
  Fill(1);
  const IntCache::Handle pinned = cache.Pin(1);
  cache.Erase(1);
  EXPECT_THAT(removed_, ElementsAre(Removal{1, 10, kErased}));
  EXPECT_EQ(*pinned, 10u);
}

TEST_F(CacheRemovalTest, ListenerMayCallTheCache) {
  IntCache& cache = MakeLogging(5);
  Fill(5);
  bool inside = false;
  then_ = [&](const Removal& removal) {
    if (std::exchange(inside, true)) return;
    EXPECT_TRUE(cache.Put(removal.key, 99).ok());
    EXPECT_EQ(cache.Get(removal.key), 99u);
    EXPECT_TRUE(cache.Compute(removal.key, [](auto old) { return old; }).ok());
    EXPECT_TRUE(cache.Erase(removal.key));
    EXPECT_TRUE(cache.PutIfAbsent(removal.key, 98));
    EXPECT_EQ(*cache.GetOrLoad(50, [](uint64_t) { return absl::StatusOr<uint64_t>(1); }), 1u);
    cache.ForEach([](uint64_t, uint64_t) {});
    cache.EraseIf([](uint64_t key, uint64_t) { return key == 50; });
    cache.RunMaintenance(10);
    EXPECT_TRUE(cache.SetCapacity(5).ok());
    inside = false;
  };
  ASSERT_TRUE(cache.Put(1, 11).ok());
  cache.Erase(2);
  ASSERT_TRUE(cache.Put(6, 60).ok());
  EXPECT_EQ(cache.EraseIf([](uint64_t, uint64_t value) { return value == 40; }), 1u);
  ASSERT_TRUE(cache.Put(7, 70, {.ttl = absl::Seconds(1)}).ok());
  clock_.Advance(absl::Hours(1));
  cache.RunMaintenance(10);
  ASSERT_TRUE(cache.SetCapacity(2).ok());
  cache.Clear();
}

TEST_F(CacheRemovalTest, ListenerMayPutBackWhatWasErased) {
  IntCache& cache = MakeLogging(10);
  Fill(1);
  then_ = [&](const Removal& removal) {
    if (removal.cause == kErased) {
      EXPECT_TRUE(cache.Put(removal.key, removal.value + 1).ok());
    }
  };
  EXPECT_TRUE(cache.Erase(1));
  EXPECT_EQ(cache.Get(1), 11u);
  EXPECT_TRUE(cache.Erase(1));
  EXPECT_EQ(cache.Get(1), 12u);
}

TEST_F(CacheRemovalTest, ListenersOfListenersAreHeard) {
  IntCache& cache = MakeLogging(3);
  Fill(3);
  then_ = [&](const Removal& removal) {
    if (removal.key < 100) {
      EXPECT_TRUE(cache.Put(removal.key + 1, 0).ok());
    }
  };
  ASSERT_TRUE(cache.Put(4, 40).ok());
  then_ = nullptr;
  cache.Clear();
  EXPECT_EQ(removed_.size(), cache.Stats().puts);
}

// --- A listener that throws.

struct Failure {};

// An operation on a cache that holds 1 to 8, where 7 and 8 have expired.
struct Removing {
  const char* name;
  void (*run)(IntCache& cache);
  size_t removed;  // how many entries it removes
};

const Removing kRemoving[] = {
    {"Erase", [](IntCache& cache) { cache.Erase(1); }, 1},
    {"PutReplacing", [](IntCache& cache) { cache.Put(1, 11).IgnoreError(); }, 1},
    {"PutEvicting", [](IntCache& cache) { cache.Put(20, 1, {.weight = 8}).IgnoreError(); }, 8},
    {"PutIfAbsentEvicting", [](IntCache& cache) { cache.PutIfAbsent(20, 1, {.weight = 8}); }, 8},
    {"ComputeErasing",
     [](IntCache& cache) {
       cache.Compute(1, [](auto) { return std::optional<uint64_t>(); }).IgnoreError();
     },
     1},
    {"LoadEvicting",
     [](IntCache& cache) {
       cache.GetOrLoad(20, [](uint64_t) { return absl::StatusOr<uint64_t>(1); }, {.weight = 8})
           .IgnoreError();
     },
     8},
    {"EraseIf", [](IntCache& cache) { cache.EraseIf([](uint64_t, uint64_t) { return true; }); }, 6},
    {"Clear", [](IntCache& cache) { cache.Clear(); }, 8},
    {"SetCapacity", [](IntCache& cache) { cache.SetCapacity(1).IgnoreError(); }, 7},
    {"RunMaintenance", [](IntCache& cache) { cache.RunMaintenance(100); }, 2},
};

class ThrowingListenerTest : public CacheRemovalTest,
                             public ::testing::WithParamInterface<Removing> {
 protected:
  void Run(std::function<bool()> throws) {
    IntCache& cache = MakeLogging(8, 4);
    Fill(6);
    for (const uint64_t key : {7, 8}) {
      ASSERT_TRUE(cache.Put(key, key * 10, {.ttl = absl::Seconds(1)}).ok());
    }
    clock_.Advance(absl::Hours(1));
    then_ = [&](const Removal&) {
      if (throws()) throw Failure();
    };
    EXPECT_THROW(GetParam().run(cache), Failure);
    then_ = nullptr;
    const CacheStats stats = cache.Stats();
    EXPECT_EQ(removed_.size(), stats.puts - stats.size) << "each of them announced";
    EXPECT_EQ(stats.evictions + stats.expirations + stats.erased + stats.replaced + stats.cleared,
              removed_.size());
    // An operation on several stripes may go on past what was thrown, or not.
    EXPECT_GE(removed_.size(), 1u);
    std::sort(removed_.begin(), removed_.end());
    EXPECT_EQ(std::adjacent_find(removed_.begin(), removed_.end()), removed_.end());
    ExpectUsable();
  }

  void ExpectUsable() {
    ASSERT_TRUE(cache_->SetCapacity(100).ok());
    for (uint64_t key = 0; key < 50; ++key) {
      ASSERT_TRUE(cache_->Put(key, key).ok());
      EXPECT_EQ(cache_->Get(key), key);
    }
    EXPECT_EQ(*cache_->GetOrLoad(60, [](uint64_t) { return absl::StatusOr<uint64_t>(6); }), 6u);
    cache_->Clear();
    EXPECT_EQ(cache_->size(), 0u);
  }
};

TEST_P(ThrowingListenerTest, OthersAreStillAnnounced) {
  int calls = 0;
  Run([&calls] { return ++calls == 1; });
}

TEST_P(ThrowingListenerTest, AllAreStillAnnounced) {
  Run([] { return true; });
}

TEST_P(ThrowingListenerTest, TheOperationIsDone) {
  IntCache& cache = MakeLogging(8);
  Fill(6);
  for (const uint64_t key : {7, 8}) {
    ASSERT_TRUE(cache.Put(key, key * 10, {.ttl = absl::Seconds(1)}).ok());
  }
  clock_.Advance(absl::Hours(1));
  then_ = [](const Removal&) { throw Failure(); };
  EXPECT_THROW(GetParam().run(cache), Failure);
  then_ = nullptr;
  EXPECT_GE(removed_.size(), GetParam().removed);
  const std::string name = GetParam().name;
  if (name.ends_with("Evicting")) {
    EXPECT_EQ(cache.Get(20), 1u);
  }
  if (name == "PutReplacing") {
    EXPECT_EQ(cache.Get(1), 11u);
  }
  ExpectUsable();
}

INSTANTIATE_TEST_SUITE_P(Each, ThrowingListenerTest, ::testing::ValuesIn(kRemoving),
                         [](const auto& info) { return info.param.name; });

// --- Bookkeeping: each value is put once, and either is in the cache or was removed once.

class BookkeepingTest : public CacheRemovalTest, public ::testing::WithParamInterface<int> {
 protected:
  static constexpr uint64_t kMost = 40'000;  // values a thread may put

  void Work(int threads) {
    told_ = std::vector<std::atomic<int>>(kMost * static_cast<uint64_t>(threads));
    IntCache& cache = MakeCounting();
    RunThreads(threads, [&](int thread) {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      const uint64_t first = kMost * static_cast<uint64_t>(thread);
      const uint64_t last = first + std::min<uint64_t>(kMost, 4000 * Rounds(1));
      for (uint64_t value = first; value < last; ++value) Step(cache, random, value);
    });
    ExpectSumsToMatch(cache.Stats());
    cache.ForEach([this](uint64_t, uint64_t value) { EXPECT_EQ(told_[value].load(), 0); });
    cache.Clear();
    ExpectSumsToMatch(cache.Stats());
    uint64_t sum = 0;
    for (const std::atomic<int>& told : told_) {
      EXPECT_LE(told.load(), 1);
      sum += static_cast<uint64_t>(told.load());
    }
    EXPECT_EQ(sum, cache.Stats().puts);
  }

 private:
  void ExpectSumsToMatch(const CacheStats& stats) {
    EXPECT_EQ(stats.evictions, by_cause_[static_cast<int>(kEvicted)]);
    EXPECT_EQ(stats.expirations, by_cause_[static_cast<int>(kExpired)]);
    EXPECT_EQ(stats.erased, by_cause_[static_cast<int>(kErased)]);
    EXPECT_EQ(stats.replaced, by_cause_[static_cast<int>(kReplaced)]);
    EXPECT_EQ(stats.cleared, by_cause_[static_cast<int>(kCleared)]);
    EXPECT_EQ(stats.size, stats.puts - stats.evictions - stats.expirations - stats.erased -
                              stats.replaced - stats.cleared);
  }

  IntCache& MakeCounting() {
    auto options = OptionsFor<IntCache>(50);
    options.stripes = GetParam();
    options.idle_ttl = absl::Milliseconds(100);
    options.on_removal = [this](uint64_t, uint64_t value, RemovalCause cause) {
      told_[value].fetch_add(1);
      by_cause_[static_cast<int>(cause)].fetch_add(1);
    };
    return Make<IntCache>(options);
  }

  void Step(IntCache& cache, std::mt19937_64& random, uint64_t value) {
    const uint64_t key = random() % 80;
    switch (random() % 16) {
      case 0:
        cache.Erase(key);
        break;
      case 1:
        cache.EraseIf([key](uint64_t k, uint64_t) { return k % 64 == key; });
        break;
      case 2:
        if (random() % 16 == 0) cache.Clear();
        break;
      case 3:
        clock_.Advance(absl::Milliseconds(20));
        cache.RunMaintenance(random() % 10);
        break;
      case 4:
        EXPECT_TRUE(cache.SetCapacity(25 + random() % 25).ok());
        break;
      case 5:
      case 6:
        EXPECT_TRUE(cache
                        .Compute(key,
                                 [&](std::optional<uint64_t> old) {
                                   return old ? std::nullopt : std::optional<uint64_t>(value);
                                 })
                        .ok());
        break;
      case 7:
      case 8:
        cache.PutIfAbsent(key, value, {.ttl = absl::Milliseconds(random() % 50)});
        break;
      case 9:
      case 10:
        EXPECT_TRUE(
            cache.GetOrLoad(key, [&](uint64_t) { return absl::StatusOr<uint64_t>(value); }).ok());
        break;
      default:
        EXPECT_TRUE(cache.Put(key, value, {.weight = 1 + random() % 3}).ok());
    }
  }

  std::vector<std::atomic<int>> told_;
  std::atomic<uint64_t> by_cause_[kRemovalCauses] = {};
};

TEST_P(BookkeepingTest, AddsUpForOneThread) { Work(1); }
TEST_P(BookkeepingTest, AddsUpForFourThreads) { Work(4); }

INSTANTIATE_TEST_SUITE_P(Stripes, BookkeepingTest, ::testing::Values(1, 2, 16),
                         ::testing::PrintToStringParamName());

// --- Destructors.

TEST_F(CacheRemovalTest, DestructorsOfValuesMayCallTheCache) {
  using CacheT = Cache<uint64_t, std::shared_ptr<int>>;
  auto options = OptionsFor<CacheT>(8);
  options.stripes = 1;
  CacheT& cache = Make<CacheT>(options);
  int destroyed = 0;
  bool calls = true;  // until the cache's own end
  const auto value = [&] {
    return std::shared_ptr<int>(new int(1), [&](int* p) {
      delete p;
      ++destroyed;
      if (!std::exchange(calls, false)) return;
      EXPECT_TRUE(cache.Put(100, nullptr).ok());
      EXPECT_TRUE(cache.Contains(100));
      cache.Get(1);
      EXPECT_TRUE(cache.Erase(100));
      cache.RunMaintenance(3);
      calls = true;
    });
  };
  for (int round = 0; round < 20; ++round) {
    for (uint64_t key = 0; key < 12; ++key) ASSERT_TRUE(cache.Put(key, value()).ok());
    ASSERT_TRUE(cache.Put(11, value()).ok());
    EXPECT_TRUE(cache.Erase(11));
    CacheT::Handle handle = cache.Pin(10);
    cache.EraseIf([](uint64_t key, const auto&) { return key == 10; });
    handle = CacheT::Handle();
    ASSERT_TRUE(cache.Put(9, value(), {.ttl = absl::Seconds(1)}).ok());
    clock_.Advance(absl::Hours(1));
    cache.RunMaintenance(1);
    cache.Clear();
    while (cache.RunMaintenance(1) != 0) {
    }
  }
  EXPECT_EQ(destroyed, 20 * 14);
  calls = false;
  End(cache);
}

}  // namespace
}  // namespace larder::test
