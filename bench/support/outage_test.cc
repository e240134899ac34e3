// SPDX-License-Identifier: Apache-2.0
//
// What the outage is measured and told with.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/failing_database.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/open_loop.h"
#include "bench/support/outage_contenders.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_table.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/progress.h"
#include "bench/support/slow_database.h"
#include "bench/support/temporary_folder.h"
#include "benchmark/benchmark.h"
#include "gtest/gtest.h"

namespace larder::bench {
namespace {

using absl::Milliseconds;
using absl::Seconds;

// Healthy for 2 s with 100 to 200 ms, dead for 3, slow for 1 s with 500 to 1,500 ms. Clients wait 1
// s.
OutageTimeline Example() {
  return OutageTimeline({{.name = "healthy",
                          .length = Seconds(2),
                          .fastest = Milliseconds(100),
                          .slowest = Milliseconds(200)},
                         {.name = "dead", .length = Seconds(3), .answers = false},
                         {.name = "slow",
                          .length = Seconds(1),
                          .fastest = Milliseconds(500),
                          .slowest = Milliseconds(1'500)}},
                        /*client_timeout=*/Seconds(1));
}

void ExpectFate(absl::Duration asked, double share, absl::Duration ends_at, bool answered) {
  const QueryFate fate = Example().FateOf(asked, share);
  EXPECT_EQ(fate.ends_at, ends_at) << asked << " " << share;
  EXPECT_EQ(fate.answered, answered) << asked << " " << share;
}

TEST(OutageTimelineTest, PhasesFollowOneAnother) {
  const OutageTimeline timeline = Example();
  EXPECT_EQ(timeline.length(), Seconds(6));
  EXPECT_EQ(timeline.Begin(0), absl::ZeroDuration());
  EXPECT_EQ(timeline.End(0), Seconds(2));
  EXPECT_EQ(timeline.Begin(2), Seconds(5));
  EXPECT_EQ(timeline.PhaseAt(-Seconds(1)), 0u);
  EXPECT_EQ(timeline.PhaseAt(absl::ZeroDuration()), 0u);
  EXPECT_EQ(timeline.PhaseAt(Seconds(2) - absl::Nanoseconds(1)), 0u);
  EXPECT_EQ(timeline.PhaseAt(Seconds(2)), 1u);
  EXPECT_EQ(timeline.PhaseAt(Seconds(5)), 2u);
  EXPECT_EQ(timeline.PhaseAt(Seconds(60)), 2u);
}

TEST(OutageTimelineTest, AnswersWithinTheRangeOfThePhase) {
  ExpectFate(Seconds(1), 0, Milliseconds(1'100), true);
  ExpectFate(Seconds(1), 0.5, Milliseconds(1'150), true);
  ExpectFate(Seconds(5), 0.25, Milliseconds(5'750), true);
  ExpectFate(Seconds(60), 0, Milliseconds(60'500), true);
}

TEST(OutageTimelineTest, WhatADeadDatabaseWasOrIsAskedEndsAtTheTimeout) {
  ExpectFate(Seconds(3), 0, Seconds(4), false);
  ExpectFate(Milliseconds(1'950), 0, Milliseconds(2'950), false);  // was being worked on
  ExpectFate(Milliseconds(1'890), 0, Milliseconds(1'990), true);   // just in time
  ExpectFate(Milliseconds(4'999), 0, Milliseconds(5'999), false);  // though it is back by then
}

TEST(OutageTimelineTest, TheClientDoesNotWaitForAnAnswerThatComesLater) {
  ExpectFate(Seconds(5), 0.75, Seconds(6), false);
}

TEST(OutageTimelineTest, ScalesAllTimes) {
  const OutageTimeline whole = OutageTimeline::DeadForFiveSeconds(1);
  const OutageTimeline tenth = OutageTimeline::DeadForFiveSeconds(0.1);
  ASSERT_EQ(whole.phases().size(), tenth.phases().size());
  EXPECT_EQ(whole.length(), 10 * tenth.length());
  EXPECT_EQ(whole.client_timeout(), 10 * tenth.client_timeout());
  for (size_t i = 0; i < whole.phases().size(); ++i) {
    EXPECT_EQ(whole.phases()[i].slowest, 10 * tenth.phases()[i].slowest);
    if (!whole.phases()[i].answers) {
      EXPECT_EQ(whole.phases()[i].length, Seconds(5));
    }
  }
}

RequestRecord Request(absl::Duration due, absl::Duration latency, Outcome outcome = Outcome::kFresh,
                      absl::Duration age = absl::ZeroDuration()) {
  return {.due = due, .begun = due, .latency = latency, .outcome = outcome, .age = age};
}

TEST(OutageResultsTest, RequestsAndQueriesCountInThePhaseTheyAreDueIn) {
  OutageRecords records;
  records.requests = {Request(Seconds(1), Seconds(1)),
                      Request(Milliseconds(1'999), Milliseconds(1), Outcome::kError),
                      Request(Seconds(2), Milliseconds(3), Outcome::kStale, Seconds(7)),
                      Request(Seconds(3), Milliseconds(4), Outcome::kStale, Seconds(5)),
                      Request(Seconds(3), Milliseconds(5), Outcome::kError)};
  records.queries = {{Milliseconds(1'999), Seconds(3)}, {Seconds(2), Seconds(3)}};
  const std::vector<PhaseResults> phases = ResultsByPhase(Example(), records);
  ASSERT_EQ(phases.size(), 3u);
  EXPECT_EQ(phases[0].latencies.size(), 2u);
  EXPECT_EQ(phases[0].latencies.Summarize().max, 1e9);
  EXPECT_EQ(phases[0].errors, 1u);
  EXPECT_EQ(phases[0].stale, 0u);
  EXPECT_EQ(phases[0].queries, 1u);
  EXPECT_EQ(phases[1].latencies.size(), 3u);
  EXPECT_EQ(phases[1].latencies.Summarize().p50, 4e6);
  EXPECT_EQ(phases[1].errors, 1u);
  EXPECT_EQ(phases[1].stale, 2u);
  EXPECT_EQ(phases[1].oldest_stale, Seconds(7));
  EXPECT_EQ(phases[1].queries, 1u);
  EXPECT_EQ(phases[2].latencies.size(), 0u);
  EXPECT_EQ(phases[2].errors, 0u);
}

TEST(OutageResultsTest, RequestsWithoutAnAnswerWhenTheDatabaseDiesCountAsItsOutage) {
  OutageRecords records;
  records.requests = {Request(Milliseconds(1'500), Seconds(1), Outcome::kError),
                      Request(Milliseconds(4'900), Seconds(1), Outcome::kError)};
  const std::vector<PhaseResults> phases = ResultsByPhase(Example(), records);
  EXPECT_EQ(phases[0].latencies.size(), 0u);
  EXPECT_EQ(phases[1].errors, 2u);
  EXPECT_EQ(phases[2].latencies.size(), 0u);
}

TEST(OutageResultsTest, QueriesUnderWayCountInEachPhaseThatTheyReachInto) {
  OutageRecords records;
  records.queries = {{Seconds(1), Seconds(6)},
                     {Milliseconds(1'500), Seconds(2)},  // ends as the next phase begins
                     {Seconds(3), Seconds(4)},
                     {Seconds(4), Seconds(5)}};  // begins as another ends
  const std::vector<PhaseResults> phases = ResultsByPhase(Example(), records);
  EXPECT_EQ(phases[0].most_queries_at_once, 2u);
  EXPECT_EQ(phases[1].most_queries_at_once, 2u);
  EXPECT_EQ(phases[2].queries, 0u);
  EXPECT_EQ(phases[2].most_queries_at_once, 1u);
}

TEST(OutageResultsTest, BucketsCoverTheTimeline) {
  OutageRecords records;
  for (int i = 1; i <= 100; ++i) {
    records.requests.push_back(Request(Milliseconds(i), Milliseconds(i)));
  }
  records.requests.push_back(Request(Milliseconds(5'999), Seconds(1), Outcome::kError));
  records.requests.push_back(Request(Seconds(2), Seconds(1), Outcome::kStale));
  records.queries = {{Seconds(2), Seconds(9)}, {Seconds(7), Seconds(8)}};
  const std::vector<OutageBucket> buckets = ResultsOverTime(Example(), records, Seconds(4));
  ASSERT_EQ(buckets.size(), 2u);
  EXPECT_EQ(buckets[0].requests, 101u);
  EXPECT_EQ(buckets[0].p50, Milliseconds(51));
  EXPECT_EQ(buckets[0].p99, Milliseconds(100));
  EXPECT_EQ(buckets[0].stale, 1u);
  EXPECT_EQ(buckets[0].errors, 0u);
  EXPECT_EQ(buckets[0].queries, 1u);
  EXPECT_EQ(buckets[1].requests, 1u);
  EXPECT_EQ(buckets[1].errors, 1u);
  EXPECT_EQ(buckets[1].queries, 1u);  // up to the end of the last bucket
  EXPECT_EQ(ResultsOverTime(Example(), records, Seconds(6)).back().queries, 1u);
}

TEST(OutageResultsTest, LatenessIsBetweenDueAndBegun) {
  RequestRecord request = Request(Seconds(1), Seconds(2));
  request.begun = Milliseconds(1'250);
  const std::vector<RequestRecord> requests = {request};
  EXPECT_EQ(Lateness(requests).Summarize().max, 0.25e9);
}

std::string Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(OutageResultsTest, WritesJson) {
  const TemporaryFolder folder;
  OutageRecords records;
  records.requests = {Request(Seconds(1), Milliseconds(2), Outcome::kError)};
  records.queries = {{Seconds(4), Seconds(5)}};
  const std::vector<OutageSeries> series = {
      {"plain", "plain cache-aside", ResultsOverTime(Example(), records, Seconds(3))}};
  ASSERT_TRUE(WriteOutageJson(folder.File("t.json"), Example(), Seconds(3), series).ok());
  EXPECT_EQ(Contents(folder.File("t.json")), R"({"bucket_s": 3.0000,
 "phases": [
  {"name": "healthy", "from_s": 0.0000, "to_s": 2.0000, "measured": true, "answers": true, )"
                                             R"("fastest_ms": 100.0000, "slowest_ms": 200.0000},
  {"name": "dead", "from_s": 2.0000, "to_s": 5.0000, "measured": true, "answers": false, )"
                                             R"("fastest_ms": 0.0000, "slowest_ms": 0.0000},
  {"name": "slow", "from_s": 5.0000, "to_s": 6.0000, "measured": true, "answers": true, )"
                                             R"("fastest_ms": 500.0000, "slowest_ms": 1500.0000}],
 "contenders": [
  {"name": "plain", "title": "plain cache-aside",
   "requests": [1,0],
   "p50_ms": [2.0000,null],
   "p99_ms": [2.0000,null],
   "errors": [1,0],
   "stale": [0,0],
   "queries": [0,1]}]}
)");
  const absl::Status status = WriteOutageJson("/nonexistent/t.json", Example(), Seconds(3), series);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(status.message().find("/nonexistent/t.json"), std::string::npos);
}

TEST(FailingDatabaseTest, AnswersUnlessItIsDead) {
  const TemporaryFolder folder;
  auto rows = SlowDatabase::Create(folder.File("rows.sqlite3"), 3, 1);
  ASSERT_TRUE(rows.ok()) << rows.status();
  const auto now = std::chrono::steady_clock::now();
  const OutageTimeline alive({{.name = "alive", .length = Seconds(1)}}, absl::Hours(1));
  FailingDatabase answering(**rows, alive, now, 1);
  EXPECT_EQ(*answering.Query(2), SlowDatabase::ExpectedRow(2));
  EXPECT_TRUE(absl::IsNotFound(answering.Query(3).status()));
  const OutageTimeline dead({{.name = "dead", .length = Seconds(1), .answers = false}},
                            Milliseconds(1));
  FailingDatabase silent(**rows, dead, now, 1);
  EXPECT_TRUE(absl::IsUnavailable(silent.Query(2).status()));
  EXPECT_EQ(answering.queries().size(), 2u);
  ASSERT_EQ(silent.queries().size(), 1u);
  EXPECT_GE(silent.queries()[0].ended - silent.queries()[0].asked, Milliseconds(1));
}

// Answers every third product with an error, every fourth with something stale.
class PickyService : public Service {
 public:
  ServiceAnswer Ask(uint32_t product) override {
    asked[product].fetch_add(1);
    if (product % 3 == 0) return {.row = absl::UnavailableError("gone")};
    if (product % 4 == 0) {
      return {.row = SlowDatabase::ExpectedRow(product), .stale = true, .age = Seconds(9)};
    }
    return {.row = SlowDatabase::ExpectedRow(product)};
  }

  std::vector<std::atomic<int>> asked = std::vector<std::atomic<int>>(100);
};

class LyingService : public Service {
 public:
  ServiceAnswer Ask(uint32_t product) override {
    return {.row = SlowDatabase::ExpectedRow(product + 1)};
  }
};

std::vector<uint32_t> AllOf(uint32_t products) {
  std::vector<uint32_t> all;
  for (uint32_t product = 0; product < products; ++product) all.push_back(product);
  return all;
}

TEST(OpenLoopTest, SendsEachServiceEveryRequestOnce) {
  std::vector<std::unique_ptr<Service>> services;
  services.push_back(std::make_unique<PickyService>());
  services.push_back(std::make_unique<PickyService>());
  absl::StatusOr<OpenLoop> loop = OpenLoop::Create(services.size(), 4);
  ASSERT_TRUE(loop.ok()) << loop.status();
  Stage stage("test", "200 requests", 200);
  const auto records = (*std::move(loop))
                           .Send(services, AllOf(100), std::chrono::steady_clock::now(),
                                 absl::Microseconds(20), stage);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    for (const auto& times : static_cast<PickyService&>(*services[i]).asked) EXPECT_EQ(times, 1);
    ASSERT_EQ((*records)[i].size(), 100u);
    for (size_t n = 0; n < 100; ++n) {
      const RequestRecord& record = (*records)[i][n];
      // The second service's turn is half an interval after the first's.
      EXPECT_EQ(record.due, absl::Microseconds(20 * n + 10 * i));
      EXPECT_GE(record.begun, record.due);
      EXPECT_GE(record.latency, record.begun - record.due);
      EXPECT_EQ(record.outcome, n % 3 == 0   ? Outcome::kError
                                : n % 4 == 0 ? Outcome::kStale
                                             : Outcome::kFresh);
      EXPECT_EQ(record.age, record.outcome == Outcome::kStale ? Seconds(9) : absl::ZeroDuration());
    }
  }
}

TEST(OpenLoopTest, AWrongAnswerFailsTheRun) {
  std::vector<std::unique_ptr<Service>> services;
  services.push_back(std::make_unique<LyingService>());
  absl::StatusOr<OpenLoop> loop = OpenLoop::Create(1, 2);
  ASSERT_TRUE(loop.ok()) << loop.status();
  Stage stage("test", "wrong answers", 10);
  const auto records = (*std::move(loop))
                           .Send(services, AllOf(10), std::chrono::steady_clock::now(),
                                 absl::Microseconds(20), stage);
  EXPECT_TRUE(absl::IsInternal(records.status())) << records.status();
}

TEST(OutageContendersTest, HaveValidOptionsAndNamesOfTheirOwn) {
  for (const double scale : {0.01, 0.1, 1.0, 10.0}) {
    std::set<std::string> names;
    for (const OutageContender& contender : OutageContenders(scale)) {
      EXPECT_TRUE(names.insert(contender.name).second) << contender.name;
      if (!contender.options.has_value()) continue;
      CacheOptions options = *contender.options;
      options.capacity = 1;
      EXPECT_TRUE(options.Validate().ok()) << contender.name << " " << options.Validate();
    }
  }
}

TEST(OutageContendersTest, AllGetTheSameRequestsAndOnlyRightAnswers) {
  constexpr double kScale = 0.02;
  const TemporaryFolder folder;
  const OutageTimeline timeline = OutageTimeline::DeadForFiveSeconds(kScale);
  const std::vector<OutageContender> contenders = OutageContenders(kScale);
  const OutageLoad load = {.products = 20, .threads = 16};
  Stage stage("test", "a short outage", RequestCount(timeline, load) * contenders.size());
  const absl::StatusOr<std::vector<OutageRecords>> records =
      RunOutage(folder.path(), timeline, load, contenders, stage);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), contenders.size());
  for (size_t i = 0; i < contenders.size(); ++i) {
    EXPECT_EQ((*records)[i].requests.size(), RequestCount(timeline, load)) << contenders[i].name;
    EXPECT_GT((*records)[i].queries.size(), 0u) << contenders[i].name;
  }
  EXPECT_EQ(contenders[0].name, "none");
  EXPECT_EQ((*records)[0].queries.size(), RequestCount(timeline, load));
}

TEST(OutageTableTest, HasATableForEachPhaseThatIsMeasured) {
  OutageTimeline timeline({{.name = "start", .length = Seconds(1), .measured = false},
                           {.name = "dead", .length = Seconds(5), .answers = false}},
                          Seconds(1));
  OutageTable table(timeline, {}, OutageContenders(1));
  benchmark::BenchmarkReporter::Run plain;
  plain.run_name.function_name = "BM_Outage/plain";
  for (const auto& [counter, value] :
       std::vector<std::pair<std::string, double>>{{"samples", 2000},
                                                   {"errors", 500},
                                                   {"stale", 1234},
                                                   {"oldest_stale_ms", 7000},
                                                   {"p50_ms", 0.25},
                                                   {"p99_ms", 1000},
                                                   {"p999_ms", 1010},
                                                   {"max_ms", 1500},
                                                   {"queries", 321},
                                                   {"most_queries_at_once", 87}}) {
    plain.counters["dead_" + counter] = benchmark::Counter(value);
  }
  table.ReportRuns({plain});
  const std::string text = table.Format();
  EXPECT_EQ(text.find("START"), std::string::npos) << text;
  EXPECT_NE(text.find("DEAD, 5.00 s"), std::string::npos) << text;
  EXPECT_EQ(text.find("no cache"), std::string::npos) << text;
  for (const char* figure : {"plain cache-aside", "2,000", "500", "25.0%", "1,234", "7.00 s",
                             "250 µs", "1.00 s", "1.01 s", "1.50 s", "321", "87"}) {
    EXPECT_NE(text.find(figure), std::string::npos) << figure << "\n" << text;
  }
}

}  // namespace
}  // namespace larder::bench
