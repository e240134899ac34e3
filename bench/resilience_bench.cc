// SPDX-License-Identifier: Apache-2.0

// A database that dies for 5 s and comes back slow: each option for loads, over time.
//
// --scale=FACTOR multiplies all times, from the outage to the ttl, and the number of products, but
// not the requests a second.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "bench/support/command_line.h"
#include "bench/support/outage_contenders.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_table.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/progress.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/temporary_folder.h"
#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

constexpr absl::Duration kBucket = absl::Milliseconds(100);

// The runs of the program. Contenders are measured side by side, and their benchmarks, which come
// one after the other, then tell each its own part: the n-th repetition that of the n-th run.
class Outage {
 public:
  explicit Outage(double scale)
      : scale_(scale),
        timeline_(OutageTimeline::DeadForFiveSeconds(scale)),
        load_(Load(scale)),
        contenders_(OutageContenders(scale)),
        repetitions_(contenders_.size()) {}

  void Register() {
    for (size_t i = 0; i < contenders_.size(); ++i) {
      benchmark::RegisterBenchmark(OutageBenchmark(contenders_[i]).c_str(),
                                   [this, i](benchmark::State& state) { Report(state, i); })
          ->Iterations(1);
    }
  }

  OutageTable Table() const { return OutageTable(timeline_, load_, contenders_); }

  bool measured() const { return !runs_.empty(); }
  bool failed() const { return failed_; }

  // The last run.
  absl::Status WriteJson(const std::string& path) const {
    std::vector<OutageSeries> series;
    for (size_t i = 0; i < contenders_.size(); ++i) {
      series.push_back({contenders_[i].name, contenders_[i].title,
                        ResultsOverTime(timeline_, (*runs_.back())[i], scale_ * kBucket)});
    }
    return WriteOutageJson(path, timeline_, scale_ * kBucket, series);
  }

 private:
  using Run = std::vector<OutageRecords>;

  static OutageLoad Load(double scale) {
    OutageLoad load;
    load.products = std::max(10u, static_cast<uint32_t>(load.products * scale));
    return load;
  }

  void Report(benchmark::State& state, size_t contender) {
    while (state.KeepRunning()) {
      const size_t repetition = repetitions_[contender]++;
      if (repetition == runs_.size()) runs_.push_back(RunNow());
    }
    const absl::StatusOr<Run>& run = runs_[repetitions_[contender] - 1];
    if (!run.ok()) {
      failed_ = true;
      state.SkipWithError(std::string(run.status().message()).c_str());
      return;
    }
    AddOutageCounters(state, timeline_, (*run)[contender]);
  }

  absl::StatusOr<Run> RunNow() const {
    const TemporaryFolder folder;
    if (folder.path().empty()) return absl::UnavailableError("no place for temporary files");
    Stage stage("Outage",
                absl::StrFormat("%d contenders side by side, %.0f requests a second to each",
                                contenders_.size(), load_.requests_per_second),
                RequestCount(timeline_, load_) * contenders_.size());
    absl::StatusOr<Run> run = RunOutage(folder.path(), timeline_, load_, contenders_, stage);
    if (!run.ok()) stage.Fail(std::string(run.status().message()));
    return run;
  }

  const double scale_;
  const OutageTimeline timeline_;
  const OutageLoad load_;
  const std::vector<OutageContender> contenders_;
  std::vector<size_t> repetitions_;  // that each contender has told
  std::vector<absl::StatusOr<Run>> runs_;
  bool failed_ = false;
};

int Main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  double scale = 0;
  if (!absl::SimpleAtod(TakeFlag(arguments, "scale", "1"), &scale) || scale < 0.01 || scale > 10) {
    absl::FPrintF(stderr, "larder: --scale is 0.01 to 10\n");
    return 2;
  }
  const std::string out = FlagValue(arguments, "benchmark_out");
  Outage outage(scale);
  outage.Register();
  OutageTable table = outage.Table();
  const int status =
      RunBenchmarks(static_cast<int>(arguments.size()), arguments.data(), {}, &table);
  if (status != 0 || !outage.measured()) return status;
  if (outage.failed()) {
    absl::FPrintF(stderr, "larder: not all of it could be measured, see above\n");
    return 1;
  }
  if (out.empty()) return 0;
  const absl::Status written = outage.WriteJson(PathBeside(out, "timeline"));
  if (!written.ok()) absl::FPrintF(stderr, "larder: %s\n", written.ToString());
  return written.ok() ? 0 : 1;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
