// SPDX-License-Identifier: Apache-2.0

// Saving and loading snapshots: how long it takes, and how warm a cache is afterwards.
//
// 1 M entries of "user:N" and 100 bytes, to a file in $TMPDIR, synced. BM_Restart plays the first
// half of a trace, restarts the cache in one of three ways, and then counts hits: over as many
// requests as the cache has entries, and over the rest of the trace.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/temporary_folder.h"
#include "bench/support/traces.h"
#include "benchmark/benchmark.h"
#include "larder/policy.h"
#include "larder/snapshot.h"

namespace larder::bench {
namespace {

constexpr uint64_t kEntries = 1'000'000;
constexpr size_t kValueBytes = 100;
constexpr size_t kCapacity = 10'000;
constexpr size_t kRequests = 1'000'000;

template <class Policy>
using Users = Cache<std::string, std::string, Policy>;

template <class CacheT>
std::unique_ptr<CacheT> Make(uint64_t capacity, int stripes) {
  typename CacheT::Options options;
  options.capacity = capacity;
  options.stripes = stripes;
  return CacheT::Create(std::move(options)).value();
}

template <class Policy>
std::unique_ptr<Users<Policy>> FilledUsers() {
  auto cache = Make<Users<Policy>>(kEntries, 0);
  for (uint64_t i = 0; i < kEntries; ++i) {
    benchmark::DoNotOptimize(cache->Put(absl::StrCat("user:", i), std::string(kValueBytes, 'v')));
  }
  return cache;
}

void Tell(benchmark::State& state, const absl::StatusOr<SnapshotInfo>& info) {
  if (!info.ok()) {
    state.SkipWithError(info.status().ToString().c_str());
    return;
  }
  state.counters["entries"] = static_cast<double>(info->entries);
  state.counters["file_bytes"] = static_cast<double>(info->bytes);
}

template <class Policy>
void BM_Save(benchmark::State& state) {
  const TemporaryFolder folder;
  const std::string file = folder.File("users.snapshot");
  const auto cache = FilledUsers<Policy>();
  absl::StatusOr<SnapshotInfo> info;
  for (auto _ : state) info = cache->SaveSnapshot(file);
  Tell(state, info);
}

template <class Policy>
void BM_Load(benchmark::State& state) {
  const TemporaryFolder folder;
  const std::string file = folder.File("users.snapshot");
  absl::StatusOr<SnapshotInfo> info = FilledUsers<Policy>()->SaveSnapshot(file);
  for (auto _ : state) {
    state.PauseTiming();
    auto cache = Make<Users<Policy>>(kEntries, 0);
    state.ResumeTiming();
    info = cache->LoadSnapshot(file);
    state.PauseTiming();
    cache.reset();
    state.ResumeTiming();
  }
  Tell(state, info);
}

// --- Hit ratios after a restart.

enum class Restart { kNone, kSnapshot, kCold };

constexpr std::string_view NameOf(Restart restart) {
  return restart == Restart::kNone ? "none" : restart == Restart::kSnapshot ? "snapshot" : "cold";
}

template <class CacheT>
uint64_t Play(CacheT& cache, const std::vector<uint64_t>& keys, size_t from, size_t to) {
  uint64_t hits = 0;
  for (size_t i = from; i < to; ++i) {
    if (cache.Get(keys[i]).has_value()) {
      ++hits;
    } else {
      benchmark::DoNotOptimize(cache.Put(keys[i], keys[i]));
    }
  }
  return hits;
}

template <class Policy>
void BM_Restart(benchmark::State& state, Restart restart, const GeneratedTrace& trace) {
  using CacheT = Cache<uint64_t, uint64_t, Policy>;
  const TemporaryFolder folder;
  const std::string file = folder.File("users.snapshot");
  const size_t half = trace.keys.size() / 2;
  uint64_t soon = 0;
  uint64_t later = 0;
  for (auto _ : state) {
    auto cache = Make<CacheT>(kCapacity, 1);
    Play(*cache, trace.keys, 0, half);
    if (restart != Restart::kNone) {
      const absl::StatusOr<SnapshotInfo> saved = cache->SaveSnapshot(file);
      cache = Make<CacheT>(kCapacity, 1);
      if (restart == Restart::kSnapshot) {
        const absl::StatusOr<SnapshotInfo> loaded = cache->LoadSnapshot(file);
        if (!saved.ok() || !loaded.ok()) state.SkipWithError("no snapshot");
      }
    }
    soon = Play(*cache, trace.keys, half, half + kCapacity);
    later = Play(*cache, trace.keys, half + kCapacity, trace.keys.size());
  }
  state.counters["hit_ratio_soon"] = static_cast<double>(soon) / kCapacity;
  state.counters["hit_ratio"] =
      static_cast<double>(soon + later) / static_cast<double>(trace.keys.size() - half);
}

template <class Policy>
void Register(const std::vector<GeneratedTrace>& traces) {
  const std::string policy(Policy::kName);
  for (const auto& [name, run] :
       {std::pair("BM_Save", &BM_Save<Policy>), std::pair("BM_Load", &BM_Load<Policy>)}) {
    benchmark::RegisterBenchmark(absl::StrCat(name, "<", policy, ">").c_str(), run)
        ->Iterations(1)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  for (const GeneratedTrace& trace : traces) {
    for (const Restart restart : {Restart::kNone, Restart::kSnapshot, Restart::kCold}) {
      const std::string name = absl::StrCat("BM_Restart<", policy, ">/", trace.name,
                                            "/restart:", std::string(NameOf(restart)));
      benchmark::RegisterBenchmark(
          name.c_str(),
          [restart, &trace](benchmark::State& state) { BM_Restart<Policy>(state, restart, trace); })
          ->Iterations(1)
          ->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) {
  using namespace larder::bench;
  const std::vector<GeneratedTrace> traces = GenerateTraces(kCapacity, kRequests);
  Register<larder::Lru>(traces);
  Register<larder::Sieve>(traces);
  Register<larder::S3Fifo>(traces);
  return RunBenchmarks(argc, argv, {});
}
