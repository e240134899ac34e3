// SPDX-License-Identifier: Apache-2.0

// Hit ratios of the eviction policies, over generated traces or over files with known results.
//
// Without options of its own it replays generated traces. With --traces=DIRECTORY it replays every
// trace of that directory's reference.tsv through real caches of one stripe, and compares the hits
// with those that the file gives for the policy; exit status 1 unless all are equal, 2 for wrong
// usage. --policy=Lru, Sieve or S3Fifo leaves out the others.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/support/text_table.h"
#include "bench/support/traces.h"
#include "benchmark/benchmark.h"
#include "larder/cache.h"
#include "larder/policy.h"

namespace larder::bench {
namespace {

constexpr size_t kCapacity = 10'000;
constexpr size_t kRequests = 1'000'000;

// Hits of a cache that is asked for each key, and given those it hasn't got.
template <class Policy, class Key>
uint64_t HitsOf(size_t capacity, const std::vector<Key>& trace) {
  using CacheT = Cache<uint64_t, uint64_t, Policy>;
  typename CacheT::Options options;
  options.capacity = capacity;
  options.stripes = 1;
  const std::unique_ptr<CacheT> cache = CacheT::Create(std::move(options)).value();
  uint64_t hits = 0;
  for (const uint64_t key : trace) {
    if (cache->Get(key).has_value()) {
      ++hits;
    } else {
      benchmark::DoNotOptimize(cache->Put(key, key));
    }
  }
  return hits;
}

// Policies as values.
struct Replayer {
  std::string_view name;
  std::string_view reference_name;
  uint64_t (*hits)(size_t capacity, const std::vector<uint32_t>& trace);
  uint64_t (*generated_hits)(size_t capacity, const std::vector<uint64_t>& trace);
};

template <class Policy>
constexpr Replayer ReplayerOf(std::string_view reference_name) {
  return {Policy::kName, reference_name, &HitsOf<Policy, uint32_t>, &HitsOf<Policy, uint64_t>};
}

constexpr std::array kReplayers = {
    // one line for each
    ReplayerOf<Lru>("LRU"),
    ReplayerOf<Sieve>("SIEVE"),
    ReplayerOf<S3Fifo>("S3FIFO"),
};

struct Flags {
  std::string traces;
  std::string policy;

  bool Selects(const Replayer& replayer) const { return policy.empty() || policy == replayer.name; }
};

// --- Files.

const Replayer* FindReplayer(const ReferenceHits& reference, const Flags& flags) {
  for (const Replayer& replayer : kReplayers) {
    if (replayer.reference_name == reference.policy && flags.Selects(replayer)) return &replayer;
  }
  return nullptr;
}

absl::StatusOr<bool> CompareWithReference(const Flags& flags) {
  absl::StatusOr<std::vector<ReferenceHits>> references = ReadReferenceHits(flags.traces);
  if (!references.ok()) return references.status();
  TextTable table;
  table.AddRow({"TRACE", "capacity", "policy", "requests", "hits", "reference", "difference"});
  std::string loaded;
  std::vector<uint32_t> trace;
  size_t compared = 0;
  size_t equal = 0;
  for (const ReferenceHits& reference : *references) {
    const Replayer* replayer = FindReplayer(reference, flags);
    if (replayer == nullptr) continue;
    if (loaded != reference.trace) {
      absl::StatusOr<std::vector<uint32_t>> read = ReadTrace(flags.traces, reference.trace);
      if (!read.ok()) return read.status();
      trace = *std::move(read);
      loaded = reference.trace;
    }
    if (trace.size() != reference.requests) {
      return absl::DataLossError(
          absl::StrFormat("%s has %d requests, not %d", loaded, trace.size(), reference.requests));
    }
    const uint64_t hits = replayer->hits(reference.capacity, trace);
    ++compared;
    equal += hits == reference.hits ? 1 : 0;
    table.AddRow({loaded, absl::StrCat(reference.capacity), std::string(replayer->name),
                  absl::StrCat(reference.requests), absl::StrCat(hits),
                  absl::StrCat(reference.hits),
                  absl::StrCat(static_cast<int64_t>(hits - reference.hits))});
  }
  absl::PrintF("%s\n%d of %d equal the reference\n", table.Format(), equal, compared);
  return compared > 0 && equal == compared;
}

// --- Generated traces.

void BM_HitRatio(benchmark::State& state, const Replayer& replayer, const GeneratedTrace& trace) {
  uint64_t hits = 0;
  for (auto _ : state) hits = replayer.generated_hits(kCapacity, trace.keys);
  state.counters["hit_ratio"] = static_cast<double>(hits) / static_cast<double>(trace.keys.size());
}

void RegisterGenerated(const Flags& flags) {
  static const std::vector<GeneratedTrace> traces = GenerateTraces(kCapacity, kRequests);
  for (const GeneratedTrace& trace : traces) {
    for (const Replayer& replayer : kReplayers) {
      if (!flags.Selects(replayer)) continue;
      const std::string name = absl::StrFormat("BM_HitRatio<%s>/%s/capacity:%d",
                                               std::string(replayer.name), trace.name, kCapacity);
      benchmark::RegisterBenchmark(
          name.c_str(), [&](benchmark::State& state) { BM_HitRatio(state, replayer, trace); })
          ->Iterations(1)
          ->Unit(benchmark::kMillisecond);
    }
  }
}

// --- The command line.

// Takes what is ours out of the arguments.
Flags TakeFlags(std::vector<char*>* arguments) {
  Flags flags;
  std::erase_if(*arguments, [&flags](const char* argument) {
    for (const auto& [start, value] :
         {std::pair("--traces=", &flags.traces), std::pair("--policy=", &flags.policy)}) {
      if (!std::string_view(argument).starts_with(start)) continue;
      *value = std::string_view(argument).substr(std::string_view(start).size());
      return true;
    }
    return false;
  });
  return flags;
}

int Main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  const Flags flags = TakeFlags(&arguments);
  bool known = false;
  for (const Replayer& replayer : kReplayers) known |= flags.Selects(replayer);
  if (!known) {
    absl::FPrintF(stderr, "larder: there is no policy %s\n", flags.policy);
    return 2;
  }
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  if (!flags.traces.empty()) {
    const absl::StatusOr<bool> equal = CompareWithReference(flags);
    if (!equal.ok()) absl::FPrintF(stderr, "larder: %s\n", equal.status().ToString());
    return equal.ok() && *equal ? 0 : 1;
  }
  RegisterGenerated(flags);
  const size_t matching = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return matching == 0 ? 2 : 0;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
