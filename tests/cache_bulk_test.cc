// SPDX-License-Identifier: Apache-2.0
// GetAll and GetOrLoadAll: what one call answers, loads and stores.
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/bulk_fixture.h"

namespace larder::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;

using Answers = std::map<uint64_t, Result>;

class BulkTest : public BulkFixture {};

// A range whose elements are made as it goes, by make(0), make(1) ...
template <class Make>
struct MadeKeys {
  MadeKeys(size_t number, Make given) : size(number), make(std::move(given)) {}
  struct Iterator {
    using value_type = std::invoke_result_t<const Make&, size_t>;
    using difference_type = std::ptrdiff_t;
    value_type operator*() const { return (*make)(index); }
    Iterator& operator++() {
      ++index;
      return *this;
    }
    void operator++(int) { ++index; }
    bool operator==(const Iterator& other) const { return index == other.index; }
    const Make* make;
    size_t index;
  };
  Iterator begin() const { return {&make, 0}; }
  Iterator end() const { return {&make, size}; }

  size_t size;
  Make make;
};

// --- GetAll.

TEST_F(BulkTest, GetAllAnswersInTheOrderOfTheKeysAndCountsEach) {
  IntCache& cache = Make<IntCache>(Options());
  ASSERT_TRUE(cache.Put(1, 10).ok());
  ASSERT_TRUE(cache.Put(3, 30).ok());
  EXPECT_THAT(cache.GetAll(Keys{3, 2, 1, 3}),
              ElementsAre(Optional(30u), std::nullopt, Optional(10u), Optional(30u)));
  EXPECT_EQ(cache.Stats().hits, 3u);
  EXPECT_EQ(cache.Stats().misses, 1u);
  EXPECT_THAT(cache.GetAll(Keys{}), IsEmpty());
}

TEST_F(BulkTest, KeysMayBeAnyRangeOfWhatFindsThem) {
  using Names = Cache<std::string, int>;
  Names& cache = Make<Names>(100);
  ASSERT_TRUE(cache.Put("a", 1).ok());
  const auto none = [](const std::vector<std::string>&) {
    return absl::StatusOr<std::map<std::string, int>>(std::map<std::string, int>());
  };
  const std::vector<std::string_view> views = {"a"};
  const std::set<std::string> ordered = {"a"};
  const char* const literals[] = {"a"};
  const MadeKeys made(1, [](size_t) { return std::string("a"); });
  const auto found = ElementsAre(Optional(1));
  EXPECT_THAT(cache.GetAll(views), found);
  EXPECT_THAT(cache.GetAll(std::span(views)), found);
  EXPECT_THAT(cache.GetAll(ordered), found);
  EXPECT_THAT(cache.GetAll(literals), found);
  EXPECT_THAT(cache.GetAll(made), found);
  EXPECT_EQ(*cache.GetOrLoadAll(views, none)[0], 1);
  EXPECT_EQ(*cache.GetOrLoadAll(std::span(views), none)[0], 1);
  EXPECT_EQ(*cache.GetOrLoadAll(ordered, none)[0], 1);
  EXPECT_EQ(*cache.GetOrLoadAll(literals, none)[0], 1);
  EXPECT_EQ(*cache.GetOrLoadAll(made, none)[0], 1);
}

// --- What is loaded.

TEST_F(BulkTest, OneCallLoadsWhatIsMissing) {
  IntCache& cache = Make<IntCache>(Options());
  ASSERT_TRUE(cache.Put(2, 22).ok());
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{3, 2, 1}, TenTimes())), ElementsAre("30", "22", "10"));
  EXPECT_THAT(calls_, ElementsAre(Keys{3, 1}));
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes())), ElementsAre("10", "22", "30"));
  EXPECT_EQ(calls_.size(), 1u);
  const CacheStats stats = cache.Stats();
  EXPECT_EQ(stats.hits, 4u);
  EXPECT_EQ(stats.misses, 2u);
  EXPECT_EQ(stats.loads, 1u);
  EXPECT_EQ(stats.load_failures, 0u);
  EXPECT_EQ(stats.puts, 3u);
}

TEST_F(BulkTest, NothingIsCalledForNoKeys) {
  IntCache& cache = Make<IntCache>(Options());
  EXPECT_THAT(cache.GetOrLoadAll(Keys{}, TenTimes()), IsEmpty());
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(BulkTest, AKeyThatIsAskedForTwiceIsLoadedOnce) {
  IntCache& cache = Make<IntCache>(Options());
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 1, 1}, TenTimes())),
              ElementsAre("10", "20", "10", "10"));
  EXPECT_THAT(calls_, ElementsAre(Keys{1, 2}));
  EXPECT_EQ(cache.Stats().joined, 0u);
}

TEST_F(BulkTest, WhatTheLoaderDoesNotReturnIsNotFoundAndRemembered) {
  auto options = Options();
  options.negative_ttl = absl::Seconds(5);
  IntCache& cache = Make<IntCache>(options);
  missing_ = {2};
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "NOT_FOUND"));
  missing_ = {};
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 2}, TenTimes())),
              ElementsAre("10", "NOT_FOUND", "NOT_FOUND"));
  EXPECT_EQ(calls_.size(), 1u);
  EXPECT_EQ(cache.Stats().negative_hits, 2u);
  clock_.Advance(absl::Seconds(5));
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "20"));
}

TEST_F(BulkTest, WhatWasNotAskedForIsIgnored) {
  IntCache& cache = Make<IntCache>(Options());
  const auto generous = [](const Keys&) -> absl::StatusOr<Values> {
    return Values{{1, 10}, {2, 20}, {3, 30}};
  };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{2}, generous)), ElementsAre("20"));
  EXPECT_EQ(cache.size(), 1u);
}

TEST_F(BulkTest, OfEqualKeysInAResultTheFirstCounts) {
  IntCache& cache = Make<IntCache>(Options());
  using Pairs = std::vector<std::pair<uint64_t, uint64_t>>;
  const auto twice = [](const Keys&) -> absl::StatusOr<Pairs> { return Pairs{{1, 10}, {1, 11}}; };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1}, twice)), ElementsAre("10"));
  EXPECT_EQ(cache.Get(1), 10u);
}

TEST_F(BulkTest, LoadersMayReturnAnyRangeOfPairsAndWhatALoaderMay) {
  IntCache& cache = Make<IntCache>(Options());
  using LoadedValue = Loaded<uint64_t>;
  using Unordered = std::unordered_map<uint64_t, uint64_t>;
  const auto unordered = [](const Keys&) -> absl::StatusOr<Unordered> {
    return Unordered{{1, 10}};
  };
  EXPECT_EQ(*cache.GetOrLoadAll(Keys{1}, unordered)[0], 10u);
  EXPECT_EQ(*cache.GetOrLoadAll(
                Keys{2},
                [](const Keys&) -> absl::StatusOr<std::vector<std::pair<uint64_t, LoadedValue>>> {
                  return std::vector<std::pair<uint64_t, LoadedValue>>{
                      {2, {.value = 20, .ttl = absl::Seconds(1)}}};
                })[0],
            20u);
  EXPECT_EQ(*cache.GetOrLoadAll(
                Keys{3},
                [](const Keys&) -> absl::StatusOr<std::map<uint64_t, absl::StatusOr<LoadedValue>>> {
                  std::map<uint64_t, absl::StatusOr<LoadedValue>> loaded;
                  loaded.emplace(3, LoadedValue{.value = 30});
                  return loaded;
                })[0],
            30u);
  // Called where it is, a loader needn't be copied.
  EXPECT_EQ(*cache.GetOrLoadAll(
                Keys{4},
                [owned = std::make_unique<uint64_t>(40)](const Keys&) -> absl::StatusOr<Values> {
                  return Values{{4, *owned}};
                })[0],
            40u);
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(cache.GetAll(Keys{1, 2, 3, 4}),
              ElementsAre(Optional(10u), std::nullopt, Optional(30u), Optional(40u)));
}

TEST_F(BulkTest, TheValueThatIsReturnedIsTheOneThatIsStored) {
  using Sharers = Cache<uint64_t, std::shared_ptr<const std::string>>;
  Sharers& cache = Make<Sharers>(100);
  const auto results = cache.GetOrLoadAll(Keys{1, 2}, [](const Keys& keys) {
    std::map<uint64_t, std::shared_ptr<const std::string>> values;
    for (const uint64_t key : keys) values[key] = std::make_shared<std::string>(absl::StrCat(key));
    return absl::StatusOr<std::map<uint64_t, std::shared_ptr<const std::string>>>(values);
  });
  EXPECT_EQ(**results[1], "2");
  EXPECT_EQ(results[1]->get(), cache.Get(2)->get());
}

// --- Errors.

TEST_F(BulkTest, AnErrorOfOneKeyIsThatKeysAlone) {
  IntCache& cache = Make<IntCache>(Options());
  const auto loader = [](const Keys&) -> absl::StatusOr<Answers> {
    return Answers{{1, 10u}, {2, absl::DataLossError("torn")}, {3, absl::NotFoundError("gone")}};
  };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, loader)),
              ElementsAre("10", "DATA_LOSS", "NOT_FOUND"));
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.Stats().load_failures, 0u) << "the call itself was answered";
}

TEST_F(BulkTest, AnErrorOfTheCallIsThatOfAllKeysThatItWasToLoad) {
  IntCache& cache = Make<IntCache>(Options());
  ASSERT_TRUE(cache.Put(2, 22).ok());
  status_ = absl::UnavailableError("no such luck");
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes())),
              ElementsAre("UNAVAILABLE", "22", "UNAVAILABLE"));
  EXPECT_EQ(cache.Stats().load_failures, 1u);
  status_ = absl::OkStatus();
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes())), ElementsAre("10", "22", "30"));
}

TEST_F(BulkTest, WhereTheCallFailsKeysWithAStaleValueAreAnsweredByThat) {
  auto options = Options();
  options.ttl = absl::Seconds(10);
  options.stale_if_error = absl::Seconds(10);
  IntCache& cache = Make<IntCache>(options);
  ASSERT_TRUE(cache.Put(1, 11).ok());
  clock_.Advance(absl::Seconds(15));
  status_ = absl::UnavailableError("no such luck");
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("11", "UNAVAILABLE"));
  EXPECT_EQ(cache.Stats().stale, 1u);
  // The stale one isn't tried again for a while; the other is.
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("11", "UNAVAILABLE"));
  EXPECT_THAT(calls_, ElementsAre(Keys{1, 2}, Keys{2}));
}

TEST_F(BulkTest, NotFoundOfTheCallIsAnAnswerForEachKey) {
  auto options = Options();
  options.negative_ttl = absl::Seconds(5);
  IntCache& cache = Make<IntCache>(options);
  status_ = absl::NotFoundError("none of them");
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())),
              ElementsAre("NOT_FOUND", "NOT_FOUND"));
  EXPECT_EQ(cache.Stats().load_failures, 0u);
  EXPECT_TRUE(absl::IsNotFound(cache.GetOrLoad(1, [](uint64_t) -> Result { return 1; }).status()));
}

TEST_F(BulkTest, OptionsThatAreInvalidFailWhatIsNotThere) {
  IntCache& cache = Make<IntCache>(Options());
  ASSERT_TRUE(cache.Put(2, 22).ok());
  EXPECT_THAT(
      Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes(), LoadOptions{.ttl = absl::ZeroDuration()})),
      ElementsAre("INVALID_ARGUMENT", "22"));
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(BulkTest, WhatALoaderThrowsReachesItsCallerAndNoFlightIsLeft) {
  IntCache& cache = Make<IntCache>(Options());
  const auto throws = [](const Keys&) -> absl::StatusOr<Values> {
    throw std::runtime_error("no such luck");
  };
  EXPECT_THROW(cache.GetOrLoadAll(Keys{1, 2}, throws), std::runtime_error);
  EXPECT_EQ(cache.Stats().load_failures, 1u);
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, TenTimes())), ElementsAre("10", "20"));
}

TEST_F(BulkTest, WhatAListenerThrowsForOneKeyDoesNotKeepTheOthersFromLanding) {
  auto options = Options();
  options.capacity = 1;
  options.on_removal = [](uint64_t, uint64_t, RemovalCause) { throw std::runtime_error("no"); };
  IntCache& cache = Make<IntCache>(options);
  // Each that is stored removes its predecessor.
  EXPECT_THROW(cache.GetOrLoadAll(Keys{1, 2, 3}, TenTimes()), std::runtime_error);
  EXPECT_EQ(cache.Stats().puts, 3u);
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{3}, TenTimes())), ElementsAre("30"));
}

TEST_F(BulkTest, WhatARangeOfKeysThrowsReachesTheCaller) {
  IntCache& cache = Make<IntCache>(Options());
  const Keys keys = {1, 2, 3};
  const auto two_keys = [&keys](size_t i) {
    return i < 2 ? keys[i] : throw std::runtime_error("no more");
  };
  EXPECT_THROW(cache.GetOrLoadAll(MadeKeys(3, two_keys), TenTimes()), std::runtime_error);
  EXPECT_THAT(calls_, IsEmpty());
  EXPECT_THAT(Seen(cache.GetOrLoadAll(keys, TenTimes())), ElementsAre("10", "20", "30"));
}

TEST_F(BulkTest, ALoaderThatAsksForItsOwnKeysIsRefused) {
  IntCache& cache = Make<IntCache>(Options());
  std::vector<std::string> inner;
  const auto asks = [&](const Keys& keys) -> absl::StatusOr<Values> {
    inner = Seen(cache.GetOrLoadAll(Keys{1, 7, 2}, TenTimes()));
    const Result single = cache.GetOrLoad(2, [](uint64_t) -> Result { return 1; });
    inner.push_back(absl::StatusCodeToString(single.status().code()));
    return TenTimes()(keys);
  };
  EXPECT_THAT(Seen(cache.GetOrLoadAll(Keys{1, 2}, asks)), ElementsAre("10", "20"));
  EXPECT_THAT(inner, ElementsAre("FAILED_PRECONDITION", "70", "FAILED_PRECONDITION",
                                 "FAILED_PRECONDITION"));
}

TEST_F(BulkTest, AKeyThatIsChangedMeanwhileIsReturnedButNotStored) {
  IntCache& cache = Make<IntCache>(Options());
  const auto results = cache.GetOrLoadAll(Keys{1, 2, 3}, [&](const Keys& keys) {
    EXPECT_TRUE(cache.Put(1, 11).ok());
    EXPECT_FALSE(cache.Erase(2));
    return TenTimes()(keys);
  });
  EXPECT_THAT(Seen(results), ElementsAre("10", "20", "30"));
  EXPECT_THAT(cache.GetAll(Keys{1, 2, 3}), ElementsAre(Optional(11u), std::nullopt, Optional(30u)));
}

}  // namespace
}  // namespace larder::test
