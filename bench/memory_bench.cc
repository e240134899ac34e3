// SPDX-License-Identifier: Apache-2.0

// Bytes an entry all told, in larder and in other caches: what the process grows by, per entry.
//
// Each case runs in a process of its own: it is filled, and then as many entries again are put,
// each evicting one, so that what eviction leaves behind counts, too. What keys and values
// themselves take is part of the figure.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "bench/support/contenders.h"
#include "bench/support/filled_cache.h"
#include "bench/support/key_sequences.h"
#include "bench/support/peers.h"
#include "bench/support/policies.h"
#include "bench/support/resident_memory.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/type_list.h"
#include "benchmark/benchmark.h"

namespace larder::bench {
namespace {

constexpr int64_t kManyEntries = 10'000'000;

// How many entries are put into a cache of this capacity.
template <class C>
uint64_t Puts(int64_t capacity) {
  return static_cast<uint64_t>(C::kEvicts ? 2 * capacity : capacity);
}

template <class C>
std::function<int64_t()> NumbersOf(int64_t capacity) {
  auto cache = std::make_shared<NumberCache<C>>(static_cast<size_t>(capacity));
  const uint64_t puts = Puts<C>(capacity);
  FillWithNumbers<C>(*cache, puts);
  return [cache, puts] {
    int64_t entries = 0;
    for (uint64_t i = 0; i < puts; ++i) entries += cache->Get(NumberKey(i)).has_value() ? 1 : 0;
    return entries;
  };
}

template <class C>
std::function<int64_t()> TextsOf(int64_t capacity) {
  auto cache = std::make_shared<TextCache<C>>(static_cast<size_t>(capacity));
  const auto puts = static_cast<uint32_t>(Puts<C>(capacity));
  FillWithTexts<C>(*cache, puts);
  return [cache, puts] {
    int64_t entries = 0;
    for (uint32_t i = 0; i < puts; ++i) {
      entries += cache->Visit(TextKey(i).view(), [](const std::string&) {}) ? 1 : 0;
    }
    return entries;
  };
}

void Measure(benchmark::State& state, std::function<int64_t()> (*fill)(int64_t)) {
  for (auto _ : state) {
    const absl::StatusOr<MemoryUse> use = MeasureMemory([&] { return fill(state.range(0)); });
    if (!use.ok() || use->entries == 0) {
      state.SkipWithError(use.ok() ? "no entries" : use.status().ToString().c_str());
      break;
    }
    state.counters["bytes_per_entry"] =
        static_cast<double>(use->bytes) / static_cast<double>(use->entries);
    state.counters["entries_held"] = static_cast<double>(use->entries);
  }
}

template <class C>
void Register(std::string_view name, std::function<int64_t()> (*fill)(int64_t), int64_t entries) {
  benchmark::RegisterBenchmark(absl::StrCat(AbseilView(name), "<", C::Name(), ">").c_str(),
                               [fill](benchmark::State& state) { Measure(state, fill); })
      ->ArgName("entries")
      ->Arg(entries)
      ->Unit(benchmark::kMillisecond);
}

int Main(int argc, char** argv) {
  using Ours = Concat<Policies::Each<Larder>, Policies::Each<LarderWithTtl>>;
  using Others = Concat<TypeList<FlatHashMap, MutexList, SpinStripes>, RocksPeers, TbbPeers>;
  ForEachType(Concat<Others, Ours>(), []<class C>() {
    Register<C>("BM_NumberMemory", NumbersOf<C>, kEntries);
    Register<C>("BM_TextMemory", TextsOf<C>, kEntries);
  });
  ForEachType(Ours(),
              []<class C>() { Register<C>("BM_NumberMemory", NumbersOf<C>, kManyEntries); });
  NamePeersNotMeasured();
  // Once is enough: nothing here depends on chance but for a few pages.
  return RunBenchmarks(argc, argv, {"--benchmark_min_time=0"});
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
