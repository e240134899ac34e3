// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/growing_table.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/epoch.h"
#include "larder/internal/thread_record.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

using Key = uint32_t;

// A table of keys that are replaced by ever newer nodes, beside a model of it, written to as a
// cache does.
class Subject {
 public:
  // Nodes hold their keys: `keys` of them at most.
  Subject(size_t entries, Key keys) : table_(&view_), keys_(keys) {
    EXPECT_TRUE(table_.StartAnew(entries));
  }
  ~Subject() { FreeRetired(); }

  uint32_t HomeOf(NodeIndex node) const { return Hash(KeyOf(node)); }
  Key KeyOf(NodeIndex node) const { return node % keys_; }
  static uint8_t TagOf(Key key) { return static_cast<uint8_t>(1 + (key & 1)); }
  // Runs of keys have one home, so that buckets overflow; others are anywhere.
  static uint32_t Hash(Key key) { return ((key & 4) != 0 ? key >> 5 : key) * 0x9e3779b9u; }

  // What a lookup finds; kNoNode for nothing. From any thread, inside a guard.
  NodeIndex Find(Key key) const {
    NodeIndex found = kNoNode;
    view_.load(std::memory_order_acquire)->Find(Hash(key), TagOf(key), [&](NodeIndex node) {
      if (KeyOf(node) != key) return false;
      found = node;
      return true;
    });
    return found;
  }

  void Put(Key key) {
    Work();
    PutWithoutWork(key);
  }

  // Requires: there is room.
  void PutWithoutWork(Key key) {
    const auto at = Locate(key);
    const NodeIndex node = NewNode(key);
    if (at) {
      EXPECT_EQ(Table::NodeAt(at), model_.at(key));
      table_.Replace(Hash(key), at, node);
    } else {
      EXPECT_FALSE(model_.contains(key));
      table_.Insert(Hash(key), TagOf(key), node);
    }
    model_[key] = node;
  }

  void Erase(Key key, bool by_node) {
    const auto known = model_.find(key);
    const auto at = by_node && known != model_.end() ? table_.LocateNode(Hash(key), known->second)
                                                     : Locate(key);
    ASSERT_EQ(static_cast<bool>(at), known != model_.end());
    if (!at) return;
    table_.Erase(Hash(key), at);
    model_.erase(known);
  }

  // As each write does before it changes anything. Returns how many nodes were looked at.
  size_t Work() {
    size_t looks = 0;
    const auto home_of = [&](NodeIndex node) {
      ++looks;
      return HomeOf(node);
    };
    if (!table_.NeedsWork()) {
      EXPECT_FALSE(table_.growing());
      return 0;
    }
    table_.Step([](NodeIndex) {}, home_of);
    EXPECT_TRUE(table_.RoomForOneMore(2 * table_.capacity(), home_of));
    return looks;
  }

  // As each write does when it is done.
  void Provide(size_t entries) {
    if (!table_.WantsLarger()) return;
    std::unique_ptr<Table> larger = table_.Claim();
    if (larger == nullptr) larger = Table::Create(entries);
    const bool ready = larger->Populate(4096);
    table_.HandIn(std::move(larger), ready);
  }

  void Clear(size_t entries) {
    ASSERT_TRUE(table_.StartAnew(entries));
    model_.clear();
  }

  void FreeRetired() {
    if (table_.HasRetired()) table_.TakeRetired(Epoch::LookAtReaders());
  }

  void Check() const {
    ASSERT_EQ(table_.size(), model_.size());
    ASSERT_TRUE(table_.Consistent([this](NodeIndex node) { return HomeOf(node); }));
    for (Key key = 0; key < keys_; ++key) {
      const auto known = model_.find(key);
      ASSERT_EQ(Find(key), known == model_.end() ? kNoNode : known->second) << key;
    }
    std::vector<NodeIndex> seen;
    table_.ForEach([&seen](NodeIndex node) { seen.push_back(node); });
    std::vector<NodeIndex> expected;
    for (const auto& [key, node] : model_) expected.push_back(node);
    std::sort(seen.begin(), seen.end());
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(seen, expected);
  }

  GrowingTable& table() { return table_; }
  size_t buckets() const { return view_.load()->bucket_count; }

 private:
  Table::Position Locate(Key key) {
    return table_.Locate(Hash(key), TagOf(key),
                         [this, key](NodeIndex node) { return KeyOf(node) == key; });
  }
  NodeIndex NewNode(Key key) { return ++versions_[key] * keys_ + key; }

  std::atomic<const TableView*> view_{nullptr};
  GrowingTable table_;
  const Key keys_;
  std::map<Key, NodeIndex> model_;
  std::map<Key, NodeIndex> versions_;
};

TEST(GrowingTableTest, RandomOperationsAgreeWithAModelInEveryStageOfGrowth) {
  size_t grown = 0;
  for (int round = 0; round < Rounds(8); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << seed);
    std::mt19937_64 random(seed);
    const Key keys = 400 + static_cast<Key>(random() % 2'000);
    Subject subject(1 + random() % (keys / 4), keys);
    for (int step = 0; step < 4'000; ++step) {
      const auto key = static_cast<Key>(random() % keys);
      const uint64_t choice = random() % 100;
      if (choice < 60) {
        // Steps are rare enough for anything to happen between two of them.
        if (choice < 5 || subject.table().size() >= subject.table().capacity()) {
          subject.Put(key);
        } else {
          subject.PutWithoutWork(key);
        }
      } else if (choice < 85) {
        subject.Erase(key, random() % 2 == 0);
      } else if (choice < 90) {
        const bool grew = subject.table().growing();
        subject.Provide(1 + random() % (2 * keys));
        grown += subject.table().growing() && !grew ? 1 : 0;
      } else if (step % 1'000 == 999) {
        subject.Clear(1 + random() % 100);
      } else if (choice == 99) {
        subject.FreeRetired();
      }
      if (step % 50 == 0) subject.Check();
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(grown, 8u);
}

// By how much tables grow: twofold, or hardly.
class GrowingTablePaceTest : public ::testing::TestWithParam<size_t> {};

TEST_P(GrowingTablePaceTest, NoWriteLooksAtMoreThanAFewBucketsAndNoTableGetsCrowded) {
  constexpr Key kKeys = 30'000;
  Subject subject(64, kKeys);
  size_t most_looks = 0;
  size_t grown = 0;
  for (Key key = 0; key < kKeys; ++key) {
    most_looks = std::max(most_looks, subject.Work());
    subject.Put(key);
    const bool grew = subject.table().growing();
    while (subject.table().WantsLarger()) {
      const size_t entries = subject.table().capacity();
      subject.Provide(entries + std::max<size_t>(entries / GetParam(), 1));
    }
    if (subject.table().growing() && !grew) ++grown;
    subject.FreeRetired();
    // Growth is over before the larger table has a quarter of an entry a bucket too many.
    const size_t over = subject.table().capacity() + subject.buckets() / 4 + 1;
    ASSERT_LE(subject.table().size(), over);
  }
  EXPECT_GE(grown, 8u);
  EXPECT_GT(most_looks, 0u);
  EXPECT_LE(most_looks, GrowingTable::kBucketsPerStep * Bucket::kSlots);
  subject.Check();
}

INSTANTIATE_TEST_SUITE_P(Factors, GrowingTablePaceTest, ::testing::Values(1, 10));

TEST(GrowingTableTest, AStepCopiesTheEntriesOfAFewBuckets) {
  Subject subject(9 * 100, 2'000);
  for (Key key = 0; subject.table().size() <= subject.table().capacity(); ++key) subject.Put(key);
  const size_t entries = subject.table().size();
  subject.Provide(9 * 200);
  while (!subject.table().growing()) subject.Provide(9 * 200);
  size_t steps = 0;
  size_t copied = 0;
  const auto home_of = [&](NodeIndex node) { return subject.HomeOf(node); };
  while (subject.table().growing()) {
    size_t fetched = 0;
    const size_t now = subject.table().Step([&](NodeIndex) { ++fetched; }, home_of);
    EXPECT_EQ(now, fetched);
    EXPECT_LE(now, GrowingTable::kBucketsPerStep * Bucket::kSlots);
    copied += now;
    ++steps;
    subject.Check();
  }
  EXPECT_EQ(copied, entries);
  EXPECT_EQ(steps, (100 + GrowingTable::kBucketsPerStep - 1) / GrowingTable::kBucketsPerStep);
  EXPECT_EQ(subject.table().Step([](NodeIndex) {}, home_of), 0u);
}

TEST(GrowingTableTest, OneThreadAtATimeProvidesTheLargerTablePartByPart) {
  Subject subject(9, 100);
  for (Key key = 0; key < 9; ++key) subject.Put(key);
  GrowingTable& table = subject.table();
  EXPECT_FALSE(table.WantsLarger());
  subject.Put(9);
  EXPECT_TRUE(table.WantsLarger());
  EXPECT_EQ(table.Claim(), nullptr);
  EXPECT_FALSE(table.WantsLarger());
  std::unique_ptr<Table> larger = Table::Create(50'000);
  const Table* const address = larger.get();
  EXPECT_FALSE(larger->Populate(4096));
  EXPECT_EQ(table.HandIn(std::move(larger), false), nullptr);
  EXPECT_FALSE(table.growing());
  EXPECT_TRUE(table.WantsLarger());
  larger = table.Claim();
  EXPECT_EQ(larger.get(), address);
  EXPECT_TRUE(larger->Populate(SIZE_MAX / 2));
  EXPECT_EQ(table.HandIn(std::move(larger), true), nullptr);
  EXPECT_TRUE(table.growing());
  EXPECT_FALSE(table.WantsLarger());
  subject.Check();
}

TEST(GrowingTableTest, ATableThatIsNotNeededAnyMoreIsHandedBack) {
  Subject subject(9, 100);
  for (Key key = 0; key < 10; ++key) subject.Put(key);
  GrowingTable& table = subject.table();
  // There was no memory for it.
  ASSERT_TRUE(table.WantsLarger());
  EXPECT_EQ(table.Claim(), nullptr);
  EXPECT_EQ(table.HandIn(nullptr, false), nullptr);
  // An entry left meanwhile.
  ASSERT_TRUE(table.WantsLarger());
  EXPECT_EQ(table.Claim(), nullptr);
  subject.Erase(0, true);
  EXPECT_NE(table.HandIn(Table::Create(18), true), nullptr);
  EXPECT_FALSE(table.growing());
  // It is no larger.
  subject.Put(0);
  EXPECT_EQ(table.Claim(), nullptr);
  EXPECT_NE(table.HandIn(Table::Create(9), true), nullptr);
  EXPECT_FALSE(table.growing());
  subject.Check();
}

TEST(GrowingTableTest, WhereNobodyProvidesATableEntriesAreStillTakenIn) {
  Subject subject(9 * 20, 4'000);
  // Somebody was to provide one, and never came to it.
  for (Key key = 0; !subject.table().WantsLarger(); ++key) subject.Put(key);
  EXPECT_EQ(subject.table().Claim(), nullptr);
  for (Key key = 0; key < 4'000; ++key) {
    subject.Put(key);
    if (key % 200 == 0) subject.Check();
    if (HasFailure()) return;
  }
  EXPECT_NE(subject.table().HandIn(Table::Create(1), true), nullptr);
}

TEST(GrowingTableTest, WithoutMemoryATableTakesInWhatItsSlotsBear) {
  Subject subject(90, 1'000);
  const auto home_of = [&](NodeIndex node) { return subject.HomeOf(node); };
  Key key = 0;
  // No system has as much.
  while (subject.table().RoomForOneMore(SIZE_MAX / 2, home_of)) {
    subject.table().Insert(Subject::Hash(key), Subject::TagOf(key), key);
    ++key;
  }
  EXPECT_EQ(subject.table().size(), 110u);
  for (Key present = 0; present < key; ++present) EXPECT_EQ(subject.Find(present), present);
  // And goes on where there is some again.
  EXPECT_TRUE(subject.table().RoomForOneMore(180, home_of));
}

TEST(GrowingTableTest, FormerTablesAreKeptForTheirReadersAndFreedAfterThem) {
  Subject subject(9, 100);
  subject.FreeRetired();
  EXPECT_FALSE(subject.table().HasRetired());
  {
    EpochGuard guard(ThreadRecord::Current());
    // More than a stack would bear, were they freed one inside another.
    for (int i = 0; i < 20'000; ++i) subject.Clear(9);
    EXPECT_EQ(subject.table().TakeRetired(Epoch::LookAtReaders()), nullptr);
    EXPECT_TRUE(subject.table().HasRetired());
  }
  EXPECT_NE(subject.table().TakeRetired(Epoch::LookAtReaders()), nullptr);
  EXPECT_FALSE(subject.table().HasRetired());
}

// Some keys are only replaced, while others come and go and the table grows under them.
TEST(GrowingTableTest, ReadersMissNothingAndNeverSeeAnOlderNodeAgainWhileTheTableGrows) {
  constexpr Key kStay = 40;
  constexpr Key kKeys = 4'000;
  for (int round = 0; round < Rounds(2); ++round) {
    Subject subject(9, kKeys);
    for (Key key = 0; key < kStay; ++key) subject.Put(key);
    std::atomic<bool> done{false};
    // The newest that any reader has seen: others that begin later see nothing older.
    std::atomic<NodeIndex> newest[kStay] = {};
    std::atomic<int> missed{0};
    std::atomic<int> went_back{0};
    const auto read = [&] {
      ThreadRecord& thread = ThreadRecord::Current();
      while (!done.load(std::memory_order_relaxed)) {
        for (Key key = 0; key < kStay; ++key) {
          const NodeIndex before = newest[key].load(std::memory_order_acquire);
          EpochGuard guard(thread);
          const NodeIndex seen = subject.Find(key);
          if (seen == kNoNode) {
            missed.fetch_add(1);
            continue;
          }
          if (seen < before) went_back.fetch_add(1);
          NodeIndex last = newest[key].load(std::memory_order_relaxed);
          while (last < seen &&
                 !newest[key].compare_exchange_weak(last, seen, std::memory_order_acq_rel)) {
          }
        }
      }
    };
    std::thread readers[] = {std::thread(read), std::thread(read)};
    std::mt19937_64 random(static_cast<uint64_t>(round));
    for (Key key = kStay; key < kKeys; ++key) {
      subject.Put(key);
      subject.Put(static_cast<Key>(random() % kStay));
      if (key % 3 == 0)
        subject.Erase(kStay + static_cast<Key>(random() % (key - kStay + 1)), false);
      subject.Provide(subject.table().capacity() + 100);
      if (key % 16 == 0) std::this_thread::yield();
      subject.FreeRetired();
    }
    done.store(true);
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(missed.load(), 0);
    EXPECT_EQ(went_back.load(), 0);
    subject.Check();
  }
}

}  // namespace
}  // namespace larder::internal
