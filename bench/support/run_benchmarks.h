// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_RUN_BENCHMARKS_H_
#define LARDER_BENCH_SUPPORT_RUN_BENCHMARKS_H_

#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace larder::bench {

// The rest of a benchmark's main(): runs what was registered and returns the exit status: 0, or 2
// for options that are not understood or match nothing. `defaults` are Google Benchmark's own
// options, which those of the command line override. `display`, unless nullptr, is told the results
// in place of the console, except where --benchmark_format asks for something else. The context of
// the results names the machine.
int RunBenchmarks(int argc, char** argv, const std::vector<std::string>& defaults,
                  benchmark::BenchmarkReporter* display = nullptr);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_RUN_BENCHMARKS_H_
