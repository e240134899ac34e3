// SPDX-License-Identifier: Apache-2.0
// Whatever user code throws, at whatever point of whatever operation: it reaches the caller, and
// nothing is leaked, half stored, left locked or removed without the listener being told.
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

// T is what keys and values are.
template <class T>
class CacheExceptionTest : public CacheFixture {
 protected:
  using CacheT = Cache<T, T, Lru, ThrowingHash<T>, ThrowingEqual<T>>;
  using Contents = std::map<uint64_t, uint64_t>;
  using Operation = std::function<void(CacheT&)>;

  // Holds 1 to 4; 5 and 6 have expired; 7 and 8 are there where `roomy`, which has room for more.
  CacheT& MakeFilled(bool roomy) {
    told_ = 0;
    auto options = this->template OptionsFor<CacheT>(roomy ? 1000 : 6);
    options.stripes = 1;
    options.weigher = [](const T&, const T&) -> uint64_t {
      FaultCountdown::Point();
      return 1;
    };
    options.on_removal = [this](const T&, const T&, RemovalCause) {
      told_.fetch_add(1);
      FaultCountdown::Point();
    };
    CacheT& cache = Make<CacheT>(options);
    for (const uint64_t key : {1, 2, 3, 4, 5, 6}) {
      PutOptions put;
      if (key >= 5) put.ttl = absl::Seconds(1);
      EXPECT_TRUE(cache.Put(T(key), T(key * 10), put).ok());
    }
    clock_.Advance(absl::Hours(1));
    return cache;
  }

  static Contents ContentsOf(CacheT& cache) {
    Contents contents;
    cache.ForEach([&contents](const T& key, const T& value) {
      EXPECT_TRUE(contents.emplace(key.number(), value.number()).second);
    });
    return contents;
  }

  // Runs `operation` on caches of equal contents and lets the n-th point throw, for all n.
  void TryEveryPoint(const std::string& name, const Operation& operation, bool roomy = false) {
    SCOPED_TRACE(name);
    CacheT& whole = MakeFilled(roomy);
    const Contents before = ContentsOf(whole);
    operation(whole);
    const Contents after = ContentsOf(whole);
    End(whole);
    for (int64_t n = 1;; ++n) {
      SCOPED_TRACE(n);
      const int64_t live = Counted::Live();
      CacheT& cache = MakeFilled(roomy);
      bool caught = false;
      FaultCountdown::Arm(n);
      try {
        operation(cache);
      } catch (const InjectedFault&) {
        caught = true;
      }
      const bool thrown = FaultCountdown::Disarm();
      EXPECT_EQ(caught, thrown) << "what is thrown reaches the caller";
      ExpectBetween(before, after, ContentsOf(cache));
      ExpectAccountsAddUp(cache);
      ExpectUsable(cache);
      End(cache);
      EXPECT_EQ(Counted::Live(), live) << "leaked";
      ASSERT_EQ(Counted::Violations(), 0);
      if (!thrown) break;
    }
  }

  // Each key has what it had before or what it should have after: nothing in between.
  static void ExpectBetween(const Contents& before, const Contents& after, const Contents& now) {
    const auto value = [](const Contents& contents, uint64_t key) {
      const auto found = contents.find(key);
      return found == contents.end() ? std::optional<uint64_t>() : found->second;
    };
    for (uint64_t key = 0; key < 200; ++key) {
      const std::optional<uint64_t> is = value(now, key);
      EXPECT_TRUE(is == value(before, key) || is == value(after, key)) << key;
    }
  }

  void ExpectAccountsAddUp(CacheT& cache) {
    const CacheStats stats = cache.Stats();
    const uint64_t removed =
        stats.evictions + stats.expirations + stats.erased + stats.replaced + stats.cleared;
    EXPECT_EQ(told_.load(), removed);
    EXPECT_EQ(stats.puts, removed + stats.size);
    EXPECT_EQ(stats.weight, stats.size);
    EXPECT_LE(cache.weight(), cache.capacity());
    const absl::Status invariants = cache.CheckInvariants();
    EXPECT_TRUE(invariants.ok()) << invariants;
  }

  static void ExpectUsable(CacheT& cache) {
    for (const uint64_t key : {1, 5, 9, 30, 31}) {
      EXPECT_TRUE(cache.Put(T(key), T(key + 100)).ok());
      EXPECT_EQ(cache.Get(T(key))->number(), key + 100);
      EXPECT_TRUE(cache.Erase(T(key)));
      const auto loaded =
          cache.GetOrLoad(T(key), [](const T& k) { return absl::StatusOr<T>(T(k.number() * 2)); });
      EXPECT_EQ(loaded->number(), key * 2) << "no load was left behind";
      EXPECT_EQ(cache.Pin(T(key))->number(), key * 2) << "and it was stored";
    }
  }

  std::atomic<uint64_t> told_{0};
};

using Types = ::testing::Types<ThrowingCopy, ThrowingMove>;
TYPED_TEST_SUITE(CacheExceptionTest, Types);

TYPED_TEST(CacheExceptionTest, Lookups) {
  using T = TypeParam;
  using CacheT = typename TestFixture::CacheT;
  this->TryEveryPoint("Get", [](CacheT& cache) { cache.Get(T(1)); });
  this->TryEveryPoint("Get of an expired one", [](CacheT& cache) { cache.Get(T(5)); });
  this->TryEveryPoint("Get of a missing one", [](CacheT& cache) { cache.Get(T(9)); });
  this->TryEveryPoint("Pin", [](CacheT& cache) { cache.Pin(T(1)); });
  this->TryEveryPoint("Contains", [](CacheT& cache) { cache.Contains(T(1)); });
  this->TryEveryPoint(
      "Visit", [](CacheT& cache) { cache.Visit(T(1), [](const T&) { FaultCountdown::Point(); }); });
  this->TryEveryPoint("ForEach", [](CacheT& cache) {
    cache.ForEach([](const T&, const T&) { FaultCountdown::Point(); });
  });
}

TYPED_TEST(CacheExceptionTest, Puts) {
  using T = TypeParam;
  using CacheT = typename TestFixture::CacheT;
  for (const uint64_t key : {1, 5, 9}) {
    this->TryEveryPoint("Put " + std::to_string(key),
                        [key](CacheT& cache) { EXPECT_TRUE(cache.Put(T(key), T(99)).ok()); });
    this->TryEveryPoint("PutIfAbsent " + std::to_string(key), [key](CacheT& cache) {
      EXPECT_EQ(cache.PutIfAbsent(T(key), T(99)), key != 1);
    });
  }
  this->TryEveryPoint("Put with options", [](CacheT& cache) {
    EXPECT_TRUE(
        cache.Put(T(9), T(99), {.ttl = absl::Hours(1), .idle_ttl = absl::Hours(1), .weight = 1})
            .ok());
  });
  this->TryEveryPoint("Put evicting", [](CacheT& cache) {
    for (const uint64_t key : {10, 11, 12, 13}) EXPECT_TRUE(cache.Put(T(key), T(99)).ok());
  });
  this->TryEveryPoint("Put too heavy", [](CacheT& cache) {
    EXPECT_FALSE(cache.Put(T(1), T(99), {.weight = 7}).ok());
  });
}

TYPED_TEST(CacheExceptionTest, PutsIntoATableThatGrows) {
  using T = TypeParam;
  using CacheT = typename TestFixture::CacheT;
  this->TryEveryPoint(
      "Put",
      [](CacheT& cache) {
        for (uint64_t key = 40; key < 100; ++key) EXPECT_TRUE(cache.Put(T(key), T(key)).ok());
      },
      true);
}

TYPED_TEST(CacheExceptionTest, Computes) {
  using T = TypeParam;
  using CacheT = typename TestFixture::CacheT;
  for (const uint64_t key : {1, 5, 9}) {
    this->TryEveryPoint("Compute " + std::to_string(key), [key](CacheT& cache) {
      EXPECT_TRUE(cache
                      .Compute(T(key),
                               [](std::optional<T>) {
                                 FaultCountdown::Point();
                                 return std::optional<T>(T(99));
                               })
                      .ok());
    });
    this->TryEveryPoint("Compute nothing of " + std::to_string(key), [key](CacheT& cache) {
      EXPECT_TRUE(cache.Compute(T(key), [](std::optional<T>) { return std::optional<T>(); }).ok());
    });
  }
  this->TryEveryPoint("Compute twice", [](CacheT& cache) {
    int calls = 0;
    EXPECT_TRUE(cache
                    .Compute(T(1),
                             [&](std::optional<T>) {
                               if (++calls == 1) {
                                 EXPECT_TRUE(cache.Put(T(1), T(99)).ok());
                               }
                               return std::optional<T>(T(99));
                             })
                    .ok());
  });
}

TYPED_TEST(CacheExceptionTest, Removals) {
  using T = TypeParam;
  using CacheT = typename TestFixture::CacheT;
  for (const uint64_t key : {1, 5, 9}) {
    this->TryEveryPoint("Erase " + std::to_string(key),
                        [key](CacheT& cache) { EXPECT_EQ(cache.Erase(T(key)), key == 1); });
  }
  this->TryEveryPoint("EraseIf", [](CacheT& cache) {
    cache.EraseIf([](const T& key, const T&) {
      FaultCountdown::Point();
      return key.number() % 2 == 0;
    });
  });
  this->TryEveryPoint("Clear", [](CacheT& cache) { cache.Clear(); });
  this->TryEveryPoint("RunMaintenance", [](CacheT& cache) {
    while (cache.RunMaintenance(1) != 0) {
    }
  });
  this->TryEveryPoint("SetCapacity", [](CacheT& cache) { EXPECT_TRUE(cache.SetCapacity(2).ok()); });
}

// absl::StatusOr, which a loader returns, can't hold values whose moves throw: its own are
// noexcept.
template <class T>
constexpr bool kLoadable = std::is_nothrow_move_constructible_v<T>;

TYPED_TEST(CacheExceptionTest, Loads) {
  using T = TypeParam;
  if constexpr (!kLoadable<T>) return;
  using CacheT = typename TestFixture::CacheT;
  const auto loader = [](const T& key) -> absl::StatusOr<T> {
    FaultCountdown::Point();
    T value(key.number() + 1);
    FaultCountdown::Point();
    return value;
  };
  for (const uint64_t key : {1, 5, 9}) {
    this->TryEveryPoint("GetOrLoad " + std::to_string(key), [&, key](CacheT& cache) {
      EXPECT_TRUE(cache.GetOrLoad(T(key), loader).ok());
    });
  }
  this->TryEveryPoint("too heavy", [&](CacheT& cache) {
    EXPECT_TRUE(cache.GetOrLoad(T(9), loader, {.weight = 7}).ok());
  });
  this->TryEveryPoint("Loaded", [&](CacheT& cache) {
    EXPECT_TRUE(cache
                    .GetOrLoad(T(9),
                               [&](const T& key) -> absl::StatusOr<Loaded<T>> {
                                 return Loaded<T>{.value = *loader(key), .ttl = absl::Hours(1)};
                               })
                    .ok());
  });
  this->TryEveryPoint("overtaken by an Erase", [&](CacheT& cache) {
    EXPECT_TRUE(cache
                    .GetOrLoad(T(9),
                               [&](const T& key) {
                                 cache.Erase(key);
                                 return loader(key);
                               })
                    .ok());
  });
  this->TryEveryPoint("overtaken by a Put", [&](CacheT& cache) {
    EXPECT_TRUE(cache
                    .GetOrLoad(T(9),
                               [&](const T& key) {
                                 EXPECT_TRUE(cache.Put(T(9), T(99)).ok());
                                 return loader(key);
                               })
                    .ok());
  });
  this->TryEveryPoint("recursion", [&](CacheT& cache) {
    EXPECT_FALSE(
        cache.GetOrLoad(T(9), [&](const T&) { return cache.GetOrLoad(T(9), loader); }).ok());
  });
  this->TryEveryPoint("nested", [&](CacheT& cache) {
    EXPECT_TRUE(
        cache.GetOrLoad(T(9), [&](const T&) { return cache.GetOrLoad(T(8), loader); }).ok());
  });
}

// Faults wherever they happen to hit, while several threads work.
TYPED_TEST(CacheExceptionTest, ManyThreads) {
  using T = TypeParam;
  using CacheT = typename TestFixture::CacheT;
  CacheT& cache = this->MakeFilled(false);
  std::atomic<uint64_t> faults{0};
  const auto step = [&](std::mt19937_64& random) {
    const T key(random() % 12);
    switch (random() % 8) {
      case 0:
        cache.Erase(key);
        break;
      case 1:
        cache.Get(key);
        break;
      case 2:
        cache.Compute(key, [](std::optional<T>) { return std::optional<T>(T(7)); }).IgnoreError();
        break;
      case 3:
        if (random() % 8 == 0) cache.Clear();
        break;
      case 4:
      case 5:
        if constexpr (kLoadable<T>) {
          cache.GetOrLoad(key, [](const T& k) { return absl::StatusOr<T>(T(k.number())); })
              .IgnoreError();
        }
        break;
      default:
        EXPECT_TRUE(cache.Put(T(key.number()), T(random())).ok());
    }
  };
  RunThreads(4, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (int i = 0; i < Rounds(2000); ++i) {
      if (random() % 2 == 0) FaultCountdown::Arm(1 + static_cast<int64_t>(random() % 40));
      try {
        step(random);
      } catch (const InjectedFault&) {
        faults.fetch_add(1);
      }
    }
  });
  FaultCountdown::Disarm();
  EXPECT_GT(faults.load(), 0u);
  this->ExpectAccountsAddUp(cache);
  this->ExpectUsable(cache);
}

}  // namespace
}  // namespace larder::test
