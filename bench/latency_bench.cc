// SPDX-License-Identifier: Apache-2.0

// Percentiles of single hits, evicting puts, and puts while a cache grows, at 1 to n threads.
//
// Every operation is timed by itself; a timing costs `timer_ns` of the context, which is part of
// each figure. Hits are of 1 M entries, Zipf-distributed (0.99). What the machine itself takes from
// a thread now and then is in the highest percentiles: compare them with the bare map's.
// max_undisturbed leaves out operations during which the kernel ran something else. What grows
// needs memory: where a virtual machine's host has to find it first, a huge page alone takes
// milliseconds.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/support/contenders.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/filled_cache.h"
#include "bench/support/key_sequences.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/peers.h"
#include "bench/support/pinning.h"
#include "bench/support/policies.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/shared_latencies.h"
#include "bench/support/type_list.h"
#include "bench/support/works.h"
#include "benchmark/benchmark.h"
#include "larder/cache.h"

namespace larder::bench {
namespace {

constexpr size_t kSamples = 2'000'000;  // of each thread
constexpr int64_t kGrownEntries[] = {1'000'000, 10'000'000};
constexpr uint64_t kWeight = 100;  // of each entry of a cache that grows

SharedLatencies& Latencies() {
  static SharedLatencies latencies;
  return latencies;
}

// Calls operation() `count` times, each timed, on all threads at once. Returns whether this thread
// was the last to end.
template <class Operation>
bool TimeEach(benchmark::State& state, size_t count, Operation&& operation) {
  const CycleTimer& timer = CycleTimer::Get();
  PreemptionWatch watch;
  ThreadLatencies latencies;
  for (auto _ : state) {
    latencies.all.Reserve(latencies.all.size() + count);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t start = timer.Start();
      operation();
      const double nanos = timer.ToNanos(timer.Stop() - start);
      latencies.all.Record(nanos);
      if (nanos > ThreadLatencies::kWatchedNanos && !watch.Preempted()) {
        latencies.longest_undisturbed = std::max(latencies.longest_undisturbed, nanos);
      }
    }
  }
  return Latencies().Add(state, latencies);
}

template <class C>
void HitLatency(benchmark::State& state) {
  NumberCache<C>& cache = WithAllNumbers<C>();
  const uint64_t* const sequence = PresentKeys(Popularity::kZipf).data();
  PinToProcessor(state.thread_index());
  size_t next = TakeRange<GetHit, C>(kSamples);
  uint64_t sum = 0;
  TimeEach(state, kSamples, [&] {
    sum += cache.Get(sequence[next++ & (kAccesses - 1)]).value_or(0);
    benchmark::DoNotOptimize(sum);
  });
}

template <class C>
void PutEvictLatency(benchmark::State& state) {
  NumberCache<C>& cache = FullOfNumbers<C>();
  PinToProcessor(state.thread_index());
  uint64_t entry = kEntries + TakeRange<PutEvict, C>(kSamples);
  TimeEach(state, kSamples, [&] {
    const uint64_t key = NumberKey(entry++);
    cache.Put(key, NumberValue(key));
  });
}

// From nothing to all entries, in a cache that cannot know beforehand how many it will hold.
template <class Policy>
void GrowthLatency(benchmark::State& state) {
  using Growing = Cache<uint64_t, uint64_t, Policy>;
  static std::unique_ptr<Growing> cache;
  if (state.thread_index() == 0) {
    typename Growing::Options options;
    options.capacity = static_cast<uint64_t>(2 * state.range(0)) * kWeight;
    options.weigher = [](const uint64_t&, const uint64_t&) { return kWeight; };
    cache = CreateOrExit<Growing>(std::move(options));
  }
  PinToProcessor(state.thread_index());
  const auto share = static_cast<size_t>(state.range(0) / state.threads());
  uint64_t entry = share * static_cast<uint64_t>(state.thread_index());
  // All threads wait for one another where the loop begins and ends.
  const bool last = TimeEach(state, share, [&] {
    const uint64_t key = NumberKey(entry++);
    benchmark::DoNotOptimize(cache->Put(key, NumberValue(key)));
  });
  if (last) {
    state.counters["max_us"] = state.counters["max_ns"] / 1e3;
    state.counters["max_undisturbed_us"] = state.counters["max_undisturbed_ns"] / 1e3;
  }
  if (state.thread_index() == 0) {
    state.counters["entries_held"] = static_cast<double>(cache->size());
    cache.reset();
  }
}

// At 1, 2, 4, ... and as many threads as there are processors.
void Register(std::string_view work, std::string_view contender,
              void (*run)(benchmark::State& state), int64_t entries) {
  const int processors = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  benchmark::RegisterBenchmark(
      absl::StrCat(AbseilView(work), "<", AbseilView(contender), ">").c_str(), run)
      ->ArgName("entries")
      ->Arg(entries)
      ->ThreadRange(1, processors)
      ->Unit(benchmark::kMillisecond);
}

int Main(int argc, char** argv) {
  using Ours = Concat<Policies::Each<Larder>, Policies::Each<LarderWithTtl>>;
  using Others = Concat<TypeList<FlatHashMap, MutexList, SpinStripes>, RocksPeers, TbbPeers>;
  ForEachType(Concat<Ours, Others>(),
              []<class C>() { Register("BM_HitLatency", C::Name(), HitLatency<C>, kEntries); });
  ForEachType(Concat<Ours, TypeList<SpinStripes>>(), []<class C>() {
    Register("BM_PutEvictLatency", C::Name(), PutEvictLatency<C>, kEntries);
  });
  ForEachType(Policies(), []<class Policy>() {
    for (const int64_t entries : kGrownEntries) {
      Register("BM_GrowthLatency", Larder<Policy>::Name(), GrowthLatency<Policy>, entries);
    }
  });
  NamePeersNotMeasured();
  // Each benchmark knows how much it has to do: once is enough.
  return RunBenchmarks(argc, argv, {"--benchmark_min_time=0"});
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
