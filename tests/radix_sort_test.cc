// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/radix_sort.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace larder::internal {
namespace {

struct Item {
  uint32_t key;
  size_t place;

  bool operator==(const Item&) const = default;
};

uint32_t KeyOf(const Item& item) { return item.key; }

TEST(RadixSortTest, EqualsAStableSortWhateverTheKeysLength) {
  std::mt19937_64 random(1);
  std::vector<Item> scratch(2'000);
  for (const size_t size : {0, 1, 2, 3, 100, 2'000}) {
    for (int bits = 0; bits <= 32; ++bits) {
      const auto most = static_cast<uint32_t>((uint64_t{1} << bits) - 1);
      std::vector<Item> items;
      for (size_t i = 0; i < size; ++i)
        items.push_back({static_cast<uint32_t>(random()) & most, i});
      std::vector<Item> expected = items;
      std::stable_sort(expected.begin(), expected.end(),
                       [](const Item& a, const Item& b) { return a.key < b.key; });
      RadixSort<Item>(items, scratch, most, KeyOf);
      ASSERT_EQ(items, expected) << size << " items of " << bits << " bits";
    }
  }
}

TEST(RadixSortTest, TheMostKeyNeedNotBeOneLessThanAPowerOfTwo) {
  for (const uint32_t most : {1u, 2u, 255u, 256u, 257u, 65'536u, 1'000'000u, 0xfffffffeu}) {
    std::vector<Item> items = {{most, 0}, {0, 1}, {most / 2, 2}, {most, 3}, {most - 1, 4}};
    std::vector<Item> scratch(items.size());
    RadixSort<Item>(items, scratch, most, KeyOf);
    EXPECT_TRUE(std::is_sorted(items.begin(), items.end(), [](const Item& a, const Item& b) {
      return a.key < b.key;
    })) << most;
  }
}

}  // namespace
}  // namespace larder::internal
