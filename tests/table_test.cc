// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/table.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr uint32_t kFirstHome = 0;
constexpr uint32_t kLastHome = UINT32_MAX;

// All nodes that a search for this hash offers.
std::vector<NodeIndex> Candidates(const Table& table, uint32_t home, uint8_t tag) {
  std::vector<NodeIndex> found;
  EXPECT_FALSE(table.view().Find(home, tag, [&](NodeIndex node) {
    found.push_back(node);
    return false;
  }));
  return found;
}

bool Finds(const Table& table, uint32_t home, uint8_t tag, NodeIndex wanted) {
  return table.view().Find(home, tag, [=](NodeIndex node) { return node == wanted; });
}

Table::Position Locate(Table& table, uint32_t home, uint8_t tag, NodeIndex wanted) {
  return table.Locate(home, tag, [=](NodeIndex node) { return node == wanted; });
}

TEST(BucketTest, MatchFindsEachTagInEachSlot) {
  for (int slot = 0; slot < Bucket::kSlots; ++slot) {
    for (int tag = 1; tag < 256; ++tag) {
      Bucket bucket{};
      bucket.SetTag(slot, static_cast<uint8_t>(tag));
      EXPECT_EQ(bucket.TagAt(slot), tag);
      EXPECT_EQ(bucket.Match(static_cast<uint8_t>(tag)), 1u << slot);
      EXPECT_EQ(bucket.Match(static_cast<uint8_t>(tag == 255 ? 1 : tag + 1)), 0u);
      EXPECT_EQ(bucket.Used(), 1u << slot);
      EXPECT_EQ(bucket.Displaced(), 0u);
      bucket.SetTag(slot, 0);
      EXPECT_EQ(bucket.Used(), 0u);
    }
  }
}

TEST(BucketTest, MatchAgreesWithASlotBySlotComparison) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2'000; ++round) {
    Bucket bucket{};
    // Few different tags, so that several slots match; all counts of displaced entries.
    const auto displaced = static_cast<uint32_t>(random() >> (32 + random() % 32));
    bucket.AddDisplaced(static_cast<int32_t>(displaced));
    for (int slot = 0; slot < Bucket::kSlots; ++slot) {
      bucket.SetTag(slot, static_cast<uint8_t>(random() % 4 * 85));
    }
    for (const uint8_t tag : {0, 85, 170, 255, 1}) {
      uint32_t expected = 0;
      for (int slot = 0; slot < Bucket::kSlots; ++slot) {
        if (bucket.TagAt(slot) == tag) expected |= 1u << slot;
      }
      ASSERT_EQ(bucket.Match(tag), expected) << int{tag};
    }
    EXPECT_EQ(bucket.Displaced(), displaced);
  }
}

TEST(BucketTest, CountingDisplacedEntriesLeavesTheTags) {
  Bucket bucket{};
  for (int slot = 0; slot < Bucket::kSlots; ++slot) {
    bucket.SetTag(slot, static_cast<uint8_t>(200 + slot));
  }
  for (int i = 0; i < 1'000; ++i) bucket.AddDisplaced(1);
  for (int i = 0; i < 400; ++i) bucket.AddDisplaced(-1);
  EXPECT_EQ(bucket.Displaced(), 600u);
  for (int slot = 0; slot < Bucket::kSlots; ++slot) EXPECT_EQ(bucket.TagAt(slot), 200 + slot);
}

TEST(TableTest, HasRoomForWhatWasAskedFor) {
  for (const size_t entries : {0, 1, 9, 10, 100, 1'000, 100'000}) {
    const std::unique_ptr<Table> table = Table::Create(entries);
    ASSERT_NE(table, nullptr);
    EXPECT_GE(table->capacity(), entries);
    EXPECT_LE(table->capacity(), std::max<size_t>(entries + 9, 9));
    EXPECT_LT(table->capacity(), table->bucket_count() * Bucket::kSlots);
    EXPECT_EQ(table->Count(), 0u);
    EXPECT_TRUE(table->Consistent(0, [](NodeIndex) { return 0; }));
  }
}

TEST(TableTest, TooLargeATableIsRefused) { EXPECT_EQ(Table::Create(SIZE_MAX / 2), nullptr); }

TEST(TableTest, AnEntryIsFoundByItsHashUntilItIsErased) {
  const auto table = Table::Create(100);
  constexpr uint32_t kHome = 0x80000000;
  table->Insert(kHome, 7, 42);
  EXPECT_EQ(table->Count(), 1u);
  EXPECT_THAT(Candidates(*table, kHome, 7), ElementsAre(42));
  EXPECT_THAT(Candidates(*table, kHome, 8), IsEmpty());
  EXPECT_THAT(Candidates(*table, kFirstHome, 7), IsEmpty());
  EXPECT_FALSE(Locate(*table, kHome, 7, 43));
  const Table::Position position = Locate(*table, kHome, 7, 42);
  ASSERT_TRUE(position);
  table->Erase(kHome, position);
  EXPECT_THAT(Candidates(*table, kHome, 7), IsEmpty());
  EXPECT_FALSE(Locate(*table, kHome, 7, 42));
  EXPECT_EQ(table->Count(), 0u);
}

TEST(TableTest, EntriesOfOneHashAreAllOffered) {
  const auto table = Table::Create(100);
  for (const NodeIndex node : {1, 2, 3}) table->Insert(kFirstHome, 9, node);
  EXPECT_THAT(Candidates(*table, kFirstHome, 9), UnorderedElementsAre(1, 2, 3));
  table->Erase(kFirstHome, Locate(*table, kFirstHome, 9, 2));
  EXPECT_THAT(Candidates(*table, kFirstHome, 9), UnorderedElementsAre(1, 3));
}

TEST(TableTest, ReplacePutsAnotherNodeInTheSamePlace) {
  const auto table = Table::Create(100);
  table->Insert(kFirstHome, 9, 1);
  const Table::Position before = Locate(*table, kFirstHome, 9, 1);
  Table::Replace(before, 2);
  EXPECT_THAT(Candidates(*table, kFirstHome, 9), ElementsAre(2));
  const Table::Position after = Locate(*table, kFirstHome, 9, 2);
  EXPECT_EQ(after.bucket, before.bucket);
  EXPECT_EQ(after.slot, before.slot);
  EXPECT_EQ(table->Count(), 1u);
}

TEST(TableTest, LocateNodeFindsANodeFromItsHomeAlone) {
  const auto table = Table::Create(27);
  for (NodeIndex node = 0; node < 30; ++node) table->Insert(kLastHome, 5, node);
  for (NodeIndex node = 0; node < 30; ++node) {
    const Table::Position position = table->LocateNode(kLastHome, node);
    EXPECT_EQ(position.bucket->nodes[position.slot].load(), node);
  }
}

TEST(TableTest, EntriesThatDoNotFitGoOnBehindTheEndAtTheBeginning) {
  const auto table = Table::Create(27);
  ASSERT_EQ(table->bucket_count(), 3u);
  const auto home_of = [](NodeIndex) { return kLastHome; };
  for (NodeIndex node = 0; node < 30; ++node) table->Insert(kLastHome, 5, node);
  EXPECT_TRUE(table->Consistent(30, home_of));
  EXPECT_EQ(table->bucket(2).Displaced(), 18u);
  EXPECT_EQ(table->bucket(0).Displaced(), 6u);
  EXPECT_EQ(table->bucket(1).Displaced(), 0u);
  EXPECT_EQ(Candidates(*table, kLastHome, 5).size(), 30u);
  // A hole in front doesn't hide what is behind it.
  for (NodeIndex node = 0; node < 29; ++node) {
    table->Erase(kLastHome, Locate(*table, kLastHome, 5, node));
    EXPECT_TRUE(table->Consistent(29 - node, home_of));
    EXPECT_TRUE(Finds(*table, kLastHome, 5, 29));
  }
  table->Erase(kLastHome, Locate(*table, kLastHome, 5, 29));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(table->bucket(i).Displaced(), 0u);
}

TEST(TableTest, CanBeFilledToTheLastSlotAndSearched) {
  const auto table = Table::Create(20);
  const size_t slots = table->bucket_count() * Bucket::kSlots;
  const auto home_of = [](NodeIndex node) { return node * 0x9e3779b9u; };
  for (NodeIndex node = 0; node < slots; ++node) table->Insert(home_of(node), 3, node);
  EXPECT_EQ(table->Count(), slots);
  EXPECT_TRUE(table->Consistent(slots, home_of));
  for (NodeIndex node = 0; node < slots; ++node) EXPECT_TRUE(Finds(*table, home_of(node), 3, node));
  // A search in vain ends.
  EXPECT_FALSE(Finds(*table, kFirstHome, 3, 99'999));
  EXPECT_FALSE(Locate(*table, kFirstHome, 3, 99'999));
}

TEST(TableTest, ConsistentNoticesAWrongHomeAndAWrongNumber) {
  const auto table = Table::Create(27);
  for (NodeIndex node = 0; node < 20; ++node) table->Insert(kFirstHome, 5, node);
  EXPECT_TRUE(table->Consistent(20, [](NodeIndex) { return kFirstHome; }));
  EXPECT_FALSE(table->Consistent(20, [](NodeIndex) { return kLastHome; }));
  EXPECT_FALSE(table->Consistent(21, [](NodeIndex) { return kFirstHome; }));
}

// A table beside a model of it: which nodes have which hash.
class TableFuzz {
 public:
  TableFuzz(uint64_t seed, size_t entries, size_t homes)
      : random_(seed), table_(Table::Create(entries)) {
    for (size_t i = 0; i < homes; ++i) homes_.push_back(static_cast<uint32_t>(random_()));
    homes_.back() = kLastHome;
  }

  void Step() {
    const size_t slots = table_->bucket_count() * Bucket::kSlots;
    const size_t choice = random_() % 8;
    if (choice < 4 && table_->Count() < slots) {
      const Hash hash{homes_[random_() % homes_.size()], static_cast<uint8_t>(1 + random_() % 3)};
      table_->Insert(hash.home, hash.tag, next_node_);
      Add(hash, next_node_++);
    } else if (choice < 7 && !nodes_.empty()) {
      EraseOne();
    } else if (!nodes_.empty()) {
      const NodeIndex old = nodes_[random_() % nodes_.size()];
      const Hash hash = hashes_.at(old);
      Table::Replace(Locate(*table_, hash.home, hash.tag, old), next_node_);
      Drop(old);
      Add(hash, next_node_++);
    }
  }

  void Check() {
    ASSERT_EQ(table_->Count(), nodes_.size());
    ASSERT_TRUE(table_->Consistent(nodes_.size(),
                                   [this](NodeIndex node) { return hashes_.at(node).home; }));
    for (const uint32_t home : homes_) {
      for (uint8_t tag = 1; tag <= 3; ++tag) {
        const std::vector<NodeIndex> offered = Candidates(*table_, home, tag);
        const auto [first, last] = model_.equal_range(Key({home, tag}));
        for (auto it = first; it != last; ++it) ASSERT_THAT(offered, testing::Contains(it->second));
        // Others may be offered, but no node that isn't there, and none of another tag.
        for (const NodeIndex node : offered) ASSERT_EQ(hashes_.at(node).tag, tag);
      }
    }
  }

 private:
  struct Hash {
    uint32_t home;
    uint8_t tag;
  };
  static uint64_t Key(Hash hash) { return uint64_t{hash.home} << 8 | hash.tag; }

  void Add(Hash hash, NodeIndex node) {
    hashes_[node] = hash;
    model_.emplace(Key(hash), node);
    nodes_.push_back(node);
  }

  void Drop(NodeIndex node) {
    const auto [first, last] = model_.equal_range(Key(hashes_.at(node)));
    model_.erase(std::find_if(first, last, [=](const auto& e) { return e.second == node; }));
    hashes_.erase(node);
    nodes_.erase(std::find(nodes_.begin(), nodes_.end(), node));
  }

  void EraseOne() {
    const NodeIndex node = nodes_[random_() % nodes_.size()];
    const Hash hash = hashes_.at(node);
    table_->Erase(hash.home, random_() % 2 == 0 ? Locate(*table_, hash.home, hash.tag, node)
                                                : table_->LocateNode(hash.home, node));
    Drop(node);
  }

  std::mt19937_64 random_;
  const std::unique_ptr<Table> table_;
  std::vector<uint32_t> homes_;
  std::unordered_multimap<uint64_t, NodeIndex> model_;
  std::unordered_map<NodeIndex, Hash> hashes_;
  std::vector<NodeIndex> nodes_;
  NodeIndex next_node_ = 0;
};

TEST(TableTest, RandomOperationsAgreeWithAModel) {
  for (int round = 0; round < Rounds(120); ++round) {
    SCOPED_TRACE(::testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    // From one bucket to some, with all entries at home in one bucket to nearly each in its own.
    TableFuzz fuzz(SeedOfRound(round), size_t{1} << (round % 7), 1 + round % 11);
    for (int step = 0; step < 400; ++step) {
      fuzz.Step();
      if (step % 8 == 0) fuzz.Check();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Readers search for entries that are never touched, while a writer changes all others around them,
// in a table so small that most are displaced.
TEST(TableTest, ReadersFindWhatIsThereThroughoutWhileAWriterChangesTheRest) {
  constexpr NodeIndex kStay = 12;
  const auto table = Table::Create(27);
  const auto home_of = [](NodeIndex node) { return node % 3 == 0 ? kFirstHome : kLastHome; };
  const auto tag_of = [](NodeIndex node) { return static_cast<uint8_t>(1 + node % 2); };
  std::mt19937_64 random(3);
  std::vector<NodeIndex> others;
  NodeIndex next = 1'000;
  // Those that stay are spread among others that go.
  for (NodeIndex node = 0; node < kStay; ++node) {
    table->Insert(home_of(node), tag_of(node), node);
    others.push_back(next);
    table->Insert(home_of(next), tag_of(next), next);
    ++next;
  }
  std::atomic<bool> done{false};
  std::atomic<int> missed{0};
  const auto read = [&] {
    while (!done.load(std::memory_order_relaxed)) {
      for (NodeIndex node = 0; node < kStay; ++node) {
        if (!Finds(*table, home_of(node), tag_of(node), node)) missed.fetch_add(1);
      }
    }
  };
  std::thread readers[] = {std::thread(read), std::thread(read)};
  for (int i = 0; i < Rounds(100'000); ++i) {
    if (others.size() < 22 && random() % 2 == 0) {
      others.push_back(next);
      table->Insert(home_of(next), tag_of(next), next);
      ++next;
    } else if (!others.empty()) {
      std::swap(others[random() % others.size()], others.back());
      table->Erase(home_of(others.back()),
                   table->LocateNode(home_of(others.back()), others.back()));
      others.pop_back();
    }
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(missed.load(), 0);
  EXPECT_TRUE(table->Consistent(kStay + others.size(), home_of));
}

// One key's node is replaced again and again: a reader sees one of them, never none.
TEST(TableTest, AReaderSeesTheOldOrTheNewNodeOfAReplacement) {
  const auto table = Table::Create(9);
  table->Insert(kFirstHome, 5, 0);
  std::atomic<bool> done{false};
  int missed = 0;
  NodeIndex last = 0;
  bool went_back = false;
  std::thread reader([&] {
    while (!done.load(std::memory_order_relaxed)) {
      NodeIndex seen = kNoNode;
      table->view().Find(kFirstHome, 5, [&](NodeIndex node) {
        seen = node;
        return true;
      });
      missed += seen == kNoNode ? 1 : 0;
      went_back = went_back || seen < last;
      last = seen;
    }
  });
  for (NodeIndex node = 1; node < 100'000; ++node) {
    Table::Replace(Locate(*table, kFirstHome, 5, node - 1), node);
  }
  done.store(true);
  reader.join();
  EXPECT_EQ(missed, 0);
  EXPECT_FALSE(went_back);
}

}  // namespace
}  // namespace larder::internal
