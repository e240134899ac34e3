// SPDX-License-Identifier: Apache-2.0
// Which keys and values a cache takes, and what it finds keys by.
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/allocations.h"
#include "tests/support/cache_fixture.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using StringCache = Cache<std::string, uint64_t>;

class CacheTypesTest : public CacheFixture {};

// --- Keys.

TEST_F(CacheTypesTest, StringViewsFindStringsWithoutAllocating) {
  StringCache& cache = Make<StringCache>(100);
  const std::string key = "a key that is longer than what fits into a string itself";
  const std::string_view view = key;
  const auto loader = [](const std::string&) -> absl::StatusOr<uint64_t> { return 0; };
  ASSERT_TRUE(cache.Put(key, 1).ok());
  ASSERT_EQ(cache.Get(view), 1u);  // what a thread's first call sets up is not meant
  const std::string_view missing = view.substr(1);

  const uint64_t before = Allocations::Count();
  const bool found = cache.Get(view) == 1u && cache.Contains(view) &&
                     cache.Visit(view, [](uint64_t) {}) && cache.Pin(view) &&
                     *cache.GetOrLoad(view, loader) == 1u;
  const bool absent = !cache.Get(missing) && !cache.Contains(missing) && !cache.Pin(missing) &&
                      !cache.Visit(missing, [](uint64_t) {}) && !cache.Erase(missing);
  const uint64_t after = Allocations::Count();

  EXPECT_TRUE(found);
  EXPECT_TRUE(absent);
  EXPECT_EQ(after - before, 0u);
  EXPECT_TRUE(cache.Erase(view));
  EXPECT_EQ(*cache.GetOrLoad(missing, loader), 0u);
}

TEST_F(CacheTypesTest, StringLiteralsAreKeys) {
  StringCache& cache = Make<StringCache>(10);
  EXPECT_TRUE(cache.Put("one", 1).ok());
  EXPECT_EQ(cache.Get("one"), 1u);
  const char* const pointer = "one";
  EXPECT_EQ(cache.Get(pointer), 1u);
  EXPECT_EQ(*cache.Pin("one"), 1u);
  EXPECT_TRUE(cache.Contains(std::string("one")));
  EXPECT_TRUE(cache.Erase("one"));
}

TEST_F(CacheTypesTest, IntLiteralsAreKeysOfAnotherIntegerType) {
  IntCache& cache = Make<IntCache>(10);
  ASSERT_TRUE(cache.Put(7, 70).ok());
  EXPECT_EQ(cache.Get(7), 70u);
  EXPECT_EQ(cache.Get(7L), 70u);
  EXPECT_EQ(cache.Get(static_cast<uint8_t>(7)), 70u);
  EXPECT_TRUE(cache.Contains(7));
  EXPECT_EQ(*cache.GetOrLoad(7, [](uint64_t) -> absl::StatusOr<uint64_t> { return 0; }), 70u);
  EXPECT_TRUE(cache.Erase(7));
  ASSERT_TRUE(cache.Put(UINT64_MAX, 1).ok());
  EXPECT_EQ(cache.Get(-1), 1u);
}

TEST_F(CacheTypesTest, EmptyKeysAndValuesAreAllowed) {
  using CacheT = Cache<std::string, std::string>;
  CacheT& cache = Make<CacheT>(10);
  EXPECT_EQ(cache.Get(""), std::nullopt);
  ASSERT_TRUE(cache.Put("", "").ok());
  EXPECT_EQ(cache.Get(std::string_view()), "");
  EXPECT_TRUE(cache.Contains(""));
  EXPECT_TRUE(cache.Erase(""));
  EXPECT_EQ(
      *cache.GetOrLoad(
          "", [](const std::string& key) -> absl::StatusOr<std::string> { return key + "loaded"; }),
      "loaded");
}

struct CaseInsensitiveHash {
  size_t operator()(const std::string& key) const {
    return std::hash<std::string>()(absl::AsciiStrToLower(key));
  }
};
struct CaseInsensitiveEq {
  bool operator()(const std::string& a, const std::string& b) const {
    return absl::EqualsIgnoreCase(a, b);
  }
};

TEST_F(CacheTypesTest, UsesTheHashAndEqualityItIsGiven) {
  using CacheT = Cache<std::string, int, Lru, CaseInsensitiveHash, CaseInsensitiveEq>;
  CacheT& cache = Make<CacheT>(10);
  ASSERT_TRUE(cache.Put("Key", 1).ok());
  EXPECT_EQ(cache.Get("kEY"), 1);
  ASSERT_TRUE(cache.Put("KEY", 2).ok());
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.Pin("key").key(), "KEY") << "the newer entry's own key";
  EXPECT_TRUE(cache.Erase("key"));
}

struct ConstantHash {
  size_t operator()(uint64_t) const { return 42; }
};

TEST_F(CacheTypesTest, WorksWhereAllKeysCollide) {
  using CacheT = Cache<uint64_t, uint64_t, Lru, ConstantHash>;
  CacheT& cache = Make<CacheT>(500);
  for (uint64_t key = 0; key < 1000; ++key) ASSERT_TRUE(cache.Put(key, key * 3).ok());
  EXPECT_EQ(cache.size(), 500u);
  std::map<uint64_t, uint64_t> contents;
  cache.ForEach([&contents](uint64_t key, uint64_t value) { contents[key] = value; });
  EXPECT_EQ(contents.size(), 500u);
  for (const auto& [key, value] : contents) {
    EXPECT_EQ(value, key * 3);
    EXPECT_EQ(cache.Get(key), value);
    EXPECT_TRUE(cache.Erase(key));
    EXPECT_FALSE(cache.Contains(key));
  }
}

struct MoveOnlyKey {
  explicit MoveOnlyKey(int n) : number(std::make_unique<int>(n)) {}
  std::unique_ptr<int> number;
  bool operator==(const MoveOnlyKey& other) const { return *number == *other.number; }
  template <class H>
  friend H AbslHashValue(H h, const MoveOnlyKey& key) {
    return H::combine(std::move(h), *key.number);
  }
};

TEST_F(CacheTypesTest, KeysNeedNoCopyWhereNoneIsAsked) {
  using CacheT = Cache<MoveOnlyKey, int>;
  CacheT& cache = Make<CacheT>(10);
  EXPECT_TRUE(cache.Put(MoveOnlyKey(1), 10).ok());
  EXPECT_TRUE(cache.PutIfAbsent(MoveOnlyKey(2), 20));
  EXPECT_FALSE(cache.PutIfAbsent(MoveOnlyKey(2), 21));
  EXPECT_EQ(cache.Get(MoveOnlyKey(1)), 10);
  EXPECT_EQ(*cache.Pin(MoveOnlyKey(2)).key().number, 2);
  EXPECT_TRUE(cache.Contains(MoveOnlyKey(1)));
  EXPECT_TRUE(cache.Erase(MoveOnlyKey(1)));
  EXPECT_EQ(cache.EraseIf([](const MoveOnlyKey& key, int) { return *key.number == 2; }), 1u);
}

// --- Values.

template <class CacheT>
concept HasGet = requires(CacheT& cache, uint64_t key) {
  cache.Get(key);
};

// Which the standard takes for trivially copyable.
struct NumberedKey {
  uint64_t number;
  explicit NumberedKey(uint64_t n) : number(n) {}
  NumberedKey(NumberedKey&&) = default;
  NumberedKey& operator=(NumberedKey&&) = default;
  NumberedKey(const NumberedKey&) = delete;
  bool operator==(const NumberedKey& other) const { return number == other.number; }
};
struct NumberedKeyHash {
  size_t operator()(const NumberedKey& key) const { return key.number; }
};

TEST_F(CacheTypesTest, KeysThatAreOnlyMovedBitByBitAreFound) {
  using Keyed = Cache<NumberedKey, uint64_t, Lru, NumberedKeyHash>;
  Keyed& cache = Make<Keyed>(10);
  ASSERT_TRUE(cache.Put(NumberedKey(1), 2).ok());
  EXPECT_EQ(cache.Get(NumberedKey(1)), 2u);
  EXPECT_EQ(*cache.Pin(NumberedKey(1)), 2u);
}

// Something that becomes a std::string_view by a user's code, which may use caches.
struct InternedName {
  IntCache* names;
  std::string_view text;
  operator std::string_view() const {
    EXPECT_EQ(names->Get(1), 1u);
    return text;
  }
};

TEST_F(CacheTypesTest, KeysMayUseACacheToBecomeAStringView) {
  IntCache& names = Make<IntCache>(10);
  ASSERT_TRUE(names.Put(1, 1).ok());
  StringCache& cache = Make<StringCache>(10);
  const std::string text(100, 'x');
  ASSERT_TRUE(cache.Put(text, 7).ok());
  const InternedName name{&names, text};
  EXPECT_EQ(cache.Get(name), 7u);
  EXPECT_TRUE(cache.Contains(name));
  EXPECT_EQ(*cache.Pin(name), 7u);
  // Once a lookup, before it: never while it reads.
  EXPECT_EQ(names.Stats().hits, 3u);
}

TEST_F(CacheTypesTest, ValuesNeedNoCopyWhereNoneIsAsked) {
  using CacheT = Cache<uint64_t, std::unique_ptr<int>>;
  static_assert(HasGet<IntCache> && !HasGet<CacheT>);
  CacheT& cache = Make<CacheT>(2);
  EXPECT_TRUE(cache.Put(1, std::make_unique<int>(10)).ok());
  EXPECT_TRUE(cache.Put(1, std::make_unique<int>(11)).ok());
  EXPECT_TRUE(cache.PutIfAbsent(2, std::make_unique<int>(20)));
  EXPECT_EQ(**cache.Pin(1), 11);
  EXPECT_TRUE(cache.Visit(2, [](const std::unique_ptr<int>& value) { EXPECT_EQ(*value, 20); }));
  EXPECT_TRUE(cache.Put(3, nullptr).ok());
  int seen = 0;
  cache.ForEach([&seen](uint64_t, const std::unique_ptr<int>&) { ++seen; });
  EXPECT_EQ(seen, 2);
  EXPECT_TRUE(cache.Erase(3));
  cache.Clear();
}

TEST_F(CacheTypesTest, HoldsValuesOf64MiB) {
  using CacheT = Cache<std::string, std::string>;
  constexpr size_t kSize = 64 << 20;
  auto options = OptionsFor<CacheT>(2 * kSize);
  options.weigher = [](const std::string&, const std::string& value) { return value.size(); };
  CacheT& cache = Make<CacheT>(options);
  for (const char c : {'a', 'b', 'c'}) {
    ASSERT_TRUE(cache.Put(std::string(1, c), std::string(kSize, c)).ok());
    EXPECT_LE(cache.weight(), 2 * kSize);
  }
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.Get("c"), std::string(kSize, 'c'));
  EXPECT_EQ(cache.Pin("c")->size(), kSize);
}

TEST_F(CacheTypesTest, HoldsValuesOfAnySizeAndAlignment) {
  struct alignas(64) Line {
    std::array<char, 64> bytes;
  };
  Cache<uint8_t, Line>& lines = Make<Cache<uint8_t, Line>>(100);
  Cache<std::string, std::array<char, 100'000>>& large =
      Make<Cache<std::string, std::array<char, 100'000>>>(100);
  struct Nothing {};
  Cache<uint64_t, Nothing>& nothings = Make<Cache<uint64_t, Nothing>>(100);
  for (uint8_t i = 0; i < 200; ++i) {
    // Loaded rather than put: gcc has a remark on parameters of such an alignment.
    const auto load = [](uint8_t key) { return absl::StatusOr<Line>({{static_cast<char>(key)}}); };
    ASSERT_TRUE(lines.GetOrLoad(i, load).ok());
    const auto handle = lines.Pin(i);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(&*handle) % 64, 0u);
    EXPECT_EQ(handle->bytes[0], static_cast<char>(i));
    ASSERT_TRUE(large.Put(absl::StrCat(i), {static_cast<char>(i)}).ok());
    EXPECT_EQ((*large.Pin(absl::StrCat(i)))[0], static_cast<char>(i));
    ASSERT_TRUE(nothings.Put(i, Nothing{}).ok());
  }
  EXPECT_EQ(large.size(), 100u);
  EXPECT_EQ(nothings.size(), 100u);
}

}  // namespace
}  // namespace larder::test
