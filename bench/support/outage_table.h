// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_OUTAGE_TABLE_H_
#define LARDER_BENCH_SUPPORT_OUTAGE_TABLE_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/outage_contenders.h"
#include "bench/support/outage_results.h"
#include "bench/support/outage_timeline.h"
#include "bench/support/result_table.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

// "BM_Outage/plain".
std::string OutageBenchmark(const OutageContender& contender);

// Adds what a contender went through to the counters of its benchmark: <phase>_p99_ms,
// <phase>_errors and so on for each phase that is measured, and late_p99_ms.
void AddOutageCounters(benchmark::State& state, const OutageTimeline& timeline,
                       const OutageRecords& records);

// A display reporter that prints, once all benchmarks of the outage have run, a table for each
// phase that is measured. Contenders that were not run are left out; for those that failed it says
// why.
class OutageTable : public ResultTable {
 public:
  OutageTable(OutageTimeline timeline, OutageLoad load, std::vector<OutageContender> contenders)
      : timeline_(std::move(timeline)), load_(load), contenders_(std::move(contenders)) {}

  std::string Format() const override;

 private:
  std::string FormatPhase(size_t phase) const;
  std::string FormatLateness() const;

  const OutageTimeline timeline_;
  const OutageLoad load_;
  const std::vector<OutageContender> contenders_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_OUTAGE_TABLE_H_
