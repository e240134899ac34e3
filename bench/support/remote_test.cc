// SPDX-License-Identifier: Apache-2.0
//
// What Redis as the shared tier is measured and told with.

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/child_process.h"
#include "bench/support/invalidation_delay.h"
#include "bench/support/outage_results.h"
#include "bench/support/product_stores.h"
#include "bench/support/redis_limit.h"
#include "bench/support/redis_outage.h"
#include "bench/support/redis_outage_results.h"
#include "bench/support/redis_throughput.h"
#include "bench/support/remote_table.h"
#include "bench/support/requests.h"
#include "bench/support/shared_tier_benchmarks.h"
#include "bench/support/slow_database.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"
#include "gtest/gtest.h"
#include "larder/remote_stats.h"

namespace larder::bench {
namespace {

using absl::Milliseconds;
using absl::Seconds;

TEST(ChildProcessTest, TalksInLines) {
  auto child = ChildProcess::Start({"cat"});
  ASSERT_TRUE(child.ok()) << child.status();
  for (const std::string line : {"one", "", "three"}) {
    ASSERT_EQ((*child)->WriteLine(line), absl::OkStatus());
    EXPECT_EQ((*child)->ReadLine().value(), line);
  }
}

TEST(ChildProcessTest, TellsHowAProgramEnded) {
  EXPECT_EQ(OutputOf({"echo", "a  b"}).value(), "a  b\n");
  EXPECT_TRUE(absl::IsInternal(OutputOf({"false"}).status()));
  EXPECT_TRUE(absl::IsNotFound(OutputOf({"larder-no-such-program"}).status()));
  auto child = ChildProcess::Start({"true"});
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_TRUE(absl::IsOutOfRange((*child)->ReadLine().status()));
  EXPECT_EQ((*child)->Wait(), absl::OkStatus());
}

TEST(RedisLimitTest, ReadsWhatAnyRedisBenchmarkWrites) {
  EXPECT_EQ(ParseRedisBenchmark("\"GET\",\"124999.99\"\n").value(), 124999.99);
  EXPECT_EQ(ParseRedisBenchmark("\"test\",\"rps\",\"avg_latency_ms\"\n"
                                "\"GET\",\"98765.43\",\"0.284\"\n")
                .value(),
            98765.43);
  for (const char* text :
       {"", "\"SET\",\"1.0\"", "\"GET\",\"", "\"GET\",\"inf?\"", "\"GET\",\"0\""}) {
    EXPECT_TRUE(absl::IsInternal(ParseRedisBenchmark(text).status())) << text;
  }
}

TEST(RedisLimitTest, NamesKeysAsRedisBenchmarkDoes) {
  EXPECT_EQ(LimitKey(0), "key:000000000000");
  EXPECT_EQ(LimitKey(9'999), "key:000000009999");
}

TEST(GetsPlanTest, HasAsManyGetsUnderWayAsRedisBenchmark) {
  std::set<std::string> names;
  for (const GetsPlan& plan : GetsPlans()) {
    EXPECT_TRUE(names.insert(plan.Benchmark()).second) << plan.Benchmark();
    EXPECT_EQ(plan.threads * plan.batch, plan.limit_clients * plan.limit_depth) << plan.Benchmark();
    EXPECT_EQ(plan.tiers, plan.limit_clients) << plan.Benchmark();
  }
  EXPECT_TRUE(names.contains("BM_Gets/shared/64"));
  EXPECT_TRUE(names.contains("BM_Gets/many/8"));
}

TEST(SharedTierPlanTest, HasNamesOfItsOwnAndEnoughProducts) {
  std::set<std::string> names;
  for (const SharedTierPlan& plan : SharedTierPlans()) {
    EXPECT_TRUE(names.insert(plan.Benchmark()).second) << plan.Benchmark();
    if (plan.request != SharedTierRequest::kMemory) {
      EXPECT_LE(plan.samples, kProducts) << plan.Benchmark();
    }
  }
  EXPECT_TRUE(names.contains("BM_Remote/loopback/tier_get"));
}

TEST(ProductStoresTest, KnowTheirProducts) {
  EXPECT_EQ(ProductKey(17), "product:17");
  EXPECT_EQ(ProductOf("product:17"), 17u);
  for (const char* other : {"", "product:", "product:x", "produce:17", "product:-1"}) {
    EXPECT_EQ(ProductOf(other), std::nullopt) << other;
  }
  InstantStore store;
  EXPECT_EQ(store.Load("product:17").value(), SlowDatabase::ExpectedRow(17));
  EXPECT_TRUE(absl::IsNotFound(store.Load("17").status()));
  EXPECT_EQ(store.Write("product:17", "other", {}), absl::OkStatus());
  EXPECT_EQ(store.Load("product:17").value(), SlowDatabase::ExpectedRow(17));
}

TEST(WriterTaskTest, IsReadAsItWasWritten) {
  const WriterTask task = {
      .port = 6379, .key_prefix = "a,b/c d:", .writes = 4'000, .interval = absl::Microseconds(500)};
  const absl::StatusOr<WriterTask> read = WriterTask::Parse(task.Format());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->port, task.port);
  EXPECT_EQ(read->key_prefix, task.key_prefix);
  EXPECT_EQ(read->writes, task.writes);
  EXPECT_EQ(read->interval, task.interval);
  for (const char* text : {"", "1,2,3", "x,2,3,p", "1,-2,3,p", "1,2,,p"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(WriterTask::Parse(text).status())) << text;
  }
}

TEST(InvalidationDelaysTest, CountFromBothEndsOfAWrite) {
  const std::vector<WriteTimes> writes = {{1'000, 5'000}, {2'000, 6'000}};
  const std::vector<int64_t> gone = {4'000, 9'000};
  const absl::StatusOr<InvalidationDelays> delays = DelaysOf(writes, gone);
  ASSERT_TRUE(delays.ok()) << delays.status();
  EXPECT_EQ(delays->since_begun.Summarize().min, 3'000);
  EXPECT_EQ(delays->since_begun.Summarize().max, 7'000);
  EXPECT_EQ(delays->since_returned.Summarize().min, 0);
  EXPECT_EQ(delays->since_returned.Summarize().max, 3'000);
  EXPECT_EQ(delays->gone_first, 1u);
  const std::vector<int64_t> too_early = {999, 9'000};
  EXPECT_TRUE(absl::IsInternal(DelaysOf(writes, too_early).status()));
}

// Redis is away from 1 to 2 s, and used again at 2.5 s; a request each half second.
class RedisOutageResultsTest : public ::testing::Test {
 protected:
  static RequestRecord Request(absl::Duration due, absl::Duration latency, Source source) {
    RequestRecord record;
    record.due = due;
    record.begun = due + absl::Microseconds(100);
    record.latency = latency;
    record.source = source;
    return record;
  }

  RedisOutageResultsTest() {
    records_.requests = {Request(Seconds(0), Milliseconds(1), Source::kMemory),
                         Request(Milliseconds(500), Milliseconds(600), Source::kRedis),
                         Request(Milliseconds(1'000), Milliseconds(2), Source::kDatabase),
                         Request(Milliseconds(1'500), Milliseconds(3), Source::kMemory),
                         Request(Milliseconds(2'000), Milliseconds(4), Source::kJoined),
                         Request(Milliseconds(2'500), Milliseconds(5), Source::kRedis)};
    records_.requests[3].outcome = Outcome::kError;
    records_.health = {{Seconds(0), RemoteHealth::kUp},
                       {Milliseconds(1'010), RemoteHealth::kDown},
                       {Milliseconds(2'100), RemoteHealth::kSyncing},
                       {Milliseconds(2'500), RemoteHealth::kUp}};
    records_.away_at = Seconds(1);
    records_.back_at = Seconds(2);
  }

  const RedisOutagePlan plan_ = {.name = "some",
                                 .title = "some outage",
                                 .away_at = Seconds(1),
                                 .back_at = Seconds(2),
                                 .length = Seconds(3)};
  RedisOutageRecords records_;
};

TEST_F(RedisOutageResultsTest, HaveAPhaseForEachStateOfRedis) {
  const std::vector<RedisPhaseResults> phases = ResultsByPhase(plan_, records_);
  ASSERT_EQ(phases.size(), 4u);
  EXPECT_EQ(phases[0].latencies.size(), 1u);
  // The one that was waiting when Redis went away is that phase's.
  EXPECT_EQ(phases[1].latencies.size(), 3u);
  EXPECT_EQ(phases[1].errors, 1u);
  EXPECT_EQ(phases[1].by_source, (std::array<size_t, kSources>{0, 0, 1, 1}));
  EXPECT_EQ(phases[2].by_source, (std::array<size_t, kSources>{0, 1, 0, 0}));
  EXPECT_EQ(phases[3].by_source, (std::array<size_t, kSources>{0, 0, 1, 0}));
  ASSERT_EQ(phases[0].memory.size(), 1u);
  EXPECT_EQ(phases[0].memory.Summarize().max, 900'000);
}

TEST_F(RedisOutageResultsTest, NeverUpAgainLeavesNothingAfter) {
  records_.health.pop_back();
  const std::vector<RedisPhaseResults> phases = ResultsByPhase(plan_, records_);
  EXPECT_EQ(phases[2].latencies.size(), 2u);
  EXPECT_EQ(phases[3].latencies.size(), 0u);
  EXPECT_EQ(SeriesOf(plan_, records_).up_at, plan_.length);
}

TEST_F(RedisOutageResultsTest, TellHealthAtAnyTime) {
  EXPECT_EQ(HealthAt(records_.health, Milliseconds(1'009)), RemoteHealth::kUp);
  EXPECT_EQ(HealthAt(records_.health, Milliseconds(1'010)), RemoteHealth::kDown);
  EXPECT_EQ(HealthAt(records_.health, Seconds(9)), RemoteHealth::kUp);
  EXPECT_EQ(HealthAt({}, Seconds(9)), RemoteHealth::kNone);
}

TEST_F(RedisOutageResultsTest, AreWrittenAsJsonAndShownAroundEvents) {
  RedisOutageSeries series = SeriesOf(plan_, records_);
  ASSERT_EQ(series.buckets.size(), 30u);
  EXPECT_EQ(series.up_at, Milliseconds(2'500));
  EXPECT_EQ(series.buckets[5].max, Milliseconds(600));
  const std::string text = FormatEvents(series);
  EXPECT_EQ(text.find("0.7 s"), text.npos) << text;
  EXPECT_NE(text.find("0.8 s        up"), text.npos) << text;
  EXPECT_NE(text.find("1.1 s      down"), text.npos) << text;
  EXPECT_NE(text.find("2.9 s"), text.npos) << text;

  series.buckets.resize(1);
  const TemporaryFolder folder;
  const std::string path = folder.File("t.json");
  ASSERT_EQ(WriteRedisOutageJson(path, {{series}}), absl::OkStatus());
  std::ostringstream json;
  json << std::ifstream(path).rdbuf();
  EXPECT_EQ(json.str(), R"({"bucket_s": 0.1000,
 "outages": [
  {"name": "some", "title": "some outage", "away_s": 1.0000, "back_s": 2.0000, "up_s": 2.5000, )"
                        R"("health": [[0.0000, "up"], [1.0100, "down"], [2.1000, "syncing"], )"
                        R"([2.5000, "up"]],
   "requests": [1],
   "p50_ms": [1.0000],
   "p99_ms": [1.0000],
   "max_ms": [1.0000],
   "errors": [0],
   "memory": [1],
   "joined": [0],
   "redis": [0],
   "database": [0]}]}
)");
  EXPECT_TRUE(absl::IsUnavailable(WriteRedisOutageJson("/nonexistent/t.json", {})));
}

benchmark::BenchmarkReporter::Run ResultOf(const std::string& name,
                                           const std::map<std::string, double>& counters) {
  benchmark::BenchmarkReporter::Run run;
  run.run_name.function_name = name;
  for (const auto& [counter, value] : counters) run.counters[counter] = value;
  return run;
}

TEST(RemoteTableTest, HasWhatWasMeasuredAndNothingElse) {
  RemoteTable table(std::make_shared<std::vector<RedisOutageSeries>>());
  EXPECT_EQ(table.Format(), "");
  table.ReportRuns({ResultOf("BM_Remote/loopback/hit", {{"p50_us", 70}, {"p99_us", 1200}})});
  table.ReportRuns({ResultOf("BM_Gets/shared/8", {{"gets_per_s", 123'456},
                                                  {"limit_per_s", 150'000},
                                                  {"ratio", 0.823},
                                                  {"ratio_min", 0.8},
                                                  {"ratio_max", 0.85},
                                                  {"client_busy", 1.2},
                                                  {"server_busy", 0.9},
                                                  {"limit_server_busy", 0.95}})});
  table.ReportRuns({ResultOf("BM_Invalidation/distant", {{"begun_p50_us", 900},
                                                         {"begun_p99_us", 950},
                                                         {"begun_max_us", 2'000},
                                                         {"returned_p50_us", 5},
                                                         {"returned_p99_us", 6},
                                                         {"returned_max_us", 7},
                                                         {"gone_first", 0.25}})});
  const std::string text = table.Format();
  for (const char* figure :
       {"Redis, TCP on loopback", "70.0 µs", "1.20 ms", "123,456", "150,000", "82.3%", "120.0%",
        "-c 1 -P threads", "Redis 1 ms away", "900 µs", "2.00 ms", "25.0%"}) {
    EXPECT_NE(text.find(figure), text.npos) << figure << "\n" << text;
  }
  for (const char* other : {"GetMany", "A CONNECTION EACH", "Unix socket", "killed", "memory,"}) {
    EXPECT_EQ(text.find(other), text.npos) << other << "\n" << text;
  }
}

}  // namespace
}  // namespace larder::bench
