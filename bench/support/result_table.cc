// SPDX-License-Identifier: Apache-2.0

#include "bench/support/result_table.h"

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

// Google Benchmark 1.8 renamed the members.
template <class Run>
std::string ErrorOf(const Run& run) {
  if constexpr (requires { run.error_occurred; }) {
    return run.error_occurred ? run.error_message : "";
  } else {
    return run.skipped ? run.skip_message : "";
  }
}

}  // namespace

void ResultTable::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type == Run::RT_Aggregate && run.aggregate_name != "median") continue;
    Result result;
    for (const auto& [name, counter] : run.counters) result.counters[name] = counter.value;
    result.error = ErrorOf(run);
    // Without the number of iterations, which the whole name has, too.
    results_[run.run_name.function_name] = std::move(result);
  }
}

void ResultTable::Finalize() { GetOutputStream() << Format() << std::flush; }

const ResultTable::Result* ResultTable::Find(const std::string& benchmark) const {
  const auto it = results_.find(benchmark);
  return it == results_.end() ? nullptr : &it->second;
}

}  // namespace larder::bench
