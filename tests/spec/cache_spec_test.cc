// SPDX-License-Identifier: Apache-2.0
// The core of the contract, for each policy, with any number of stripes, with and without ttls. A
// new policy is one line: see kPolicies.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>

#include "absl/status/status.h"
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

using Number = std::optional<uint64_t>;
using Loader = std::function<absl::StatusOr<uint64_t>(uint64_t)>;

// A cache whose policy is known at run time only.
class AnyCache {
 public:
  virtual ~AnyCache() = default;
  virtual Number Get(uint64_t key) = 0;
  virtual Number Pin(uint64_t key) = 0;
  virtual Number Visit(uint64_t key) = 0;
  virtual bool Contains(uint64_t key) = 0;
  virtual absl::Status Put(uint64_t key, uint64_t value, const PutOptions& options = {}) = 0;
  virtual bool PutIfAbsent(uint64_t key, uint64_t value) = 0;
  virtual absl::Status Compute(uint64_t key, const std::function<Number(Number)>& f) = 0;
  virtual bool Erase(uint64_t key) = 0;
  virtual size_t EraseIf(const std::function<bool(uint64_t)>& key_is) = 0;
  virtual void Clear() = 0;
  virtual Number GetOrLoad(uint64_t key, const Loader& loader) = 0;
  virtual std::map<uint64_t, uint64_t> Contents() = 0;
  virtual absl::Status SetCapacity(uint64_t capacity) = 0;
  virtual size_t RunMaintenance(size_t budget) = 0;
  virtual uint64_t size() = 0;
  virtual uint64_t weight() = 0;
  virtual CacheStats Stats() = 0;
};

template <class Policy>
class CacheWith final : public AnyCache {
 public:
  using CacheT = Cache<uint64_t, Counted, Policy>;

  explicit CacheWith(CacheT* cache) : cache_(*cache) {}

  Number Get(uint64_t key) override {
    const std::optional<Counted> value = cache_.Get(key);
    return value ? Number(value->number()) : std::nullopt;
  }
  Number Pin(uint64_t key) override {
    const auto handle = cache_.Pin(key);
    return handle ? Number(handle->number()) : std::nullopt;
  }
  Number Visit(uint64_t key) override {
    Number seen;
    const bool found = cache_.Visit(key, [&seen](const Counted& v) { seen = v.number(); });
    EXPECT_EQ(found, seen.has_value());
    return seen;
  }
  bool Contains(uint64_t key) override { return cache_.Contains(key); }
  absl::Status Put(uint64_t key, uint64_t value, const PutOptions& options) override {
    return cache_.Put(key, Counted(value), options);
  }
  bool PutIfAbsent(uint64_t key, uint64_t value) override {
    return cache_.PutIfAbsent(key, Counted(value));
  }
  absl::Status Compute(uint64_t key, const std::function<Number(Number)>& f) override {
    return cache_.Compute(key, [&f](std::optional<Counted> old) -> std::optional<Counted> {
      const Number result = f(old ? Number(old->number()) : std::nullopt);
      return result ? std::optional<Counted>(Counted(*result)) : std::nullopt;
    });
  }
  bool Erase(uint64_t key) override { return cache_.Erase(key); }
  size_t EraseIf(const std::function<bool(uint64_t)>& key_is) override {
    return cache_.EraseIf([&key_is](uint64_t key, const Counted&) { return key_is(key); });
  }
  void Clear() override { cache_.Clear(); }
  Number GetOrLoad(uint64_t key, const Loader& loader) override {
    const auto value = cache_.GetOrLoad(key, [&loader](uint64_t k) -> absl::StatusOr<Counted> {
      const absl::StatusOr<uint64_t> loaded = loader(k);
      if (!loaded.ok()) return loaded.status();
      return Counted(*loaded);
    });
    return value.ok() ? Number(value->number()) : std::nullopt;
  }
  std::map<uint64_t, uint64_t> Contents() override {
    std::map<uint64_t, uint64_t> contents;
    cache_.ForEach([&](uint64_t key, const Counted& value) { contents[key] = value.number(); });
    return contents;
  }
  absl::Status SetCapacity(uint64_t capacity) override { return cache_.SetCapacity(capacity); }
  size_t RunMaintenance(size_t budget) override { return cache_.RunMaintenance(budget); }
  uint64_t size() override { return cache_.size(); }
  uint64_t weight() override { return cache_.weight(); }
  CacheStats Stats() override { return cache_.Stats(); }

 private:
  CacheT& cache_;
};

class CacheSpec;

// A policy as a value: how to make a cache with it that belongs to the test.
struct AnyPolicy {
  std::string_view name;
  std::unique_ptr<AnyCache> (*make)(CacheSpec& test, const CacheOptions& options);
};

struct Ttls {
  const char* name;
  absl::Duration ttl = absl::InfiniteDuration();
  absl::Duration idle_ttl = absl::InfiniteDuration();
  // Until an entry that is left alone expires.
  absl::Duration Life() const { return std::min(ttl, idle_ttl); }
};

class CacheSpec : public CacheFixture,
                  public ::testing::WithParamInterface<std::tuple<AnyPolicy, int, Ttls>> {
 public:
  template <class Policy>
  static std::unique_ptr<AnyCache> MakeWith(CacheSpec& test, const CacheOptions& options) {
    using CacheT = Cache<uint64_t, Counted, Policy>;
    typename CacheT::Options all;
    static_cast<CacheOptions&>(all) = options;
    all.on_removal = [&test](uint64_t, const Counted&, RemovalCause) { test.told_.fetch_add(1); };
    return std::make_unique<CacheWith<Policy>>(&test.Make<CacheT>(all));
  }

 protected:
  static const Ttls& ttls() { return std::get<2>(GetParam()); }

  AnyCache& Start(uint64_t capacity) {
    CacheOptions options;
    options.capacity = capacity;
    options.clock = &clock_;
    options.stripes = std::get<1>(GetParam());
    options.ttl = ttls().ttl;
    options.idle_ttl = ttls().idle_ttl;
    cache_ = std::get<0>(GetParam()).make(*this, options);
    return *cache_;
  }

  void TearDown() override {
    const CacheStats stats = cache_->Stats();
    const uint64_t removed =
        stats.evictions + stats.expirations + stats.erased + stats.replaced + stats.cleared;
    EXPECT_EQ(stats.puts, stats.size + removed);
    EXPECT_EQ(told_.load(), removed);
    EXPECT_EQ(stats.size, cache_->size());
    EXPECT_EQ(stats.weight, cache_->weight());
    // Until nothing is left to do, what was removed may wait for its end.
    while (cache_->RunMaintenance(100) != 0) {
    }
    EXPECT_EQ(Counted::Live(), static_cast<int64_t>(cache_->size()));
    CacheFixture::TearDown();
  }

 private:
  std::unique_ptr<AnyCache> cache_;
  std::atomic<uint64_t> told_{0};
};

template <class Policy>
AnyPolicy PolicyOf() {
  return {Policy::kName, &CacheSpec::MakeWith<Policy>};
}

const auto kPolicies = ::testing::Values(  // one line for each
    PolicyOf<Lru>(), PolicyOf<Sieve>(), PolicyOf<S3Fifo>());

const auto kTtls = ::testing::Values(Ttls{"NoTtl"}, Ttls{.name = "Ttl", .ttl = absl::Seconds(10)},
                                     Ttls{.name = "IdleTtl", .idle_ttl = absl::Seconds(7)},
                                     Ttls{"BothTtls", absl::Seconds(10), absl::Seconds(7)});

std::string NameOf(const ::testing::TestParamInfo<CacheSpec::ParamType>& info) {
  const auto& [policy, stripes, ttls] = info.param;
  return absl::StrCat(std::string(policy.name), "_stripes_", stripes, "_", ttls.name);
}

INSTANTIATE_TEST_SUITE_P(All, CacheSpec,
                         ::testing::Combine(kPolicies, ::testing::Values(1, 2, 16, 0), kTtls),
                         NameOf);

TEST_P(CacheSpec, WhatIsPutIsFound) {
  AnyCache& cache = Start(1000);
  for (uint64_t key = 0; key < 500; ++key) ASSERT_TRUE(cache.Put(key, key * 2).ok());
  for (uint64_t key = 0; key < 500; ++key) {
    EXPECT_EQ(cache.Get(key), key * 2);
    EXPECT_EQ(cache.Pin(key), key * 2);
    EXPECT_EQ(cache.Visit(key), key * 2);
    EXPECT_TRUE(cache.Contains(key));
  }
  EXPECT_EQ(cache.Get(500), std::nullopt);
  EXPECT_EQ(cache.size(), 500u);
  EXPECT_EQ(cache.Contents().size(), 500u);
}

TEST_P(CacheSpec, ChangesAreSeenAtOnce) {
  AnyCache& cache = Start(100);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  ASSERT_TRUE(cache.Put(1, 11).ok());
  EXPECT_EQ(cache.Get(1), 11u);
  EXPECT_FALSE(cache.PutIfAbsent(1, 12));
  EXPECT_TRUE(cache.PutIfAbsent(2, 20));
  ASSERT_TRUE(cache.Compute(2, [](Number old) { return Number(*old + 1); }).ok());
  EXPECT_EQ(cache.Get(2), 21u);
  EXPECT_TRUE(cache.Erase(1));
  EXPECT_FALSE(cache.Erase(1));
  EXPECT_EQ(cache.Get(1), std::nullopt);
  EXPECT_EQ(cache.GetOrLoad(1, [](uint64_t) { return 13; }), 13u);
  EXPECT_EQ(cache.GetOrLoad(1, [](uint64_t) { return 14; }), 13u);
  EXPECT_EQ(cache.EraseIf([](uint64_t key) { return key == 2; }), 1u);
  EXPECT_FALSE(cache.Contains(2));
  cache.Clear();
  EXPECT_EQ(cache.size(), 0u);
}

TEST_P(CacheSpec, TheCapacityHolds) {
  AnyCache& cache = Start(64);
  for (uint64_t key = 0; key < 1000; ++key) {
    ASSERT_TRUE(cache.Put(key, key).ok());
    ASSERT_LE(cache.weight(), 64u);
    EXPECT_EQ(cache.Get(key), key) << "a policy may turn the newest away later, not at once";
  }
  EXPECT_EQ(cache.size(), 64u);
  ASSERT_TRUE(cache.Put(5000, 1, {.weight = 60}).ok());
  EXPECT_LE(cache.weight(), 64u);
  EXPECT_TRUE(absl::IsResourceExhausted(cache.Put(5000, 2, {.weight = 65})));
  EXPECT_EQ(cache.Get(5000), 1u);
  ASSERT_TRUE(cache.SetCapacity(10).ok());
  EXPECT_LE(cache.weight(), 10u);
  EXPECT_EQ(cache.Stats().rejected_puts, 1u);
}

TEST_P(CacheSpec, EntriesLiveAsLongAsTheyMay) {
  AnyCache& cache = Start(1000);
  const bool mortal = ttls().Life() != absl::InfiniteDuration();
  const absl::Duration life = mortal ? ttls().Life() : absl::Hours(24 * 365);
  for (uint64_t key = 0; key < 100; ++key) ASSERT_TRUE(cache.Put(key, key).ok());
  clock_.Advance(life - absl::Nanoseconds(1));
  while (cache.RunMaintenance(10) != 0) {
  }
  EXPECT_EQ(cache.Contents().size(), 100u) << "nothing early";
  clock_.Advance(absl::Nanoseconds(1));
  for (uint64_t key = 0; key < 100; ++key) EXPECT_EQ(cache.Contains(key), !mortal);
  EXPECT_EQ(cache.Contents().size(), mortal ? 0u : 100u);
  clock_.Advance(absl::Hours(1));
  while (cache.RunMaintenance(10) != 0) {
  }
  EXPECT_EQ(cache.size(), mortal ? 0u : 100u);
  EXPECT_EQ(cache.Stats().expirations, mortal ? 100u : 0u);
}

TEST_P(CacheSpec, HitsProlongIdleTtlsOnly) {
  AnyCache& cache = Start(1000);
  ASSERT_TRUE(cache.Put(1, 10).ok());
  absl::Duration age;
  for (int second = 1; second <= 30; ++second) {
    clock_.Advance(absl::Seconds(1));
    age += absl::Seconds(1);
    ASSERT_EQ(cache.Get(1).has_value(), age < ttls().ttl) << age;
  }
}

TEST_P(CacheSpec, EntriesMayHaveTheirOwnTtls) {
  AnyCache& cache = Start(1000);
  constexpr absl::Duration kForever = absl::InfiniteDuration();
  ASSERT_TRUE(cache.Put(1, 10, {.ttl = kForever, .idle_ttl = kForever}).ok());
  ASSERT_TRUE(cache.Put(2, 20, {.ttl = absl::Seconds(1)}).ok());
  ASSERT_TRUE(cache.Put(3, 30, {.ttl = kForever, .idle_ttl = absl::Seconds(1)}).ok());
  clock_.Advance(absl::Milliseconds(999));
  EXPECT_TRUE(cache.Contains(2));
  EXPECT_TRUE(cache.Contains(3));
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_FALSE(cache.Contains(2));
  EXPECT_FALSE(cache.Contains(3));
  clock_.Advance(absl::Hours(24 * 365));
  EXPECT_EQ(cache.Get(1), 10u);
}

TEST_P(CacheSpec, AnOvertakenLoadIsNotStored) {
  AnyCache& cache = Start(100);
  EXPECT_EQ(cache.GetOrLoad(1,
                            [&cache](uint64_t) {
                              cache.Erase(1);
                              return 10;
                            }),
            10u);
  EXPECT_FALSE(cache.Contains(1));
  EXPECT_EQ(cache.GetOrLoad(1,
                            [&cache](uint64_t) {
                              EXPECT_TRUE(cache.Put(1, 11).ok());
                              return 10;
                            }),
            10u);
  EXPECT_EQ(cache.Get(1), 11u);
}

TEST_P(CacheSpec, ManyAskersShareOneLoad) {
  AnyCache& cache = Start(100);
  std::atomic<int> asking{0};
  std::atomic<int> loads{0};
  RunThreads(16, [&](int) {
    asking.fetch_add(1);
    EXPECT_EQ(cache.GetOrLoad(1,
                              [&](uint64_t) {
                                loads.fetch_add(1);
                                EXPECT_TRUE(Eventually([&] { return asking.load() == 16; }));
                                return 10;
                              }),
              10u);
  });
  EXPECT_EQ(loads.load(), 1);
}

// Random operations on more than fits: what is found is what was last put, and not past its time.
TEST_P(CacheSpec, NeverTellsAnythingOld) {
  struct Written {
    uint64_t value;
    int64_t ends;  // by its ttl
  };
  std::map<uint64_t, Written> written;
  std::mt19937_64 random(SeedOfRound(0));
  AnyCache& cache = Start(100);
  const int64_t ttl = absl::ToInt64Nanoseconds(ttls().ttl);
  for (int step = 0; step < Rounds(6000); ++step) {
    const uint64_t key = random() % 150;
    const uint64_t dice = random() % 16;
    const int64_t now = clock_.NowNanos();
    if (dice < 5) {
      const uint64_t value = random();
      ASSERT_TRUE(cache.Put(key, value).ok());
      written[key] = {value, now > INT64_MAX - ttl ? INT64_MAX : now + ttl};
    } else if (dice < 6) {
      cache.Erase(key);
      written.erase(key);
    } else if (dice < 7) {
      clock_.Advance(absl::Milliseconds(random() % 300));
    } else if (dice < 8) {
      cache.RunMaintenance(random() % 20);
    } else if (const Number got = cache.Get(key)) {
      ASSERT_TRUE(written.contains(key));
      ASSERT_EQ(*got, written[key].value);
      ASSERT_LT(now, written[key].ends);
    }
    ASSERT_LE(cache.weight(), 100u);
  }
}

TEST_P(CacheSpec, HoldsForManyThreads) {
  AnyCache& cache = Start(50);
  RunThreads(4, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (int i = 0; i < Rounds(1500); ++i) {
      const uint64_t key = random() % 100;
      const uint64_t value = key * 1000 + random() % 1000;
      Number got;
      switch (random() % 8) {
        case 0:
          cache.Erase(key);
          break;
        case 1:
          got = cache.GetOrLoad(key, [&](uint64_t) { return value; });
          break;
        case 2:
          got = cache.Pin(key);
          break;
        case 3:
          EXPECT_TRUE(cache
                          .Compute(key,
                                   [&](Number old) {
                                     got = old;
                                     return Number(value);
                                   })
                          .ok());
          break;
        case 4:
          clock_.Advance(absl::Milliseconds(10));
          break;
        case 5:
          EXPECT_TRUE(cache.Put(key, value).ok());
          break;
        default:
          got = cache.Get(key);
      }
      if (got) {
        ASSERT_EQ(*got / 1000, key);
      }
    }
  });
  EXPECT_LE(cache.weight(), 50u);
  EXPECT_LE(cache.Stats().max_overshoot, 4u);
}

}  // namespace
}  // namespace larder::test
