// SPDX-License-Identifier: Apache-2.0
//
// What a hit writes to memory that threads share: nothing. All memory of a cache is made read-only,
// and hits are served from it by several threads. Only what is made for each thread to write its
// own lines of stays writable: the threads' records, which no cache owns, and the cells that they
// count hits in; of these a test shows which lines a thread writes.

#include "absl/base/config.h"

// The sanitizers' allocators and shadows map memory of their own at any moment, which can't be told
// from the cache's.
#if !defined(ABSL_HAVE_ADDRESS_SANITIZER) && !defined(ABSL_HAVE_THREAD_SANITIZER)

#include <signal.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/internal/epoch.h"
#include "larder/internal/thread_record.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/read_only_memory.h"

namespace larder::test {
namespace {

constexpr uint64_t kEntries = 5'000;
constexpr int kThreads = 4;
// Hits that an entry of any policy counts, at most.
constexpr int kCounted = 3;

template <class Key>
Key KeyOf(uint64_t i) {
  if constexpr (std::is_same_v<Key, std::string>) {
    return absl::StrCat("user:", 100'000 + i);
  } else {
    return i;
  }
}

template <class Value>
Value ValueOf(uint64_t i) {
  if constexpr (std::is_same_v<Value, std::string>) {
    return std::string(100, static_cast<char>('a' + i % 26));
  } else {
    return i * i;
  }
}

// A full cache, and all of its memory.
template <class PolicyT, class KeyT>
class CacheInMemory {
 public:
  using Key = KeyT;
  using Value = KeyT;
  using CacheT = Cache<Key, Value, PolicyT>;

  // `hits`: how often each entry is hit, in the end.
  explicit CacheInMemory(absl::Duration ttl, int hits = kCounted) {
    StartTicker();
    for (uint64_t i = 0; i < 2 * kEntries; ++i) keys_.push_back(KeyOf<Key>(i));
    apart_before_ = Arena::ApartBlocks().size();
    memory_.Collect([&] { Fill(ttl, hits); });
  }
  ~CacheInMemory() {
    memory_.Restore();
    EXPECT_TRUE(cache_->CheckInvariants().ok()) << cache_->CheckInvariants();
  }

  CacheT& cache() { return *cache_; }
  ReadOnlyMemory& memory() { return memory_; }
  const Key& key(uint64_t i) const { return keys_[i]; }  // i < kEntries
  const Key& absent(uint64_t i) const { return keys_[kEntries + i]; }

  // The cells that threads count in.
  Arena::Block Cells() const {
    const std::vector<Arena::Block> apart = Arena::ApartBlocks();
    Arena::Block cells = {nullptr, 0};
    for (size_t i = apart_before_; i < apart.size(); ++i) {
      if (apart[i].bytes > cells.bytes) cells = apart[i];
    }
    return cells;
  }

 private:
  // With the first entry that expires a thread of the process is started, whose stack isn't the
  // cache's memory. It goes on for as long as there is such a cache.
  static void StartTicker() {
    static const std::unique_ptr<CacheT> other = [] {
      typename CacheT::Options options;
      options.capacity = 1;
      options.ttl = absl::Hours(1);
      std::unique_ptr<CacheT> cache = CacheT::Create(options).value();
      EXPECT_TRUE(cache->Put(KeyOf<Key>(0), ValueOf<Value>(0)).ok());
      return cache;
    }();
  }

  void Fill(absl::Duration ttl, int hits) {
    typename CacheT::Options options;
    options.capacity = 2 * kEntries;
    options.ttl = ttl;
    options.stripes = 8;
    cache_ = CacheT::Create(options).value();
    for (uint64_t i = 0; i < kEntries; ++i) {
      EXPECT_TRUE(cache_->Put(keys_[i], ValueOf<Value>(i)).ok());
    }
    for (int hit = 0; hit < hits; ++hit) {
      for (uint64_t i = 0; i < kEntries; ++i) cache_->Visit(keys_[i], [](const Value&) {});
    }
  }

  std::vector<Key> keys_;
  size_t apart_before_ = 0;
  std::unique_ptr<CacheT> cache_;
  ReadOnlyMemory memory_;  // goes first
};

template <class InMemory>
class CacheSharedWritesTest : public ::testing::Test {};

using Kinds = ::testing::Types<CacheInMemory<S3Fifo, uint64_t>, CacheInMemory<S3Fifo, std::string>,
                               CacheInMemory<Sieve, uint64_t>, CacheInMemory<Sieve, std::string>>;
TYPED_TEST_SUITE(CacheSharedWritesTest, Kinds);

TYPED_TEST(CacheSharedWritesTest, TheMemoryOfACacheIsKnown) {
  using Value = typename TypeParam::Value;
  TypeParam in_memory(absl::Hours(1));
  EXPECT_TRUE(in_memory.memory().Covers(&in_memory.cache()));
  for (uint64_t i = 0; i < kEntries; ++i) {
    const auto handle = in_memory.cache().Pin(in_memory.key(i));
    ASSERT_TRUE(handle);
    EXPECT_TRUE(in_memory.memory().Covers(&*handle));
    if constexpr (std::is_same_v<Value, std::string>) {
      EXPECT_TRUE(in_memory.memory().Covers(handle->data()));
    }
  }
  // Nodes of a header, a key and a value, and tables of four bytes an entry at least.
  EXPECT_GE(in_memory.memory().MappedBytes(), kEntries * (32 + 2 * sizeof(Value) + 4));
}

TYPED_TEST(CacheSharedWritesTest, HitsAndMissesWriteNothing) {
  using Value = typename TypeParam::Value;
  for (const absl::Duration ttl : {absl::InfiniteDuration(), absl::Hours(1)}) {
    SCOPED_TRACE(ttl);
    TypeParam in_memory(ttl);
    auto& cache = in_memory.cache();
    const uint64_t hits_before = cache.Stats().hits;
    const uint64_t epoch = internal::Epoch::Advance();
    in_memory.memory().Protect();
    RunThreads(kThreads, [&](int thread) {
      for (uint64_t n = 0; n < kEntries; ++n) {
        const uint64_t i = (n + static_cast<uint64_t>(thread) * 37) % kEntries;
        ASSERT_EQ(cache.Get(in_memory.key(i)), ValueOf<Value>(i));
        bool right = false;
        ASSERT_TRUE(cache.Visit(in_memory.key(i),
                                [&](const Value& value) { right = value == ValueOf<Value>(i); }));
        ASSERT_TRUE(right);
        ASSERT_TRUE(cache.Contains(in_memory.key(i)));
        ASSERT_FALSE(cache.Get(in_memory.absent(i)).has_value());
        ASSERT_FALSE(cache.Contains(in_memory.absent(i)));
      }
    });
    in_memory.memory().Restore();
    EXPECT_EQ(internal::Epoch::Advance(), epoch + 1) << "the process's, shared by all caches";
    EXPECT_EQ(cache.Stats().hits - hits_before, 2 * kThreads * kEntries);
    EXPECT_EQ(cache.Stats().misses, kThreads * kEntries);
  }
}

// Lines of the cells as they are now, by their number.
std::vector<std::string> Lines(Arena::Block cells) {
  std::vector<std::string> lines;
  for (size_t at = 0; at + Arena::kApart <= cells.bytes; at += Arena::kApart) {
    lines.emplace_back(cells.begin + at, Arena::kApart);
  }
  return lines;
}

TYPED_TEST(CacheSharedWritesTest, AThreadCountsInLinesOfItsOwn) {
  TypeParam in_memory(absl::InfiniteDuration());
  const Arena::Block cells = in_memory.Cells();
  ASSERT_GE(cells.bytes, internal::ThreadRecord::kQuickThreads * Arena::kApart);
  ASSERT_EQ(reinterpret_cast<uintptr_t>(cells.begin) % Arena::kApart, 0u);
  in_memory.memory().Protect();
  // All are alive until the last is done; one after the other works.
  std::atomic<int> turn{0};
  std::latch done(kThreads);
  std::set<size_t> written_by_any;
  RunThreads(kThreads, [&](int thread) {
    Eventually([&] { return turn.load() == thread; });
    const std::vector<std::string> before = Lines(cells);
    for (uint64_t i = 0; i < kEntries; ++i) {
      EXPECT_TRUE(in_memory.cache().Get(in_memory.key(i)).has_value());
      EXPECT_FALSE(in_memory.cache().Get(in_memory.absent(i)).has_value());
    }
    const std::vector<std::string> after = Lines(cells);
    std::set<size_t> written;
    for (size_t i = 0; i < after.size(); ++i) {
      if (before[i] != after[i]) written.insert(i);
    }
    EXPECT_EQ(written.size(), 1u);
    for (const size_t line : written) EXPECT_TRUE(written_by_any.insert(line).second);
    turn.store(thread + 1);
    done.arrive_and_wait();
  });
  EXPECT_EQ(written_by_any.size(), static_cast<size_t>(kThreads));
}

// --- What does write. Each of these is made to die of it, which shows that the above would have.

using S3FifoInMemory = CacheInMemory<S3Fifo, uint64_t>;
using LruInMemory = CacheInMemory<Lru, uint64_t>;

class CacheSharedWritesDeathTest : public ::testing::Test {
 protected:
  // Runs the program anew: there are other threads.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // Runs f(cache) with all of the cache's memory read-only.
  template <class InMemory, class F>
  static void RunReadOnly(int hits, F&& f) {
    InMemory in_memory(absl::InfiniteDuration(), hits);
    in_memory.memory().Protect();
    f(in_memory.cache());
    in_memory.memory().Restore();
  }
};

TEST_F(CacheSharedWritesDeathTest, APutWrites) {
  EXPECT_EXIT(RunReadOnly<S3FifoInMemory>(kCounted, [](auto& cache) { (void)cache.Put(1, 2); }),
              ::testing::KilledBySignal(SIGSEGV), ReadOnlyMemory::kSaid);
}

TEST_F(CacheSharedWritesDeathTest, AnEraseWrites) {
  EXPECT_EXIT(RunReadOnly<S3FifoInMemory>(kCounted, [](auto& cache) { cache.Erase(1); }),
              ::testing::KilledBySignal(SIGSEGV), ReadOnlyMemory::kSaid);
}

TEST_F(CacheSharedWritesDeathTest, APinWritesItsEntry) {
  EXPECT_EXIT(RunReadOnly<S3FifoInMemory>(kCounted, [](auto& cache) { cache.Pin(1); }),
              ::testing::KilledBySignal(SIGSEGV), ReadOnlyMemory::kSaid);
}

TEST_F(CacheSharedWritesDeathTest, AHitThatIsStillCountedWritesItsEntry) {
  EXPECT_EXIT(RunReadOnly<S3FifoInMemory>(kCounted - 1, [](auto& cache) { cache.Get(1); }),
              ::testing::KilledBySignal(SIGSEGV), ReadOnlyMemory::kSaid);
}

TEST_F(CacheSharedWritesDeathTest, AnLruHitWritesItsEntry) {
  EXPECT_EXIT(RunReadOnly<LruInMemory>(kCounted, [](auto& cache) { cache.Get(1); }),
              ::testing::KilledBySignal(SIGSEGV), ReadOnlyMemory::kSaid);
}

TEST_F(CacheSharedWritesDeathTest, AnLruHitOfWhatTheThreadHitLastWritesNothing) {
  RunReadOnly<LruInMemory>(kCounted, [](auto& cache) {
    for (int i = 0; i < 1000; ++i)
      ASSERT_EQ(cache.Get(kEntries - 1), ValueOf<uint64_t>(kEntries - 1));
  });
}

TEST_F(CacheSharedWritesDeathTest, AnLruMissAndContainsWriteNothing) {
  RunReadOnly<LruInMemory>(kCounted, [](auto& cache) {
    for (uint64_t i = 0; i < kEntries; ++i) {
      ASSERT_FALSE(cache.Get(kEntries + i).has_value());
      ASSERT_TRUE(cache.Contains(i));
    }
  });
}

}  // namespace
}  // namespace larder::test

#endif  // no sanitizer
