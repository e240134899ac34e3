// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/tags.h"

#include <cstddef>
#include <cstdint>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/allocations.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Allocations;
using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

using Names = std::vector<std::string>;

TEST(TagsTest, NoTagsAreNoSet) {
  Tags tags;
  EXPECT_EQ(tags.Acquire({}), nullptr);
  EXPECT_EQ(tags.PrefixesOf("key"), nullptr);
  EXPECT_TRUE(Tags::Valid(nullptr, 1));
  tags.Release(nullptr);
  EXPECT_FALSE(tags.InUse());
  EXPECT_EQ(tags.generation(), 1u);
}

TEST(TagsTest, InvalidatesWhatWasStampedBefore) {
  Tags tags;
  const TagSet* set = tags.Acquire(Names{"a", "b"});
  const TagSet* other = tags.Acquire(Names{"c"});
  EXPECT_TRUE(tags.InUse());
  const uint64_t stamp = tags.generation();
  EXPECT_TRUE(Tags::Valid(set, stamp));
  EXPECT_EQ(tags.Invalidate("b"), stamp + 1);
  EXPECT_FALSE(Tags::Valid(set, stamp));
  EXPECT_TRUE(Tags::Valid(set, tags.generation()));
  EXPECT_TRUE(Tags::Valid(other, stamp));
  tags.Release(set);
  tags.Release(other);
}

TEST(TagsTest, EqualSetsAreShared) {
  Tags tags({"user:"});
  const TagSet* set = tags.Acquire(Names{"a", "b"});
  EXPECT_EQ(tags.Acquire(Names{"b", "a"}), set);
  EXPECT_EQ(tags.Acquire(Names{"b", "a", "b", "b"}), set);
  const TagSet* one = tags.Acquire(Names{"a"});
  const TagSet* with_prefix = tags.Acquire(Names{"a", "b"}, tags.PrefixesOf("user:1"));
  EXPECT_NE(one, set);
  EXPECT_NE(with_prefix, set);
  EXPECT_EQ(tags.Acquire(Names{"b", "a"}, tags.PrefixesOf("user:2")), with_prefix);
  EXPECT_EQ(tags.sets(), 3u);
  EXPECT_EQ(tags.records(), 2u);
  for (int i = 0; i < 3; ++i) tags.Release(set);
  EXPECT_EQ(tags.sets(), 2u);
  for (int i = 0; i < 2; ++i) tags.Release(with_prefix);
  tags.Release(one);
  EXPECT_EQ(tags.sets(), 0u);
  EXPECT_EQ(tags.records(), 0u);
}

TEST(TagsTest, ASharedSetStaysUntilItsLastHolderGoes) {
  Tags tags;
  {
    TagSetHold first(tags, tags.Acquire(std::vector<std::string>{"a"}));
    const TagSetHold second = first.Share();
    EXPECT_EQ(second.get(), first.get());
    tags.Release(first.Take());
    EXPECT_EQ(first.get(), nullptr);
    EXPECT_EQ(tags.sets(), 1u);
  }
  EXPECT_EQ(tags.sets(), 0u);
  EXPECT_EQ(TagSetHold().Share().get(), nullptr);
}

TEST(TagsTest, TheEmptyTagIsATag) {
  Tags tags;
  const TagSet* set = tags.Acquire(Names{""});
  ASSERT_NE(set, nullptr);
  tags.Invalidate("x");
  EXPECT_TRUE(Tags::Valid(set, 1));
  tags.Invalidate("");
  EXPECT_FALSE(Tags::Valid(set, 1));
  tags.Release(set);
}

TEST(TagsTest, EachInvalidationBeginsAGeneration) {
  Tags tags({"p"});
  EXPECT_EQ(tags.generation(), 1u);
  EXPECT_EQ(tags.Invalidate("a"), 2u);
  EXPECT_EQ(tags.generation(), 2u);
  EXPECT_TRUE(tags.InvalidatePrefix("p"));
  EXPECT_EQ(tags.generation(), 3u);
}

TEST(TagsTest, APrefixInvalidatesTheKeysThatBeginWithIt) {
  Tags tags({"user:", "user:admin:", "item:", "user:"});
  const TagSet* user = tags.PrefixesOf("user:7");
  const TagSet* admin = tags.PrefixesOf("user:admin:7");
  const TagSet* item = tags.PrefixesOf("item:7");
  EXPECT_EQ(tags.PrefixesOf("user:8"), user);
  EXPECT_EQ(tags.PrefixesOf("user:admin"), user);
  EXPECT_EQ(tags.PrefixesOf("user:zoe"), user);
  EXPECT_EQ(tags.PrefixesOf("user:"), user);
  for (const char* key : {"", "user", "item", "zebra", "a", "use"}) {
    EXPECT_EQ(tags.PrefixesOf(key), nullptr) << key;
  }
  EXPECT_TRUE(tags.InvalidatePrefix("user:admin:"));
  EXPECT_FALSE(Tags::Valid(admin, 1));
  EXPECT_TRUE(Tags::Valid(user, 1));
  EXPECT_TRUE(tags.InvalidatePrefix("user:"));
  EXPECT_FALSE(Tags::Valid(admin, 2));
  EXPECT_FALSE(Tags::Valid(user, 2));
  EXPECT_TRUE(Tags::Valid(item, 1));
}

TEST(TagsTest, APrefixThatIsntRegisteredChangesNothing) {
  Tags tags({"user:"});
  for (const char* prefix : {"", "user", "user:x", "z"}) {
    EXPECT_FALSE(tags.InvalidatePrefix(prefix)) << prefix;
  }
  EXPECT_EQ(tags.generation(), 1u);
}

TEST(TagsTest, TheEmptyPrefixStandsForAllKeys) {
  Tags tags({"", "a"});
  const TagSet* any = tags.PrefixesOf("b");
  ASSERT_NE(any, nullptr);
  EXPECT_EQ(tags.PrefixesOf(""), any);
  EXPECT_NE(tags.PrefixesOf("a"), any);
  EXPECT_TRUE(tags.InvalidatePrefix(""));
  EXPECT_FALSE(Tags::Valid(any, 1));
  EXPECT_FALSE(Tags::Valid(tags.PrefixesOf("a"), 1));
}

TEST(TagsTest, TagsAndPrefixesOfOneNameAreDifferent) {
  Tags tags({"x"});
  const TagSet* tag = tags.Acquire(Names{"x"});
  const TagSet* prefix = tags.PrefixesOf("xy");
  tags.Invalidate("x");
  EXPECT_FALSE(Tags::Valid(tag, 1));
  EXPECT_TRUE(Tags::Valid(prefix, 1));
  EXPECT_TRUE(tags.InvalidatePrefix("x"));
  EXPECT_TRUE(Tags::Valid(tag, 2));
  EXPECT_FALSE(Tags::Valid(prefix, 2));
  tags.Release(tag);
}

TEST(TagsTest, KeysWithPrefixesAloneTakeNoMemory) {
  Tags tags({"user:", "user:admin:"});
  const uint64_t before = Allocations::Count();
  const TagSet* set = tags.Acquire({}, tags.PrefixesOf("user:admin:1"));
  EXPECT_EQ(Allocations::Count(), before);
  EXPECT_EQ(set, tags.PrefixesOf("user:admin:2"));
  EXPECT_TRUE(tags.InUse());
  EXPECT_EQ(tags.sets(), 0u);
  tags.Release(set);
  EXPECT_TRUE(Tags::Valid(set, 1));
}

TEST(TagsTest, ALoadThatBeganBeforeIsInvalidThoughNoEntryHadTheTag) {
  Tags tags;
  const uint64_t stamp = tags.generation();
  tags.Invalidate("a");
  const uint64_t later = tags.generation();
  const TagSet* set = tags.Acquire(Names{"a"});
  EXPECT_FALSE(Tags::Valid(set, stamp));
  EXPECT_TRUE(Tags::Valid(set, later));
  tags.Release(set);
  EXPECT_EQ(tags.records(), 1u);  // still remembered

  set = tags.Acquire(Names{"a"});
  EXPECT_FALSE(Tags::Valid(set, stamp));
  EXPECT_TRUE(Tags::Valid(set, later));
  tags.Release(set);
}

TEST(TagsTest, RemembersTheLastOnesAndIsCarefulAboutTheRest) {
  Tags tags({}, /*remembered=*/2);
  const TagSet* held = tags.Acquire(Names{"held"});
  for (const char* tag : {"a", "b", "a", "c"}) tags.Invalidate(tag);  // 2, 3, 4, 5
  EXPECT_EQ(tags.records(), 3u);  // b, invalidated in 3, has been forgotten
  const auto valid = [&](const char* tag, uint64_t stamp) {
    const TagSet* set = tags.Acquire(Names{tag});
    const bool answer = Tags::Valid(set, stamp);
    tags.Release(set);
    return answer;
  };
  EXPECT_FALSE(valid("b", 2));
  EXPECT_TRUE(valid("b", 3));
  EXPECT_FALSE(valid("never", 2));
  EXPECT_TRUE(valid("never", 3));
  EXPECT_FALSE(valid("a", 3));
  EXPECT_TRUE(valid("a", 4));
  EXPECT_FALSE(valid("c", 4));
  EXPECT_TRUE(valid("c", 5));
  EXPECT_TRUE(Tags::Valid(held, 1));
  EXPECT_EQ(tags.records(), 3u);
  tags.Release(held);
  EXPECT_EQ(tags.records(), 2u);
}

TEST(TagsTest, OneWithoutMemoryForTheUnknownForgetsThemAtOnce) {
  Tags tags({}, /*remembered=*/0);
  tags.Invalidate("a");
  EXPECT_EQ(tags.records(), 0u);
  const TagSet* set = tags.Acquire(Names{"b"});
  EXPECT_FALSE(Tags::Valid(set, 1));
  EXPECT_TRUE(Tags::Valid(set, 2));
  tags.Release(set);
}

TEST(TagsTest, AnAllocationThatFailsChangesNothing) {
  Tags tags({"p"});
  const TagSet* known = tags.Acquire(Names{"a"});
  tags.Invalidate("idle");
  const Names names = {"a", "a tag too long for its string object", "idle", "new", "new"};
  int failures = 0;
  for (int n = 0;; ++n) {
    const TagSet* set = nullptr;
    Allocations::FailAfter(n);
    try {
      set = tags.Acquire(names, tags.PrefixesOf("pq"));
    } catch (const std::bad_alloc&) {
      ++failures;
    }
    if (Allocations::Disarm()) {
      ASSERT_NE(set, nullptr);
      EXPECT_FALSE(Tags::Valid(set, 1));
      EXPECT_TRUE(Tags::Valid(set, 2));
      tags.Release(set);
      break;
    }
    ASSERT_EQ(set, nullptr);
    ASSERT_EQ(tags.sets(), 1u);
    ASSERT_EQ(tags.records(), 2u);
  }
  EXPECT_GE(failures, 4);
  tags.Release(known);
  EXPECT_EQ(tags.sets(), 0u);
  EXPECT_EQ(tags.records(), 1u);
}

TEST(TagsTest, AnInvalidationThatCantBeRememberedIsNotLost) {
  const std::string tag = "a tag too long for its string object";
  int failures = 0;
  for (int n = 0;; ++n) {
    Tags tags;
    Allocations::FailAfter(n);
    const uint64_t generation = tags.Invalidate(tag);
    const bool none_failed = Allocations::Disarm();
    EXPECT_EQ(generation, 2u);
    EXPECT_EQ(tags.generation(), 2u);
    const TagSet* set = tags.Acquire(Names{tag});
    EXPECT_FALSE(Tags::Valid(set, 1));
    EXPECT_TRUE(Tags::Valid(set, 2));
    tags.Release(set);
    if (none_failed) break;
    ++failures;
  }
  EXPECT_GE(failures, 2);
}

TEST(TagsTest, PrefixesAreThoseThatASearchFinds) {
  for (int round = 0; round < Rounds(200); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    const auto word = [&random] {
      std::string made;
      for (size_t left = random() % 6; left > 0; --left) {
        made.push_back(static_cast<char>("ab\xff"[random() % 3]));
      }
      return made;
    };
    Names prefixes(random() % 12);
    for (std::string& prefix : prefixes) prefix = word();
    Tags tags(prefixes);
    for (int i = 0; i < 40; ++i) {
      const std::string key = word();
      const TagSet* set = tags.PrefixesOf(key);
      bool has_one = false;
      for (const std::string& prefix : prefixes) {
        const uint64_t before = tags.generation();
        ASSERT_TRUE(tags.InvalidatePrefix(prefix));
        ASSERT_EQ(Tags::Valid(set, before), !key.starts_with(prefix)) << key << " " << prefix;
        has_one = has_one || key.starts_with(prefix);
      }
      ASSERT_EQ(set != nullptr, has_one);
    }
  }
}

}  // namespace
}  // namespace larder::internal
