// SPDX-License-Identifier: Apache-2.0
//
// What is removed is destroyed once nobody can be looking at it, and not before: with readers that
// stall, callbacks that use other caches, more threads than have cells of their own, threads and
// caches that come and go.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/internal/thread_record.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/consulting.h"
#include "tests/support/rounds.h"
#include "tests/support/stalled_reader.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

#if defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr bool kThreadsAreDear = true;  // a millisecond each
#else
constexpr bool kThreadsAreDear = false;
#endif

using ReclaimingCache = Cache<uint64_t, Counted, S3Fifo>;
using IntCache = Cache<uint64_t, uint64_t>;

template <class CacheT>
uint64_t Removed(const CacheT& cache) {
  const CacheStats stats = cache.Stats();
  return stats.evictions + stats.expirations + stats.erased + stats.replaced + stats.cleared;
}

using CacheReclamationTest = CacheFixture;

// --- Readers that stall.

TEST_F(CacheReclamationTest, AStalledReaderKeepsItsValueWhateverIsRemoved) {
  auto options = OptionsFor<ReclaimingCache>(500);
  options.stripes = 2;
  ReclaimingCache& cache = Make<ReclaimingCache>(options);
  for (uint64_t key = 0; key < 500; ++key) ASSERT_TRUE(cache.Put(key, key + 7).ok());
  std::optional<StalledReader<ReclaimingCache>> replaced(std::in_place, cache, 499, 506);
  std::optional<StalledReader<ReclaimingCache>> erased(std::in_place, cache, 498, 505);
  const uint64_t removed_before = Removed(cache);
  RunThreads(2, [&](int thread) {
    const auto steps = static_cast<uint64_t>(Rounds(30'000));
    for (uint64_t i = 0; i < steps; ++i) {
      const uint64_t key = 500 + (i * 2 + static_cast<uint64_t>(thread)) % 1500;
      EXPECT_TRUE(cache.Put(key, i).ok());
      EXPECT_TRUE(cache.Put(499, 1'000'000 + i).ok());
      if (i % 8 == 0) cache.Erase(key);
      if (i == steps / 2) cache.Erase(498);
      if (i == steps / 2) cache.Clear();
    }
  });
  cache.Clear();
  Maintain(cache);
  const uint64_t removed = Removed(cache) - removed_before;
  EXPECT_GT(removed, static_cast<uint64_t>(Rounds(100'000)));
  // Nothing but what was removed is kept, and of that nothing twice.
  EXPECT_LE(Counted::Live(), static_cast<int64_t>(removed));
  EXPECT_GE(Counted::Live(), 2);
  replaced->Leave();
  EXPECT_GE(Counted::Live(), 1);
  erased->Leave();
  Maintain(cache);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(Counted::Live(), 0);
}

// As epochs are the process's, readers of one cache keep what others remove; nothing but memory
// depends on it.
TEST_F(CacheReclamationTest, AReaderStalledInOneCacheDoesNotBreakAnother) {
  ReclaimingCache& stalled = Make<ReclaimingCache>(10);
  ReclaimingCache& other = Make<ReclaimingCache>(100);
  ASSERT_TRUE(stalled.Put(1, 11).ok());
  StalledReader<ReclaimingCache> reader(stalled, 1, 11);
  RunThreads(3, [&](int thread) {
    for (uint64_t i = 0; i < static_cast<uint64_t>(Rounds(10'000)); ++i) {
      const uint64_t key = (i * 3 + static_cast<uint64_t>(thread)) % 300;
      EXPECT_TRUE(other.Put(key, key).ok());
      if (const std::optional<Counted> value = other.Get(key)) {
        EXPECT_EQ(value->number(), key);
      }
      if (i % 5 == 0) other.Erase(key);
    }
  });
  // A cache may even end meanwhile, with all that it kept.
  End(other);
  EXPECT_EQ(Counted::Live(), 1);
  reader.Leave();
}

TEST_F(CacheReclamationTest, ReadersThatComeAndGoDoNotKeepWhatIsRemoved) {
  ReclaimingCache& cache = Make<ReclaimingCache>(100);
  ASSERT_TRUE(cache.Put(0, 0).ok());
  // There is always a reader, but none that stays.
  auto reader = std::make_unique<StalledReader<ReclaimingCache>>(cache, 0, 0);
  int64_t most = 0;
  for (uint64_t round = 0; round < 100; ++round) {
    for (uint64_t i = 0; i < 1000; ++i) ASSERT_TRUE(cache.Put(1 + i % 50, i).ok());
    auto next = std::make_unique<StalledReader<ReclaimingCache>>(cache, 0, 0);
    reader = std::move(next);
    most = std::max(most, Counted::Live());
  }
  // Of 100,000 that were replaced, those of a few rounds.
  EXPECT_LT(most, 10'000);
  reader.reset();
  Maintain(cache);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache.size()));
}

// --- Threads.

TEST_F(CacheReclamationTest, ThousandsOfThreadsComeAndGo) {
  ReclaimingCache& cache = Make<ReclaimingCache>(64);
  constexpr int kBatch = 50;
  const int batches = Rounds(kThreadsAreDear ? 40 : 100);
  for (int batch = 0; batch < batches; ++batch) {
    RunThreads(kBatch, [&](int thread) {
      const auto key = static_cast<uint64_t>(batch + thread) % 100;
      EXPECT_TRUE(cache.Put(key, key).ok());
      if (const std::optional<Counted> value = cache.Get(key)) {
        EXPECT_EQ(value->number(), key);
      }
      if (thread % 4 == 0) cache.Erase(key + 1);
    });
  }
  const CacheStats stats = cache.Stats();
  EXPECT_EQ(stats.puts, static_cast<uint64_t>(batches) * kBatch);
  EXPECT_EQ(stats.hits + stats.misses, static_cast<uint64_t>(batches) * kBatch);
  Maintain(cache);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache.size()));
}

TEST_F(CacheReclamationTest, MoreThreadsAtOnceThanHaveCellsOfTheirOwnCountExactly) {
  constexpr int kThreads = 300;
  static_assert(kThreads > 4 * static_cast<int>(internal::ThreadRecord::kQuickThreads));
  constexpr uint64_t kHits = 200;
  ReclaimingCache& cache = Make<ReclaimingCache>(10'000);
  ASSERT_TRUE(cache.Put(1, 11).ok());
  std::latch all_registered(kThreads);
  std::atomic<uint64_t> found{0};
  RunThreads(kThreads, [&](int thread) {
    const auto own = 1000 + static_cast<uint64_t>(thread);
    EXPECT_TRUE(cache.Put(own, own).ok());
    all_registered.arrive_and_wait();
    uint64_t hits = 0;
    for (uint64_t i = 0; i < kHits; ++i) {
      hits += cache.Get(1).has_value() ? 1 : 0;
      hits += cache.Visit(own, [own](const Counted& value) { EXPECT_EQ(value.number(), own); });
      hits += cache.Pin(own) ? 1 : 0;
      EXPECT_FALSE(cache.Get(0).has_value());
    }
    // Each replaced while others read.
    EXPECT_TRUE(cache.Put(own, own).ok());
    if (thread % 3 == 0) {
      EXPECT_TRUE(cache.Erase(own));
    }
    found.fetch_add(hits);
  });
  const CacheStats stats = cache.Stats();
  EXPECT_EQ(found.load(), 3 * kHits * kThreads);
  EXPECT_EQ(stats.hits, 3 * kHits * kThreads);
  EXPECT_EQ(stats.misses, kHits * kThreads);
  EXPECT_EQ(stats.puts, 2u * kThreads + 1);
  EXPECT_EQ(stats.replaced, 1u * kThreads);
  EXPECT_EQ(stats.erased, 1u * kThreads / 3);
  EXPECT_EQ(stats.size, 1u + kThreads - kThreads / 3);
  Maintain(cache);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache.size()));
}

// --- Callbacks that use other caches.

TEST_F(CacheReclamationTest, AVisitUsesOtherCaches) {
  ReclaimingCache& outer = Make<ReclaimingCache>(50);
  ReclaimingCache& inner = Make<ReclaimingCache>(50);
  for (uint64_t key = 0; key < 50; ++key) ASSERT_TRUE(outer.Put(key, key).ok());
  RunThreads(3, [&](int thread) {
    std::vector<ReclaimingCache::Handle> held;
    for (uint64_t i = 0; i < static_cast<uint64_t>(Rounds(4'000)); ++i) {
      const uint64_t key = (i + static_cast<uint64_t>(thread) * 17) % 100;
      const bool there = outer.Visit(key, [&](const Counted& value) {
        EXPECT_TRUE(inner.Put(key, value).ok());
        if (const auto got = inner.Get(key)) {
          EXPECT_EQ(got->number(), key);
        }
        inner.Visit(key, [&](const Counted& copy) { EXPECT_EQ(copy.number(), key); });
        if (auto handle = inner.Pin(key)) held.push_back(std::move(handle));
        inner.Erase(key + 1);
        inner.RunMaintenance(10);
        EXPECT_EQ(value.number(), key) << "still protected after guards inside of this one";
      });
      if (!there) {
        EXPECT_TRUE(outer.Put(key, key).ok());
      }
      if (i % 16 == 0) held.clear();
    }
  });
  Maintain(outer);
  Maintain(inner);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(outer.size() + inner.size()));
}

TEST_F(CacheReclamationTest, VisitsNestThreeCachesDeep) {
  ReclaimingCache& a = Make<ReclaimingCache>(50);
  ReclaimingCache& b = Make<ReclaimingCache>(50);
  ReclaimingCache& c = Make<ReclaimingCache>(50);
  const auto put = [&](uint64_t key) {
    for (ReclaimingCache* cache : {&a, &b, &c}) EXPECT_TRUE(cache->Put(key, key).ok());
  };
  constexpr uint64_t kKeys = 30;
  for (uint64_t key = 0; key < kKeys; ++key) put(key);
  const auto rounds = static_cast<uint64_t>(Rounds(3'000));
  std::atomic<uint64_t> deepest{0};
  RunThreads(4, [&](int thread) {
    for (uint64_t i = 0; i < rounds; ++i) {
      const uint64_t key = (i + static_cast<uint64_t>(thread)) % kKeys;
      if (thread == 0) {
        put(key);
        continue;
      }
      a.Visit(key, [&](const Counted& of_a) {
        b.Visit(key, [&](const Counted& of_b) {
          c.Visit(key, [&](const Counted& of_c) {
            EXPECT_EQ(of_c.number(), key);
            deepest.fetch_add(1);
          });
          EXPECT_EQ(of_b.number(), key);
        });
        EXPECT_EQ(of_a.number(), key);
      });
    }
  });
  EXPECT_EQ(deepest.load(), 3 * rounds);
  for (ReclaimingCache* cache : {&a, &b, &c}) Maintain(*cache);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(3 * kKeys));
}

TEST_F(CacheReclamationTest, ACopyOutOfACacheUsesAnother) {
  using ConsultingCache = Cache<uint64_t, Consulting>;
  ReclaimingCache& consulted = Make<ReclaimingCache>(20);
  ConsultingCache& cache = Make<ConsultingCache>(20);
  Consulting::consulted = &consulted;
  // Half of the keys are always there, so some lookups hit, whichever thread comes first.
  for (uint64_t key = 0; key < 20; ++key) ASSERT_TRUE(cache.Put(key, Consulting(key)).ok());
  RunThreads(4, [&](int thread) {
    for (uint64_t i = 0; i < static_cast<uint64_t>(Rounds(3'000)); ++i) {
      const uint64_t key = (i + static_cast<uint64_t>(thread)) % 40;
      if (thread == 0) {
        EXPECT_TRUE(cache.Put(key, Consulting(key)).ok());
      } else if (const std::optional<Consulting> value = cache.Get(key)) {
        EXPECT_EQ(value->number(), key);
      }
    }
  });
  Consulting::consulted = nullptr;
  EXPECT_GT(consulted.Stats().puts, 0u);
  Maintain(cache);
  Maintain(consulted);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache.size() + consulted.size()));
}

// Hash and equality that use a cache, `memo`: reading it, since equality may run under a lock.
struct Memo {
  static inline IntCache* memo = nullptr;

  static uint64_t Of(uint64_t key) {
    const std::optional<uint64_t> known = memo->Get(key);
    EXPECT_EQ(known, std::optional<uint64_t>(key * 3));
    return key * 3;
  }
};
struct MemoHash {
  size_t operator()(uint64_t key) const {
    EXPECT_TRUE(Memo::memo->Put(1000 + key, key).ok());
    return Memo::Of(key) % 8;  // so that keys are compared often
  }
};
struct MemoEqual {
  bool operator()(uint64_t a, uint64_t b) const { return Memo::Of(a) == Memo::Of(b); }
};

TEST_F(CacheReclamationTest, HashAndEqualityUseAnotherCache) {
  constexpr uint64_t kKeys = 40;
  IntCache& memo = Make<IntCache>(1'000'000);
  for (uint64_t key = 0; key < kKeys; ++key) ASSERT_TRUE(memo.Put(key, key * 3).ok());
  Memo::memo = &memo;
  using MemoCache = Cache<uint64_t, Counted, Lru, MemoHash, MemoEqual>;
  MemoCache& cache = Make<MemoCache>(20);
  RunThreads(3, [&](int thread) {
    for (uint64_t i = 0; i < static_cast<uint64_t>(Rounds(1'000)); ++i) {
      const uint64_t key = (i * 7 + static_cast<uint64_t>(thread)) % kKeys;
      if (i % 3 == static_cast<uint64_t>(thread)) {
        EXPECT_TRUE(cache.Put(key, key).ok());
      }
      if (const std::optional<Counted> value = cache.Get(key)) {
        EXPECT_EQ(value->number(), key);
      }
      if (i % 11 == 0) cache.Erase(key);
    }
  });
  Maintain(cache);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache.size()));
  // Ends first: its invariants are checked with the memo.
  End(cache);
  Memo::memo = nullptr;
}

// --- Caches that end.

TEST_F(CacheReclamationTest, ACacheEndsWhilePinsAreHeldByManyThreads) {
  constexpr int kThreads = 6;
  for (int round = 0; round < Rounds(20); ++round) {
    ReclaimingCache& cache = Make<ReclaimingCache>(100);
    std::latch pinned(kThreads);
    std::latch ended(1);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::vector<ReclaimingCache::Handle> handles;
        for (uint64_t key = 0; key < 30; ++key) {
          // Some entries are pinned by all, some by one; some are replaced under their pins.
          const uint64_t own = key % 2 == 0 ? key : key + 100 * static_cast<uint64_t>(thread + 1);
          EXPECT_TRUE(cache.Put(own, own).ok());
          if (auto handle = cache.Pin(own)) handles.push_back(std::move(handle));
        }
        pinned.count_down();
        ended.wait();
        for (const auto& handle : handles) EXPECT_EQ(handle->number(), handle.key());
        // Dropped by the thread's end, each thread in an order of its own.
        if (thread % 2 == 0) handles.pop_back();
      });
    }
    pinned.wait();
    ASSERT_TRUE(cache.Put(5000, 5000).ok());
    ReclaimingCache::Handle own = cache.Pin(5000);
    ASSERT_TRUE(own);
    End(cache);
    EXPECT_EQ(own->number(), 5000u);
    EXPECT_GE(Counted::Live(), 1);
    ended.count_down();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(Counted::Live(), 1);
    EXPECT_EQ(own->number(), 5000u);
    own = {};
    EXPECT_EQ(Counted::Live(), 0);
  }
}

TEST_F(CacheReclamationTest, HundredsOfCachesComeAndGoBesideHits) {
  ReclaimingCache& stays = Make<ReclaimingCache>(100);
  for (uint64_t key = 0; key < 100; ++key) ASSERT_TRUE(stays.Put(key, key).ok());
  std::atomic<int> makers{2};
  std::atomic<uint64_t> hits{0};
  RunThreads(4, [&](int thread) {
    if (thread >= 2) {
      uint64_t found = 0;
      for (uint64_t i = 0; makers.load() > 0; ++i) {
        const bool there =
            stays.Visit(i % 100, [i](const Counted& value) { EXPECT_EQ(value.number(), i % 100); });
        found += there ? 1 : 0;
      }
      hits.fetch_add(found);
      return;
    }
    for (int i = 0; i < Rounds(150); ++i) {
      const auto own = ReclaimingCache::Create(OptionsFor<ReclaimingCache>(10)).value();
      for (uint64_t key = 0; key < 30; ++key) {
        EXPECT_TRUE(own->Put(key, key).ok());
        if (const auto value = own->Get(key)) {
          EXPECT_EQ(value->number(), key);
        }
      }
      EXPECT_TRUE(own->CheckInvariants().ok()) << own->CheckInvariants();
    }
    makers.fetch_sub(1);
  });
  EXPECT_EQ(stays.Stats().hits, hits.load());
  EXPECT_EQ(stays.size(), 100u);
  Maintain(stays);
  EXPECT_EQ(Counted::Live(), 100);
}

}  // namespace
}  // namespace larder::test
