// SPDX-License-Identifier: Apache-2.0
// GetOrLoad: one load per key whoever asks, what becomes of its outcome, and loads that wait for
// themselves.
#include <atomic>
#include <barrier>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using Result = absl::StatusOr<uint64_t>;

class CacheFlightTest : public CacheFixture {
 protected:
  // One stripe: what a load must not delay would otherwise be elsewhere.
  IntCache& MakeOneStripe(uint64_t capacity = 100) {
    auto options = OptionsFor<IntCache>(capacity);
    options.stripes = 1;
    return Make<IntCache>(options);
  }
};

// Lets others run for a while; nothing may depend on that they do.
void GiveWay() {
  for (int i = 0; i < 200; ++i) std::this_thread::yield();
}

TEST_F(CacheFlightTest, AThousandAskersShareOneLoad) {
  constexpr int kAskers = 1000;
  IntCache& cache = MakeOneStripe();
  std::atomic<int> asking{0};
  std::atomic<int> loads{0};
  std::atomic<int> right{0};
  RunThreads(kAskers, [&](int) {
    asking.fetch_add(1);
    const Result result = cache.GetOrLoad(7, [&](uint64_t) -> Result {
      loads.fetch_add(1);
      EXPECT_TRUE(Eventually([&] { return asking.load() == kAskers; }));
      return 70;
    });
    if (result.ok() && *result == 70) right.fetch_add(1);
  });
  EXPECT_EQ(loads.load(), 1);
  EXPECT_EQ(right.load(), kAskers);
  const CacheStats stats = cache.Stats();
  EXPECT_EQ(stats.loads, 1u);
  EXPECT_EQ(stats.load_failures, 0u);
  EXPECT_EQ(stats.hits + stats.misses, static_cast<uint64_t>(kAskers));
  EXPECT_LE(stats.joined, kAskers - 1u);
  EXPECT_EQ(cache.Get(7), 70u);
}

// Each caller's outcome, where several ask for a key whose loader fails as `fail` does. Askers who
// come late find no load and start one of their own, so tries again until some have shared one.
class FailingLoadTest : public CacheFlightTest {
 protected:
  static constexpr int kAskers = 8;

  struct Outcomes {
    std::atomic<uint64_t> thrown{0};
    std::atomic<uint64_t> internal{0};
    std::atomic<uint64_t> unavailable{0};
  };

  void Run(const std::function<absl::Status()>& fail) {
    IntCache& cache = MakeOneStripe();
    for (int round = 0; cache.Stats().joined == 0; ++round) {
      ASSERT_LT(round, 10'000);
      std::atomic<int> asking{0};
      RunThreads(kAskers, [&](int) {
        asking.fetch_add(1);
        const auto loader = [&](uint64_t) -> Result {
          EXPECT_TRUE(Eventually([&] { return asking.load() == kAskers; }));
          GiveWay();
          return fail();
        };
        try {
          const Result result = cache.GetOrLoad(7, loader);
          if (absl::IsInternal(result.status())) outcomes_.internal.fetch_add(1);
          if (absl::IsUnavailable(result.status())) outcomes_.unavailable.fetch_add(1);
        } catch (...) {
          outcomes_.thrown.fetch_add(1);
        }
      });
      asked_ += kAskers;
    }
    stats_ = cache.Stats();
    EXPECT_EQ(stats_.loads + stats_.joined, asked_);
    EXPECT_EQ(stats_.load_failures, stats_.loads);
    EXPECT_FALSE(cache.Contains(7));
    EXPECT_EQ(cache.size(), 0u);
    EXPECT_EQ(*cache.GetOrLoad(7, [](uint64_t) -> Result { return 70; }), 70u);
    EXPECT_EQ(cache.Get(7), 70u);
  }

  Outcomes outcomes_;
  CacheStats stats_;
  uint64_t asked_ = 0;
};

TEST_F(FailingLoadTest, ErrorsAreSharedAndNotStored) {
  Run([] { return absl::UnavailableError("no such luck"); });
  EXPECT_EQ(outcomes_.unavailable.load(), asked_);
}

TEST_F(FailingLoadTest, ExceptionsReachTheirCallerAndTheOthersGetAnError) {
  Run([]() -> absl::Status { throw std::runtime_error("no such luck"); });
  EXPECT_EQ(outcomes_.thrown.load(), stats_.loads);
  EXPECT_EQ(outcomes_.internal.load(), stats_.joined);
}

TEST_F(FailingLoadTest, AnythingMayBeThrown) {
  Run([]() -> absl::Status { throw 42; });
  EXPECT_EQ(outcomes_.thrown.load(), stats_.loads);
  EXPECT_EQ(outcomes_.internal.load(), stats_.joined);
}

TEST_F(CacheFlightTest, LoadersMayBeAnythingCallable) {
  IntCache& cache = MakeOneStripe();
  EXPECT_EQ(*cache.GetOrLoad(1, [](uint64_t key) { return key * 10; }), 10u);
  EXPECT_EQ(
      *cache.GetOrLoad(
          2, [owned = std::make_unique<int>(5)](const uint64_t&) -> Result { return *owned; }),
      5u);
  std::function<Result(const uint64_t&)> function = [](uint64_t) { return 30; };
  EXPECT_EQ(*cache.GetOrLoad(3, function), 30u);
  EXPECT_TRUE(absl::IsNotFound(
      cache.GetOrLoad(4, [](uint64_t) { return absl::NotFoundError("none"); }).status()));
  int calls = 0;
  EXPECT_EQ(*cache.GetOrLoad(5,
                             [calls](uint64_t) mutable -> absl::StatusOr<Loaded<uint64_t>> {
                               return Loaded<uint64_t>{.value = static_cast<uint64_t>(++calls)};
                             }),
            1u);
}

TEST_F(CacheFlightTest, LoadersMayCallTheCache) {
  IntCache& cache = MakeOneStripe();
  const Result result = cache.GetOrLoad(1, [&](uint64_t) -> Result {
    EXPECT_TRUE(cache.Put(2, 20).ok());
    EXPECT_EQ(cache.Get(1), std::nullopt);
    EXPECT_FALSE(cache.Contains(1));
    cache.RunMaintenance(10);
    EXPECT_TRUE(cache.SetCapacity(50).ok());
    return *cache.Get(2) + *cache.GetOrLoad(3, [](uint64_t) -> Result { return 30; });
  });
  EXPECT_EQ(*result, 50u);
  EXPECT_EQ(cache.Get(1), 50u);
}

TEST_F(CacheFlightTest, ALoadDelaysNobodyElse) {
  IntCache& cache = MakeOneStripe();
  const Result result = cache.GetOrLoad(1, [&](uint64_t) -> Result {
    std::thread other([&] {
      EXPECT_TRUE(cache.Put(2, 20).ok());
      EXPECT_EQ(cache.Get(2), 20u);
      EXPECT_EQ(cache.Get(1), std::nullopt);
      EXPECT_EQ(*cache.GetOrLoad(3, [](uint64_t) -> Result { return 30; }), 30u);
      EXPECT_TRUE(cache.Compute(2, [](auto old) { return old; }).ok());
      EXPECT_TRUE(cache.Erase(2));
      EXPECT_EQ(cache.EraseIf([](uint64_t key, uint64_t) { return key == 3; }), 1u);
      EXPECT_TRUE(cache.Put(1, 11).ok());
      EXPECT_EQ(*cache.GetOrLoad(1, [](uint64_t) -> Result { return 0; }), 11u);
      cache.Clear();
    });
    other.join();
    return 10;
  });
  EXPECT_EQ(*result, 10u);
}

// --- Loads that wait for themselves.

TEST_F(CacheFlightTest, ALoadThatAsksForItsOwnKeyFails) {
  IntCache& cache = MakeOneStripe();
  const auto recursive = [&](uint64_t key) -> Result {
    return cache.GetOrLoad(key, [](uint64_t) -> Result { return 1; });
  };
  const Result result = cache.GetOrLoad(1, recursive);
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
  EXPECT_FALSE(cache.Contains(1));
  const Result caught = cache.GetOrLoad(1, [&](uint64_t key) -> Result {
    EXPECT_TRUE(absl::IsFailedPrecondition(recursive(key).status()));
    return 10;
  });
  EXPECT_EQ(*caught, 10u) << "the loader may live with that";
}

TEST_F(CacheFlightTest, ALoadThatAsksForItsOwnKeyAfterErasingItFails) {
  IntCache& cache = MakeOneStripe();
  EXPECT_EQ(
      *cache.GetOrLoad(1,
                       [&](uint64_t) -> Result {
                         cache.Erase(1);
                         EXPECT_TRUE(absl::IsFailedPrecondition(
                             cache.GetOrLoad(1, [](uint64_t) -> Result { return 1; }).status()));
                         EXPECT_TRUE(cache.Put(1, 11).ok());
                         return *cache.GetOrLoad(1, [](uint64_t) -> Result { return 1; }) + 1;
                       }),
      12u)
      << "what was put needs no load";
  EXPECT_EQ(cache.Get(1), 11u);
}

TEST_F(CacheFlightTest, ALoadThatAsksForItsOwnKeyOverOthersFails) {
  IntCache& cache = MakeOneStripe();
  std::function<Result(const uint64_t&)> next = [&](uint64_t key) -> Result {
    return cache.GetOrLoad(key == 20 ? 1 : key + 1, next);
  };
  const Result result = cache.GetOrLoad(1, next);
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.Stats().loads, 20u);
}

TEST_F(CacheFlightTest, LoadsMayNestWhereTheyDoNotMeet) {
  struct SameHash {
    size_t operator()(uint64_t) const { return 1; }
  };
  using CacheT = Cache<uint64_t, uint64_t, Lru, SameHash>;
  CacheT& cache = Make<CacheT>(100);
  std::function<Result(const uint64_t&)> next = [&](uint64_t key) -> Result {
    return key == 50 ? Result(1) : cache.GetOrLoad(key + 1, next);
  };
  EXPECT_EQ(*cache.GetOrLoad(1, next), 1u);
  EXPECT_EQ(cache.size(), 50u);
}

TEST_F(CacheFlightTest, LoadsThatAskForEachOthersKeysFail) {
  for (const int threads : {2, 5}) {
    IntCache& cache = MakeOneStripe();
    IntCache& other = MakeOneStripe();
    for (int round = 0; round < Rounds(20); ++round) {
      // In every second round, threads alternate between two caches.
      const auto cache_of = [&](int i) -> IntCache& {
        return round % 2 == 0 || i % 2 == 0 ? cache : other;
      };
      std::latch loading(threads);
      std::atomic<int> refused{0};
      RunThreads(threads, [&](int i) {
        const int next = (i + 1) % threads;
        const Result result = cache_of(i).GetOrLoad(i, [&](uint64_t) -> Result {
          loading.arrive_and_wait();  // all of them lead a load
          const Result inner = cache_of(next).GetOrLoad(next, [](uint64_t) -> Result { return 0; });
          if (absl::IsFailedPrecondition(inner.status())) refused.fetch_add(1);
          return inner.ok() ? Result(*inner + 1) : Result(1000);
        });
        EXPECT_TRUE(result.ok()) << result.status();
      });
      EXPECT_GE(refused.load(), 1);
      EXPECT_EQ(cache.size() + other.size(), static_cast<size_t>(threads));
      cache.Clear();
      other.Clear();
    }
  }
}

TEST_F(CacheFlightTest, ALoadThatAsksForItsOwnKeyOverAnotherCacheFails) {
  IntCache& cache = MakeOneStripe();
  Cache<std::string, std::string>& other = Make<Cache<std::string, std::string>>(10);
  const Result result = cache.GetOrLoad(1, [&](uint64_t) -> Result {
    const auto text = other.GetOrLoad("1", [&](const std::string&) -> absl::StatusOr<std::string> {
      return cache.GetOrLoad(1, [](uint64_t) -> Result { return 1; }).status();
    });
    return text.status();
  });
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
}

TEST_F(CacheFlightTest, ALoadMayWaitForAnotherThreadsLoad) {
  IntCache& cache = MakeOneStripe();
  for (int round = 0; round < Rounds(20); ++round) {
    std::latch both(2);
    std::atomic<bool> asking{false};
    std::thread other([&] {
      EXPECT_EQ(*cache.GetOrLoad(2,
                                 [&](uint64_t) -> Result {
                                   both.arrive_and_wait();
                                   EXPECT_TRUE(Eventually([&] { return asking.load(); }));
                                   GiveWay();
                                   return 20;
                                 }),
                20u);
    });
    const Result result = cache.GetOrLoad(1, [&](uint64_t) -> Result {
      both.arrive_and_wait();
      asking.store(true);
      return cache.GetOrLoad(2, [](uint64_t) -> Result { return 0; });
    });
    other.join();
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, 20u);
    cache.Clear();
  }
}

TEST_F(CacheFlightTest, ManyLoadsWaitingForEachOtherNeverHang) {
  IntCache& cache = MakeOneStripe(1000);
  RunThreads(6, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    std::function<Result(const uint64_t&)> load = [&](uint64_t key) -> Result {
      if (random() % 3 == 0) return key;
      const Result inner = cache.GetOrLoad(random() % 8, load);
      EXPECT_TRUE(inner.ok() || absl::IsFailedPrecondition(inner.status())) << inner.status();
      if (!inner.ok() && random() % 2 == 0) return inner.status();
      return key;
    };
    for (int i = 0; i < Rounds(2000); ++i) {
      const uint64_t key = random() % 8;
      const Result result = cache.GetOrLoad(key, load);
      if (result.ok()) {
        EXPECT_EQ(*result, key);
      }
      if (random() % 2 == 0) cache.Erase(random() % 8);
    }
  });
}

}  // namespace
}  // namespace larder::test
