// SPDX-License-Identifier: Apache-2.0
//
// What comparisons of caches are made of: the same keys for all, memory, and the table.

#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/support/key_sequences.h"
#include "bench/support/peers_table.h"
#include "bench/support/resident_memory.h"
#include "benchmark/benchmark.h"
#include "gtest/gtest.h"

namespace larder::bench {
namespace {

TEST(KeySequencesTest, TextKeysAreTheEntriesNames) {
  EXPECT_EQ(TextKey(0).view(), "user:0");
  EXPECT_EQ(TextKey(123'456).view(), "user:123456");
  EXPECT_EQ(TextKey(999'999'999).view(), "user:999999999");
  EXPECT_EQ(TextValue(0).size(), 100u);
  EXPECT_EQ(TextValue(999'999'999).size(), 100u);
  EXPECT_NE(TextValue(1), TextValue(2));
}

TEST(KeySequencesTest, KeysOfDifferentEntriesDiffer) {
  std::set<uint64_t> keys;
  for (uint64_t entry = 0; entry < 10'000; ++entry) keys.insert(NumberKey(entry));
  EXPECT_EQ(keys.size(), 10'000u);
}

PeersTable MakeTable() {
  using Kind = PeersTable::Kind;
  return PeersTable({{"BM_Hit", "entries:5", "hit"}, {"BM_Mix", "read_percent:50", "half gets"}},
                    {1, 2},
                    {{.name = "Larder<Lru>", .title = "Lru", .kind = Kind::kOurs},
                     {.name = "Map", .title = "map", .kind = Kind::kBaseline},
                     {.name = "A", .title = "a", .kind = Kind::kRival},
                     {.name = "B", .title = "b", .kind = Kind::kRival},
                     {.name = "C",
                      .title = "c",
                      .kind = Kind::kRival,
                      .missing_package = "libc-is-missing-dev"}});
}

benchmark::BenchmarkReporter::Run RunOf(std::string_view function, std::string_view arguments,
                                        int threads, double nanos) {
  benchmark::BenchmarkReporter::Run run;
  run.run_name.function_name = std::string(function);
  run.run_name.args = std::string(arguments);
  run.run_name.threads = "threads:" + std::to_string(threads);
  run.counters["ns_per_op"] = nanos;
  return run;
}

TEST(PeersTableTest, ShowsFiguresRatiosAndWhatIsMissing) {
  PeersTable table = MakeTable();
  table.ReportRuns(
      {RunOf("BM_Hit<Larder<Lru>>", "entries:5", 1, 50), RunOf("BM_Hit<Map>", "entries:5", 1, 40),
       RunOf("BM_Hit<A>", "entries:5", 1, 200), RunOf("BM_Hit<B>", "entries:5", 1, 100)});
  table.ReportRuns({RunOf("BM_Mix<Larder<Lru>>", "read_percent:50", 2, 100),
                    RunOf("BM_Mix<A>", "read_percent:50", 2, 400)});
  const std::string text = table.Format();
  EXPECT_EQ(text.substr(0, text.find("  A thread's")),
            "\n"
            "  NS AN OPERATION         Lru   map      a      b  best rival\n"
            "  ───────────────────────────────────────────────────────────\n"
            "  hit, 1 thread          50.0  40.0  200.0  100.0       100.0\n"
            "    Lru / theirs               1.25   0.25   0.50        0.50\n"
            "  half gets, 2 threads  100.0        400.0              400.0\n"
            "    Lru / theirs                      0.25               0.25\n"
            "  c                     not measured: libc-is-missing-dev\n");
}

TEST(PeersTableTest, TakesTheMedianOfRepetitions) {
  using Run = benchmark::BenchmarkReporter::Run;
  PeersTable table = MakeTable();
  std::vector<Run> aggregates;
  for (const auto& [name, nanos] : {std::pair("mean", 70.0), std::pair("median", 60.0),
                                    std::pair("stddev", 5.0), std::pair("cv", 0.1)}) {
    Run run = RunOf("BM_Hit<Larder<Lru>>", "entries:5", 2, nanos);
    run.run_type = Run::RT_Aggregate;
    run.aggregate_name = name;
    aggregates.push_back(run);
  }
  table.ReportRuns({RunOf("BM_Hit<Larder<Lru>>", "entries:5", 2, 50),
                    RunOf("BM_Hit<Larder<Lru>>", "entries:5", 2, 100)});
  table.ReportRuns(aggregates);
  EXPECT_NE(table.Format().find("hit, 2 threads   60.0"), std::string::npos) << table.Format();
}

TEST(MeasureMemoryTest, TellsWhatTheFilledProcessGrewBy) {
  static constexpr int64_t kBytes = int64_t{64} << 20;
  const absl::StatusOr<MemoryUse> use = MeasureMemory([] {
    auto bytes = std::make_shared<std::vector<char>>(kBytes, 'x');
    return [bytes] { return static_cast<int64_t>(bytes->size()); };
  });
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->entries, kBytes);
  EXPECT_GE(use->bytes, kBytes * 9 / 10);
  // Sanitizers keep memory of their own beside it.
  EXPECT_LE(use->bytes, kBytes * 8);
}

TEST(MeasureMemoryTest, SaysThatTheProcessDied) {
  const auto dies = []() -> std::function<int64_t()> { _exit(3); };
  EXPECT_TRUE(absl::IsUnavailable(MeasureMemory(dies).status()));
  const auto throws = []() -> std::function<int64_t()> { throw std::bad_alloc(); };
  EXPECT_TRUE(absl::IsUnavailable(MeasureMemory(throws).status()));
}

}  // namespace
}  // namespace larder::bench
