// SPDX-License-Identifier: Apache-2.0
//
// CacheClearTest: caches of each kind that are cleared.

#ifndef LARDER_TESTS_SUPPORT_CLEAR_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_CLEAR_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/policy.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/throwing.h"

namespace larder::test {

// A value that needs no destructor, and is too large to be overwritten where it is.
struct PlainNumbers {
  PlainNumbers(uint64_t n) : numbers{n, n, n} {}  // NOLINT: implicit, as a number is
  uint64_t number() const { return numbers[0]; }
  uint64_t numbers[3];
};

template <class PolicyT, class ValueT>
struct ClearKind {
  using Value = ValueT;
  using CacheT = Cache<uint64_t, ValueT, PolicyT>;
};

struct ClearOptions {
  int stripes;
  absl::Duration ttl = absl::InfiniteDuration();
  absl::Duration idle_ttl = absl::InfiniteDuration();
};
inline const ClearOptions kClearOptions[] = {{1},
                                             {8},
                                             {1, absl::Hours(1)},
                                             {8, absl::Hours(1)},
                                             {8, absl::InfiniteDuration(), absl::Hours(1)}};

template <class KindT>
class CacheClearTest : public CacheFixture {
 protected:
  using CacheT = typename KindT::CacheT;

  CacheT& MakeOf(uint64_t capacity, const ClearOptions& options) {
    auto made = OptionsFor<CacheT>(capacity);
    made.stripes = options.stripes;
    made.ttl = options.ttl;
    made.idle_ttl = options.idle_ttl;
    return Make<CacheT>(made);
  }

  // Runs test(options) with each kind of cache.
  template <class Test>
  void ForEachKind(Test&& test) {
    for (const ClearOptions& options : kClearOptions) {
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

using ClearKinds =
    ::testing::Types<ClearKind<Lru, Counted>, ClearKind<Sieve, Counted>, ClearKind<S3Fifo, Counted>,
                     ClearKind<Lru, PlainNumbers>, ClearKind<Sieve, PlainNumbers>,
                     ClearKind<S3Fifo, PlainNumbers>>;

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_CLEAR_FIXTURE_H_
