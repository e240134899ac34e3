// SPDX-License-Identifier: Apache-2.0
// What Cache::SaveSnapshot and LoadSnapshot keep of entries, and what can go wrong.
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/snapshot.h"
#include "tests/support/manual_executor.h"
#include "tests/support/snapshot_fixture.h"

namespace larder {
namespace test {
namespace {

// A number that some codecs refuse.
struct Picky {
  uint64_t number = 0;
};
constexpr uint64_t kNotEncoded = 1000;
constexpr uint64_t kThrownAtEncoding = 1001;
constexpr uint64_t kNotDecoded = 1002;
constexpr uint64_t kThrownAtDecoding = 1003;

}  // namespace
}  // namespace test

template <>
struct Codec<test::Picky> {
  static std::string Schema() { return "Picky/1"; }
  static absl::Status Encode(const test::Picky& value, std::string* out) {
    if (value.number == test::kNotEncoded) return absl::UnimplementedError("too picky");
    if (value.number == test::kThrownAtEncoding) throw std::runtime_error("encoding");
    Codec<uint64_t>::Encode(value.number, out);
    return absl::OkStatus();
  }
  static bool Decode(std::string_view bytes, test::Picky* value) {
    if (!Codec<uint64_t>::Decode(bytes, &value->number)) return false;
    if (value->number == test::kThrownAtDecoding) throw std::runtime_error("decoding");
    return value->number != test::kNotDecoded;
  }
};

namespace test {
namespace {

using Texts = Cache<std::string, std::string>;
using Contents = std::map<std::string, std::string>;

// --- Times.

TEST_F(CacheSnapshotTest, TimesToLiveGoOnByTheWallClock) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("short", "1", {.ttl = absl::Minutes(5)}).ok());
  ASSERT_TRUE(before.Put("long", "2", {.ttl = absl::Minutes(20)}).ok());
  ASSERT_TRUE(before.Put("endless", "3").ok());
  Pass(absl::Minutes(2));
  ASSERT_TRUE(Save(before).ok());

  // The next process's clock has nothing to do with this one's.
  clock_.SetNanos(17);
  wall_ += absl::Minutes(1);
  auto options = OptionsFor<Texts>(100);
  options.ttl = absl::Seconds(1);  // of new entries only
  options.ttl_jitter = 1;
  auto& after = Make<Texts>(options);
  ASSERT_EQ(Load(after)->entries, 3u);
  Pass(absl::Minutes(2) - absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("short"), "1");
  Pass(absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("short"), std::nullopt);
  Pass(absl::Minutes(15) - absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("long"), "2");
  Pass(absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("long"), std::nullopt);
  Pass(absl::Hours(1000));
  EXPECT_EQ(after.Get("endless"), "3");
}

TEST_F(CacheSnapshotTest, WhatExpiredMeanwhileIsLeftOut) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("gone", "1", {.ttl = absl::Seconds(1)}).ok());
  ASSERT_TRUE(before.Put("short", "2", {.ttl = absl::Minutes(5)}).ok());
  ASSERT_TRUE(before.Put("long", "3", {.ttl = absl::Minutes(20)}).ok());
  Pass(absl::Minutes(2));
  EXPECT_EQ(Save(before)->entries, 2u);
  wall_ += absl::Minutes(3);
  auto& after = Make<Texts>(100);
  const SnapshotInfo info = Load(after).value();
  EXPECT_EQ(info.entries, 1u);
  EXPECT_EQ(info.expired, 1u);
  EXPECT_EQ(ContentsOf(after), (Contents{{"long", "3"}}));
}

TEST_F(CacheSnapshotTest, AWallClockThatWentBackProlongsNothing) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("a", "1", {.ttl = absl::Minutes(5)}).ok());
  ASSERT_TRUE(Save(before).ok());
  wall_ -= absl::Hours(24);
  auto& after = Make<Texts>(100);
  ASSERT_EQ(Load(after)->entries, 1u);
  Pass(absl::Minutes(5) - absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("a"), "1");
  Pass(absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("a"), std::nullopt);
}

TEST_F(CacheSnapshotTest, IdleTimesGoOnAndStartAnewWithEachHit) {
  auto& before = Make<Texts>(100);
  const PutOptions options{.ttl = absl::Minutes(30), .idle_ttl = absl::Minutes(10)};
  for (const char* key : {"idle", "hit", "later"}) ASSERT_TRUE(before.Put(key, "1", options).ok());
  Pass(absl::Minutes(5));
  before.Get("later");
  ASSERT_TRUE(Save(before).ok());
  wall_ += absl::Minutes(4);
  auto& after = Make<Texts>(100);
  ASSERT_EQ(Load(after)->entries, 3u);
  EXPECT_EQ(after.Get("hit"), "1");
  Pass(absl::Minutes(1));
  EXPECT_EQ(after.Get("idle"), std::nullopt);
  EXPECT_EQ(after.Get("later"), "1");
  Pass(absl::Minutes(9) - absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("hit"), "1");
  Pass(absl::Minutes(10) - absl::Nanoseconds(1));
  EXPECT_EQ(after.Get("hit"), "1");
  // The ttl of the write: 5 minutes before the snapshot, 4 between, and 20 since.
  Pass(absl::Minutes(1) + absl::Nanoseconds(2));
  EXPECT_EQ(after.Get("hit"), std::nullopt);
}

TEST_F(CacheSnapshotTest, OnTheProcessesClocks) {
  Texts::Options options;
  options.capacity = 10;
  auto& before = Make<Texts>(options);
  ASSERT_TRUE(before.Put("a", "1", {.ttl = absl::Hours(1)}).ok());
  ASSERT_TRUE(before.Put("b", "2", {.idle_ttl = absl::Hours(1)}).ok());
  SnapshotOptions snapshot;
  snapshot.file_system = &files_;
  ASSERT_EQ(before.SaveSnapshot(kPath, snapshot)->entries, 2u);
  auto& after = Make<Texts>(options);
  const SnapshotInfo info = after.LoadSnapshot(kPath, snapshot).value();
  EXPECT_EQ(info.entries, 2u);
  EXPECT_LT(absl::AbsDuration(info.saved_at - absl::Now()), absl::Hours(1));
  EXPECT_EQ(ContentsOf(after), ContentsOf(before));
}

// --- What else entries have.

TEST_F(CacheSnapshotTest, WeightsComeBack) {
  auto options = OptionsFor<Texts>(1000);
  options.weigher = [](const std::string&, const std::string& value) { return value.size(); };
  auto& before = Make<Texts>(options);
  ASSERT_TRUE(before.Put("weighed", std::string(100, 'w')).ok());
  ASSERT_TRUE(before.Put("given", "g", {.weight = 300}).ok());
  ASSERT_TRUE(Save(before).ok());
  auto& same = Make<Texts>(options);
  ASSERT_TRUE(Load(same).ok());
  EXPECT_EQ(same.weight(), 400u);
  // What the weigher gave, the next one gives.
  options.weigher = [](const std::string&, const std::string&) { return 2; };
  auto& other = Make<Texts>(options);
  ASSERT_TRUE(Load(other).ok());
  EXPECT_EQ(other.weight(), 302u);
}

TEST_F(CacheSnapshotTest, TagsComeBackAndPrefixesAreThoseOfTheCache) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("user:1", "1", {.tags = {"red", "blue"}}).ok());
  ASSERT_TRUE(before.Put("user:2", "2", {.tags = {"blue"}}).ok());
  ASSERT_TRUE(before.Put("user:3", "3", {.tags = {"gone"}}).ok());
  ASSERT_TRUE(before.Put("item:4", "4").ok());
  before.InvalidateTag("gone");
  ASSERT_EQ(Save(before)->entries, 3u);
  auto options = OptionsFor<Texts>(100);
  options.prefixes = {"item:"};
  auto& after = Make<Texts>(options);
  after.InvalidateTag("blue");  // before: what is loaded afterwards is another matter
  ASSERT_EQ(Load(after)->entries, 3u);
  EXPECT_EQ(ContentsOf(after).size(), 3u);
  after.InvalidateTag("red");
  EXPECT_EQ(ContentsOf(after), (Contents{{"user:2", "2"}, {"item:4", "4"}}));
  after.InvalidatePrefix("item:");
  EXPECT_EQ(ContentsOf(after), (Contents{{"user:2", "2"}}));
  after.InvalidateTag("blue");
  EXPECT_EQ(ContentsOf(after), Contents());
}

TEST_F(CacheSnapshotTest, StaleWindowsAgesAndRefreshesComeBack) {
  auto options = OptionsFor<Texts>(100);
  options.ttl = absl::Minutes(10);
  options.stale_if_error = absl::Minutes(5);
  options.refresh_after = RefreshAfter(absl::Minutes(4));
  auto& before = Make<Texts>(options);
  ASSERT_TRUE(before.Put("a", "old").ok());
  Pass(absl::Minutes(1));
  ASSERT_TRUE(Save(before).ok());
  wall_ += absl::Minutes(1);

  auto& after = Make<Texts>(options);
  ASSERT_EQ(Load(after)->entries, 1u);
  int loads = 0;
  const auto failing = [&](const std::string&) -> absl::StatusOr<std::string> {
    ++loads;
    return absl::UnavailableError("down");
  };
  const absl::StatusOr<LoadResult<std::string>> result = after.GetOrLoadResult("a", failing);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->age, absl::Minutes(2));
  EXPECT_EQ(loads, 0);
  // Past its expiry, within the window.
  Pass(absl::Minutes(12));
  EXPECT_EQ(after.Get("a"), std::nullopt);
  EXPECT_EQ(after.GetOrLoad("a", failing).value(), "old");
  EXPECT_EQ(loads, 1);
  Pass(absl::Minutes(2));
  EXPECT_TRUE(absl::IsUnavailable(after.GetOrLoad("a", failing).status()));
  // A stale entry is none to be saved.
  EXPECT_EQ(Save(after)->entries, 0u);
}

TEST_F(CacheSnapshotTest, ARefreshIsDueWhenItWouldHaveBeen) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(
      before
          .Put("a", "old", {.ttl = absl::Hours(1), .refresh_after = RefreshAfter(absl::Minutes(4))})
          .ok());
  Pass(absl::Minutes(1));
  ASSERT_TRUE(Save(before).ok());
  for (const absl::Duration down : {absl::Minutes(1), absl::Minutes(30)}) {
    const absl::Time stopped = wall_;
    wall_ += down;
    ManualExecutor executor;
    auto options = OptionsFor<Texts>(100);
    options.executor = &executor;
    auto& after = Make<Texts>(options);
    ASSERT_EQ(Load(after)->entries, 1u);
    const absl::Duration left = std::max(absl::ZeroDuration(), absl::Minutes(3) - down);
    const auto load = [](const std::string&) -> absl::StatusOr<std::string> { return "new"; };
    if (left > absl::ZeroDuration()) {
      Pass(left - absl::Nanoseconds(1));
      EXPECT_EQ(after.GetOrLoad("a", load).value(), "old");
      EXPECT_EQ(after.Stats().loads, 0u);
      Pass(absl::Nanoseconds(1));
    }
    EXPECT_EQ(after.GetOrLoad("a", load).value(), "old");
    EXPECT_EQ(executor.RunAll(), 1u);
    EXPECT_EQ(after.Get("a"), "new");
    End(after);
    wall_ = stopped;
  }
}

TEST_F(CacheSnapshotTest, KeysThatWereNotFoundAreNotSaved) {
  auto options = OptionsFor<Texts>(100);
  options.negative_ttl = absl::Hours(1);
  auto& before = Make<Texts>(options);
  const auto none = [](const std::string&) -> absl::StatusOr<std::string> {
    return absl::NotFoundError("none");
  };
  ASSERT_TRUE(absl::IsNotFound(before.GetOrLoad("a", none).status()));
  ASSERT_TRUE(before.Put("b", "1").ok());
  EXPECT_EQ(Save(before)->entries, 1u);
  // And one that isn't found now isn't replaced by what was there once.
  auto& after = Make<Texts>(options);
  ASSERT_TRUE(absl::IsNotFound(after.GetOrLoad("b", none).status()));
  EXPECT_EQ(Load(after)->present, 1u);
  EXPECT_EQ(after.Get("b"), std::nullopt);
}

// --- Into a cache that isn't like the one that was saved.

TEST_F(CacheSnapshotTest, WhatIsInTheCacheStays) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("a", "old").ok());
  ASSERT_TRUE(before.Put("b", "old").ok());
  ASSERT_TRUE(before.Put("c", "old").ok());
  ASSERT_TRUE(Save(before).ok());
  auto& after = Make<Texts>(100);
  ASSERT_TRUE(after.Put("a", "new").ok());
  ASSERT_TRUE(after.Put("b", "expired", {.ttl = absl::Seconds(1)}).ok());
  Pass(absl::Seconds(1));
  const SnapshotInfo info = Load(after).value();
  EXPECT_EQ(info.entries, 2u);
  EXPECT_EQ(info.present, 1u);
  EXPECT_EQ(ContentsOf(after), (Contents{{"a", "new"}, {"b", "old"}, {"c", "old"}}));
}

TEST_F(CacheSnapshotTest, ASmallerCacheKeepsTheMostRecent) {
  auto options = OptionsFor<Texts>(1000);
  auto& before = Make<Texts>(options);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(before.Put(absl::StrCat(i), "v", {.weight = i == 8 ? 500 : 10}).ok());
  }
  before.Get("2");
  ASSERT_TRUE(Save(before).ok());
  options.capacity = 55;
  uint64_t removals = 0;
  options.on_removal = [&](auto&, auto&, RemovalCause) { ++removals; };
  auto& after = Make<Texts>(options);
  ASSERT_TRUE(after.Put("mine", "v", {.weight = 15}).ok());
  const SnapshotInfo info = Load(after).value();
  EXPECT_EQ(info.entries, 4u);
  EXPECT_EQ(info.no_room, 6u);
  EXPECT_EQ(removals, 0u);
  EXPECT_EQ(ContentsOf(after),
            (Contents{{"2", "v"}, {"9", "v"}, {"7", "v"}, {"6", "v"}, {"mine", "v"}}));
}

TEST_F(CacheSnapshotTest, OnlyWantedKeysAreLoaded) {
  auto& before = Make<Texts>(100);
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(before.Put(key, "v").ok());
  ASSERT_TRUE(Save(before).ok());
  auto& after = Make<Texts>(100);
  const SnapshotInfo info =
      after.LoadSnapshot(kPath, Options(), [](const std::string& key) { return key != "b"; })
          .value();
  EXPECT_EQ(info.entries, 2u);
  EXPECT_EQ(info.refused, 1u);
  EXPECT_EQ(ContentsOf(after), (Contents{{"a", "v"}, {"c", "v"}}));
}

// A load brings something newer than a snapshot.
TEST_F(CacheSnapshotTest, ALoadThatIsUnderWayIsStoredOverIt) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("a", "old").ok());
  ASSERT_TRUE(Save(before).ok());
  auto& after = Make<Texts>(100);
  const auto loader = [&](const std::string&) -> absl::StatusOr<std::string> {
    EXPECT_EQ(Load(after)->entries, 1u);
    return "new";
  };
  EXPECT_EQ(after.GetOrLoad("a", loader).value(), "new");
  EXPECT_EQ(after.Get("a"), "new");
}

// --- What goes wrong.

TEST_F(CacheSnapshotTest, DamageAnywhereLeavesTheCacheAsItWas) {
  auto& before = Make<Texts>(100);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(before.Put(absl::StrCat(i), "v", {.ttl = absl::Hours(1), .tags = {"t"}}).ok());
  }
  ASSERT_TRUE(Save(before).ok());
  const std::string file = files_.Files().at(kPath);
  auto& after = Make<Texts>(100);
  ASSERT_TRUE(after.Put("mine", "v").ok());
  const auto expect_cold = [&](const std::string& damaged) {
    files_.SetFile(kPath, damaged);
    const absl::StatusOr<SnapshotInfo> info = Load(after);
    ASSERT_TRUE(absl::IsDataLoss(info.status())) << info.status();
    ASSERT_EQ(after.size(), 1u);
  };
  for (size_t i = 0; i < file.size(); ++i) {
    SCOPED_TRACE(i);
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    expect_cold(damaged);
    expect_cold(file.substr(0, i));
  }
  files_.SetFile(kPath, file);
  EXPECT_EQ(Load(after)->entries, 10u);
}

TEST_F(CacheSnapshotTest, OtherTypesAreRefused) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("a", "12345678").ok());
  ASSERT_TRUE(Save(before).ok());
  auto& after = Make<Cache<std::string, Picky>>(100);
  const absl::Status status = Load(after).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "'string'")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "'Picky/1'")) << status;
  EXPECT_EQ(after.size(), 0u);
  files_.SetFile(kPath, std::nullopt);
  EXPECT_TRUE(absl::IsNotFound(Load(after).status()));
}

TEST_F(CacheSnapshotTest, CodecsMayFailAndThrow) {
  using CacheT = Cache<std::string, Picky>;
  auto& before = Make<CacheT>(100);
  for (uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(before.Put(absl::StrCat(i), {i}).ok());
  ASSERT_TRUE(Save(before).ok());
  const std::string old = files_.Files().at(kPath);
  ASSERT_TRUE(before.Put("7", {kNotEncoded}).ok());
  const absl::Status status = Save(before).status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "too picky")) << status;
  ASSERT_TRUE(before.Put("7", {kThrownAtEncoding}).ok());
  EXPECT_THROW(static_cast<void>(Save(before)), std::runtime_error);
  EXPECT_EQ(files_.Files(), (std::map<std::string, std::string>{{kPath, old}}));

  auto& after = Make<CacheT>(100);
  ASSERT_TRUE(before.Put("7", {kNotDecoded}).ok());
  ASSERT_TRUE(Save(before).ok());
  EXPECT_TRUE(absl::IsDataLoss(Load(after).status())) << Load(after).status();
  ASSERT_TRUE(before.Put("7", {kThrownAtDecoding}).ok());
  ASSERT_TRUE(Save(before).ok());
  EXPECT_THROW(static_cast<void>(Load(after)), std::runtime_error);
  EXPECT_EQ(after.size(), 0u);
  files_.SetFile(kPath, old);
  EXPECT_EQ(Load(after)->entries, 20u);
}

TEST_F(CacheSnapshotTest, AFullDiskLeavesTheOlderSnapshot) {
  auto& before = Make<Texts>(100);
  ASSERT_TRUE(before.Put("a", "old").ok());
  ASSERT_TRUE(Save(before).ok());
  ASSERT_TRUE(before.Put("a", std::string(10'000, 'n')).ok());
  files_.LimitSpace(5000);
  EXPECT_TRUE(absl::IsResourceExhausted(Save(before).status()));
  files_.Heal();
  auto& after = Make<Texts>(100);
  ASSERT_TRUE(Load(after).ok());
  EXPECT_EQ(ContentsOf(after), (Contents{{"a", "old"}}));
  EXPECT_EQ(before.Get("a")->size(), 10'000u);
}

TEST_F(CacheSnapshotTest, AnEmptyCacheIsASnapshot) {
  auto& before = Make<Texts>(100);
  EXPECT_EQ(Save(before)->entries, 0u);
  auto& after = Make<Texts>(100);
  EXPECT_EQ(Load(after)->entries, 0u);
}

}  // namespace
}  // namespace test
}  // namespace larder
