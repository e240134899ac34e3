// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TRACES_H_
#define LARDER_BENCH_SUPPORT_TRACES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace larder::bench {

// How often each policy hits, as somebody else has found out.
struct ReferenceHits {
  std::string trace;
  std::string policy;
  size_t capacity = 0;  // entries
  uint64_t hits = 0;
  uint64_t requests = 0;
};

// Reads `directory`/reference.tsv: a heading, then a line for each ReferenceHits, its fields in
// this order, separated by tabs. NotFound without one, InvalidArgument names the line that isn't
// so.
absl::StatusOr<std::vector<ReferenceHits>> ReadReferenceHits(const std::string& directory);

// Reads the keys of `directory`/`trace`.u32.xz: little-endian 32-bit numbers, compressed, which
// takes the command xz. An error names the file.
absl::StatusOr<std::vector<uint32_t>> ReadTrace(const std::string& directory,
                                                const std::string& trace);

// A trace that is generated: the same on every machine.
struct GeneratedTrace {
  std::string name;
  std::vector<uint64_t> keys;
};

// Popularity alone; with scans in between; with scans and a change of what is popular; a loop that
// is longer than the cache. For caches of `capacity` entries.
std::vector<GeneratedTrace> GenerateTraces(size_t capacity, size_t requests);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TRACES_H_
