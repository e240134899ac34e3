// SPDX-License-Identifier: Apache-2.0
// Many threads on one cache: no value is seen that isn't its key's, none is used after its end, and
// all are destroyed in the end.
#include <atomic>
#include <cstdint>
#include <deque>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

using CountedCache = Cache<uint64_t, Counted>;
using IntCache = Cache<uint64_t, uint64_t>;

// A value says which key it belongs to.
constexpr uint64_t kPerKey = 1'000'000;
Counted ValueFor(uint64_t key, uint64_t random) {
  return Counted(key * kPerKey + random % kPerKey);
}
void ExpectOf(uint64_t key, const Counted& value) { EXPECT_EQ(value.number() / kPerKey, key); }

// One thread's mix of all operations.
class Mixer {
 public:
  Mixer(CountedCache* cache, ManualClock* clock, uint64_t keys, int seed)
      : cache_(*cache), clock_(*clock), keys_(keys), random_(static_cast<uint64_t>(seed)) {}

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) Step(random_() % keys_);
  }

 private:
  void Step(uint64_t key) {
    switch (random_() % 20) {
      case 0:
      case 1:
      case 2:
        if (const std::optional<Counted> value = cache_.Get(key)) ExpectOf(key, *value);
        return;
      case 3:
      case 4:
        cache_.Visit(key, [key](const Counted& value) { ExpectOf(key, value); });
        return;
      case 5:
      case 6:
        return Pin(key);
      case 7:
        cache_.Erase(key);
        return;
      case 8:
        cache_.PutIfAbsent(key, ValueFor(key, random_()));
        return;
      case 9:
      case 10:
        return Compute(key);
      case 11:
      case 12:
        return Load(key);
      case 13:
        return Rarely(key);
      default:
        EXPECT_TRUE(cache_.Put(key, ValueFor(key, random_()), SomeOptions()).ok());
    }
  }

  PutOptions SomeOptions() {
    PutOptions options;
    if (random_() % 4 == 0) options.ttl = absl::Milliseconds(1 + random_() % 100);
    if (random_() % 4 == 0) options.idle_ttl = absl::Milliseconds(1 + random_() % 100);
    return options;
  }

  void Pin(uint64_t key) {
    CountedCache::Handle handle = cache_.Pin(key);
    if (!handle) return;
    EXPECT_EQ(handle.key(), key);
    ExpectOf(key, *handle);
    held_.emplace_back(std::move(handle));
    if (held_.size() > 8) {
      ExpectOf(held_.front().key(), *held_.front());
      held_.pop_front();
    }
  }

  void Compute(uint64_t key) {
    const bool erase = random_() % 4 == 0;
    EXPECT_TRUE(cache_
                    .Compute(key,
                             [&](std::optional<Counted> old) -> std::optional<Counted> {
                               if (old) ExpectOf(key, *old);
                               if (erase) return std::nullopt;
                               return ValueFor(key, random_());
                             })
                    .ok());
  }

  void Load(uint64_t key) {
    const absl::StatusOr<Counted> value =
        cache_.GetOrLoad(key, [&](uint64_t asked) -> absl::StatusOr<Counted> {
          if (random_() % 8 == 0) return absl::UnavailableError("no");
          std::this_thread::yield();
          return ValueFor(asked, random_());
        });
    if (value.ok()) ExpectOf(key, *value);
  }

  void Rarely(uint64_t key) {
    switch (random_() % 8) {
      case 0:
        cache_.ForEach([](uint64_t k, const Counted& value) { ExpectOf(k, value); });
        return;
      case 1:
        cache_.EraseIf([key](uint64_t k, const Counted& value) {
          ExpectOf(k, value);
          return k % 16 == key % 16;
        });
        return;
      case 2:
        cache_.Clear();
        return;
      case 3:
        EXPECT_TRUE(cache_.SetCapacity(1 + random_() % keys_).ok());
        return;
      case 4:
        EXPECT_LE(cache_.Stats().hit_ratio(), 1.0);
        return;
      default:
        clock_.Advance(absl::Milliseconds(random_() % 40));
        cache_.RunMaintenance(random_() % 32);
    }
  }

  CountedCache& cache_;
  ManualClock& clock_;
  const uint64_t keys_;
  std::mt19937_64 random_;
  std::deque<CountedCache::Handle> held_;
};

class CacheThreadsTest : public CacheFixture {
 protected:
  // With nobody looking, all that was removed can go.
  void ExpectOnlyEntriesLive(CountedCache& cache) {
    while (cache.RunMaintenance(1000) != 0) {
    }
    EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache.size()));
  }
};

// --- Everything at once.

class MixedOperationsTest : public CacheThreadsTest,
                            public ::testing::WithParamInterface<std::tuple<int, uint64_t, int>> {};

TEST_P(MixedOperationsTest, KeepValuesApartAndAlive) {
  const int threads = std::get<0>(GetParam());
  const uint64_t capacity = std::get<1>(GetParam());
  auto options = OptionsFor<CountedCache>(capacity);
  options.stripes = std::get<2>(GetParam());
  CountedCache& cache = Make<CountedCache>(options);
  RunThreads(threads, [&](int thread) {
    Mixer(&cache, &clock_, capacity * 2, thread).Run(Rounds(12'000 / threads));
  });
  ExpectOnlyEntriesLive(cache);
}

INSTANTIATE_TEST_SUITE_P(Threads, MixedOperationsTest,
                         ::testing::Combine(::testing::Values(2, 4, 8),
                                            ::testing::Values<uint64_t>(1, 6, 1000),
                                            ::testing::Values(1, 0)),
                         [](const auto& info) {
                           return std::to_string(std::get<0>(info.param)) + "_threads_capacity_" +
                                  std::to_string(std::get<1>(info.param)) + "_stripes_" +
                                  std::to_string(std::get<2>(info.param));
                         });

TEST_F(CacheThreadsTest, TheBackgroundThreadJoinsIn) {
  auto options = OptionsFor<CountedCache>(300);
  options.ttl = absl::Milliseconds(50);
  options.idle_ttl = absl::Milliseconds(20);
  options.maintenance_interval = absl::Microseconds(50);
  CountedCache& cache = Make<CountedCache>(options);
  RunThreads(4, [&](int thread) { Mixer(&cache, &clock_, 400, thread).Run(Rounds(3000)); });
  clock_.Advance(absl::Hours(1));
  EXPECT_TRUE(Eventually([&] { return cache.size() == 0 && Counted::Live() == 0; }));
  End(cache);
}

// --- Readers.

TEST_F(CacheThreadsTest, AStalledVisitHoldsUpNobodyAndKeepsItsValue) {
  CountedCache& cache = Make<CountedCache>(100);
  ASSERT_TRUE(cache.Put(1, ValueFor(1, 7)).ok());
  std::latch inside(1);
  std::latch leave(1);
  std::thread reader([&] {
    EXPECT_TRUE(cache.Visit(1, [&](const Counted& value) {
      inside.count_down();
      leave.wait();
      EXPECT_EQ(value.number(), ValueFor(1, 7).number());
    }));
  });
  inside.wait();
  RunThreads(2, [&](int thread) {
    for (int i = 0; i < Rounds(20'000); ++i) {
      const uint64_t key = static_cast<uint64_t>(i) % 300;
      EXPECT_TRUE(cache.Put(key, ValueFor(key, static_cast<uint64_t>(thread))).ok());
      if (i % 64 == 0) cache.Erase(key + 1);
    }
  });
  cache.Clear();
  cache.RunMaintenance(1000);
  EXPECT_FALSE(cache.Contains(1));
  leave.count_down();
  reader.join();
  ExpectOnlyEntriesLive(cache);
}

TEST_F(CacheThreadsTest, ReadersNeverMissWhatIsThereThroughout) {
  for (const int stripes : {1, 8}) {
    auto options = OptionsFor<IntCache>(1 << 22);
    options.stripes = stripes;
    IntCache& cache = Make<IntCache>(options);
    constexpr uint64_t kStable = 100;
    for (uint64_t key = 0; key < kStable; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
    std::atomic<bool> done{false};
    RunThreads(4, [&](int thread) {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      if (thread == 0) {  // makes the table grow, with some coming and going
        for (uint64_t i = 0; i < static_cast<uint64_t>(Rounds(60'000)); ++i) {
          EXPECT_TRUE(cache.Put(kStable + i, i).ok());
          if (i % 3 == 0) cache.Erase(kStable + random() % (i + 1));
        }
        done.store(true);
      } else if (thread == 1) {  // replaces the stable ones by equals
        while (!done.load()) {
          const uint64_t key = random() % kStable;
          EXPECT_TRUE(cache.Put(key, key).ok());
        }
      } else {
        while (!done.load()) {
          const uint64_t key = random() % kStable;
          ASSERT_EQ(cache.Get(key), key);
          ASSERT_TRUE(cache.Contains(key));
        }
      }
    });
  }
}

TEST_F(CacheThreadsTest, WalksSeeWhatIsThereThroughoutOnce) {
  IntCache& cache = Make<IntCache>(1 << 22);
  static constexpr uint64_t kStable = 500;
  for (uint64_t key = 0; key < kStable; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  std::atomic<bool> done{false};
  RunThreads(3, [&](int thread) {
    if (thread == 0) {
      for (int walk = 0; walk < Rounds(30) && !HasFailure(); ++walk) {
        std::vector<int> seen(kStable, 0);
        cache.ForEach([&seen](uint64_t key, uint64_t) {
          if (key < kStable) ++seen[key];
        });
        EXPECT_EQ(seen, std::vector<int>(kStable, 1));
      }
      done.store(true);
      return;
    }
    uint64_t next = kStable + static_cast<uint64_t>(thread) * 1'000'000;
    for (const uint64_t first = next; !done.load(); ++next) {
      EXPECT_TRUE(cache.Put(next, 0).ok());
      if (next % 2 == 0) cache.Erase(first + (next - first) / 2);
      if (next - first > 200'000) std::this_thread::yield();
    }
  });
}

TEST_F(CacheThreadsTest, EachThreadSeesItsOwnWrites) {
  IntCache& cache = Make<IntCache>(1 << 20);
  RunThreads(4, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    std::unordered_map<uint64_t, uint64_t> model;
    for (int i = 0; i < Rounds(30'000); ++i) {
      const uint64_t key = (random() % 5000) * 4 + static_cast<uint64_t>(thread);
      const auto known = model.find(key);
      ASSERT_EQ(cache.Get(key),
                known == model.end() ? std::optional<uint64_t>() : std::optional(known->second));
      if (random() % 3 == 0) {
        ASSERT_EQ(cache.Erase(key), model.erase(key) == 1);
      } else {
        model[key] = random();
        ASSERT_TRUE(cache.Put(key, model[key]).ok());
      }
    }
  });
}

// --- Handles.

TEST_F(CacheThreadsTest, HandlesOutliveTheCacheAndAreDroppedElsewhere) {
  for (int round = 0; round < Rounds(20); ++round) {
    CountedCache& cache = Make<CountedCache>(50);
    std::vector<std::vector<CountedCache::Handle>> held(4);
    RunThreads(4, [&](int thread) {
      for (uint64_t key = 0; key < 100; ++key) {
        EXPECT_TRUE(cache.Put(key, ValueFor(key, 1)).ok());
        if (auto handle = cache.Pin(key)) held[thread].push_back(std::move(handle));
      }
    });
    End(cache);
    RunThreads(4, [&](int thread) {
      for (const auto& handle : held[(thread + 1) % 4]) ExpectOf(handle.key(), *handle);
    });
    RunThreads(4, [&](int thread) { held[(thread + 1) % 4].clear(); });
    EXPECT_EQ(Counted::Live(), 0);
  }
}

TEST_F(CacheThreadsTest, HandlesMoveBetweenThreads) {
  CountedCache& cache = Make<CountedCache>(20);
  std::mutex mutex;
  std::deque<CountedCache::Handle> queue;
  RunThreads(6, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (int i = 0; i < Rounds(3000); ++i) {
      const uint64_t key = random() % 30;
      CountedCache::Handle handle;
      if (thread % 2 == 0) {
        EXPECT_TRUE(cache.Put(key, ValueFor(key, random())).ok());
        handle = cache.Pin(key);
      }
      const std::lock_guard<std::mutex> lock(mutex);
      if (thread % 2 == 0) {
        if (handle) queue.push_back(std::move(handle));
      } else if (!queue.empty()) {
        handle = std::move(queue.front());
        queue.pop_front();
        ExpectOf(handle.key(), *handle);
      }
    }
  });
  queue.clear();
  ExpectOnlyEntriesLive(cache);
}

TEST_F(CacheThreadsTest, OneEntryPinnedByAllWhileItIsReplaced) {
  CountedCache& cache = Make<CountedCache>(10);
  ASSERT_TRUE(cache.Put(1, ValueFor(1, 0)).ok());
  RunThreads(8, [&](int thread) {
    for (int i = 0; i < Rounds(4000); ++i) {
      if (thread == 0) {
        EXPECT_TRUE(cache.Put(1, ValueFor(1, static_cast<uint64_t>(i))).ok());
        continue;
      }
      const CountedCache::Handle first = cache.Pin(1);
      const CountedCache::Handle second = cache.Pin(1);
      ASSERT_TRUE(first && second) << "it is there throughout";
      ExpectOf(1, *first);
      EXPECT_LE(first->number(), second->number()) << "never back to an older state";
    }
  });
  ExpectOnlyEntriesLive(cache);
}

// --- Threads and caches that come and go.

TEST_F(CacheThreadsTest, ThousandsOfShortLivedThreads) {
  CountedCache& cache = Make<CountedCache>(64);
  for (int wave = 0; wave < Rounds(100); ++wave) {
    RunThreads(20, [&](int thread) { Mixer(&cache, &clock_, 100, wave * 20 + thread).Run(20); });
  }
  ExpectOnlyEntriesLive(cache);
}

TEST_F(CacheThreadsTest, CachesComeAndGoConcurrently) {
  CountedCache& shared = Make<CountedCache>(100);
  RunThreads(4, [&](int thread) {
    for (int i = 0; i < Rounds(60); ++i) {
      CountedCache::Handle survivor;
      {
        CountedCache::Options options = OptionsFor<CountedCache>(10);
        if (i % 8 == 0) options.maintenance_interval = absl::Milliseconds(1);
        const auto own = CountedCache::Create(options).value();
        Mixer(own.get(), &clock_, 30, i).Run(50);
        EXPECT_TRUE(own->Put(1, ValueFor(1, 2)).ok());
        survivor = own->Pin(1);
      }
      Mixer(&shared, &clock_, 30, i * 4 + thread).Run(50);
      if (survivor) ExpectOf(1, *survivor);
    }
  });
  ExpectOnlyEntriesLive(shared);
}

TEST_F(CacheThreadsTest, OneThreadUsesManyCaches) {
  std::vector<CountedCache*> caches;
  for (int i = 0; i < 100; ++i) caches.push_back(&Make<CountedCache>(5));
  RunThreads(4, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (int i = 0; i < Rounds(5000); ++i) {
      const uint64_t key = random() % 10;
      CountedCache& from = *caches[random() % caches.size()];
      CountedCache& to = *caches[random() % caches.size()];
      // From inside a Visit, another cache may be called.
      const bool found = from.Visit(key, [&](const Counted& value) {
        if (&from != &to) {
          EXPECT_TRUE(to.Put(key, value).ok());
        }
      });
      if (!found) {
        EXPECT_TRUE(from.Put(key, ValueFor(key, 0)).ok());
      }
    }
  });
}

}  // namespace
}  // namespace larder::test
