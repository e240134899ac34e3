// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/thread_record.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;

std::set<const ThreadRecord*> AllRecords() {
  std::set<const ThreadRecord*> records;
  for (const ThreadRecord* record = ThreadRecord::First(); record != nullptr;
       record = record->next) {
    EXPECT_TRUE(records.insert(record).second) << "the list has a cycle";
  }
  return records;
}

// Runs f(record) in `count` threads that are all alive together.
template <class F>
void InThreads(size_t count, F&& f) {
  std::latch all_alive(static_cast<ptrdiff_t>(count));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      f(ThreadRecord::Current());
      all_alive.arrive_and_wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ThreadRecordTest, AThreadKeepsItsRecord) {
  ThreadRecord& mine = ThreadRecord::Current();
  EXPECT_EQ(&ThreadRecord::Current(), &mine);
  EXPECT_TRUE(mine.taken.load());
  EXPECT_TRUE(AllRecords().contains(&mine));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(&mine) % 128, 0u);
}

TEST(ThreadRecordTest, ThreadsAliveTogetherHaveDifferentRecordsAndIndices) {
  // With new records at first, then with those of threads that ended.
  for (int round = 0; round < 2; ++round) {
    std::mutex mutex;
    std::set<const ThreadRecord*> records = {&ThreadRecord::Current()};
    std::set<uint32_t> indices = {ThreadRecord::Current().index};
    InThreads(20, [&](ThreadRecord& record) {
      const std::lock_guard lock(mutex);
      EXPECT_TRUE(records.insert(&record).second);
      EXPECT_TRUE(indices.insert(record.index).second);
    });
    EXPECT_EQ(records.size(), 21u);
  }
}

TEST(ThreadRecordTest, IndicesAreDense) {
  InThreads(5, [](ThreadRecord&) {});
  const std::set<const ThreadRecord*> records = AllRecords();
  std::set<uint32_t> indices;
  for (const ThreadRecord* record : records) indices.insert(record->index);
  EXPECT_EQ(indices.size(), records.size());
  EXPECT_EQ(*indices.rbegin(), records.size() - 1);
}

TEST(ThreadRecordTest, CountsTheThreadsThatHaveOne) {
  ThreadRecord::Current();
  const size_t before = ThreadRecord::InUse();
  EXPECT_GE(before, 1u);
  std::latch registered(3);
  std::latch end(1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      ThreadRecord::Current();
      registered.count_down();
      end.wait();
    });
  }
  registered.wait();
  EXPECT_EQ(ThreadRecord::InUse(), before + 3);
  end.count_down();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ThreadRecord::InUse(), before);
}

TEST(ThreadRecordTest, AThreadThatTouchesNoCacheGetsNone) {
  const size_t before = AllRecords().size();
  InThreads(1, [](ThreadRecord&) {});
  const size_t records = AllRecords().size();
  std::thread([] {}).join();
  EXPECT_EQ(AllRecords().size(), records);
  EXPECT_LE(records, before + 1);
}

TEST(ThreadRecordTest, ThousandsOfThreadsShareTheRecordsOfThoseThatEnded) {
  constexpr size_t kAtOnce = 8;
  InThreads(kAtOnce, [](ThreadRecord&) {});
  const std::set<const ThreadRecord*> before = AllRecords();
  for (int i = 0; i < Rounds(400); ++i) {
    InThreads(kAtOnce, [&](ThreadRecord& record) {
      EXPECT_TRUE(before.contains(&record));
      EXPECT_EQ(record.epoch.load(), 0u);
      EXPECT_EQ(record.epoch.load(), 0u);
      EXPECT_EQ(record.loads_led, 0u);
    });
  }
  EXPECT_EQ(AllRecords(), before);
}

// The owner's fields aren't atomic: that the next owner may use them is for ThreadSanitizer to see.
TEST(ThreadRecordTest, ARecordsNextOwnerSeesWhatTheLastOneLeft) {
  std::atomic<uint64_t> sum{0};
  std::atomic<int> threads_with_more{0};
  constexpr int kThreads = 500;
  for (int i = 0; i < kThreads; ++i) {
    std::thread([&] {
      ThreadRecord& self = ThreadRecord::Current();
      if (++self.recency > 1) threads_with_more.fetch_add(1);
      sum.fetch_add(self.NextRandom());
    }).join();
  }
  EXPECT_GE(threads_with_more.load(), kThreads - 1);
}

TEST(ThreadRecordTest, RandomNumbersDifferBetweenCallsAndThreads) {
  std::mutex mutex;
  std::set<uint64_t> seen;
  InThreads(8, [&](ThreadRecord& record) {
    const std::lock_guard lock(mutex);
    for (int i = 0; i < 1'000; ++i) EXPECT_TRUE(seen.insert(record.NextRandom()).second);
  });
  // Each bit is set about half the time.
  for (int bit = 0; bit < 64; ++bit) {
    size_t set = 0;
    for (const uint64_t number : seen) set += number >> bit & 1;
    EXPECT_GT(set, 3'600u) << bit;
    EXPECT_LT(set, 4'400u) << bit;
  }
}

}  // namespace
}  // namespace larder::internal
