// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TIERS_TABLE_H_
#define LARDER_BENCH_SUPPORT_TIERS_TABLE_H_

#include <map>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace larder::bench {

// A display reporter that prints, once all benchmarks of the main job have run, what they found as
// tables for a person: the tiers beside what their documents say, the request flows, the thousand
// askers. Benchmarks that were not run are left out, for those that failed it says why.
class TiersTable : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  // Of repetitions the median is shown.
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;

 private:
  struct Result {
    std::map<std::string, double> counters;
    std::string error;  // "" if there is none
  };

  const Result* Find(const std::string& name) const;
  std::string FormatTiers() const;
  std::string FormatTierRatios() const;
  std::string FormatFlows() const;
  std::string FormatAskers() const;

  std::map<std::string, Result> results_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TIERS_TABLE_H_
