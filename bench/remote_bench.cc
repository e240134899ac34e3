// SPDX-License-Identifier: Apache-2.0

// Redis as the shared tier: latencies, throughput, invalidation between processes, an outage.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "bench/support/command_line.h"
#include "bench/support/invalidation_delay.h"
#include "bench/support/redis_outage_results.h"
#include "bench/support/redis_throughput.h"
#include "bench/support/remote_table.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/shared_tier_benchmarks.h"
#include "bench/support/tier_parts.h"

namespace larder::bench {
namespace {

int Main(int argc, char** argv) {
  const std::vector<char*> arguments(argv, argv + argc);
  // Another process of the benchmark that measures invalidation.
  if (const std::string task = FlagValue(arguments, kWriterFlag); !task.empty()) {
    return RunWriter(task);
  }
  const std::string out = FlagValue(arguments, "benchmark_out");
  absl::StatusOr<std::unique_ptr<TierParts>> parts = TierParts::Create();
  if (!parts.ok()) {
    absl::FPrintF(stderr, "larder: %s\n", parts.status().ToString());
    return 1;
  }
  CleanUpOnInterrupt(**parts);
  const auto outages = std::make_shared<std::vector<RedisOutageSeries>>();
  RegisterSharedTierBenchmarks(**parts);
  RegisterThroughputBenchmarks(**parts);
  RegisterInvalidationBenchmarks(**parts);
  RegisterRedisOutageBenchmarks(**parts, outages);
  RemoteTable table(outages);
  const int status = RunBenchmarks(argc, argv, {}, &table);
  if (status != 0) return status;
  if (!out.empty()) {
    const absl::Status written = WriteRedisOutageJson(PathBeside(out, "timeline"), *outages);
    if (!written.ok()) (*parts)->NoteFailure(written);
    if (!written.ok()) absl::FPrintF(stderr, "larder: %s\n", written.ToString());
  }
  if (!(*parts)->failed()) return 0;
  absl::FPrintF(stderr, "larder: not all of it could be measured, see above\n");
  return 1;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
