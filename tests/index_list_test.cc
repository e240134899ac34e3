// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/index_list.h"

#include <algorithm>
#include <cstddef>
#include <list>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;
using Nodes = std::vector<NodeIndex>;

class IndexListTest : public ::testing::Test {
 protected:
  NodeIndex NewNode() { return slots_.Allocate(); }

  static Nodes BackToFront(const IndexList& list) {
    Nodes nodes;
    for (NodeIndex node = list.back(); node != kNoNode; node = list.Before(node)) {
      nodes.push_back(node);
    }
    return nodes;
  }

  Slab slab_{sizeof(NodeHeader), 6};
  SlotAllocator slots_{&slab_, 0};
  IndexList list_{&slab_};
};

TEST_F(IndexListTest, StartsEmpty) {
  EXPECT_TRUE(list_.empty());
  EXPECT_EQ(list_.size(), 0u);
  EXPECT_EQ(list_.front(), kNoNode);
  EXPECT_EQ(list_.back(), kNoNode);
}

TEST_F(IndexListTest, KeepsTheNewestInFront) {
  const NodeIndex a = NewNode(), b = NewNode(), c = NewNode();
  list_.PushFront(a);
  EXPECT_EQ(list_.front(), a);
  EXPECT_EQ(list_.back(), a);
  list_.PushFront(b);
  list_.PushFront(c);
  EXPECT_EQ(BackToFront(list_), (Nodes{a, b, c}));
  EXPECT_EQ(list_.front(), c);
  EXPECT_EQ(list_.Before(a), b);
  EXPECT_EQ(list_.Before(c), kNoNode);
  EXPECT_EQ(list_.size(), 3u);
}

TEST_F(IndexListTest, UnlinksFromEverywhere) {
  Nodes nodes;
  for (int i = 0; i < 5; ++i) nodes.push_back(NewNode());
  for (const NodeIndex node : nodes) list_.PushFront(node);
  list_.Unlink(nodes[2]);
  EXPECT_EQ(BackToFront(list_), (Nodes{nodes[0], nodes[1], nodes[3], nodes[4]}));
  list_.Unlink(nodes[0]);
  list_.Unlink(nodes[4]);
  EXPECT_EQ(BackToFront(list_), (Nodes{nodes[1], nodes[3]}));
  EXPECT_EQ(list_.front(), nodes[3]);
  list_.Unlink(nodes[1]);
  list_.Unlink(nodes[3]);
  EXPECT_TRUE(list_.empty());
  EXPECT_EQ(list_.front(), kNoNode);
  list_.PushFront(nodes[2]);
  EXPECT_EQ(BackToFront(list_), Nodes{nodes[2]});
}

TEST_F(IndexListTest, TheBackLeaves) {
  const NodeIndex a = NewNode(), b = NewNode(), c = NewNode();
  for (const NodeIndex node : {a, b}) list_.PushFront(node);
  list_.PopBack();
  EXPECT_EQ(BackToFront(list_), Nodes{b});
  list_.PushFront(c);
  EXPECT_EQ(BackToFront(list_), (Nodes{b, c}));
  list_.PopBack();
  list_.PopBack();
  EXPECT_TRUE(list_.empty());
  EXPECT_EQ(list_.size(), 0u);
  EXPECT_EQ(list_.front(), kNoNode);
  EXPECT_EQ(list_.back(), kNoNode);
}

TEST_F(IndexListTest, ANodeTakesAnothersPlace) {
  const NodeIndex a = NewNode(), b = NewNode(), c = NewNode(), d = NewNode();
  list_.PushFront(a);
  list_.Replace(a, b);
  EXPECT_EQ(BackToFront(list_), Nodes{b});
  list_.PushFront(c);
  list_.PushFront(d);
  list_.Replace(c, a);
  EXPECT_EQ(BackToFront(list_), (Nodes{b, a, d}));
  list_.Replace(d, c);
  EXPECT_EQ(list_.front(), c);
  EXPECT_EQ(list_.size(), 3u);
}

TEST_F(IndexListTest, TwoListsShareTheNodes) {
  IndexList other(&slab_);
  const NodeIndex a = NewNode(), b = NewNode(), c = NewNode();
  list_.PushFront(a);
  list_.PushFront(b);
  other.PushFront(c);
  list_.Unlink(b);
  other.PushFront(b);
  EXPECT_EQ(BackToFront(list_), Nodes{a});
  EXPECT_EQ(BackToFront(other), (Nodes{c, b}));
}

TEST_F(IndexListTest, AgreesWithAStdList) {
  std::mt19937_64 random(SeedOfRound(0));
  std::list<NodeIndex> expected;  // the newest first
  Nodes unlisted;
  for (int i = 0; i < 40; ++i) unlisted.push_back(NewNode());
  for (int step = 0; step < Rounds(20'000); ++step) {
    const auto listed = [&] {
      return std::next(expected.begin(), static_cast<ptrdiff_t>(random() % expected.size()));
    };
    const uint64_t dice = random() % 4;
    if (dice == 0 && !unlisted.empty()) {
      list_.PushFront(unlisted.back());
      expected.push_front(unlisted.back());
      unlisted.pop_back();
    } else if (dice == 1 && !expected.empty()) {
      const auto at = listed();
      list_.Unlink(*at);
      unlisted.insert(unlisted.begin(), *at);
      expected.erase(at);
    } else if (dice == 2 && !expected.empty()) {
      const auto at = listed();
      list_.MoveToFront(*at);
      expected.splice(expected.begin(), expected, at);
    } else if (dice == 3 && !expected.empty() && !unlisted.empty()) {
      const auto at = listed();
      list_.Replace(*at, unlisted.back());
      std::swap(*at, unlisted.back());
    }
    ASSERT_EQ(BackToFront(list_), Nodes(expected.rbegin(), expected.rend())) << "step " << step;
    ASSERT_EQ(list_.size(), expected.size());
    ASSERT_EQ(list_.front(), expected.empty() ? kNoNode : expected.front());
  }
}

}  // namespace
}  // namespace larder::internal
