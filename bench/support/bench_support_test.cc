// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks measure with has to be right before their figures can be.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/delay_relay.h"
#include "bench/support/distributions.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/mutex_list_lru.h"
#include "bench/support/progress.h"
#include "bench/support/requests.h"
#include "bench/support/slow_database.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/text_table.h"
#include "bench/support/zipf.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_server.h"

namespace larder::bench {
namespace {

TEST(PercentileTest, IsTheNearestRank) {
  const std::vector<float> sorted = {10, 20, 30, 40, 50};
  EXPECT_EQ(Percentile(sorted, 0), 10);
  EXPECT_EQ(Percentile(sorted, 0.05), 10);
  EXPECT_EQ(Percentile(sorted, 0.2), 10);
  EXPECT_EQ(Percentile(sorted, 0.21), 20);
  EXPECT_EQ(Percentile(sorted, 0.3), 20);
  EXPECT_EQ(Percentile(sorted, 0.4), 20);
  EXPECT_EQ(Percentile(sorted, 0.5), 30);
  EXPECT_EQ(Percentile(sorted, 0.99), 50);
  EXPECT_EQ(Percentile(sorted, 1), 50);
}

TEST(PercentileTest, WholeRanksDoNotHangOnRounding) {
  std::vector<float> sorted(1000);
  std::iota(sorted.begin(), sorted.end(), 1.0f);
  for (int per_mille = 1; per_mille <= 1000; ++per_mille) {
    EXPECT_EQ(Percentile(sorted, per_mille / 1000.0), per_mille);
  }
}

TEST(PercentileTest, OfOneSampleIsThatSampleAndOfNoneZero) {
  const std::vector<float> one = {7};
  EXPECT_EQ(Percentile(one, 0), 7);
  EXPECT_EQ(Percentile(one, 0.999), 7);
  EXPECT_EQ(Percentile({}, 0.5), 0);
}

TEST(PercentileTest, ShareOutsideOfTheRangeIsTakenAsItsNearestEnd) {
  const std::vector<float> sorted = {1, 2, 3};
  EXPECT_EQ(Percentile(sorted, -1), 1);
  EXPECT_EQ(Percentile(sorted, 2), 3);
}

TEST(LatencyRecorderTest, SummarizesSamplesInAnyOrder) {
  LatencyRecorder odd, even;
  for (int i = 999; i > 0; i -= 2) odd.Record(i);
  for (int i = 2; i <= 1000; i += 2) even.Record(i);
  odd.Merge(even);
  const LatencySummary summary = odd.Summarize();
  EXPECT_EQ(summary.samples, 1000u);
  EXPECT_DOUBLE_EQ(summary.mean, 500.5);
  EXPECT_EQ(summary.min, 1);
  EXPECT_EQ(summary.p50, 500);
  EXPECT_EQ(summary.p95, 950);
  EXPECT_EQ(summary.p99, 990);
  EXPECT_EQ(summary.p999, 999);
  EXPECT_EQ(summary.p9999, 1000);
  EXPECT_EQ(summary.max, 1000);
}

TEST(LatencyRecorderTest, OfNoSamplesEverythingIsZero) {
  const LatencyRecorder recorder;
  EXPECT_EQ(recorder.Summarize().samples, 0u);
  EXPECT_EQ(recorder.Summarize().p99, 0);
  EXPECT_TRUE(recorder.Quantiles(10).empty());
}

TEST(LatencyRecorderTest, QuantilesRunFromTheMinimumToTheMaximum) {
  LatencyRecorder recorder;
  for (int i = 1; i <= 10'000; ++i) recorder.Record(i);
  const std::vector<QuantilePoint> points = recorder.Quantiles(100);
  ASSERT_FALSE(points.empty());
  EXPECT_EQ(points.front().nanos, 1);
  EXPECT_EQ(points.back().nanos, 10'000);
  EXPECT_EQ(points.back().quantile, 1);
  EXPECT_TRUE(std::is_sorted(
      points.begin(), points.end(),
      [](const QuantilePoint& a, const QuantilePoint& b) { return a.quantile < b.quantile; }));
  for (const QuantilePoint& point : points) {
    EXPECT_NEAR(point.nanos, point.quantile * 10'000, 1.0 + 1e-3) << point.quantile;
  }
}

TEST(LatencyRecorderTest, QuantilesOfVeryFewSamplesStayInRange) {
  LatencyRecorder recorder;
  for (int i = 1; i <= 3; ++i) {
    recorder.Record(i);
    for (const QuantilePoint& point : recorder.Quantiles(20)) {
      EXPECT_GE(point.nanos, 1);
      EXPECT_LE(point.nanos, i);
      EXPECT_LE(point.quantile, 1);
    }
  }
}

TEST(CycleTimerTest, KnowsItsRateAndItsCost) {
  const CycleTimer& timer = CycleTimer::Get();
  EXPECT_GT(timer.CostNanos(), 0);
  EXPECT_GT(timer.ResolutionNanos(), 0);
  const uint64_t start = timer.Start();
  EXPECT_GE(timer.Stop(), start);
  EXPECT_DOUBLE_EQ(timer.ToNanos(10), 10 * timer.ToNanos(1));
}

TEST(ZipfTest, KeysAreDrawnAsOftenAsTheirRankSays) {
  constexpr uint32_t kKeys = 100;
  constexpr size_t kDraws = 1'000'000;
  std::map<uint32_t, size_t> drawn;
  for (const uint32_t key : ZipfKeys(kKeys, 0.99, kDraws, 1)) {
    ASSERT_LT(key, kKeys);
    ++drawn[key];
  }
  std::vector<size_t> counts;
  for (const auto& [key, count] : drawn) counts.push_back(count);
  std::sort(counts.rbegin(), counts.rend());
  ASSERT_EQ(counts.size(), kKeys);
  double total = 0;
  for (uint32_t rank = 1; rank <= kKeys; ++rank) total += std::pow(rank, -0.99);
  for (const uint32_t rank : {1u, 2u, 3u, 10u, 50u}) {
    const double expected = kDraws * std::pow(rank, -0.99) / total;
    // Four standard deviations of a binomial count, and what sorting the counts may add.
    EXPECT_NEAR(static_cast<double>(counts[rank - 1]), expected, 6 * std::sqrt(expected)) << rank;
  }
}

TEST(ZipfTest, TheSeedDecidesTheSequence) {
  EXPECT_EQ(ZipfKeys(1000, 0.99, 100, 1), ZipfKeys(1000, 0.99, 100, 1));
  EXPECT_NE(ZipfKeys(1000, 0.99, 100, 1), ZipfKeys(1000, 0.99, 100, 2));
  // A longer sequence begins as the shorter one does.
  const std::vector<uint32_t> longer = ZipfKeys(1000, 0.99, 200, 1);
  EXPECT_TRUE(
      std::equal(longer.begin(), longer.begin() + 100, ZipfKeys(1000, 0.99, 100, 1).begin()));
}

TEST(ZipfTest, OneKeyIsAlwaysDrawn) {
  EXPECT_EQ(ZipfKeys(1, 0.99, 3, 1), (std::vector<uint32_t>{0, 0, 0}));
}

TEST(UniformKeysTest, CoverTheirRangeEvenly) {
  std::array<size_t, 10> drawn = {};
  for (const uint32_t key : UniformKeys(10, 100'000, 1)) ++drawn.at(key);
  for (const size_t count : drawn) EXPECT_NEAR(static_cast<double>(count), 10'000, 600);
}

TEST(MutexListLruTest, EvictsTheLeastRecentlyUsed) {
  MutexListLru<int, std::string> cache(2);
  cache.Put(1, "one");
  cache.Put(2, "two");
  EXPECT_EQ(cache.Get(1), "one");
  cache.Put(3, "three");
  EXPECT_EQ(cache.Get(2), std::nullopt);
  EXPECT_EQ(cache.Get(1), "one");
  EXPECT_EQ(cache.Get(3), "three");
  cache.Put(1, "ONE");
  cache.Put(4, "four");
  EXPECT_EQ(cache.Get(1), "ONE");
  EXPECT_EQ(cache.Get(3), std::nullopt);
  EXPECT_EQ(cache.size(), 2u);
}

TEST(SlowDatabaseTest, AnswersWithItsRows) {
  const TemporaryFolder folder;
  absl::StatusOr<std::unique_ptr<SlowDatabase>> database =
      SlowDatabase::Create(folder.File("products.sqlite3"), 3, 1);
  ASSERT_TRUE(database.ok()) << database.status();
  const absl::StatusOr<std::string> row = (*database)->Query(2);
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_EQ(*row, SlowDatabase::ExpectedRow(2));
  EXPECT_TRUE(absl::IsNotFound((*database)->Query(3).status()));
  EXPECT_EQ((*database)->queries(), 2u);
}

TEST(SlowDatabaseTest, SaysWhyItCannotBeMade) {
  const absl::StatusOr<std::unique_ptr<SlowDatabase>> database =
      SlowDatabase::Create("/nonexistent/folder/products.sqlite3", 1, 1);
  EXPECT_TRUE(absl::IsUnavailable(database.status())) << database.status();
  EXPECT_NE(database.status().message().find("/nonexistent/folder"), std::string::npos);
}

TEST(SendRequestsTest, SendsEachOnceAndTellsWhoAnswered) {
  std::vector<uint32_t> products(1000);
  std::iota(products.begin(), products.end(), 0u);
  std::vector<std::atomic<int>> asked(products.size());
  Stage stage("test", "1,000 requests", products.size());
  const absl::StatusOr<RequestResults> results = SendRequests(
      products, 8,
      [&](uint32_t product, Source* source) -> absl::StatusOr<std::string> {
        asked[product].fetch_add(1);
        *source = product % 4 == 0 ? Source::kMemory : Source::kDatabase;
        return SlowDatabase::ExpectedRow(product);
      },
      stage);
  ASSERT_TRUE(results.ok()) << results.status();
  for (const std::atomic<int>& times : asked) EXPECT_EQ(times, 1);
  EXPECT_EQ(results->requests(), 1000u);
  EXPECT_EQ(results->From(Source::kMemory), 250u);
  EXPECT_EQ(results->From(Source::kDatabase), 750u);
  EXPECT_EQ(results->cached.size(), 250u);
}

TEST(SendRequestsTest, EndsWithTheFirstErrorOrWrongAnswer) {
  const std::vector<uint32_t> products(100, 7);
  Stage stage("test", "requests that fail", products.size());
  const auto fails = [](uint32_t, Source*) -> absl::StatusOr<std::string> {
    return absl::UnavailableError("gone");
  };
  EXPECT_TRUE(absl::IsUnavailable(SendRequests(products, 2, fails, stage).status()));
  const auto lies = [](uint32_t, Source*) -> absl::StatusOr<std::string> { return "something"; };
  EXPECT_TRUE(absl::IsInternal(SendRequests(products, 2, lies, stage).status()));
}

TEST(DelayRelayTest, PassesAllBytesOn) {
  absl::StatusOr<std::unique_ptr<test::RedisServer>> server =
      test::RedisServer::Start({.tcp = true, .arguments = {}});
  ASSERT_TRUE(server.ok()) << server.status();
  absl::StatusOr<std::unique_ptr<DelayRelay>> relay =
      DelayRelay::Start((*server)->port(), absl::Microseconds(100));
  ASSERT_TRUE(relay.ok()) << relay.status();
  RedisOptions options;
  options.host = "127.0.0.1";
  options.port = (*relay)->port();
  absl::StatusOr<std::unique_ptr<RedisTier>> redis = RedisTier::Create(options);
  ASSERT_TRUE(redis.ok()) << redis.status();
  // Larger than sockets take at once, in both directions, and by several connections.
  std::string large(4 << 20, 'x');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761u >> 13);
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, key = absl::StrCat("key", i)] {
      const absl::Duration patience = absl::Seconds(30);
      EXPECT_TRUE((*redis)->Set(key, large + key, absl::InfiniteDuration(), patience).ok());
      const absl::StatusOr<std::optional<std::string>> got = (*redis)->Get(key, patience);
      EXPECT_TRUE(got.ok() && *got == large + key) << got.status();
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST(DelayRelayTest, ClosesConnectionsWhoseTargetIsGone) {
  absl::StatusOr<std::unique_ptr<test::RedisServer>> server =
      test::RedisServer::Start({.tcp = true, .arguments = {}});
  ASSERT_TRUE(server.ok()) << server.status();
  absl::StatusOr<std::unique_ptr<DelayRelay>> relay =
      DelayRelay::Start((*server)->port(), absl::ZeroDuration());
  ASSERT_TRUE(relay.ok()) << relay.status();
  RedisOptions options;
  options.host = "127.0.0.1";
  options.port = (*relay)->port();
  absl::StatusOr<std::unique_ptr<RedisTier>> redis = RedisTier::Create(options);
  ASSERT_TRUE(redis.ok()) << redis.status();
  EXPECT_TRUE((*redis)->Ping(absl::Seconds(30)).ok());
  (*server)->Kill();
  EXPECT_TRUE(absl::IsUnavailable((*redis)->Ping(absl::Seconds(30))));
}

TEST(DistributionsTest, AreWrittenAsJson) {
  const TemporaryFolder folder;
  LatencyRecorder recorder;
  recorder.Record(5);
  Distributions distributions;
  distributions.Add("BM_Some/thing", recorder);
  ASSERT_TRUE(distributions.WriteJson(folder.File("out.json")).ok());
  std::stringstream text;
  text << std::ifstream(folder.File("out.json")).rdbuf();
  EXPECT_NE(text.str().find("\"BM_Some/thing\": {\"samples\": 1, \"quantiles\": [[0.0000000, 5.0]"),
            std::string::npos)
      << text.str();
  EXPECT_TRUE(absl::IsUnavailable(distributions.WriteJson("/nonexistent/out.json")));
}

TEST(TextTableTest, LinesUpWhatIsWiderThanItsBytes) {
  TextTable table;
  table.AddRow({"from", "p50"});
  table.AddRow({"memory", "83 ns"});
  table.AddRow({"Redis", "7.20 µs"});
  table.AddNote("database", "not there, and a long reason why");
  EXPECT_EQ(table.Format(),
            "  from          p50\n"
            "  ─────────────────\n"
            "  memory      83 ns\n"
            "  Redis     7.20 µs\n"
            "  database  not there, and a long reason why\n");
}

TEST(TextTableTest, FormatsFigures) {
  EXPECT_EQ(FormatNanos(83.4), "83 ns");
  EXPECT_EQ(FormatNanos(1073), "1.07 µs");
  EXPECT_EQ(FormatNanos(15'400), "15.4 µs");
  EXPECT_EQ(FormatNanos(999'400), "999 µs");
  EXPECT_EQ(FormatNanos(125e6), "125 ms");
  EXPECT_EQ(FormatNanos(2.5e9), "2.50 s");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999.6), "1,000");
  EXPECT_EQ(FormatCount(-1234567), "-1,234,567");
  EXPECT_EQ(FormatRatio(3.24), "3.2 ×");
  EXPECT_EQ(FormatRatio(41.3), "41 ×");
  EXPECT_EQ(FormatRatio(1'528'123), "1,530,000 ×");
}

}  // namespace
}  // namespace larder::bench
