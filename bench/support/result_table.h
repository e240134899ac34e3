// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_RESULT_TABLE_H_
#define LARDER_BENCH_SUPPORT_RESULT_TABLE_H_

#include <map>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace larder::bench {

// A display reporter that keeps all results and prints them once all benchmarks have run. Of
// repetitions the median is kept.
class ResultTable : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;

  // What is printed.
  virtual std::string Format() const = 0;

 protected:
  struct Result {
    std::map<std::string, double> counters;
    std::string error;  // "" if there is none
  };

  // nullptr for a benchmark that was not run. Its name is the one it was registered with.
  const Result* Find(const std::string& benchmark) const;
  const std::map<std::string, Result>& results() const { return results_; }

 private:
  std::map<std::string, Result> results_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_RESULT_TABLE_H_
