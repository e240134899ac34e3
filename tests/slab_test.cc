// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/slab.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/node.h"
#include "larder/removal_cause.h"

namespace larder::internal {
namespace {

constexpr int kChunkLog2 = 4;
constexpr size_t kChunkSlots = 16;

struct BigNode : NodeHeader {
  uint64_t payload[3];
};
struct alignas(64) LineNode : NodeHeader {
  char payload[32];
};

TEST(SlabTest, AChunksSlotsAreZeroedAndApart) {
  Slab slab(sizeof(BigNode), kChunkLog2);
  ASSERT_TRUE(slab.ok());
  EXPECT_EQ(slab.chunk_slots(), kChunkSlots);
  EXPECT_EQ(slab.stride(), sizeof(NodePrefix) + sizeof(BigNode));
  const NodeIndex first = slab.AllocateChunk(0);
  for (NodeIndex i = first; i < first + kChunkSlots; ++i) {
    auto* node = slab.At<BigNode>(i);
    EXPECT_EQ(node->deadline.load(), 0);
    EXPECT_EQ(node->state.load(), 0u);
    for (uint64_t& word : node->payload) {
      EXPECT_EQ(word, 0u);
      word = i;
    }
  }
  for (NodeIndex i = first; i < first + kChunkSlots; ++i) {
    for (const uint64_t word : slab.At<BigNode>(i)->payload) EXPECT_EQ(word, i);
  }
}

TEST(SlabTest, BothWaysToANodeLeadToTheSamePlace) {
  Slab slab(sizeof(BigNode), kChunkLog2);
  slab.AllocateChunk(0);
  const NodeIndex first = slab.AllocateChunk(0);
  for (NodeIndex i = first; i < first + kChunkSlots; ++i) {
    EXPECT_EQ(slab.At(i), static_cast<NodeHeader*>(slab.At<BigNode>(i)));
  }
}

TEST(SlabTest, NodesKeepTheirAddressesAsTheSlabGrows) {
  Slab slab(sizeof(BigNode), kChunkLog2);
  SlotAllocator slots(&slab, 0);
  std::vector<NodeHeader*> addresses;
  // Past the first regions, and into one of huge pages.
  for (uint64_t i = 0; i < 100'000; ++i) {
    const NodeIndex index = slots.Allocate();
    ASSERT_NE(index, kNoNode);
    slab.At<BigNode>(index)->payload[0] = i;
    addresses.push_back(slab.At(index));
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    const NodeIndex index = slots.SlotNumber(i);
    ASSERT_EQ(slab.At(index), addresses[i]);
    ASSERT_EQ(slab.At<BigNode>(index)->payload[0], i);
  }
  EXPECT_EQ(std::set(addresses.begin(), addresses.end()).size(), addresses.size());
}

TEST(SlabTest, NodesAreAlignedToALineWhereTheirTypeAsksForIt) {
  Slab slab(sizeof(LineNode), kChunkLog2, Slab::kDefaultMostNodes, alignof(LineNode));
  SlotAllocator slots(&slab, 0);
  for (int i = 0; i < 5'000; ++i) {
    const NodeIndex index = slots.Allocate();
    ASSERT_EQ(reinterpret_cast<uintptr_t>(slab.At(index)) % alignof(LineNode), 0u);
    // Extras lie between the chunks' slots.
    if (i % 100 == 0) {
      ASSERT_TRUE(slab.EnsureExtra(index));
    }
  }
}

TEST(SlabTest, AChunkBelongsToWhoAskedForIt) {
  Slab slab(sizeof(BigNode), kChunkLog2);
  SlotAllocator first(&slab, 3);
  SlotAllocator second(&slab, 7);
  std::set<NodeIndex> all;
  for (size_t i = 0; i < 10 * kChunkSlots; ++i) {
    const NodeIndex a = first.Allocate();
    const NodeIndex b = second.Allocate();
    EXPECT_EQ(slab.OwnerOf(a), 3u);
    EXPECT_EQ(slab.OwnerOf(b), 7u);
    EXPECT_TRUE(all.insert(a).second);
    EXPECT_TRUE(all.insert(b).second);
  }
}

TEST(SlabTest, IndicesAreDense) {
  Slab slab(sizeof(BigNode), kChunkLog2);
  for (NodeIndex chunk = 0; chunk < 10; ++chunk) {
    EXPECT_EQ(slab.AllocateChunk(chunk), chunk * kChunkSlots);
  }
}

TEST(SlabTest, EachNodeHasItsOwnExtra) {
  Slab slab(sizeof(BigNode), kChunkLog2);
  SlotAllocator slots(&slab, 0);
  constexpr uint64_t kNodes = 10 * kChunkSlots;
  for (uint64_t i = 0; i < kNodes; ++i) {
    const NodeIndex index = slots.Allocate();
    ASSERT_TRUE(slab.EnsureExtra(index));
    slab.Extra(index)->weight = i;
    slab.Extra(index)->idle_ttl = 1;
    slab.Extra(index)->hard_deadline = 2;
    slab.At<BigNode>(index)->payload[2] = i + 1;
  }
  for (uint64_t i = 0; i < kNodes; ++i) {
    const NodeIndex index = slots.SlotNumber(i);
    NodeExtra* extra = slab.Extra(index);
    EXPECT_EQ(extra->weight, i);
    EXPECT_EQ(slab.At<BigNode>(index)->payload[2], i + 1);
    // Asking again leaves what is there.
    ASSERT_TRUE(slab.EnsureExtra(index));
    EXPECT_EQ(slab.Extra(index), extra);
    EXPECT_EQ(slab.Extra(index)->weight, i);
  }
}

TEST(SlabTest, ANodeLargerThanAnyRegionSoFar) {
  constexpr size_t kNodeSize = size_t{1} << 20;
  Slab slab(kNodeSize, kChunkLog2);
  SlotAllocator slots(&slab, 0);
  for (size_t i = 0; i < 3 * kChunkSlots; ++i) {
    const NodeIndex index = slots.Allocate();
    ASSERT_NE(index, kNoNode);
    // The last byte of the last slot is still the slab's.
    reinterpret_cast<char*>(slab.At(index))[kNodeSize - 1] = 1;
  }
}

TEST(SlabTest, ManyStripesTakeChunksAtOnce) {
  Slab slab(sizeof(BigNode), kChunkLog2);
  constexpr uint32_t kThreads = 4;
  std::vector<std::vector<NodeIndex>> taken(kThreads);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&slab, t, &mine = taken[t]] {
      SlotAllocator slots(&slab, t);
      for (int i = 0; i < 5'000; ++i) {
        mine.push_back(slots.Allocate());
        slab.At<BigNode>(mine.back())->payload[0] = t;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<NodeIndex> all;
  for (uint32_t t = 0; t < kThreads; ++t) {
    for (const NodeIndex index : taken[t]) {
      EXPECT_TRUE(all.insert(index).second);
      EXPECT_EQ(slab.OwnerOf(index), t);
      EXPECT_EQ(slab.At<BigNode>(index)->payload[0], t);
    }
  }
}

TEST(SlotAllocatorTest, ASlotHandedOutIsNotInTheCache) {
  Slab slab(sizeof(NodeHeader), kChunkLog2);
  SlotAllocator slots(&slab, 0);
  const NodeIndex fresh = slots.Allocate();
  EXPECT_FALSE(slab.At(fresh)->InCache());
  slab.At(fresh)->timer_prev = NodeHeader::kNoTimer;
  EXPECT_TRUE(slab.At(fresh)->InCache());
  slab.At(fresh)->SetRemoved(RemovalCause::kErased);
  slots.Free(fresh);
  EXPECT_FALSE(slab.At(fresh)->InCache());
  EXPECT_EQ(slots.Allocate(), fresh);
  EXPECT_FALSE(slab.At(fresh)->InCache());
}

TEST(SlotAllocatorTest, TheSlotFreedLastIsReusedFirst) {
  Slab slab(sizeof(NodeHeader), kChunkLog2);
  SlotAllocator slots(&slab, 0);
  std::vector<NodeIndex> indices;
  for (int i = 0; i < 20; ++i) indices.push_back(slots.Allocate());
  for (const NodeIndex index : indices) slots.Free(index);
  for (auto it = indices.rbegin(); it != indices.rend(); ++it) EXPECT_EQ(slots.Allocate(), *it);
  EXPECT_EQ(slots.slots_used(), 20u);
  // Only then new ones.
  slots.Allocate();
  EXPECT_EQ(slots.slots_used(), 21u);
}

TEST(SlotAllocatorTest, SlotsCanBeGivenBackAsAChain) {
  Slab slab(sizeof(NodeHeader), kChunkLog2);
  SlotAllocator slots(&slab, 0);
  std::vector<NodeIndex> indices;
  for (int i = 0; i < 5; ++i) indices.push_back(slots.Allocate());
  slots.Free(indices[4]);
  for (size_t i = 0; i < 3; ++i) slab.At(indices[i])->timer_next = indices[i + 1];
  slots.Free(indices[0], indices[3]);
  for (const NodeIndex index : indices) EXPECT_EQ(slots.Allocate(), index);
  EXPECT_EQ(slots.slots_used(), 5u);
}

TEST(SlotAllocatorTest, AllSlotsEverHandedOutCanBeWalked) {
  Slab slab(sizeof(NodeHeader), kChunkLog2);
  SlotAllocator other(&slab, 1);
  SlotAllocator slots(&slab, 0);
  EXPECT_EQ(slots.slots_used(), 0u);
  std::vector<NodeIndex> indices;
  for (size_t i = 0; i < 100; ++i) {
    indices.push_back(slots.Allocate());
    other.Allocate();
  }
  ASSERT_EQ(slots.slots_used(), indices.size());
  for (size_t i = 0; i < indices.size(); ++i) EXPECT_EQ(slots.SlotNumber(i), indices[i]);
}

TEST(SlotAllocatorTest, APartOfTheSlotsCanBeWalked) {
  Slab slab(sizeof(NodeHeader), kChunkLog2);
  SlotAllocator other(&slab, 1);
  SlotAllocator slots(&slab, 0);
  for (size_t i = 0; i < 50; ++i) {
    slots.Allocate();
    other.Allocate();
  }
  for (size_t begin = 0; begin <= 50; ++begin) {
    for (size_t end = begin; end <= 50; ++end) {
      size_t next = begin;
      slots.ForEachSlot(begin, end, [&](NodeIndex index, const NodeHeader& node) {
        ASSERT_EQ(index, slots.SlotNumber(next++));
        ASSERT_EQ(&node, slab.At(index));
      });
      ASSERT_EQ(next, end);
    }
  }
}

TEST(NodeHeaderTest, ARemovedNodeKeepsItsCause) {
  NodeHeader node{};
  node.timer_prev = NodeHeader::kNoTimer;
  for (int cause = 0; cause < kRemovalCauses; ++cause) {
    node.SetRemoved(static_cast<RemovalCause>(cause));
    EXPECT_EQ(node.Cause(), static_cast<RemovalCause>(cause));
    EXPECT_FALSE(node.InCache());
    EXPECT_FALSE(node.HasTimer());
  }
}

}  // namespace
}  // namespace larder::internal
