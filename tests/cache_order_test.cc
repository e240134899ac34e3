// SPDX-License-Identifier: Apache-2.0

// What has returned, all can see: the "store buffering" litmus test (P. Sewell et al., "x86-TSO",
// 2010) with changes of a cache for stores and lookups for loads.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/rounds.h"

namespace larder {
namespace {

using test::CacheFixture;
using test::Rounds;
using test::RunThreads;

// Few, since on a busy machine each meeting takes a time slice; enough where both threads run.
constexpr int kRounds = 2'000;
constexpr int kCapacity = 1 << 16;

// Each may take two entries.
int RoundsHere() { return std::min(Rounds(kRounds), kCapacity / 2); }

// Lets two threads go on at nearly the same moment, again and again, with nothing in between that
// would make their stores visible: one of them says when, by a plain store.
class Litmus {
 public:
  // The beginning of the `round`-th round, counted from 1.
  void Begin(int me, int round) {
    if (me == 0) {
      begun_.store(round, std::memory_order_release);
    } else {
      Await(begun_, round);
    }
  }
  // Both have arrived here.
  void End(int round) {
    ended_.fetch_add(1);
    Await(ended_, 2 * round);
  }

 private:
  static void Await(const std::atomic<int>& counter, int least) {
    for (int spins = 0; counter.load(std::memory_order_acquire) < least; ++spins) {
      if (spins > 10'000) std::this_thread::yield();
    }
  }

  std::atomic<int> begun_{0};
  std::atomic<int> ended_{0};
};

template <class V>
V ValueOf(int round) {
  if constexpr (std::is_same_v<V, std::string>) {
    return std::to_string(round);
  } else {
    return static_cast<V>(round);
  }
}

template <class CacheT>
class CacheOrderTest : public CacheFixture {
 protected:
  // So many stripes that the two threads seldom meet at a lock, and such large ones that they
  // seldom reclaim anything: both would order them.
  CacheT& MakeStriped() {
    auto options = OptionsFor<CacheT>(kCapacity);
    options.stripes = 64;
    return Make<CacheT>(std::move(options));
  }

  // Each of two threads makes a change, and looks whether that of the other is there. Returns how
  // often both said no.
  template <class Change, class Seen>
  int BothMissed(Change&& change, Seen&& seen) {
    const int rounds = RoundsHere();
    Litmus litmus;
    bool saw[2] = {};
    int missed = 0;
    RunThreads(2, [&](int me) {
      for (int round = 1; round <= rounds; ++round) {
        litmus.Begin(me, round);
        change(me, round);
        saw[me] = seen(1 - me, round);
        litmus.End(2 * round - 1);
        if (me == 0 && !saw[0] && !saw[1]) ++missed;
        litmus.End(2 * round);
      }
    });
    return missed;
  }
};

using Caches = ::testing::Types<Cache<int, std::string, Lru>, Cache<int, std::string, S3Fifo>,
                                Cache<int, uint64_t, Lru>, Cache<int, uint64_t, S3Fifo>>;
TYPED_TEST_SUITE(CacheOrderTest, Caches);

template <class CacheT>
using ValueIn = typename decltype(std::declval<CacheT&>().Get(0))::value_type;

TYPED_TEST(CacheOrderTest, OfTwoPutsAtLeastOneIsSeenByTheOthersGet) {
  auto& cache = this->MakeStriped();
  using V = ValueIn<TypeParam>;
  for (const int key : {0, 1}) ASSERT_TRUE(cache.Put(key, ValueOf<V>(0)).ok());
  const int missed = this->BothMissed(
      [&](int key, int round) { EXPECT_TRUE(cache.Put(key, ValueOf<V>(round)).ok()); },
      [&](int key, int round) { return cache.Get(key) == ValueOf<V>(round); });
  EXPECT_EQ(missed, 0);
}

TYPED_TEST(CacheOrderTest, OfTwoPutsOfNewKeysThatEvictAtLeastOneIsSeen) {
  auto& cache = this->MakeStriped();
  using V = ValueIn<TypeParam>;
  for (int key = 0; key < kCapacity; ++key) ASSERT_TRUE(cache.Put(-key - 1, ValueOf<V>(0)).ok());
  const int missed = this->BothMissed(
      [&](int me, int round) { EXPECT_TRUE(cache.Put(2 * round + me, ValueOf<V>(0)).ok()); },
      [&](int other, int round) { return cache.Contains(2 * round + other); });
  EXPECT_EQ(missed, 0);
}

TYPED_TEST(CacheOrderTest, OfTwoErasuresAtLeastOneIsSeen) {
  auto& cache = this->MakeStriped();
  using V = ValueIn<TypeParam>;
  for (int key = 0; key < 2 * RoundsHere(); ++key) {
    ASSERT_TRUE(cache.Put(key, ValueOf<V>(0)).ok());
  }
  const int missed = this->BothMissed(
      [&](int me, int round) { EXPECT_TRUE(cache.Erase(2 * round - 2 + me)); },
      [&](int other, int round) { return !cache.Contains(2 * round - 2 + other); });
  EXPECT_EQ(missed, 0);
}

}  // namespace
}  // namespace larder
