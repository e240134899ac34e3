// SPDX-License-Identifier: Apache-2.0

#include "bench/support/run_benchmarks.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "bench/support/machine.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

int RunBenchmarks(int argc, char** argv, const std::vector<std::string>& defaults,
                  benchmark::BenchmarkReporter* display) {
  std::vector<std::string> arguments = {argv[0]};
  arguments.insert(arguments.end(), defaults.begin(), defaults.end());
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  const bool other_format = std::any_of(argv + 1, argv + argc, [](std::string_view argument) {
    return argument.starts_with("--benchmark_format=");
  });
  // Google Benchmark keeps pointers to these.
  std::vector<char*> raw;
  for (std::string& argument : arguments) raw.push_back(argument.data());
  int count = static_cast<int>(raw.size());
  benchmark::Initialize(&count, raw.data());
  if (benchmark::ReportUnrecognizedArguments(count, raw.data())) return 2;
  AddMachineContext();
  const size_t matching = benchmark::RunSpecifiedBenchmarks(other_format ? nullptr : display);
  benchmark::Shutdown();
  return matching == 0 ? 2 : 0;
}

}  // namespace larder::bench
