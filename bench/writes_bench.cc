// SPDX-License-Identifier: Apache-2.0

// Write-through and write-behind: what a put costs, what group commit gains, how a queue drains.
//
// --scale=FACTOR multiplies how long each measurement puts, and what bursts put. Journals and
// databases are in TMPDIR.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "bench/support/burst.h"
#include "bench/support/bursts.h"
#include "bench/support/command_line.h"
#include "bench/support/latency_counters.h"
#include "bench/support/progress.h"
#include "bench/support/put_loop.h"
#include "bench/support/put_target.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/write_database.h"
#include "bench/support/write_modes.h"
#include "bench/support/writes_table.h"
#include "benchmark/benchmark.h"
#include "larder/write_policy.h"

namespace larder::bench {
namespace {

constexpr uint64_t kSeed = 20'250'207;
constexpr absl::Duration kSampleEvery = absl::Milliseconds(25);
constexpr char kSlow[] = "slow";

WritesPlan Plan(const std::vector<BurstPlan>& bursts) {
  WritesPlan plan = {.databases = {{kSlow, "A DATABASE OF 50–200 ms"}, {"sqlite", "SQLITE ITSELF"}},
                     .modes = WriteModes(),
                     .threads = {1, 4, 16, 64},
                     .group_threads = {1, 2, 4, 8, 16, 32, 64},
                     .bursts = {}};
  for (const BurstPlan& burst : bursts) plan.bursts.emplace_back(burst.name, burst.title);
  return plan;
}

void AddPutCounters(benchmark::State& state, const PutResults& results) {
  AddLatencyCounters(state, "", results.latencies, "us", kNanosPerMicro);
  state.counters["puts_per_s"] =
      static_cast<double>(results.latencies.size()) / absl::ToDoubleSeconds(results.length);
}

// The benchmarks of the program, which run one after the other.
class Writes {
 public:
  explicit Writes(double scale) : scale_(scale), bursts_(BurstPlans(scale)), plan_(Plan(bursts_)) {}

  void Register();

  const WritesPlan& plan() const { return plan_; }
  bool failed() const { return failed_; }
  void EndStage() { stage_.reset(); }

  // What happened to queues over time, in the last run, if there was one. Only if nothing failed.
  absl::Status WriteJson(const std::string& path) const {
    if (burst_runs_.empty()) return WriteBurstJson(path, kSampleEvery, {});
    return WriteBurstJson(path, kSampleEvery, *burst_runs_.back());
  }

 private:
  using Measure = std::function<absl::Status(benchmark::State&)>;

  void Register(const std::string& name, Measure measure);
  // Tells on standard error what is measured from here on.
  void Enter(const std::string& stage, const std::string& doing, size_t steps);

  absl::Status MeasurePuts(benchmark::State& state, const WritesDatabase& database,
                           const WriteMode& mode, int threads);
  absl::Status MeasureSharedSyncs(benchmark::State& state, int threads);
  absl::Status MeasureOwnSyncs(benchmark::State& state, int threads);
  // Bursts are run together, and then each tells its own part: the n-th repetition that of the n-th
  // run.
  absl::Status TellBurst(benchmark::State& state, size_t burst);

  const double scale_;
  const std::vector<BurstPlan> bursts_;
  const WritesPlan plan_;
  std::vector<absl::StatusOr<std::vector<BurstSeries>>> burst_runs_;
  std::vector<size_t> told_ = std::vector<size_t>(bursts_.size());  // runs, by each burst
  std::string stage_name_;
  std::unique_ptr<Stage> stage_;
  bool failed_ = false;
};

void Writes::Register() {
  for (const WritesDatabase& database : plan_.databases) {
    for (const WriteMode& mode : plan_.modes) {
      for (const int threads : plan_.threads) {
        Register(PutBenchmark(database.name, mode.name, threads),
                 [this, &database, &mode, threads](benchmark::State& state) {
                   return MeasurePuts(state, database, mode, threads);
                 });
      }
    }
  }
  for (const int threads : plan_.group_threads) {
    Register(GroupBenchmark("journal", threads), [this, threads](benchmark::State& state) {
      return MeasureSharedSyncs(state, threads);
    });
    Register(GroupBenchmark("sync_each", threads),
             [this, threads](benchmark::State& state) { return MeasureOwnSyncs(state, threads); });
  }
  for (size_t i = 0; i < bursts_.size(); ++i) {
    Register(BurstBenchmark(bursts_[i].name),
             [this, i](benchmark::State& state) { return TellBurst(state, i); });
  }
}

void Writes::Register(const std::string& name, Measure measure) {
  const auto run = [this, measure = std::move(measure)](benchmark::State& state) {
    while (state.KeepRunning()) {
      const absl::Status status = measure(state);
      if (stage_ != nullptr) stage_->Advance();
      if (status.ok()) continue;
      failed_ = true;
      state.SkipWithError(std::string(status.message()).c_str());
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->Iterations(1);
}

void Writes::Enter(const std::string& stage, const std::string& doing, size_t steps) {
  if (stage_name_ == stage) return;
  stage_name_ = stage;
  stage_.reset();
  stage_ = std::make_unique<Stage>(stage, doing, steps);
}

absl::Status Writes::MeasurePuts(benchmark::State& state, const WritesDatabase& database,
                                 const WriteMode& mode, int threads) {
  const bool slow = database.name == kSlow;
  Enter(absl::StrCat("Put/", database.name),
        absl::StrFormat("%d ways to write, %d to %d threads", plan_.modes.size(),
                        plan_.threads.front(), plan_.threads.back()),
        plan_.modes.size() * plan_.threads.size());
  const TemporaryFolder folder;
  absl::StatusOr<std::unique_ptr<WriteDatabase>> stored = WriteDatabase::Create(
      folder.File("store.db"), slow ? WriteDatabase::Speed::kSlow : WriteDatabase::Speed::kItsOwn,
      kSeed);
  if (!stored.ok()) return stored.status();
  absl::StatusOr<std::unique_ptr<PutTarget>> cache =
      OpenTieredCache(mode, (*stored)->store(), folder.File("journal"));
  if (!cache.ok()) return cache.status();
  PutLoad load = {.threads = threads, .length = absl::Milliseconds(400) * scale_, .seed = kSeed};
  // Else a thread would have three of them to tell of.
  if (slow && mode.policy == WritePolicy::kThrough) load.length *= 4;
  const absl::StatusOr<PutResults> results = RunPuts(**cache, load);
  if (!results.ok()) return results.status();
  const absl::Time flush = absl::Now();
  if (absl::Status flushed = (*cache)->Flush(); !flushed.ok()) return flushed;
  state.counters["flush_ms"] = absl::ToDoubleMilliseconds(absl::Now() - flush);
  AddPutCounters(state, *results);
  state.counters["write_calls"] = static_cast<double>((*stored)->store().write_calls());
  state.counters["syncs"] = static_cast<double>((*cache)->Stats().syncs);
  return (*stored)->CompareWith(**cache, load.keys);
}

absl::Status Writes::MeasureSharedSyncs(benchmark::State& state, int threads) {
  Enter("GroupCommit", "syncs that threads share, and one for each put",
        2 * plan_.group_threads.size());
  const TemporaryFolder folder;
  absl::StatusOr<std::unique_ptr<WriteDatabase>> stored =
      WriteDatabase::Create(folder.File("store.db"), WriteDatabase::Speed::kSlow, kSeed);
  if (!stored.ok()) return stored.status();
  absl::StatusOr<std::unique_ptr<PutTarget>> cache =
      OpenTieredCache(SyncedJournal(), (*stored)->store(), folder.File("journal"));
  if (!cache.ok()) return cache.status();
  const uint64_t syncs_before = (*cache)->Stats().syncs;
  const PutLoad load = {
      .threads = threads, .length = absl::Milliseconds(500) * scale_, .seed = kSeed};
  const absl::StatusOr<PutResults> results = RunPuts(**cache, load);
  if (!results.ok()) return results.status();
  AddPutCounters(state, *results);
  state.counters["syncs_per_put"] = static_cast<double>((*cache)->Stats().syncs - syncs_before) /
                                    static_cast<double>(results->latencies.size());
  if (absl::Status flushed = (*cache)->Flush(); !flushed.ok()) return flushed;
  return (*stored)->CompareWith(**cache, load.keys);
}

absl::Status Writes::MeasureOwnSyncs(benchmark::State& state, int threads) {
  const TemporaryFolder folder;
  absl::StatusOr<std::unique_ptr<PutTarget>> file = SyncEachPut(folder.File("log"));
  if (!file.ok()) return file.status();
  const PutLoad load = {
      .threads = threads, .length = absl::Milliseconds(500) * scale_, .seed = kSeed};
  const absl::StatusOr<PutResults> results = RunPuts(**file, load);
  if (!results.ok()) return results.status();
  AddPutCounters(state, *results);
  state.counters["syncs_per_put"] = 1;
  return absl::OkStatus();
}

absl::Status Writes::TellBurst(benchmark::State& state, size_t burst) {
  const size_t repetition = told_[burst]++;
  if (repetition == burst_runs_.size()) {
    size_t puts = 0;
    for (const BurstPlan& plan : bursts_) puts += plan.load.puts;
    stage_name_ = "Burst";
    stage_.reset();
    Stage stage(stage_name_, absl::StrFormat("%d bursts side by side", bursts_.size()), puts);
    burst_runs_.push_back(RunBursts(bursts_, kSampleEvery, stage));
  }
  const absl::StatusOr<std::vector<BurstSeries>>& run = burst_runs_[repetition];
  if (!run.ok()) return run.status();
  AddBurstCounters(state, (*run)[burst].results);
  return absl::OkStatus();
}

// Prints on a terminal that nothing else is drawn on any more.
class FinalTable : public WritesTable {
 public:
  explicit FinalTable(Writes& writes) : WritesTable(writes.plan()), writes_(writes) {}

  void Finalize() override {
    writes_.EndStage();
    WritesTable::Finalize();
  }

 private:
  Writes& writes_;
};

int Main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  double scale = 0;
  if (!absl::SimpleAtod(TakeFlag(arguments, "scale", "1"), &scale) || scale < 0.01 || scale > 100) {
    absl::FPrintF(stderr, "larder: --scale is 0.01 to 100\n");
    return 2;
  }
  const std::string out = FlagValue(arguments, "benchmark_out");
  Writes writes(scale);
  writes.Register();
  FinalTable table(writes);
  const int status =
      RunBenchmarks(static_cast<int>(arguments.size()), arguments.data(), {}, &table);
  if (status != 0) return status;
  if (writes.failed()) {
    absl::FPrintF(stderr, "larder: not all of it could be measured, see above\n");
    return 1;
  }
  if (out.empty()) return 0;
  const absl::Status written = writes.WriteJson(PathBeside(out, "timeline"));
  if (!written.ok()) absl::FPrintF(stderr, "larder: %s\n", written.ToString());
  return written.ok() ? 0 : 1;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
