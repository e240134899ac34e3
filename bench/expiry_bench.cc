// SPDX-License-Identifier: Apache-2.0

// Expiry of 1 M and 10 M entries: all at one instant, over a day, and in a steady state.
//
// Time is a manual clock's, so a day passes in an instant. Due entries are reclaimed by calls of
// RunMaintenance(256), each timed, while another thread looks up entries that live on.
//   ns_per_entry       all of it, per due entry;  seconds_in_all;  cpu_ns_per_entry: the calling
//                      thread's time on a processor
//   maintenance_*_us   one call; maintenance_cpu_*_us: without the time in which other programs ran
//   get_*_us           one lookup of the other thread meanwhile
//   left_over          due entries that were not reclaimed
//   dead_*_percent     steady state: entries that are due, of those held
//   evicted_live       entries evicted before their time while due ones were there

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/support/contenders.h"
#include "bench/support/cycle_timer.h"
#include "bench/support/key_sequences.h"
#include "bench/support/latency_recorder.h"
#include "bench/support/pinning.h"
#include "bench/support/policies.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/type_list.h"
#include "benchmark/benchmark.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "larder/removal_cause.h"

namespace larder::bench {
namespace {

constexpr size_t kBudget = 256;
constexpr uint64_t kLiveEntries = 100'000;
constexpr absl::Duration kDay = absl::Hours(24);
constexpr int64_t kMinutesOfDay = 24 * 60;
constexpr int64_t kFew = 1'000'000;
constexpr int64_t kMany = 10'000'000;

template <class Policy>
using ExpiringCache = Cache<uint64_t, uint64_t, Policy>;

template <class Policy>
std::unique_ptr<ExpiringCache<Policy>> MakeCache(uint64_t entries, const ManualClock& clock) {
  typename ExpiringCache<Policy>::Options options;
  options.capacity = entries + entries / 4;  // nothing is to be evicted
  options.clock = &clock;
  return CreateOrExit<ExpiringCache<Policy>>(std::move(options));
}

template <class C>
void PutFor(C& cache, uint64_t entry, uint64_t value, absl::Duration ttl) {
  benchmark::DoNotOptimize(cache.Put(NumberKey(entry), value, {.ttl = ttl}));
}

// Looks entries up, one after the other, on a thread of its own, as long as it exists.
template <class C>
class Reader {
 public:
  // Of entries 0..entries-1.
  Reader(C& cache, uint64_t entries) : thread_([this, &cache, entries] { Run(cache, entries); }) {}

  const LatencyRecorder& Stop() {
    stop_.store(true, std::memory_order_relaxed);
    thread_.join();
    return latencies_;
  }

 private:
  void Run(C& cache, uint64_t entries) {
    constexpr size_t kMostSamples = 20'000'000;
    PinToProcessor(1);
    latencies_.Reserve(kMostSamples);
    const CycleTimer& timer = CycleTimer::Get();
    uint64_t sum = 0;
    for (uint64_t i = 0; !stop_.load(std::memory_order_relaxed); ++i) {
      const uint64_t key = NumberKey(i % entries);
      const uint64_t start = timer.Start();
      sum += cache.Get(key).value_or(0);
      benchmark::DoNotOptimize(sum);
      const uint64_t ticks = timer.Stop() - start;
      if (latencies_.size() < kMostSamples) latencies_.Record(timer.ToNanos(ticks));
    }
  }

  std::atomic<bool> stop_{false};
  LatencyRecorder latencies_;
  std::thread thread_;  // last: it uses the others
};

// Of the calling thread.
double CpuNanos() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

struct Calls {
  LatencyRecorder all;
  LatencyRecorder cpu;
};

// Calls RunMaintenance until all but `live` entries are gone or it finds nothing to do.
template <class C>
void ReclaimDue(C& cache, uint64_t live, Calls& calls) {
  const CycleTimer& timer = CycleTimer::Get();
  size_t done = 0;
  do {
    const double cpu_start = CpuNanos();
    const uint64_t start = timer.Start();
    done = cache.RunMaintenance(kBudget);
    calls.all.Record(timer.ToNanos(timer.Stop() - start));
    calls.cpu.Record(CpuNanos() - cpu_start);
  } while (done > 0 && cache.size() > live);
}

void ReportReclaiming(benchmark::State& state, const Calls& calls, const LatencyRecorder& gets,
                      uint64_t left_over) {
  constexpr double kNanosPerMicro = 1e3;
  const LatencySummary call = calls.all.Summarize();
  const LatencySummary cpu = calls.cpu.Summarize();
  const LatencySummary get = gets.Summarize();
  const double nanos = call.mean * static_cast<double>(call.samples);
  state.counters["ns_per_entry"] = nanos / static_cast<double>(state.range(0));
  state.counters["seconds_in_all"] = nanos / 1e9;
  const double cpu_nanos = cpu.mean * static_cast<double>(cpu.samples);
  state.counters["cpu_ns_per_entry"] = cpu_nanos / static_cast<double>(state.range(0));
  state.counters["maintenance_p50_us"] = call.p50 / kNanosPerMicro;
  state.counters["maintenance_p99_us"] = call.p99 / kNanosPerMicro;
  state.counters["maintenance_max_us"] = call.max / kNanosPerMicro;
  state.counters["maintenance_cpu_p99_us"] = cpu.p99 / kNanosPerMicro;
  state.counters["maintenance_cpu_max_us"] = cpu.max / kNanosPerMicro;
  state.counters["get_p99_us"] = get.p99 / kNanosPerMicro;
  state.counters["get_max_us"] = get.max / kNanosPerMicro;
  state.counters["left_over"] = static_cast<double>(left_over);
}

// Fills a cache with entries whose ttl ttl_of(i) says and others that live on, lets `span` pass in
// so many steps, and measures how the due ones are reclaimed.
template <class Policy, class TtlOf>
void FillAndReclaim(benchmark::State& state, absl::Duration span, int64_t steps, TtlOf&& ttl_of) {
  const auto due = static_cast<uint64_t>(state.range(0));
  PinToProcessor(0);
  for (auto _ : state) {
    ManualClock clock;
    const auto cache = MakeCache<Policy>(due + kLiveEntries, clock);
    for (uint64_t i = 0; i < kLiveEntries; ++i) {
      PutFor(*cache, i, i, absl::InfiniteDuration());
    }
    for (uint64_t i = 0; i < due; ++i) PutFor(*cache, kLiveEntries + i, i, ttl_of(i));
    const uint64_t live = cache->size() - due;
    Calls calls;
    Reader reader(*cache, kLiveEntries);
    for (int64_t step = 0; step < steps; ++step) {
      clock.Advance(span / steps);
      ReclaimDue(*cache, live, calls);
    }
    ReportReclaiming(state, calls, reader.Stop(), cache->size() - live);
  }
}

template <class Policy>
void ExpireAtOnce(benchmark::State& state) {
  // A second later than due, so that no granularity of the cache's holds an entry back.
  FillAndReclaim<Policy>(state, absl::Hours(1) + absl::Seconds(1), 1,
                         [](uint64_t) { return absl::Hours(1); });
}

template <class Policy>
void ExpireOverDay(benchmark::State& state) {
  FillAndReclaim<Policy>(state, kDay + absl::Minutes(1), state.range(1), [](uint64_t i) {
    constexpr uint64_t kSalt = 20'250'131;
    const auto day = static_cast<uint64_t>(absl::ToInt64Nanoseconds(kDay));
    return absl::Nanoseconds(1 + Scatter(i + kSalt) % day);
  });
}

// A put every 100 µs, each entry with a ttl after which `resident` others have been put.
template <class Policy>
void ExpireSteadily(benchmark::State& state) {
  constexpr absl::Duration kBetweenPuts = absl::Microseconds(100);
  constexpr uint64_t kPutsPerLook = 1000;
  constexpr uint64_t kLifetimes = 4;
  const auto resident = static_cast<uint64_t>(state.range(0));
  const bool maintained = state.range(1) != 0;
  PinToProcessor(0);
  for (auto _ : state) {
    ManualClock clock;
    const auto cache = MakeCache<Policy>(2 * resident, clock);
    double sum = 0, most = 0;
    uint64_t looks = 0;
    for (uint64_t put = 1; put <= kLifetimes * resident; ++put) {
      PutFor(*cache, put, put, kBetweenPuts * static_cast<int64_t>(resident));
      clock.Advance(kBetweenPuts);
      if (put % kPutsPerLook != 0) continue;
      if (maintained) cache->RunMaintenance(kBudget);
      const uint64_t size = cache->size();
      if (put <= resident || size == 0) continue;
      // That many were put less than a ttl ago.
      const uint64_t alive = resident - 1;
      const double dead = static_cast<double>(size - std::min(size, alive));
      const double share = dead / static_cast<double>(size);
      sum += share;
      most = std::max(most, share);
      ++looks;
    }
    state.counters["dead_per_resident"] = sum / static_cast<double>(looks);
    state.counters["dead_per_resident_max"] = most;
    state.counters["evictions"] = static_cast<double>(cache->Stats().evictions);
  }
}

// A full cache in which what was used least recently lives on, and all else is due: puts must
// evict none of the former.
template <class Policy>
void EvictDueFirst(benchmark::State& state) {
  constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();
  const auto capacity = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) {
    ManualClock clock;
    uint64_t evicted_live = 0, evicted_due = 0;
    typename ExpiringCache<Policy>::Options options;
    options.capacity = capacity;
    options.clock = &clock;
    options.on_removal = [&](const uint64_t&, const uint64_t& deadline, RemovalCause cause) {
      if (cause != RemovalCause::kEvicted) return;
      const bool live = deadline > static_cast<uint64_t>(clock.NowNanos());
      ++(live ? evicted_live : evicted_due);
    };
    const auto cache = CreateOrExit<ExpiringCache<Policy>>(std::move(options));
    const uint64_t lives_on = capacity / 10;
    const absl::Duration ttl = absl::Minutes(1);
    const auto deadline = static_cast<uint64_t>(absl::ToInt64Nanoseconds(ttl));
    uint64_t entry = 0;
    while (entry < lives_on) PutFor(*cache, entry++, kNever, absl::InfiniteDuration());
    while (entry < capacity) PutFor(*cache, entry++, deadline, ttl);
    clock.Advance(2 * ttl);
    // Parts of the cache fill unevenly, so some may already have evicted.
    evicted_live = evicted_due = 0;
    const uint64_t end = capacity + capacity / 2;
    while (entry < end) PutFor(*cache, entry++, kNever, absl::InfiniteDuration());
    state.counters["evicted_live"] = static_cast<double>(evicted_live);
    state.counters["evicted_due"] = static_cast<double>(evicted_due);
    state.counters["expired"] = static_cast<double>(cache->Stats().expirations);
  }
}

template <class Policy>
auto* Register(std::string_view work, void (*run)(benchmark::State& state)) {
  return benchmark::RegisterBenchmark(
             absl::StrCat(AbseilView(work), "<", Larder<Policy>::Name(), ">").c_str(), run)
      ->Unit(benchmark::kMillisecond);
}

int Main(int argc, char** argv) {
  ForEachType(Policies(), []<class Policy>() {
    Register<Policy>("BM_ExpireAtOnce", ExpireAtOnce<Policy>)
        ->ArgName("entries")
        ->Arg(kFew)
        ->Arg(kMany);
    // In one leap, and minute by minute.
    Register<Policy>("BM_ExpireOverDay", ExpireOverDay<Policy>)
        ->ArgNames({"entries", "steps"})
        ->ArgsProduct({{kFew, kMany}, {1, kMinutesOfDay}});
    // By writers alone, and with calls of RunMaintenance.
    Register<Policy>("BM_ExpireSteadily", ExpireSteadily<Policy>)
        ->ArgNames({"resident", "maintenance"})
        ->ArgsProduct({{kFew, kMany}, {0, 1}});
    Register<Policy>("BM_EvictDueFirst", EvictDueFirst<Policy>)->ArgName("capacity")->Arg(kFew);
  });
  // Each benchmark knows how much it has to do: once is enough.
  return RunBenchmarks(argc, argv, {"--benchmark_min_time=0"});
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
