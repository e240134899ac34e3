// SPDX-License-Identifier: Apache-2.0
//
// What writes are measured and told with.

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/burst.h"
#include "bench/support/command_line.h"
#include "bench/support/progress.h"
#include "bench/support/put_loop.h"
#include "bench/support/put_target.h"
#include "bench/support/slow_store.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/write_database.h"
#include "bench/support/writes_table.h"
#include "benchmark/benchmark.h"
#include "gtest/gtest.h"
#include "larder/internal/mutex.h"
#include "larder/store.h"
#include "larder/write_policy.h"

namespace larder::bench {
namespace {

using absl::Milliseconds;
using absl::Seconds;

std::string Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Keeps what is put, and has no store behind it.
class MapTarget : public PutTarget {
 public:
  absl::Status Put(const std::string& key, const std::string& value) override {
    const internal::MutexLock lock(&mutex_);
    if (++puts_ == fails_at_) return absl::UnavailableError("as it was told to");
    map_[key] = value;
    return absl::OkStatus();
  }
  std::optional<std::string> Get(const std::string& key) override {
    const internal::MutexLock lock(&mutex_);
    const auto it = map_.find(key);
    if (it == map_.end()) return std::nullopt;
    return it->second;
  }
  absl::Status Flush() override {
    const internal::MutexLock lock(&mutex_);
    flushed_ = true;
    return absl::OkStatus();
  }
  PutTargetStats Stats() const override {
    const internal::MutexLock lock(&mutex_);
    return {.queued = flushed_ ? 0 : puts_, .stored = flushed_ ? puts_ : 0};
  }
  void FailAt(uint64_t put) {
    const internal::MutexLock lock(&mutex_);
    fails_at_ = put;
  }
  std::map<std::string, std::string> map() const {
    const internal::MutexLock lock(&mutex_);
    return map_;
  }

 private:
  mutable internal::Mutex mutex_;
  std::map<std::string, std::string> map_ ABSL_GUARDED_BY(mutex_);
  uint64_t puts_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t fails_at_ ABSL_GUARDED_BY(mutex_) = 0;
  bool flushed_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST(SlowStoreTest, DoesAsItsStoreAndCountsCallsThatWrite) {
  const TemporaryFolder folder;
  auto database =
      WriteDatabase::Create(folder.File("store.db"), WriteDatabase::Speed::kItsOwn, 1).value();
  SlowStore& store = database->store();
  const std::string a = "a", b = "b", value = "1";
  EXPECT_EQ(store.Write(a, value, {1, 1}), absl::OkStatus());
  const std::vector<StoreWrite<std::string, std::string>> batch = {{a, nullptr, {1, 2}},
                                                                   {b, &value, {1, 3}}};
  EXPECT_EQ(store.WriteMany(batch), std::vector<absl::Status>(2));
  EXPECT_EQ(store.write_calls(), 2u);
  EXPECT_TRUE(absl::IsNotFound(store.Load(a).status()));
  EXPECT_EQ(store.Load(b).value(), "1");
  EXPECT_EQ(store.Erase(b, {1, 4}), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(store.Load(b).status()));
  EXPECT_EQ(store.write_calls(), 3u);
}

TEST(SlowStoreTest, DoesNothingWhileItIsDead) {
  const TemporaryFolder folder;
  auto database =
      WriteDatabase::Create(folder.File("store.db"), WriteDatabase::Speed::kItsOwn, 1).value();
  SlowStore& store = database->store();
  const std::string a = "a", value = "1";
  store.Die();
  EXPECT_TRUE(absl::IsUnavailable(store.Write(a, value, {1, 1})));
  EXPECT_TRUE(absl::IsUnavailable(store.Erase(a, {1, 2})));
  EXPECT_TRUE(absl::IsUnavailable(store.Load(a).status()));
  const std::vector<StoreWrite<std::string, std::string>> batch = {{a, &value, {1, 3}}};
  EXPECT_TRUE(absl::IsUnavailable(store.WriteMany(batch)[0]));
  store.ComeBack();
  EXPECT_TRUE(absl::IsNotFound(store.Load(a).status()));
  EXPECT_EQ(store.Write(a, value, {1, 1}), absl::OkStatus());
}

TEST(WriteDatabaseTest, TellsWhereACacheDiffers) {
  const TemporaryFolder folder;
  auto database =
      WriteDatabase::Create(folder.File("store.db"), WriteDatabase::Speed::kSlow, 1).value();
  MapTarget cache;
  ASSERT_TRUE(database->CompareWith(cache, 3).ok());
  ASSERT_TRUE(cache.Put(PutKey(2), "new").ok());
  EXPECT_EQ(database->CompareWith(cache, 2), absl::OkStatus());
  const absl::Status missing = database->CompareWith(cache, 3);
  EXPECT_TRUE(absl::IsInternal(missing));
  EXPECT_NE(missing.message().find("user:2: the cache has new"), std::string::npos) << missing;
  ASSERT_TRUE(database->store().Write(PutKey(2), "old", {1, 1}).ok());
  EXPECT_FALSE(database->CompareWith(cache, 3).ok());
  ASSERT_TRUE(database->store().Write(PutKey(2), "new", {1, 2}).ok());
  EXPECT_EQ(database->CompareWith(cache, 3), absl::OkStatus());
}

TEST(SyncEachPutTest, KeepsAllRecordsInTheFile) {
  const TemporaryFolder folder;
  absl::StatusOr<std::unique_ptr<PutTarget>> file = SyncEachPut(folder.File("log"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Put("a", "1").ok());
  ASSERT_TRUE((*file)->Put("b", "2").ok());
  EXPECT_EQ(Contents(folder.File("log")), "a\t1\nb\t2\n");
  EXPECT_EQ((*file)->Stats().syncs, 2u);
  EXPECT_FALSE(SyncEachPut(folder.File("log")).ok());
  EXPECT_FALSE(SyncEachPut("/nonexistent/log").ok());
}

TEST(PutLoopTest, RecordsEachPutOfAllThreads) {
  MapTarget target;
  const absl::StatusOr<PutResults> results =
      RunPuts(target, {.threads = 3, .length = Milliseconds(20), .keys = 4});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->latencies.size(), target.Stats().queued);
  EXPECT_GE(results->latencies.size(), 3u);
  EXPECT_GE(results->length, Milliseconds(20));
  for (const auto& [key, value] : target.map()) {
    EXPECT_EQ(key.substr(0, 5), "user:");
    EXPECT_EQ(value.size(), 100u);
  }
}

TEST(PutLoopTest, EndsWithTheFirstError) {
  MapTarget target;
  target.FailAt(5);
  const absl::StatusOr<PutResults> results =
      RunPuts(target, {.threads = 1, .length = absl::Hours(1)});
  EXPECT_TRUE(absl::IsUnavailable(results.status())) << results.status();
}

class BurstTest : public ::testing::Test {
 protected:
  const TemporaryFolder folder_;
  const std::unique_ptr<WriteDatabase> database_ =
      WriteDatabase::Create(folder_.File("store.db"), WriteDatabase::Speed::kItsOwn, 1).value();
  MapTarget target_;
  Stage stage_{"Burst", "a test", 1};
};

TEST_F(BurstTest, PutsEachNumberOnceAndCountsEachPutOnce) {
  const BurstLoad load = {.puts_per_second = 10'000, .puts = 101, .keys = 101, .threads = 3};
  const absl::StatusOr<BurstResults> results =
      RunBurst(target_, database_->store(), load, Milliseconds(1), stage_);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(target_.map().size(), 101u);
  EXPECT_EQ(target_.Get(PutKey(100)), PutValue(100, 100));
  EXPECT_EQ(results->latencies.size(), 101u);
  EXPECT_EQ(results->stats.stored, 101u);
  ASSERT_EQ(results->samples.size(), results->puts.size());
  uint32_t puts = 0;
  for (const BurstPuts& between : results->puts) puts += between.puts;
  EXPECT_EQ(puts, 101u);
  EXPECT_GE(results->last_put, Milliseconds(10)) << "the last one was due then";
  EXPECT_LE(results->last_put, results->drained);
  EXPECT_TRUE(std::is_sorted(results->samples.begin(), results->samples.end(),
                             [](const auto& a, const auto& b) { return a.at < b.at; }));
}

TEST_F(BurstTest, LetsTheDatabaseDieAndComeBack) {
  const BurstLoad load = {
      .puts = 1, .keys = 1, .dies = Milliseconds(1), .comes_back = Milliseconds(2)};
  ASSERT_TRUE(RunBurst(target_, database_->store(), load, Milliseconds(1), stage_).ok());
  EXPECT_EQ(database_->store().Write("alive", "again", {1, 1}), absl::OkStatus());
}

TEST_F(BurstTest, EndsWithTheFirstError) {
  target_.FailAt(2);
  const BurstLoad load = {.puts_per_second = 10'000, .puts = 10, .keys = 10};
  EXPECT_TRUE(absl::IsUnavailable(
      RunBurst(target_, database_->store(), load, Milliseconds(1), stage_).status()));
}

TEST_F(BurstTest, IsWrittenAsJson) {
  BurstSeries series = {
      .name = "some",
      .title = "some puts",
      .load = {.puts_per_second = 10, .dies = Seconds(1), .comes_back = Seconds(2)},
      .max_queued = 5,
      .results = {}};
  series.results.samples = {{Seconds(0), 1, Milliseconds(3), 0}, {Seconds(1), 0, Seconds(0), 2}};
  series.results.puts = {{2, absl::Microseconds(4), absl::Microseconds(7)}, {}};
  series.results.last_put = Milliseconds(500);
  series.results.drained = Seconds(1);
  const std::string path = folder_.File("t.json");
  ASSERT_EQ(WriteBurstJson(path, Seconds(1), {{series}}), absl::OkStatus());
  EXPECT_EQ(Contents(path), R"({"interval_s": 1.0000,
 "bursts": [
  {"name": "some", "title": "some puts",
   "puts_per_s": 10.0000, "max_queued": 5, "dies_s": 1.0000, "comes_back_s": 2.0000, )"
                            R"("last_put_s": 0.5000, "drained_s": 1.0000,
   "at_s": [0.0000,1.0000],
   "queued": [1,0],
   "oldest_s": [0.0030,0.0000],
   "stored": [0,2],
   "puts": [2,0],
   "p50_us": [4.0,null],
   "p99_us": [7.0,null]}]}
)");
  EXPECT_TRUE(absl::IsUnavailable(WriteBurstJson("/nonexistent/t.json", Seconds(1), {})));
}

TEST(CommandLineTest, TakesFlagsOut) {
  std::string program = "bench", first = "--scale=1", other = "--scaled=2", last = "--scale=3";
  std::vector<char*> arguments = {program.data(), first.data(), other.data(), last.data()};
  EXPECT_EQ(FlagValue(arguments, "scale"), "3");
  EXPECT_EQ(FlagValue(arguments, "size", "none"), "none");
  EXPECT_EQ(TakeFlag(arguments, "scale"), "3");
  EXPECT_EQ(arguments, (std::vector<char*>{program.data(), other.data()}));
  EXPECT_EQ(TakeFlag(arguments, "scale", "1"), "1");
}

TEST(CommandLineTest, PutsFilesBesideOthers) {
  EXPECT_EQ(PathBeside("out/writes.json", "timeline"), "out/writes_timeline.json");
  EXPECT_EQ(PathBeside("writes", "timeline"), "writes_timeline.json");
}

benchmark::BenchmarkReporter::Run ResultOf(const std::string& name,
                                           std::map<std::string, double> counters) {
  benchmark::BenchmarkReporter::Run run;
  run.run_name.function_name = name;
  for (const auto& [counter, value] : counters) run.counters[counter] = value;
  return run;
}

TEST(WritesTableTest, HasWhatWasMeasuredAndNothingElse) {
  const WritesPlan plan = {
      .databases = {{"slow", "A SLOW DATABASE"}, {"sqlite", "SQLITE"}},
      .modes = {{"through", "write-through", "nothing", WritePolicy::kThrough},
                {"memory", "write-behind", "the process", WritePolicy::kBehind}},
      .threads = {1, 64},
      .group_threads = {1, 2},
      .bursts = {{"big", "a big burst"}}};
  WritesTable table(plan);
  EXPECT_EQ(table.Format().find("A PUT"), std::string::npos);
  std::map<std::string, double> put = {{"p50_us", 2},         {"p99_us", 30},
                                       {"puts_per_s", 12345}, {"samples", 1000},
                                       {"write_calls", 70},   {"flush_ms", 500}};
  table.ReportRuns({ResultOf("BM_Put/slow/memory/64", put)});
  put["syncs_per_put"] = 0.025;
  table.ReportRuns({ResultOf("BM_GroupCommit/journal/2", put)});
  put["puts_per_s"] = 1000;
  table.ReportRuns({ResultOf("BM_GroupCommit/sync_each/2", put)});
  const std::string text = table.Format();
  EXPECT_NE(text.find("A PUT, A SLOW DATABASE"), std::string::npos) << text;
  EXPECT_EQ(text.find("SQLITE"), std::string::npos) << text;
  EXPECT_NE(text.find("2.00 µs  30.0 µs"), std::string::npos) << text;
  EXPECT_NE(text.find("12,345"), std::string::npos) << text;
  EXPECT_NE(text.find("500 ms  the process"), std::string::npos) << text;
  EXPECT_NE(text.find("0.025"), std::string::npos) << text;
  EXPECT_NE(text.find("12 × as fast"), std::string::npos) << text;
  EXPECT_EQ(text.find("BURSTS"), std::string::npos) << text;
}

}  // namespace
}  // namespace larder::bench
