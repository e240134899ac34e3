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

// A cache beside a map, which says what the cache must hold.
template <class Kind>
class CacheClearModelTest : public CacheClearTest<Kind> {
 protected:
  static constexpr uint64_t kKeys = 1'000;

  void Start(uint64_t seed) {
    random_.seed(seed);
    map_.clear();
    now_ = absl::ZeroDuration();
    most_cleared_ = 0;
    const int stripes = random_() % 2 == 0 ? 1 : 8;
    // Large enough for nothing to be evicted.
    cache_ = &this->MakeOf(kKeys * 5, {stripes});
  }

  void Step() {
    const uint64_t key = random_() % kKeys;
    const uint64_t kind = random_() % 12;
    if (kind < 5) return Put(key);
    if (kind < 8) return Get(key);
    if (kind == 8) return Erase(key);
    if (kind == 9) return static_cast<void>(cache_->RunMaintenance(random_() % 50));
    if (kind == 10 && random_() % 10 == 0) return Advance();
    if (kind == 10 && random_() % 10 == 0) return EraseSome();
    // Often one after the other.
    if (kind == 11 && random_() % 64 < 4) return Clear();
  }

  // What is left once all has been worked off.
  void Finish() {
    this->clock_.Advance(absl::Milliseconds(2));
    now_ += absl::Milliseconds(2);
    this->WorkOff(*cache_);
    std::erase_if(map_, [&](const auto& entry) { return entry.second.deadline <= now_; });
    uint64_t weight = 0;
    for (const auto& [key, entry] : map_) weight += entry.weight;
    EXPECT_EQ(cache_->size(), map_.size());
    EXPECT_EQ(cache_->weight(), weight);
    EXPECT_LE(cache_->Stats().cleared, most_cleared_);
    cache_->ForEach([&](uint64_t key, const auto& value) {
      ASSERT_TRUE(map_.contains(key));
      EXPECT_EQ(value.number(), map_.at(key).number);
    });
    this->End(*cache_);
  }

 private:
  struct Entry {
    uint64_t number;
    uint64_t weight;
    absl::Duration deadline;
  };

  bool IsLive(uint64_t key) const {
    const auto there = map_.find(key);
    return there != map_.end() && there->second.deadline > now_;
  }

  void Put(uint64_t key) {
    const uint64_t weight = random_() % 4;
    PutOptions options{.weight = weight};
    Entry entry{random_(), weight, absl::InfiniteDuration()};
    if (random_() % 3 == 0) {
      options.ttl = absl::Seconds(1 + static_cast<int64_t>(random_() % 100));
      entry.deadline = now_ + *options.ttl;
    }
    ASSERT_TRUE(cache_->Put(key, entry.number, options).ok());
    map_.insert_or_assign(key, entry);
  }

  void Get(uint64_t key) {
    const auto value = cache_->Get(key);
    ASSERT_EQ(value.has_value(), IsLive(key)) << key;
    if (value.has_value()) {
      ASSERT_EQ(value->number(), map_.at(key).number);
    }
  }

  void Erase(uint64_t key) {
    ASSERT_EQ(cache_->Erase(key), IsLive(key));
    map_.erase(key);
  }

  void Advance() {
    const absl::Duration time = absl::Seconds(static_cast<int64_t>(random_() % 20));
    this->clock_.Advance(time);
    now_ += time;
  }

  void EraseSome() {
    const uint64_t rest = random_() % 3;
    const size_t erased =
        cache_->EraseIf([rest](uint64_t k, const auto&) { return k % 3 == rest; });
    ASSERT_EQ(erased, std::erase_if(map_, [&](const auto& entry) {
                return entry.first % 3 == rest && entry.second.deadline > now_;
              }));
  }

  void Clear() {
    for (uint64_t clears = random_() % 3 + 1; clears > 0; --clears) cache_->Clear();
    most_cleared_ += map_.size();
    map_.clear();
    ASSERT_EQ(cache_->size(), 0u);
    ASSERT_EQ(cache_->weight(), 0u);
    this->ExpectSound(*cache_);
  }

  std::mt19937_64 random_;
  typename Kind::CacheT* cache_ = nullptr;
  std::map<uint64_t, Entry> map_;
  absl::Duration now_;
  uint64_t most_cleared_ = 0;
};

TYPED_TEST_SUITE(CacheClearModelTest, ClearKinds);

TYPED_TEST(CacheClearModelTest, HoldsWhatAMapHolds) {
  for (int round = 0; round < Rounds(4); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    this->Start(seed);
    for (int step = 0; step < 5'000 && !this->HasFatalFailure(); ++step) this->Step();
    if (this->HasFatalFailure()) return;
    this->Finish();
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
