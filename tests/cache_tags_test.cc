// SPDX-License-Identifier: Apache-2.0
// InvalidateTag and InvalidatePrefix: what goes, what stays, and loads that are running.
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/load_fixture.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

template <class Types>
class CacheTagsTest : public LoadFixture {
 protected:
  using K = typename Types::first_type;
  using V = typename Types::second_type;
  using CacheT = Cache<K, V>;

  static K Key(uint64_t number) { return Of<K>(number); }
  static V Val(uint64_t number) { return Of<V>(number); }
  template <class T>
  static T Of(uint64_t number) {
    if constexpr (std::is_same_v<T, std::string>) {
      return std::to_string(number);
    } else {
      return T(number);
    }
  }

  CacheT& MakeTagged(uint64_t capacity = 1'000) {
    auto options = OptionsFor<CacheT>(capacity);
    options.executor = &executor_;
    options.on_removal = [this](const K&, const V&, RemovalCause cause) {
      ++removed_[static_cast<size_t>(cause)];
    };
    return Make<CacheT>(options);
  }
  uint64_t removed(RemovalCause cause) const { return removed_[static_cast<size_t>(cause)]; }
  static void Maintain(CacheT& cache) {
    while (cache.RunMaintenance(100) > 0) {
    }
  }

  uint64_t removed_[kRemovalCauses] = {};
};
using EntryTypes =
    ::testing::Types<std::pair<uint64_t, uint64_t>, std::pair<std::string, std::string>,
                     std::pair<uint64_t, Counted>, std::pair<Counted, Counted>>;
TYPED_TEST_SUITE(CacheTagsTest, EntryTypes);

TYPED_TEST(CacheTagsTest, WhatHasTheTagGoesAndAllElseStays) {
  auto& cache = this->MakeTagged();
  for (uint64_t i = 0; i < 300; ++i) {
    PutOptions options;
    if (i % 3 == 0) options.tags.push_back("three");
    if (i % 5 == 0) options.tags.push_back("five");
    ASSERT_TRUE(cache.Put(this->Key(i), this->Val(i), options).ok());
  }
  cache.InvalidateTag("three");
  cache.InvalidateTag("none");
  for (uint64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(cache.Contains(this->Key(i)), i % 3 != 0) << i;
    EXPECT_EQ(cache.Get(this->Key(i)).has_value(), i % 3 != 0) << i;
  }
  cache.InvalidateTag("five");
  uint64_t seen = 0;
  cache.ForEach([&](const auto&, const auto&) { ++seen; });
  EXPECT_EQ(seen, 300u - 100 - 60 + 20);
  EXPECT_EQ(cache.size(), 300u);
  this->Maintain(cache);
  EXPECT_EQ(cache.size(), seen);
  EXPECT_EQ(cache.Stats().erased, 300u - seen);
  EXPECT_EQ(this->removed(RemovalCause::kErased), 300u - seen);
}

TYPED_TEST(CacheTagsTest, NothingFindsWhatIsInvalidated) {
  auto& cache = this->MakeTagged();
  const auto put = [&](uint64_t key) {
    ASSERT_TRUE(cache.Put(this->Key(key), this->Val(1), {.tags = {"tag"}}).ok());
  };
  for (uint64_t key = 0; key < 8; ++key) put(key);
  cache.InvalidateTag("tag");
  using V = std::decay_t<decltype(this->Val(1))>;
  EXPECT_EQ(cache.Get(this->Key(0)), std::nullopt);
  EXPECT_FALSE(cache.Pin(this->Key(0)));
  EXPECT_FALSE(cache.Visit(this->Key(0), [](const V&) {}));
  EXPECT_FALSE(cache.Erase(this->Key(0)));
  EXPECT_FALSE(cache.Expire(this->Key(1)));
  EXPECT_TRUE(cache.PutIfAbsent(this->Key(2), this->Val(2)));
  EXPECT_TRUE(cache
                  .Compute(this->Key(3),
                           [&](std::optional<V> old) -> std::optional<V> {
                             EXPECT_FALSE(old.has_value());
                             return this->Val(3);
                           })
                  .ok());
  ASSERT_TRUE(cache.Put(this->Key(4), this->Val(4)).ok());
  EXPECT_TRUE(cache.GetOrLoad(this->Key(5), [&](const auto&) { return this->Val(5); }).ok());
  EXPECT_EQ(cache.EraseIf([](const auto&, const V& value) {
    return value == CacheTagsTest<TypeParam>::Val(1);
  }),
            0u);
  for (uint64_t key = 2; key < 6; ++key) EXPECT_EQ(cache.Get(this->Key(key)), this->Val(key));
}

TYPED_TEST(CacheTagsTest, WhatIsPutLaterIsntAffected) {
  auto& cache = this->MakeTagged();
  for (uint64_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(cache.Put(this->Key(1), this->Val(i), {.tags = {"tag"}}).ok());
    EXPECT_EQ(cache.Get(this->Key(1)), this->Val(i));
    cache.InvalidateTag("tag");
    EXPECT_EQ(cache.Get(this->Key(1)), std::nullopt);
  }
}

TYPED_TEST(CacheTagsTest, ANewValueHasItsOwnTagsOnly) {
  auto& cache = this->MakeTagged();
  ASSERT_TRUE(cache.Put(this->Key(1), this->Val(1), {.tags = {"a"}}).ok());
  ASSERT_TRUE(cache.Put(this->Key(1), this->Val(2), {.tags = {"b"}}).ok());
  cache.InvalidateTag("a");
  EXPECT_EQ(cache.Get(this->Key(1)), this->Val(2));
  ASSERT_TRUE(cache.Put(this->Key(1), this->Val(3)).ok());
  cache.InvalidateTag("b");
  EXPECT_EQ(cache.Get(this->Key(1)), this->Val(3));
}

TYPED_TEST(CacheTagsTest, HandlesOfWhatIsInvalidatedStayWhole) {
  auto& cache = this->MakeTagged();
  ASSERT_TRUE(cache.Put(this->Key(1), this->Val(1), {.tags = {"tag"}}).ok());
  const auto handle = cache.Pin(this->Key(1));
  cache.InvalidateTag("tag");
  this->Maintain(cache);
  for (uint64_t i = 0; i < 2'000; ++i) {
    ASSERT_TRUE(cache.Put(this->Key(i), this->Val(i), {.tags = {"tag"}}).ok());
  }
  EXPECT_EQ(*handle, this->Val(1));
}

TYPED_TEST(CacheTagsTest, WhatIsInvalidatedMakesRoomAsErased) {
  auto& cache = this->MakeTagged(100);
  for (uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(cache.Put(this->Key(i), this->Val(i), {.tags = {"tag"}}).ok());
  }
  cache.InvalidateTag("tag");
  for (uint64_t i = 100; i < 200; ++i) {
    ASSERT_TRUE(cache.Put(this->Key(i), this->Val(i)).ok());
  }
  EXPECT_EQ(cache.size(), 100u);
  EXPECT_EQ(cache.Stats().erased, 100u);
  EXPECT_EQ(cache.Stats().evictions, 0u);
  for (uint64_t i = 100; i < 200; ++i) EXPECT_TRUE(cache.Contains(this->Key(i)));
}

// Random operations against a map that knows each entry's tags.
TYPED_TEST(CacheTagsTest, AgreesWithAModel) {
  auto& cache = this->MakeTagged(10'000);
  for (int round = 0; round < Rounds(5); ++round) {
    std::mt19937_64 random(SeedOfRound(round));
    SCOPED_TRACE(SeedOfRound(round));
    std::vector<std::optional<std::pair<uint64_t, std::set<std::string>>>> model(50);
    cache.Clear();
    for (uint64_t step = 0; step < 2'000; ++step) {
      const uint64_t key = random() % model.size();
      const std::string tag(1, static_cast<char>('a' + random() % 6));
      switch (random() % 8) {
        case 0:
          cache.InvalidateTag(tag);
          for (auto& entry : model) {
            if (entry.has_value() && entry->second.contains(tag)) entry.reset();
          }
          break;
        case 1:
          EXPECT_EQ(cache.Erase(this->Key(key)), model[key].has_value());
          model[key].reset();
          break;
        case 2:
          EXPECT_EQ(cache.PutIfAbsent(this->Key(key), this->Val(step)), !model[key].has_value());
          if (!model[key].has_value()) model[key].emplace(step, std::set<std::string>());
          break;
        case 3:
          cache.RunMaintenance(random() % 30);
          break;
        case 4:
        case 5: {
          std::vector<std::string> tags(random() % 4, tag);
          if (!tags.empty()) tags.back() = std::string(1, static_cast<char>('a' + random() % 6));
          model[key].emplace(step, std::set<std::string>(tags.begin(), tags.end()));
          ASSERT_TRUE(cache.Put(this->Key(key), this->Val(step), {.tags = std::move(tags)}).ok());
          break;
        }
        default: {
          const auto value = cache.Get(this->Key(key));
          ASSERT_EQ(value.has_value(), model[key].has_value()) << step;
          if (value.has_value()) {
            ASSERT_EQ(*value, this->Val(model[key]->first));
          }
        }
      }
    }
    ASSERT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants();
  }
}

// --- Loads.

class TaggedLoadTest : public LoadFixture {
 protected:
  static auto Tagged(std::string value, std::vector<std::string> tags) {
    return [value, tags](const std::string&) -> LoadedValue {
      return Loaded<std::string>{.value = value, .tags = tags};
    };
  }
};

TEST_F(TaggedLoadTest, ALoadedEntryHasTheTagsOfLoaderAndCall) {
  LoadCache& cache = Make<LoadCache>(Options());
  for (const std::string tag : {"loader", "call"}) {
    EXPECT_EQ(Text(cache.GetOrLoad("k", Tagged("1", {"loader"}), {.tags = {"call"}})), "1");
    EXPECT_TRUE(cache.Contains("k"));
    cache.InvalidateTag(tag);
    EXPECT_FALSE(cache.Contains("k"));
  }
}

TEST_F(TaggedLoadTest, ALoadOlderThanTheInvalidationIsntStored) {
  LoadCache& cache = Make<LoadCache>(Options());
  const auto loader = [&](const std::string& key) -> LoadedValue {
    cache.InvalidateTag(key);
    return Loaded<std::string>{.value = "1", .tags = {"tag"}};
  };
  EXPECT_EQ(Text(cache.GetOrLoad("tag", loader)), "1");
  EXPECT_FALSE(cache.Contains("tag"));
  EXPECT_EQ(Text(cache.GetOrLoad("other", loader)), "1");
  EXPECT_TRUE(cache.Contains("other"));
}

TEST_F(TaggedLoadTest, WhoAsksAfterTheInvalidationGetsALaterLoad) {
  for (const bool stored : {false, true}) {
    LoadCache& cache = Make<LoadCache>(Options());
    Value before;
    Value after;
    const auto loader = [&](const std::string&) -> LoadedValue {
      ++loads_;
      return Loaded<std::string>{.value = std::to_string(loads_), .tags = {"tag"}};
    };
    loads_ = 0;
    cache.GetOrLoadAsync("k", loader, [&](Value value) { before = std::move(value); });
    if (!stored) cache.InvalidateTag("tag");
    cache.GetOrLoadAsync("k", loader, [&](Value value) { after = std::move(value); });
    executor_.RunAll();
    EXPECT_EQ(Text(before), "1");
    EXPECT_EQ(Text(after), stored ? "1" : "2");
    EXPECT_EQ(cache.Get("k"), stored ? "1" : "2");
  }
}

TEST_F(TaggedLoadTest, NorAnOldValueThatWasntModified) {
  auto options = Options();
  options.refresh_after = absl::Seconds(50);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1", {.tags = {"tag"}}).ok());
  Advance(absl::Seconds(50));
  (void)cache.GetOrLoad("k", [](const std::string&, Context& context) -> Value {
    EXPECT_NE(context.old_value(), nullptr);
    return context.NotModified();
  });
  cache.InvalidateTag("tag");
  Value after;
  cache.GetOrLoadAsync("k", Loading("2"), [&](Value value) { after = std::move(value); });
  executor_.RunAll();
  EXPECT_EQ(Text(after), "2");
  EXPECT_EQ(cache.Get("k"), "2");
}

TEST_F(TaggedLoadTest, WhatIsInvalidatedIsNeitherServedStaleNorShownToLoaders) {
  auto options = Options();
  options.stale_if_error = absl::Hours(1);
  LoadCache& cache = Make<LoadCache>(options);
  ASSERT_TRUE(cache.Put("k", "1", {.tags = {"tag"}}).ok());
  Advance(absl::Seconds(101));
  EXPECT_EQ(Text(cache.GetOrLoad("k", Failing())), "1");
  cache.InvalidateTag("tag");
  EXPECT_EQ(Text(cache.GetOrLoad("k",
                                 [](const std::string&, Context& context) -> Value {
                                   EXPECT_EQ(context.old_value(), nullptr);
                                   return absl::UnavailableError("no luck");
                                 })),
            "UNAVAILABLE");
}

// --- Prefixes.

class CachePrefixTest : public LoadFixture {
 protected:
  // Registered, or not.
  LoadCache& MakePrefixed(bool registered) {
    auto options = Options();
    options.negative_ttl = absl::Hours(1);
    options.stale_if_error = absl::Hours(1);
    if (registered) options.prefixes = {"user:", "user:7"};
    return Make<LoadCache>(options);
  }
};

TEST_F(CachePrefixTest, WhatBeginsWithItGoes) {
  for (const bool registered : {false, true}) {
    LoadCache& cache = MakePrefixed(registered);
    const auto fill = [&] {
      for (const std::string key : {"user:1", "user:7", "user:77", "user", "other"}) {
        ASSERT_TRUE(cache.Put(key, "1").ok());
      }
    };
    fill();
    cache.InvalidatePrefix("user:7");
    EXPECT_TRUE(cache.Contains("user:1"));
    EXPECT_FALSE(cache.Contains("user:7"));
    EXPECT_FALSE(cache.Contains("user:77"));
    fill();
    cache.InvalidatePrefix("user:");
    EXPECT_FALSE(cache.Contains("user:1"));
    EXPECT_FALSE(cache.Contains("user:7"));
    EXPECT_TRUE(cache.Contains("user"));
    EXPECT_TRUE(cache.Contains("other"));
    // Not registered in either.
    cache.InvalidatePrefix("");
    EXPECT_FALSE(cache.Contains("other"));
    while (cache.RunMaintenance(100) > 0) {
    }
    EXPECT_EQ(cache.size(), 0u);
  }
}

TEST_F(CachePrefixTest, SoDoesWhatIsStaleAndWhatWasntFound) {
  for (const bool registered : {false, true}) {
    LoadCache& cache = MakePrefixed(registered);
    ASSERT_TRUE(cache.Put("user:1", "1").ok());
    Advance(absl::Seconds(101));
    EXPECT_EQ(Text(cache.GetOrLoad("user:2", Failing(absl::NotFoundError("none")))), "NOT_FOUND");
    cache.InvalidatePrefix("user:");
    EXPECT_EQ(Text(cache.GetOrLoad("user:1", Failing())), "UNAVAILABLE");
    EXPECT_EQ(Text(cache.GetOrLoad("user:2", Loading("1"))), "1");
  }
}

TEST_F(CachePrefixTest, LoadsThatRunArentStored) {
  for (const bool registered : {false, true}) {
    LoadCache& cache = MakePrefixed(registered);
    const auto loader = [&](const std::string&) -> Value {
      cache.InvalidatePrefix("user:");
      return "1";
    };
    EXPECT_EQ(Text(cache.GetOrLoad("user:1", loader)), "1");
    EXPECT_FALSE(cache.Contains("user:1"));
    EXPECT_EQ(Text(cache.GetOrLoad("other", Loading("1"))), "1");
    EXPECT_TRUE(cache.Contains("other"));
  }
}

TEST_F(CachePrefixTest, NobodyJoinsWhatWasInvalidated) {
  LoadCache& cache = MakePrefixed(true);
  for (const int kind : {0, 1, 2}) {  // NotFound, kept or not; too heavy
    const auto load = [kind](const std::string&) -> LoadedValue {
      if (kind < 2) return absl::NotFoundError("no");
      return Loaded<std::string>{.value = "old", .weight = 1'000'000};
    };
    Value joined;
    cache.GetOrLoadAsync("user:1", load, [](Value) {}, {.negative_ttl = absl::Seconds(kind)});
    cache.InvalidatePrefix("user:");
    cache.GetOrLoadAsync("user:1", Loading("new"), [&](Value value) { joined = std::move(value); });
    executor_.RunAll();
    EXPECT_EQ(Text(joined), "new");
    EXPECT_TRUE(cache.Erase("user:1"));
  }
}

TEST_F(CachePrefixTest, EraseIfAsksAboutWhatIsStale) {
  LoadCache& cache = MakePrefixed(false);
  ASSERT_TRUE(cache.Put("a", "stale").ok());
  ASSERT_TRUE(cache.Put("b", "stale").ok());
  Advance(absl::Seconds(101));
  ASSERT_TRUE(cache.Put("c", "live").ok());
  const auto not_b = [](const std::string& key, const std::string&) { return key != "b"; };
  EXPECT_EQ(cache.EraseIf(not_b), 1u);
  EXPECT_EQ(Text(cache.GetOrLoad("a", Failing())), "UNAVAILABLE");
  EXPECT_EQ(Text(cache.GetOrLoad("b", Failing())), "stale");
}

}  // namespace
}  // namespace larder::test
