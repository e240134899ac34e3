// SPDX-License-Identifier: Apache-2.0

#include "bench/support/traces.h"

#include <stdio.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "bench/support/zipf.h"

namespace larder::bench {
namespace {

constexpr uint64_t kSeed = 20'250'612;
constexpr double kExponent = 0.9;

std::string Quoted(const std::string& argument) {
  return absl::StrCat("'", absl::StrReplaceAll(argument, {{"'", "'\\''"}}), "'");
}

// All that a shell's command prints; an error if it fails.
absl::StatusOr<std::string> OutputOf(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return absl::UnavailableError(absl::StrCat(command, ": ", strerror(errno)));
  std::string output;
  std::vector<char> buffer(size_t{1} << 16);
  while (const size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), count);
  }
  if (const int status = pclose(pipe); status != 0) {
    return absl::UnavailableError(absl::StrCat(command, " failed, with status ", status));
  }
  return output;
}

// Appends `count` of the keys, the next ones from *position on, round and round.
void Append(const std::vector<uint32_t>& keys, uint64_t offset, size_t count, size_t* position,
            std::vector<uint64_t>* trace) {
  for (size_t i = 0; i < count; ++i) {
    trace->push_back(offset + keys[*position]);
    *position = (*position + 1) % keys.size();
  }
}

// Stretches of popular keys, of 3 * `stretch` requests, each followed by `stretch` keys that come
// only once. Each stretch has other popular keys than the one before, if `drift` isn't 0.
std::vector<uint64_t> PopularWithScans(const std::vector<uint32_t>& popular, size_t stretch,
                                       uint64_t drift) {
  constexpr uint64_t kFirstScanned = uint64_t{1} << 40;
  std::vector<uint64_t> trace;
  uint64_t next_scanned = kFirstScanned;
  uint64_t offset = 0;
  size_t position = 0;
  while (trace.size() < popular.size()) {
    Append(popular, offset, 3 * stretch, &position, &trace);
    for (size_t i = 0; i < stretch; ++i) trace.push_back(next_scanned++);
    offset += drift;
  }
  return trace;
}

std::vector<uint64_t> Loop(size_t length, size_t requests) {
  std::vector<uint64_t> trace(requests);
  for (size_t i = 0; i < requests; ++i) trace[i] = i % length;
  return trace;
}

}  // namespace

absl::StatusOr<std::vector<ReferenceHits>> ReadReferenceHits(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/reference.tsv");
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::vector<ReferenceHits> all;
  std::string line;
  std::getline(file, line);  // the heading
  for (int number = 2; std::getline(file, line); ++number) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    ReferenceHits hits;
    if (fields.size() != 5 || !absl::SimpleAtoi(fields[2], &hits.capacity) ||
        !absl::SimpleAtoi(fields[3], &hits.hits) || !absl::SimpleAtoi(fields[4], &hits.requests)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": ", line));
    }
    hits.trace = fields[0];
    hits.policy = fields[1];
    all.push_back(std::move(hits));
  }
  return all;
}

absl::StatusOr<std::vector<uint32_t>> ReadTrace(const std::string& directory,
                                                const std::string& trace) {
  static_assert(std::endian::native == std::endian::little);
  const std::string path = absl::StrCat(directory, "/", trace, ".u32.xz");
  const absl::StatusOr<std::string> bytes = OutputOf(absl::StrCat("xz -dc -- ", Quoted(path)));
  if (!bytes.ok()) return bytes.status();
  if (bytes->empty() || bytes->size() % sizeof(uint32_t) != 0) {
    return absl::DataLossError(absl::StrCat(path, " holds ", bytes->size(), " bytes"));
  }
  std::vector<uint32_t> keys(bytes->size() / sizeof(uint32_t));
  std::memcpy(keys.data(), bytes->data(), bytes->size());
  return keys;
}

std::vector<GeneratedTrace> GenerateTraces(size_t capacity, size_t requests) {
  const auto keys = static_cast<uint32_t>(10 * capacity);
  std::vector<uint32_t> popular = ZipfKeys(keys, kExponent, requests, kSeed);
  std::vector<GeneratedTrace> traces;
  traces.push_back({"zipf", std::vector<uint64_t>(popular.begin(), popular.end())});
  traces.push_back({"zipf_scans", PopularWithScans(popular, capacity / 2, 0)});
  traces.push_back({"zipf_scans_drift", PopularWithScans(popular, capacity / 2, 1)});
  traces.push_back({"loop", Loop(capacity + capacity / 4, requests)});
  return traces;
}

}  // namespace larder::bench
