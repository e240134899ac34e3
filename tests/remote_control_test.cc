// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <string>

#include "larder/internal/bytes.h"
#include "larder/internal/remote_seal.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

constexpr Stamp kStamp = {1, 2};

// A value with a right checksum, of the generation 10.
std::string Sealed(uint8_t kind, uint8_t flags, uint64_t clock, const std::string& rest) {
  std::string bytes = EncodeRemoteStart({kStamp, kind, flags});
  AppendFixed(uint64_t{10}, &bytes);
  AppendFixed(clock, &bytes);
  bytes += rest;
  Seal(kControlKey, &bytes);
  return bytes;
}

// The rest of a block with as many prefixes, from "1000000" on.
std::string Prefixes(size_t number) {
  std::string rest(1, 0);
  AppendVarint(number, &rest);
  for (size_t i = 0; i < number; ++i) {
    AppendString(std::to_string(1'000'000 + i), &rest);
    AppendVarint(1, &rest);
  }
  return rest;
}

ControlBlock SomeBlock() { return ControlBlock::New(kStamp, 10, "server 1"); }

TEST(ControlBlockTest, CoversEntriesOfItsGenerationOnly) {
  const ControlBlock block = SomeBlock();
  EXPECT_TRUE(block.Covers("key", 10, block.clock()));
  EXPECT_FALSE(block.Covers("key", 11, block.clock()));
}

TEST(ControlBlockTest, AfterATickCoversWhatItCovered) {
  const ControlBlock block = SomeBlock();
  const ControlBlock next = block.WithTick({3, 4});
  EXPECT_EQ(next.clock(), block.clock() + 1);
  EXPECT_EQ(next.stamp(), (Stamp{3, 4}));
  EXPECT_TRUE(next.Covers("key", 10, block.clock()));
  EXPECT_EQ(next.incarnation(), "server 1");
}

TEST(ControlBlockTest, WithAPrefixCoversWhatIsNewerOrElsewhere) {
  const ControlBlock block = SomeBlock();
  const ControlBlock next = block.WithPrefix({3, 4}, "user:", 99);
  const uint64_t before = block.clock();
  EXPECT_EQ(next.generation(), 10u);
  EXPECT_EQ(next.stamp(), (Stamp{3, 4}));
  EXPECT_FALSE(next.Covers("user:1", 10, before));
  EXPECT_FALSE(next.Covers("user:", 10, before));
  EXPECT_TRUE(next.Covers("user", 10, before));
  EXPECT_TRUE(next.Covers("item:1", 10, before));
  EXPECT_TRUE(next.Covers("user:1", 10, next.clock()));
  // A newer one elsewhere doesn't hide it.
  const ControlBlock third = next.WithPrefix(kStamp, "i", 99);
  EXPECT_FALSE(third.Covers("user:1", 10, before));
  EXPECT_TRUE(third.Covers("user:1", 10, next.clock()));
  EXPECT_FALSE(third.Covers("item:1", 10, next.clock()));
}

TEST(ControlBlockTest, WithAnEmptyPrefixCoversNothingOlder) {
  const ControlBlock block = SomeBlock();
  const ControlBlock next = block.WithPrefix(kStamp, "", 99);
  EXPECT_FALSE(next.Covers("", 10, block.clock()));
  EXPECT_FALSE(next.Covers("key", 10, block.clock()));
  EXPECT_TRUE(next.Covers("key", 10, next.clock()));
}

TEST(ControlBlockTest, APrefixTakesThePlaceOfLongerOnes) {
  ControlBlock block = SomeBlock();
  for (const char* prefix : {"abc", "abd", "b", "ab"}) block = block.WithPrefix(kStamp, prefix, 99);
  EXPECT_EQ(block.prefixes(), 2u);
  EXPECT_FALSE(block.Covers("abc", 10, block.clock() - 1));
  EXPECT_EQ(block.PrefixesSince(block.clock() - 1), std::vector<std::string>{"ab"});
  EXPECT_TRUE(block.PrefixesSince(block.clock()).empty());
}

TEST(ControlBlockTest, WithTooManyPrefixesBeginsTheSpareGeneration) {
  const auto almost =
      ControlBlock::Decode(Sealed(5, 0, 9, Prefixes(ControlBlock::kMaxPrefixes - 1)));
  ASSERT_TRUE(almost.ok()) << almost.status();
  const ControlBlock block = almost->WithPrefix(kStamp, "the last", 99);
  EXPECT_EQ(block.generation(), 10u);
  EXPECT_EQ(block.prefixes(), ControlBlock::kMaxPrefixes);
  EXPECT_EQ(block.WithPrefix(kStamp, "the last", 99).generation(), 10u);
  const ControlBlock next = block.WithPrefix({3, 4}, "one more", 99);
  EXPECT_EQ(next.generation(), 99u);
  EXPECT_EQ(next.prefixes(), 0u);
  EXPECT_EQ(next.stamp(), (Stamp{3, 4}));
  EXPECT_GT(next.clock(), block.clock());
}

TEST(ControlBlockTest, RenewedCoversNothingOlder) {
  const ControlBlock block = SomeBlock().WithPrefix(kStamp, "a", 99);
  const ControlBlock next = block.Renewed({3, 4}, 11, "server 2");
  EXPECT_FALSE(next.Covers("key", 10, block.clock()));
  EXPECT_TRUE(next.Covers("a", 11, next.clock()));
  EXPECT_EQ(next.prefixes(), 0u);
  EXPECT_EQ(next.incarnation(), "server 2");
  EXPECT_GT(next.clock(), block.clock());
}

// A model that looks at every prefix there ever was.
TEST(ControlBlockTest, CoversWhatAModelCovers) {
  for (int round = 0; round < test::Rounds(20); ++round) {
    const uint64_t seed = test::SeedOfRound(round);
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    const auto text = [&] {
      std::string letters(random() % 5, 'a');
      for (char& letter : letters) letter = static_cast<char>('a' + random() % 2);
      return letters;
    };
    ControlBlock block = SomeBlock();
    std::map<std::string, uint64_t> prefixes;
    for (int step = 0; step < 60; ++step) {
      if (random() % 3 == 0) {
        block = block.WithTick(kStamp);
      } else {
        const std::string prefix = text();
        block = block.WithPrefix(kStamp, prefix, 99);
        prefixes[prefix] = block.clock();
      }
      if (random() % 4 == 0) {
        const auto decoded = ControlBlock::Decode(block.Encode());
        ASSERT_TRUE(decoded.ok()) << decoded.status();
        ASSERT_EQ(*decoded, block);
        block = *decoded;
      }
      const std::string key = text();
      const uint64_t clock = random() % (block.clock() + 1);
      bool covered = true;
      for (const auto& [prefix, at] : prefixes) {
        if (key.starts_with(prefix) && at > clock) covered = false;
      }
      ASSERT_EQ(block.Covers(key, 10, clock), covered) << key << " " << clock;
    }
  }
}

TEST(ControlBlockTest, IsDecodedAsItWasEncoded) {
  const ControlBlock empty = SomeBlock();
  const ControlBlock full = empty.WithPrefix(kStamp, "b", 99)
                                .WithTick(kStamp)
                                .WithPrefix(kStamp, "", 99)
                                .WithPrefix({5, 6}, std::string("\0\xff", 2), 99);
  for (const ControlBlock& block : {empty, full}) {
    const std::string bytes = block.Encode();
    EXPECT_TRUE(bytes.starts_with(EntryHead(block.stamp())));
    const auto decoded = ControlBlock::Decode(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, block);
    EXPECT_EQ(decoded->Encode(), bytes);
  }
}

TEST(ControlBlockTest, DamagedIsAnError) {
  const std::string whole = SomeBlock().WithPrefix(kStamp, "b", 99).Encode();
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_FALSE(ControlBlock::Decode(bytes).ok()) << bit;
  }
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_TRUE(absl::IsDataLoss(ControlBlock::Decode(whole.substr(0, size)).status())) << size;
}

TEST(ControlBlockTest, WithARightChecksumAndNothingElseRightIsDamaged) {
  const std::string none(2, 0);  // no incarnation, no prefixes
  EXPECT_TRUE(ControlBlock::Decode(Sealed(5, 0, 9, none)).ok());
  EXPECT_TRUE(ControlBlock::Decode(Sealed(5, 0, 9, std::string("\0\2\1a\1\1b\2", 8))).ok());
  const std::vector<std::string> wrong = {
      Sealed(1, 0, 9, none),
      Sealed(5, 1, 9, none),
      Sealed(5, 0, uint64_t{1} << 63, none),
      Sealed(5, 0, 9, none + "more"),
      Sealed(5, 0, 9, none.substr(1)),
      Sealed(5, 0, 9, std::string("\0\2\1b\1\1a\2", 8)),  // not in order
      Sealed(5, 0, 9, std::string("\0\2\1a\1\1a\2", 8)),  // twice
      Sealed(5, 0, 9, std::string("\0\1\1a\x0a", 5)),     // later than the block
      Sealed(5, 0, 9, std::string("\0\3\1a\1\1b\2", 8)),  // one is missing
      Sealed(5, 0, 9, Prefixes(ControlBlock::kMaxPrefixes + 1)),
  };
  for (const std::string& bytes : wrong)
    EXPECT_TRUE(absl::IsDataLoss(ControlBlock::Decode(bytes).status()));
}

TEST(TagRecordTest, CoversEntriesThatAreNotOlder) {
  const RemoteTagRecord record{10, 5};
  EXPECT_TRUE(record.Covers(10, 5));
  EXPECT_TRUE(record.Covers(10, 6));
  EXPECT_FALSE(record.Covers(10, 4));
  EXPECT_FALSE(record.Covers(11, 6));
}

TEST(TagRecordTest, IsDecodedForItsTagAlone) {
  const RemoteTagRecord record{10, 5};
  const std::string bytes = EncodeTagRecord("red", kStamp, record);
  EXPECT_TRUE(bytes.starts_with(EntryHead(kStamp)));
  const auto decoded = DecodeTagRecord("red", bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, record);
  EXPECT_TRUE(absl::IsDataLoss(DecodeTagRecord("blue", bytes).status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeTagRecord("", bytes).status()));
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_TRUE(absl::IsDataLoss(DecodeTagRecord("red", bytes.substr(0, size)).status()));
  std::string longer = EncodeRemoteStart({kStamp, kTagKind, 0}) + std::string(17, 0);
  Seal(TagKey("red"), &longer);
  EXPECT_TRUE(absl::IsDataLoss(DecodeTagRecord("red", longer).status()));
  std::string newer = bytes;
  newer[3] = 2;
  EXPECT_TRUE(absl::IsUnimplemented(DecodeTagRecord("red", newer).status()));
}

TEST(TagRecordTest, HasAKeyThatNoEntryHas) {
  EXPECT_EQ(TagKey("red"), "larder.tag.red");
  EXPECT_TRUE(IsReservedKey(TagKey("")));
  EXPECT_TRUE(IsReservedKey(kControlKey));
  EXPECT_FALSE(IsReservedKey("larder"));
  EXPECT_EQ(TagOfKey("larder.tag.red"), "red");
  EXPECT_EQ(TagOfKey("larder.tag."), "");
  EXPECT_FALSE(TagOfKey(kControlKey).has_value());
}

}  // namespace
}  // namespace larder::internal
