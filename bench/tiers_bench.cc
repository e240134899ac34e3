// SPDX-License-Identifier: Apache-2.0

// The main job: memory, Redis and a database side by side, request flows, a thousand askers.

#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "bench/support/asker_benchmark.h"
#include "bench/support/command_line.h"
#include "bench/support/flow_benchmarks.h"
#include "bench/support/machine.h"
#include "bench/support/tier_benchmarks.h"
#include "bench/support/tier_parts.h"
#include "bench/support/tiers_table.h"
#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

int Main(int argc, char** argv) {
  const std::span<char* const> given(argv, static_cast<size_t>(argc));
  const std::string out = FlagValue(given, "benchmark_out");
  const bool other_format = !FlagValue(given, "benchmark_format").empty();
  // By itself Google Benchmark would repeat a stage until it took half a second. Stages know how
  // much they have to do; the flag still goes to who asks for it, since the last one counts.
  std::vector<std::string> arguments = {argv[0], "--benchmark_min_time=0"};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  std::vector<char*> raw_arguments;
  for (std::string& argument : arguments) raw_arguments.push_back(argument.data());
  int count = static_cast<int>(raw_arguments.size());
  benchmark::Initialize(&count, raw_arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, raw_arguments.data())) return 2;

  absl::StatusOr<std::unique_ptr<TierParts>> parts = TierParts::Create();
  if (!parts.ok()) {
    absl::FPrintF(stderr, "larder: %s\n", parts.status().ToString());
    return 1;
  }
  CleanUpOnInterrupt(**parts);
  AddMachineContext();
  RegisterTierBenchmarks(**parts);
  RegisterFlowBenchmarks(**parts);
  RegisterAskerBenchmark(**parts);
  TiersTable table;
  const size_t matching = benchmark::RunSpecifiedBenchmarks(other_format ? nullptr : &table);
  benchmark::Shutdown();
  if (matching == 0) return 2;
  if (!out.empty()) {
    const absl::Status written = (*parts)->distributions().WriteJson(PathBeside(out, "latencies"));
    if (!written.ok()) (*parts)->NoteFailure(written);
    if (!written.ok()) absl::FPrintF(stderr, "larder: %s\n", written.ToString());
  }
  if ((*parts)->failed()) {
    absl::FPrintF(stderr, "larder: not all of it could be measured, see above\n");
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
