// SPDX-License-Identifier: Apache-2.0
//
// Memory that runs out anywhere: the n-th allocation of an operation fails, for every n. Whatever
// comes of the operation, nothing leaks, nothing hangs, and the cache is sound afterwards.

#include <cstdint>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "tests/support/allocations.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

using CountedCache = Cache<uint64_t, Counted>;
using Operation = std::function<void(CountedCache&)>;

struct Case {
  std::string name;
  Operation run;
};

constexpr uint64_t kEntries = 700;  // more than the first table holds

std::vector<Case> Cases() {
  const auto load = [](uint64_t key) -> absl::StatusOr<Counted> { return Counted(key); };
  const auto fail = [](uint64_t) -> absl::StatusOr<Counted> {
    throw std::runtime_error(std::string(100, 'x'));
  };
  return {
      {"Create", [](CountedCache&) {}},
      {"Puts",
       [](CountedCache& cache) {
         for (uint64_t key = 0; key < kEntries; ++key) (void)cache.Put(key, Counted(key));
       }},
      {"PutsThatExpireAndWeigh",
       [](CountedCache& cache) {
         for (uint64_t key = 0; key < 100; ++key) {
           (void)cache.Put(key, Counted(key), {.ttl = absl::Seconds(1), .weight = 30});
         }
       }},
      {"Load", [load](CountedCache& cache) { (void)cache.GetOrLoad(9000, load); }},
      {"LoadThatThrows",
       [fail](CountedCache& cache) {
         try {
           (void)cache.GetOrLoad(9000, fail);
         } catch (const std::runtime_error&) {
         }
       }},
      {"Compute",
       [](CountedCache& cache) {
         (void)cache.Compute(1, [](std::optional<Counted> old) { return old; });
       }},
      {"EraseIf", [](CountedCache& cache) { cache.EraseIf([](auto&, auto&) { return true; }); }},
      {"Clear", [](CountedCache& cache) { cache.Clear(); }},
      {"SetCapacity", [](CountedCache& cache) { (void)cache.SetCapacity(3); }},
      {"Maintenance", [](CountedCache& cache) { cache.RunMaintenance(SIZE_MAX); }},
  };
}

class AllocationTest : public ::testing::TestWithParam<Case> {};

// Returns whether the operation ran to its end without missing an allocation.
bool RunWithoutTheNth(const Operation& run, bool in_create, int64_t n) {
  ManualClock clock;
  CountedCache::Options options;
  options.capacity = 1000;
  options.clock = &clock;
  options.stripes = 2;
  if (in_create) Allocations::FailAfter(n);
  auto cache = CountedCache::Create(options);
  if (!cache.ok()) {
    Allocations::Disarm();
    EXPECT_TRUE(absl::IsResourceExhausted(cache.status())) << cache.status();
    return false;
  }
  if (!in_create) {
    for (uint64_t key = 0; key < kEntries / 2; ++key) EXPECT_TRUE((*cache)->Put(key, key).ok());
    Allocations::FailAfter(n);
  }
  try {
    run(**cache);
  } catch (const std::bad_alloc&) {
  }
  const bool complete = Allocations::Disarm();
  EXPECT_TRUE((*cache)->CheckInvariants().ok()) << (*cache)->CheckInvariants();
  // Nothing is stuck: the key can be loaded, put and found.
  EXPECT_TRUE((*cache)
                  ->GetOrLoad(9000, [](uint64_t) -> absl::StatusOr<Counted> { return Counted(1); })
                  .ok());
  EXPECT_TRUE((*cache)->Put(9001, Counted(2)).ok());
  EXPECT_TRUE((*cache)->Contains(9001));
  EXPECT_TRUE((*cache)->CheckInvariants().ok()) << (*cache)->CheckInvariants();
  return complete;
}

TEST_P(AllocationTest, AnyMayFail) {
  constexpr int64_t kMost = 10'000;
  int64_t n = 0;
  while (n < kMost && !RunWithoutTheNth(GetParam().run, GetParam().name == "Create", n)) ++n;
  EXPECT_LT(n, kMost);
  EXPECT_EQ(Counted::Live(), 0);
  EXPECT_EQ(Counted::Violations(), 0);
}

INSTANTIATE_TEST_SUITE_P(Operations, AllocationTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace larder::test
