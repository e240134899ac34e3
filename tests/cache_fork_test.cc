// SPDX-License-Identifier: Apache-2.0
//
// A cache after fork(). The child has one thread; what the others were in the middle of it must not
// wait for. Readers may be anywhere at the time of the fork, stalled inside a Visit too. Writers
// may not, nor loads, in these tests as in programs: a lock that another thread holds at that
// moment stays locked in the child, and a load that it leads never ends there.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/config.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/internal/epoch.h"
#include "larder/internal/thread_record.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/child.h"
#include "tests/support/stalled_reader.h"
#include "tests/support/throwing.h"

namespace larder::test {
namespace {

using internal::Epoch;
using internal::ThreadRecord;
using CountedCache = Cache<uint64_t, Counted, S3Fifo>;

constexpr uint64_t kCapacity = 300;

// Threads that look at entries: some stalled inside a Visit, some hitting one after the other.
class Readers {
 public:
  static constexpr uint64_t kStalled = 4;
  static constexpr uint64_t kHitting = 2;

  // Requires: the keys from 0 to kCapacity - 1 are there, each with itself for a value.
  explicit Readers(CountedCache& cache) {
    for (uint64_t key = 0; key < kStalled; ++key) {
      threads_.emplace_back([this, &cache, key] {
        EXPECT_TRUE(cache.Visit(key, [&](const Counted& value) {
          running_.count_down();
          leave_.wait();
          EXPECT_EQ(value.number(), key);
        }));
      });
    }
    for (uint64_t i = 0; i < kHitting; ++i) {
      threads_.emplace_back([this, &cache] {
        for (uint64_t n = 0; !leave_.try_wait(); ++n) {
          EXPECT_EQ(cache.Get(n % kCapacity), std::optional<Counted>(n % kCapacity));
          if (n == 1000) running_.count_down();
        }
      });
    }
    running_.wait();
  }
  ~Readers() {
    leave_.count_down();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::latch running_{kStalled + kHitting};
  std::latch leave_{1};
  std::vector<std::thread> threads_;
};

class CacheForkTest : public CacheFixture {
 protected:
  CountedCache& MakeFull(CountedCache::Options options) {
    CountedCache& cache = Make<CountedCache>(options);
    for (uint64_t key = 0; key < kCapacity; ++key) EXPECT_TRUE(cache.Put(key, key).ok());
    return cache;
  }
  CountedCache& MakeFull() { return MakeFull(OptionsFor<CountedCache>(kCapacity)); }
};

// Copies in flight, in other threads at the time of the fork, stay alive in the child.
int64_t CopiesInFlight(const CountedCache& cache) {
  return Counted::Live() - static_cast<int64_t>(cache.size());
}

TEST_F(CacheForkTest, AChildHitsPutsEvictsErasesAndFreesWhatIsRemoved) {
  CountedCache& cache = MakeFull();
  {
    const Readers readers(cache);
    RunInChild([&] {
      const int64_t in_flight = CopiesInFlight(cache);
      CHILD_CHECK(in_flight >= 0 && in_flight <= static_cast<int64_t>(4 * Readers::kHitting));
      for (uint64_t key = 0; key < kCapacity; ++key) {
        CHILD_CHECK(cache.Get(key) == std::optional<Counted>(key));
      }
      for (uint64_t key = 0; key < 20'000; ++key) {
        CHILD_CHECK(cache.Put(1000 + key, key).ok());
      }
      CHILD_CHECK(cache.size() <= kCapacity);
      CHILD_CHECK(cache.Stats().evictions >= 20'000 - kCapacity);
      // Freed on the way, by the puts themselves.
      CHILD_CHECK(Counted::Live() < 10'000);
      for (uint64_t key = 0; key < 10'000; ++key) cache.Erase(1000 + key * 2);
      Maintain(cache);
      CHILD_CHECK(CopiesInFlight(cache) == in_flight);
      cache.Clear();
      Maintain(cache);
      CHILD_CHECK(Counted::Live() == in_flight);
      CHILD_CHECK(cache.CheckInvariants().ok());
      CHILD_CHECK(Counted::Violations() == 0);
    });
  }
  EXPECT_EQ(cache.size(), kCapacity);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(kCapacity));
}

TEST_F(CacheForkTest, TheRecordsOfLostThreadsAreFreeInTheChild) {
  CountedCache& cache = MakeFull();
  const Readers readers(cache);
  const size_t in_use = ThreadRecord::InUse();
  EXPECT_GE(in_use, 1 + Readers::kStalled + Readers::kHitting);
  RunInChild([&] {
    CHILD_CHECK(ThreadRecord::InUse() == 1);
    for (const ThreadRecord* record = ThreadRecord::First(); record != nullptr;
         record = record->next) {
      CHILD_CHECK(record->epoch.load() == 0);
      CHILD_CHECK(record->visiting == nullptr);
      CHILD_CHECK(record->taken.load() == (record == &ThreadRecord::Current()));
    }
    CHILD_CHECK(Epoch::OldestReader() == UINT64_MAX);
  });
  EXPECT_EQ(ThreadRecord::InUse(), in_use);
}

TEST_F(CacheForkTest, EntriesExpireInAChild) {
  auto options = OptionsFor<CountedCache>(2 * kCapacity);
  CountedCache& cache = MakeFull(options);
  ASSERT_TRUE(cache.Put(900, 900, {.ttl = absl::Seconds(10)}).ok());
  const Readers readers(cache);
  RunInChild([&] {
    const int64_t in_flight = CopiesInFlight(cache);
    CHILD_CHECK(cache.Put(901, 901, {.ttl = absl::Seconds(20)}).ok());
    CHILD_CHECK(cache.Get(900).has_value());
    clock_.Advance(absl::Seconds(10));
    CHILD_CHECK(!cache.Get(900).has_value());
    CHILD_CHECK(cache.Get(901).has_value());
    clock_.Advance(absl::Seconds(30));
    Maintain(cache);
    CHILD_CHECK(cache.size() == kCapacity);
    CHILD_CHECK(CopiesInFlight(cache) == in_flight);
  });
  EXPECT_TRUE(cache.Get(900).has_value()) << "the child's clock isn't the parent's";
}

TEST_F(CacheForkTest, PinsTakenBeforeAForkAreGoodInTheChild) {
  CountedCache& cache = MakeFull(OptionsFor<CountedCache>(2 * kCapacity));
  ASSERT_TRUE(cache.Put(901, 1).ok());
  ASSERT_TRUE(cache.Put(902, 2).ok());
  CountedCache::Handle kept = cache.Pin(901);
  CountedCache::Handle replaced = cache.Pin(902);
  ASSERT_TRUE(cache.Put(902, 3).ok());
  {
    const Readers readers(cache);
    RunInChild([&] {
      const int64_t in_flight = CopiesInFlight(cache) - 1;  // one is the replaced value
      cache.Clear();
      Maintain(cache);
      CHILD_CHECK(kept->number() == 1);
      CHILD_CHECK(replaced->number() == 2);
      CHILD_CHECK(Counted::Live() == in_flight + 2);
      kept = {};
      replaced = {};
      CHILD_CHECK(Counted::Live() == in_flight);
      CHILD_CHECK(Counted::Violations() == 0);
    });
  }
  EXPECT_EQ(kept->number(), 1u);
  EXPECT_EQ(replaced->number(), 2u);
}

// The thread that forks is inside a guard, in parent and child.
TEST_F(CacheForkTest, AForkInsideAVisitLeavesItsValueAlone) {
  CountedCache& cache = MakeFull();
  CountedCache& other = MakeFull();
  const Readers readers(cache);
  EXPECT_TRUE(cache.Visit(7, [&](const Counted& value) {
    RunInChild([&] {
      CHILD_CHECK(Epoch::OldestReader() != UINT64_MAX);
      // What leaves now stays, as in the parent.
      const int64_t live = Counted::Live();
      other.Clear();
      other.RunMaintenance(1000);
      CHILD_CHECK(Counted::Live() == live);
      CHILD_CHECK(value.number() == 7);
    });
    EXPECT_EQ(value.number(), 7u);
  }));
}

TEST_F(CacheForkTest, AThreadThatUsedNoCacheMayFork) {
  CountedCache& cache = MakeFull();
  const Readers readers(cache);
  std::thread([&] {
    RunInChild([&] {
      CHILD_CHECK(ThreadRecord::InUse() == 0);
      CHILD_CHECK(cache.Get(1).has_value());
      CHILD_CHECK(ThreadRecord::InUse() == 1);
      cache.Clear();
      Maintain(cache);
      CHILD_CHECK(cache.size() == 0);
    });
  }).join();
}

TEST_F(CacheForkTest, AParentGoesOnAsIfNothingHappened) {
  CountedCache& cache = MakeFull();
  {
    const Readers readers(cache);
    for (int i = 0; i < 20; ++i) {
      RunInChild([&] { cache.Clear(); });
    }
    // The stalled readers still protect what they look at.
    for (uint64_t key = 0; key < Readers::kStalled; ++key) EXPECT_TRUE(cache.Put(key, key).ok());
    Maintain(cache);
    EXPECT_NE(Epoch::OldestReader(), UINT64_MAX);
    EXPECT_GE(Counted::Live(), static_cast<int64_t>(kCapacity + Readers::kStalled));
  }
  Maintain(cache);
  EXPECT_EQ(Counted::Live(), static_cast<int64_t>(kCapacity));
}

// --- A child that starts threads of its own. ThreadSanitizer doesn't let a child of a process with
// several threads start any.

#if !defined(ABSL_HAVE_THREAD_SANITIZER)

TEST_F(CacheForkTest, AChildsThreadsUseTheCache) {
  CountedCache& cache = MakeFull();
  const Readers readers(cache);
  RunInChild([&] {
    const int64_t in_flight = CopiesInFlight(cache);
    const uint64_t hits = cache.Stats().hits;
    const ThreadRecord* const newest = ThreadRecord::First();
    std::atomic<uint64_t> found{0};
    RunThreads(4, [&](int thread) {
      for (uint64_t i = 0; i < 3'000; ++i) {
        const uint64_t key = (i * 5 + static_cast<uint64_t>(thread)) % 1'000;
        CHILD_CHECK(cache.Put(key, key).ok());
        if (const std::optional<Counted> value = cache.Get(key)) {
          CHILD_CHECK(value->number() == key);
          found.fetch_add(1);
        }
        if (i % 7 == 0) cache.Erase(key);
      }
    });
    CHILD_CHECK(cache.Stats().hits == hits + found.load());
    CHILD_CHECK(ThreadRecord::First() == newest);  // they took the records of lost threads
    CHILD_CHECK(ThreadRecord::InUse() == 1);
    Maintain(cache);
    CHILD_CHECK(CopiesInFlight(cache) == in_flight);
    CHILD_CHECK(cache.CheckInvariants().ok());
  });
}

// With the process's clock, whose ticker's thread the child has lost.
TEST_F(CacheForkTest, AChildTellsTheTime) {
  CountedCache::Options options;
  options.capacity = 2 * kCapacity;
  options.ttl = absl::Hours(1);
  CountedCache& cache = MakeFull(options);
  const Readers readers(cache);
  RunInChild([&] {
    for (uint64_t key = 0; key < kCapacity; ++key) CHILD_CHECK(cache.Get(key).has_value());
    CHILD_CHECK(cache.Put(900, 900, {.ttl = absl::Milliseconds(20)}).ok());
    CHILD_CHECK(cache.Put(901, 901).ok());
    CHILD_CHECK(Eventually([&] { return !cache.Contains(900); }));
    CHILD_CHECK(Eventually([&] {
      cache.RunMaintenance(10);
      return cache.Stats().expirations == 1;
    }));
    CHILD_CHECK(cache.Get(901).has_value());
  });
}

TEST_F(CacheForkTest, AThreadOfAChildLeavesAloneWhatTheForkingOneLooksAt) {
  CountedCache& cache = MakeFull();
  const Readers readers(cache);
  EXPECT_TRUE(cache.Visit(7, [&](const Counted& value) {
    RunInChild([&] {
      std::thread([&cache] {
        cache.Clear();
        cache.RunMaintenance(1000);
      }).join();
      CHILD_CHECK(cache.size() == 0);
      CHILD_CHECK(value.number() == 7);
      CHILD_CHECK(Counted::Violations() == 0);
    });
  }));
}

TEST_F(CacheForkTest, AChildForks) {
  CountedCache& cache = MakeFull();
  const Readers readers(cache);
  RunInChild([&] {
    const int64_t in_flight = CopiesInFlight(cache);
    const Readers of_child(cache);
    CHILD_CHECK(Child([&] {
      CHILD_CHECK(ThreadRecord::InUse() == 1);
      cache.Clear();
      Maintain(cache);
      CHILD_CHECK(Counted::Live() <= in_flight + static_cast<int64_t>(4 * Readers::kHitting));
    }));
  });
}

#endif  // ABSL_HAVE_THREAD_SANITIZER

}  // namespace
}  // namespace larder::test
