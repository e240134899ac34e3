// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/hash.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace larder::internal {
namespace {

template <class T>
concept Transparent = requires {
  typename T::is_transparent;
};

TEST(DefaultHashTest, StringsAreFoundByAnythingThatIsAStringView) {
  const DefaultHash<std::string> hash;
  const DefaultEq<std::string> eq;
  static_assert(Transparent<DefaultHash<std::string>> && Transparent<DefaultEq<std::string>>);
  for (const std::string& key :
       {std::string(), std::string("key"), std::string("a\0b", 3), std::string(1'000, 'x')}) {
    EXPECT_EQ(hash(key), hash(std::string_view(key)));
    EXPECT_TRUE(eq(key, std::string_view(key)));
  }
  EXPECT_EQ(hash("key"), hash(std::string("key")));
  EXPECT_TRUE(eq(std::string("key"), "key"));
  EXPECT_FALSE(eq(std::string("key"), "kex"));
  EXPECT_NE(hash("key"), hash("kex"));
}

TEST(DefaultHashTest, StringViewKeysWorkLikeStrings) {
  EXPECT_EQ(DefaultHash<std::string_view>()(std::string("key")), DefaultHash<std::string>()("key"));
}

TEST(DefaultHashTest, OtherKeysAreHashedAndComparedAsTheyAre) {
  static_assert(!Transparent<DefaultHash<int>> && !Transparent<DefaultEq<int>>);
  EXPECT_EQ(DefaultHash<int>()(7), DefaultHash<int>()(7));
  EXPECT_NE(DefaultHash<int>()(7), DefaultHash<int>()(8));
  EXPECT_TRUE(DefaultEq<int>()(7, 7));
  EXPECT_FALSE(DefaultEq<int>()(7, 8));
  using Pair = std::pair<int, std::string>;
  EXPECT_EQ(DefaultHash<Pair>()({1, "a"}), DefaultHash<Pair>()({1, "a"}));
  EXPECT_NE(DefaultHash<Pair>()({1, "a"}), DefaultHash<Pair>()({2, "a"}));
}

TEST(HashBitsTest, TheSameHashGivesTheSameBitsAndAnotherOneOthers) {
  EXPECT_EQ(HashBits(42).all(), HashBits(42).all());
  EXPECT_NE(HashBits(42).all(), HashBits(43).all());
}

TEST(HashBitsTest, ATagIsNeverThatOfAFreeSlot) {
  std::array<bool, 256> seen{};
  for (size_t i = 0; i < 200'000; ++i) seen[HashBits(i).Tag()] = true;
  EXPECT_FALSE(seen[0]);
  for (size_t tag = 1; tag < 256; ++tag) EXPECT_TRUE(seen[tag]) << tag;
}

TEST(HashBitsTest, TheHighBitsTakeEverySixteenBitValue) {
  std::vector<bool> seen(1 << 16);
  for (size_t i = 0; i < 2'000'000; ++i) seen.at(HashBits(i).High()) = true;
  EXPECT_EQ(std::count(seen.begin(), seen.end(), false), 0);
}

// How unevenly `counts` came out: the chi-square statistic over its expectation, 1 +- a little for
// balls thrown at random.
double Unevenness(const std::vector<size_t>& counts, size_t balls) {
  const double expected = static_cast<double>(balls) / static_cast<double>(counts.size());
  double sum = 0;
  for (const size_t count : counts) {
    const double off = static_cast<double>(count) - expected;
    sum += off * off / expected;
  }
  return sum / static_cast<double>(counts.size() - 1);
}

constexpr size_t kKeys = 1 << 16;
constexpr size_t kBoxes = 1 << 10;

// Three times the variance of random keys costs next to nothing; bits that a weak hash leaves as
// they were come out hundreds of times as uneven. Less uneven than random is fine.
constexpr double kMostUneven = 3;
// Tag 1 stands for 0 as well, and has twice its share.
constexpr double kMostUnevenTags = 10;

void ExpectSpread(const std::function<uint64_t(uint64_t)>& key, const std::string& name) {
  SCOPED_TRACE(name);
  std::vector<size_t> stripes(kBoxes);
  std::vector<size_t> homes(kBoxes);
  std::vector<size_t> homes_in_a_stripe(kBoxes);
  std::vector<size_t> tags(256);
  std::vector<size_t> tags_in_a_home(256);
  size_t in_the_stripe = 0;
  size_t in_the_home = 0;
  for (uint64_t i = 0; i < kKeys; ++i) {
    const HashBits bits(key(i));  // as a hash that is the identity would give
    const size_t home = bits.Home() >> 22;
    ++stripes[bits.High() % kBoxes];
    ++homes[home];
    ++tags[bits.Tag()];
    if (bits.High() % 4 == 1) {
      ++in_the_stripe;
      ++homes_in_a_stripe[home];
    }
    if (home < kBoxes / 4) {
      ++in_the_home;
      ++tags_in_a_home[bits.Tag()];
    }
  }
  EXPECT_LT(Unevenness(stripes, kKeys), kMostUneven) << "stripes";
  EXPECT_LT(Unevenness(homes, kKeys), kMostUneven) << "homes";
  EXPECT_LT(Unevenness(homes_in_a_stripe, in_the_stripe), kMostUneven)
      << "homes of one stripe's keys";
  EXPECT_LT(Unevenness(tags, kKeys), kMostUnevenTags) << "tags";
  EXPECT_LT(Unevenness(tags_in_a_home, in_the_home), kMostUnevenTags) << "tags of some homes' keys";
  EXPECT_LT(*std::max_element(tags.begin(), tags.end()), 3 * kKeys / 256);
}

TEST(HashBitsTest, WeakHashesSpreadOverStripesHomesAndTags) {
  ExpectSpread([](uint64_t i) { return i; }, "consecutive");
  ExpectSpread([](uint64_t i) { return ~i; }, "consecutive, downwards");
  for (int shift = 1; shift <= 48; ++shift) {
    ExpectSpread([=](uint64_t i) { return i << shift; }, "multiples of 2^" + std::to_string(shift));
  }
  for (const uint64_t stride : {3, 10, 100, 1'000, 1'000'000, 65'537}) {
    ExpectSpread([=](uint64_t i) { return i * stride; }, "stride " + std::to_string(stride));
  }
  ExpectSpread([](uint64_t i) { return 0x7f0000000000 + i * 64; }, "addresses");
  ExpectSpread([](uint64_t i) { return (i >> 8) << 32 | (i & 0xff); }, "pairs of small numbers");
  ExpectSpread([](uint64_t i) { return (i >> 8) << 56 | (i & 0xff) << 24; }, "a few high bits");
  std::mt19937_64 random(1);
  ExpectSpread([&](uint64_t) { return random(); }, "random");
}

TEST(HashBitsTest, DifferentHashesRarelyBecomeTheSameBits) {
  std::vector<uint64_t> bits;
  for (uint64_t i = 0; i < kKeys; ++i) {
    for (const uint64_t key : {i, i << 20, i << 47}) bits.push_back(HashBits(key).all());
  }
  std::sort(bits.begin(), bits.end());
  const auto unique = static_cast<size_t>(std::unique(bits.begin(), bits.end()) - bits.begin());
  // The key 0 three times, and those that are another's multiple.
  EXPECT_GE(unique, 3 * kKeys - 2 - kKeys / 16);
}

}  // namespace
}  // namespace larder::internal
