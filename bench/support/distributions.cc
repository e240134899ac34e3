// SPDX-License-Identifier: Apache-2.0

#include "bench/support/distributions.h"

#include <cstddef>
#include <fstream>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "bench/support/latency_recorder.h"

namespace larder::bench {

void Distributions::Add(std::string_view name, const LatencyRecorder& latencies) {
  constexpr size_t kPoints = 400;
  by_name_[std::string(name)] = {latencies.size(), latencies.Quantiles(kPoints)};
}

absl::Status Distributions::WriteJson(const std::string& path) const {
  std::string json = "{\"unit\": \"ns\",\n \"distributions\": {";
  const char* separator = "\n";
  for (const auto& [name, distribution] : by_name_) {
    const std::string points =
        absl::StrJoin(distribution.quantiles, ", ", [](std::string* out, const QuantilePoint& p) {
          absl::StrAppendFormat(out, "[%.7f, %.1f]", p.quantile, p.nanos);
        });
    absl::StrAppendFormat(&json, "%s  \"%s\": {\"samples\": %d, \"quantiles\": [%s]}", separator,
                          name, distribution.samples, points);
    separator = ",\n";
  }
  json += "\n }}\n";
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << json << std::flush;
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace larder::bench
