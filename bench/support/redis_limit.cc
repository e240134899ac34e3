// SPDX-License-Identifier: Apache-2.0

#include "bench/support/redis_limit.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/support/child_process.h"

namespace larder::bench {
std::string LimitKey(uint32_t n) { return absl::StrFormat("key:%012d", n); }

absl::StatusOr<double> RunRedisBenchmark(const LimitLoad& load) {
  const absl::StatusOr<std::string> csv =
      OutputOf({"redis-benchmark", "-h", "127.0.0.1", "-p", absl::StrCat(load.port), "-t", "get",
                "-c", absl::StrCat(load.clients), "-P", absl::StrCat(load.depth), "-n",
                absl::StrCat(load.requests), "-r", absl::StrCat(load.keys), "--csv"});
  if (!csv.ok()) return csv.status();
  return ParseRedisBenchmark(*csv);
}

// A line for each command: its name, its requests a second, and, since 6.2, more.
absl::StatusOr<double> ParseRedisBenchmark(std::string_view csv) {
  constexpr std::string_view kLine = "\"GET\",\"";
  const size_t found = csv.find(kLine);
  if (found != csv.npos) {
    const std::string_view rest = csv.substr(found + kLine.size());
    double rate = 0;
    if (absl::SimpleAtod(std::string(rest.substr(0, rest.find('"'))), &rate) && rate > 0) {
      return rate;
    }
  }
  return absl::InternalError(absl::StrCat("redis-benchmark said no rate: ", std::string(csv)));
}

}  // namespace larder::bench
