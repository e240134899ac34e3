// SPDX-License-Identifier: Apache-2.0
//
// The parts of write-behind's queue: backoffs, the table and the heap of chains, room, sleepers.
#include "larder/internal/write_queue.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "larder/internal/backoff.h"
#include "larder/internal/node.h"
#include "larder/internal/sleepers.h"
#include "larder/internal/write_chain.h"
#include "larder/internal/write_chain_heap.h"
#include "larder/internal/write_chain_table.h"
#include "larder/internal/write_room.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::SeedOfRound;

constexpr uint64_t kMostBits = std::numeric_limits<uint64_t>::max();

TEST(BackoffTest, DoublesWithEachFailureUpToTheLimit) {
  EXPECT_EQ(BackoffNanos(10, 1'000, 1, 0), 10);
  EXPECT_EQ(BackoffNanos(10, 1'000, 2, 0), 20);
  EXPECT_EQ(BackoffNanos(10, 1'000, 7, 0), 640);
  EXPECT_EQ(BackoffNanos(10, 1'000, 8, 0), 1'000);
  EXPECT_EQ(BackoffNanos(10, 10, 2, 0), 10);
  EXPECT_EQ(BackoffNanos(10, 1'000, std::numeric_limits<uint32_t>::max(), 0), 1'000);
}

TEST(BackoffTest, NeverOverflows) {
  EXPECT_EQ(BackoffNanos(1, kNever, 63, 0), int64_t{1} << 62);
  EXPECT_EQ(BackoffNanos(1, kNever, 64, 0), kNever);
  EXPECT_EQ(BackoffNanos(3, kNever, 62, 0), 3 * (int64_t{1} << 61));
  EXPECT_EQ(BackoffNanos(kNever, kNever, 1, 0), kNever);
  for (uint32_t failures = 1; failures < 200; ++failures) {
    EXPECT_GT(BackoffNanos(1, kNever, failures, kMostBits), 0);
  }
}

TEST(BackoffTest, JitterTakesOffUpToHalfAllEquallyLikely) {
  std::mt19937_64 random(1);
  std::map<int64_t, int> times;
  for (int i = 0; i < 11'000; ++i) ++times[BackoffNanos(20, 20, 1, random())];
  EXPECT_EQ(times.size(), 11u);
  EXPECT_EQ(times.begin()->first, 10);
  EXPECT_EQ(times.rbegin()->first, 20);
  for (const auto& [backoff, count] : times) EXPECT_NEAR(count, 1'000, 200) << backoff;
}

TEST(WriteChainTableTest, FindsWhatIsThereWhileItGrows) {
  for (const uint64_t step : {uint64_t{1}, uint64_t{1} << 32, uint64_t{1} << 48, uint64_t{64}}) {
    std::mt19937_64 random(SeedOfRound(0));
    WriteChainTable table;
    std::vector<std::unique_ptr<WriteChain>> chains;
    std::set<size_t> there;
    const auto find = [&](size_t i) {
      const WriteChain* const chain = chains[i].get();
      return table.Find(chain->hash, [chain](const WriteChain& other) { return &other == chain; });
    };
    for (size_t i = 0; i < 3'000; ++i) {
      chains.push_back(std::make_unique<WriteChain>());
      chains.back()->hash = i / 2 * step;
      table.Reserve();
      table.Insert(chains.back().get());
      there.insert(i);
      if (random() % 3 == 0) {
        const size_t gone = *there.lower_bound(random() % (*there.rbegin() + 1));
        table.Remove(chains[gone].get());
        there.erase(gone);
      }
      const size_t asked = random() % chains.size();
      ASSERT_EQ(find(asked), there.count(asked) > 0 ? chains[asked].get() : nullptr);
    }
    EXPECT_EQ(table.size(), there.size());
    for (size_t i = 0; i < chains.size(); ++i) ASSERT_EQ(find(i) != nullptr, there.count(i) > 0);
    std::set<const WriteChain*> cleared;
    table.Clear([&](WriteChain* chain) { cleared.insert(chain); });
    EXPECT_EQ(cleared.size(), there.size());
    EXPECT_EQ(table.size(), 0u);
    for (size_t i = 0; i < chains.size(); ++i) ASSERT_EQ(find(i), nullptr);
  }
}

TEST(WriteChainHeapTest, HandsOutWhatIsDueFirst) {
  std::mt19937_64 random(SeedOfRound(0));
  WriteChainHeap heap;
  std::vector<WriteChain> chains(200);
  std::map<WriteChain*, int64_t> there;
  for (int i = 0; i < 20'000; ++i) {
    WriteChain* const chain = &chains[random() % chains.size()];
    const auto found = there.find(chain);
    if (random() % 500 == 0) {
      const auto now = static_cast<int64_t>(random() % 100);
      heap.Hasten(now);
      for (auto& [other, due] : there) due = std::min(due, now);
    } else if (found != there.end()) {
      heap.Remove(chain);
      there.erase(found);
    } else {
      chain->due = static_cast<int64_t>(random() % 100);
      heap.Reserve(there.size() + 1);
      heap.Push(chain);
      there[chain] = chain->due;
    }
    ASSERT_EQ(heap.size(), there.size());
    if (there.empty()) continue;
    int64_t first = kNever;
    for (const auto& [other, due] : there) first = std::min(first, due);
    ASSERT_EQ(heap.next_due(), first);
    ASSERT_EQ(there.at(heap.top()), first);
  }
}

TEST(WriteRoomTest, CountsWhatIsQueuedAndReserved) {
  WriteRoom room({.entries = 3, .bytes = 100});
  EXPECT_TRUE(room.TryTake({.entries = 1, .bytes = 60}, {}));
  EXPECT_FALSE(room.TryTake({.entries = 1, .bytes = 41}, {}));
  EXPECT_FALSE(room.TryTake({.entries = 1, .bytes = 40}, {.entries = 1, .bytes = 1}));
  EXPECT_FALSE(room.TryTake({.entries = 1, .bytes = 0}, {.entries = 2, .bytes = 0}));
  EXPECT_TRUE(room.TryTake({.entries = 0, .bytes = 40}, {.entries = 5, .bytes = 0}));
  EXPECT_TRUE(room.TryTake({}, {.entries = 500, .bytes = 500}));
  EXPECT_FALSE(room.TryTake({.entries = 0, .bytes = kMostBits}, {.entries = 0, .bytes = 0}));
  room.GiveBack({.entries = 1, .bytes = 100});
  EXPECT_TRUE(room.TryTake({.entries = 3, .bytes = 100}, {}));
  EXPECT_TRUE(room.CanEverFit({.entries = 1, .bytes = 100}));
  EXPECT_FALSE(room.CanEverFit({.entries = 1, .bytes = 101}));
}

TEST(WriteRoomTest, WhoComesLaterGetsNothingBefore) {
  WriteRoom room({.entries = 2, .bytes = 100});
  WriteRoom::Waiter first;
  first.needs = {.entries = 1, .bytes = 100};
  WriteRoom::Waiter second;
  second.needs = {.entries = 1, .bytes = 1};
  WriteRoom::Waiter third;
  third.needs = {.entries = 1, .bytes = 1};
  for (WriteRoom::Waiter* waiter : {&first, &second, &third}) room.Enter(waiter);
  EXPECT_FALSE(room.TryTake({.entries = 1, .bytes = 1}, {}));
  EXPECT_TRUE(room.TryTake({}, {})) << "who needs none takes nothing from them";
  EXPECT_EQ(room.Grant({.entries = 1, .bytes = 50}), nullptr);
  room.Leave(&second);
  EXPECT_EQ(room.Grant({}), &first);
  EXPECT_EQ(first.after, nullptr);
  EXPECT_FALSE(first.is_listed);
  EXPECT_EQ(room.Grant({}), nullptr);
  room.Enter(&second);
  room.GiveBack(first.needs);
  EXPECT_EQ(room.Grant({}), &third);
  EXPECT_EQ(third.after, &second);
  EXPECT_FALSE(room.has_waiters());
  room.Enter(&first);
  EXPECT_EQ(room.Refuse(absl::CancelledError("no")), &first);
  EXPECT_TRUE(absl::IsCancelled(first.status));
  EXPECT_FALSE(room.has_waiters());
}

TEST(SleepersTest, OneWatchesTheTimeAndOneIsWokenAtATime) {
  Sleepers sleepers;
  Sleepers::Sleeper a, b, c;
  EXPECT_EQ(sleepers.Wake(0), nullptr);
  EXPECT_EQ(sleepers.Enter(&a, 100), 100);
  EXPECT_EQ(sleepers.Enter(&b, 100), kNever) << "a is up by then";
  EXPECT_EQ(sleepers.Enter(&c, 200), kNever);
  sleepers.Leave(&b);
  EXPECT_EQ(sleepers.Wake(100), nullptr) << "a still watches";
  EXPECT_EQ(sleepers.Enter(&b, 100), kNever);
  EXPECT_EQ(sleepers.Wake(50), &a) << "it has the time to watch";
  EXPECT_FALSE(a.is_listed);
  EXPECT_EQ(sleepers.Wake(50), nullptr) << "a is on its way";
  sleepers.Arrived();
  EXPECT_EQ(sleepers.Wake(kNever), nullptr);
  EXPECT_EQ(sleepers.Wake(500), &b) << "nobody watches; the latest is likeliest to be warm";
  sleepers.Arrived();
  EXPECT_EQ(sleepers.Enter(&b, 70), 70);
  EXPECT_EQ(sleepers.Enter(&a, 60), 60) << "earlier than b";
  sleepers.Leave(&a);
  EXPECT_EQ(sleepers.Wake(80), &b) << "the latest again";
  sleepers.Arrived();
  EXPECT_EQ(sleepers.Enter(&a, kNever), kNever);
  EXPECT_EQ(sleepers.WakeAll(), &a);
  EXPECT_EQ(a.after, &c);
  EXPECT_EQ(c.after, nullptr);
  EXPECT_FALSE(c.is_listed);
  EXPECT_EQ(sleepers.Wake(0), nullptr);
}

}  // namespace
}  // namespace larder::internal
