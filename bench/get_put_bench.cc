// SPDX-License-Identifier: Apache-2.0

// Hit, miss, put and evicting put in larder, a bare hash map and a mutex with a list; 1 M entries.
//
// All caches are asked for the same keys in the same order. Zipf-distributed (0.99) unless the
// benchmark's name says Uniform. `ns_per_op` is a thread's wall-clock time for an operation,
// `ops_per_s` what all threads did together; Google Benchmark's own real_time of several threads is
// their average divided by the operations of all. For a fair comparison on a noisy machine:
//   bench/run get_put --benchmark_enable_random_interleaving --benchmark_repetitions=9

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "bench/support/mutex_list_lru.h"
#include "bench/support/pinning.h"
#include "bench/support/zipf.h"
#include "benchmark/benchmark.h"
#include "larder/cache.h"

namespace larder::bench {
namespace {

constexpr uint32_t kEntries = 1'000'000;
constexpr double kZipfExponent = 0.99;
constexpr uint64_t kSeed = 20'250'131;
constexpr size_t kAccesses = size_t{1} << 22;

// A permutation of the 64-bit numbers, so that keys are no row of neighbours: the finalizer of
// MurmurHash3 (A. Appleby).
uint64_t Scatter(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xFF51'AFD7'ED55'8CCDu;
  x = (x ^ (x >> 33)) * 0xC4CE'B9FE'1A85'EC53u;
  return x ^ (x >> 33);
}

uint64_t ValueOf(uint64_t key) { return key + 1; }

// What is measured: each has Get(key), a copy or nullopt, and Put(key, value).

template <class Policy, bool kExpires>
class LarderCache {
 public:
  explicit LarderCache(size_t capacity) {
    typename Underlying::Options options;
    options.capacity = capacity;
    if (kExpires) options.ttl = absl::Hours(1);
    absl::StatusOr<std::unique_ptr<Underlying>> cache = Underlying::Create(std::move(options));
    if (!cache.ok()) {
      absl::FPrintF(stderr, "larder: %s\n", cache.status().ToString());
      std::exit(1);
    }
    cache_ = *std::move(cache);
  }

  std::optional<uint64_t> Get(uint64_t key) { return cache_->Get(key); }
  void Put(uint64_t key, uint64_t value) { benchmark::DoNotOptimize(cache_->Put(key, value)); }

 private:
  using Underlying = Cache<uint64_t, uint64_t, Policy>;

  std::unique_ptr<Underlying> cache_;
};

template <class Policy>
using Larder = LarderCache<Policy, /*kExpires=*/false>;

template <class Policy>
using LarderWithTtl = LarderCache<Policy, /*kExpires=*/true>;

// Neither bounded nor locked: what no cache can be faster than. Several threads may only read.
class FlatHashMap {
 public:
  explicit FlatHashMap(size_t capacity) { map_.reserve(capacity); }

  std::optional<uint64_t> Get(uint64_t key) {
    const auto it = map_.find(key);
    if (it == map_.end()) return std::nullopt;
    return it->second;
  }
  void Put(uint64_t key, uint64_t value) { map_.insert_or_assign(key, value); }

 private:
  absl::flat_hash_map<uint64_t, uint64_t> map_;
};

using MutexList = MutexListLru<uint64_t, uint64_t>;

enum class Popularity { kZipf, kUniform };

// Numbers of entries, 0..kEntries-1, in the order in which they are accessed.
const std::vector<uint32_t>& Accesses(Popularity popularity) {
  static const std::vector<uint32_t> zipf = ZipfKeys(kEntries, kZipfExponent, kAccesses, kSeed);
  static const std::vector<uint32_t> uniform = UniformKeys(kEntries, kAccesses, kSeed);
  return popularity == Popularity::kZipf ? zipf : uniform;
}

// The keys of these entries, or of as many others which are not there.
std::vector<uint64_t> KeysOf(Popularity popularity, bool present) {
  std::vector<uint64_t> keys;
  keys.reserve(kAccesses);
  for (const uint32_t entry : Accesses(popularity)) {
    keys.push_back(Scatter(present ? entry : uint64_t{entry} + kEntries));
  }
  return keys;
}

template <Popularity kPopularity, bool kPresent>
const std::vector<uint64_t>& Keys() {
  static const std::vector<uint64_t> keys = KeysOf(kPopularity, kPresent);
  return keys;
}

template <class C>
std::unique_ptr<C> Filled(size_t capacity) {
  auto cache = std::make_unique<C>(capacity);
  for (uint64_t entry = 0; entry < kEntries; ++entry) {
    cache->Put(Scatter(entry), ValueOf(Scatter(entry)));
  }
  return cache;
}

// Made when first needed and kept: it takes far longer than what is measured.
template <class C>
C& WithAllEntries() {
  // Room to spare, since parts of a cache fill unevenly: every entry is to be there.
  static const std::unique_ptr<C> cache = Filled<C>(kEntries + kEntries / 4);
  return *cache;
}

template <class C>
C& Full() {
  static const std::unique_ptr<C> cache = Filled<C>(kEntries);
  return *cache;
}

// A thread's part in a benchmark, from its construction to Report().
class ThreadRun {
 public:
  explicit ThreadRun(benchmark::State& state) : state_(state) {
    PinToProcessor(state.thread_index());
    start_ = std::chrono::steady_clock::now();
  }

  // Where in a sequence of kAccesses this thread begins: threads are spread evenly.
  size_t FirstAccess() const {
    return kAccesses / static_cast<size_t>(state_.threads()) *
           static_cast<size_t>(state_.thread_index());
  }

  void Report() {
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - start_;
    const double operations = static_cast<double>(state_.iterations());
    state_.counters["ns_per_op"] =
        benchmark::Counter(elapsed.count() / operations, benchmark::Counter::kAvgThreads);
    // Counters of several threads are added up.
    state_.counters["ops_per_s"] = benchmark::Counter(operations / elapsed.count() * 1e9);
  }

 private:
  benchmark::State& state_;
  std::chrono::steady_clock::time_point start_;
};

template <class C>
void Lookup(benchmark::State& state, const std::vector<uint64_t>& keys) {
  C& cache = WithAllEntries<C>();
  ThreadRun run(state);
  size_t next = run.FirstAccess();
  size_t found = 0;
  for (auto _ : state) {
    std::optional<uint64_t> value = cache.Get(keys[next]);
    benchmark::DoNotOptimize(value);
    found += value.has_value() ? 1 : 0;
    next = (next + 1) % kAccesses;
  }
  run.Report();
  state.counters["hit_ratio"] =
      benchmark::Counter(static_cast<double>(found) / static_cast<double>(state.iterations()),
                         benchmark::Counter::kAvgThreads);
}

template <class C>
void Replace(benchmark::State& state, const std::vector<uint64_t>& keys) {
  C& cache = WithAllEntries<C>();
  ThreadRun run(state);
  size_t next = run.FirstAccess();
  for (auto _ : state) {
    cache.Put(keys[next], ValueOf(keys[next]));
    next = (next + 1) % kAccesses;
  }
  benchmark::ClobberMemory();
  run.Report();
}

template <class C>
void BM_GetHit(benchmark::State& state) {
  Lookup<C>(state, Keys<Popularity::kZipf, true>());
}

template <class C>
void BM_GetHitUniform(benchmark::State& state) {
  Lookup<C>(state, Keys<Popularity::kUniform, true>());
}

template <class C>
void BM_GetMiss(benchmark::State& state) {
  Lookup<C>(state, Keys<Popularity::kZipf, false>());
}

template <class C>
void BM_GetMissUniform(benchmark::State& state) {
  Lookup<C>(state, Keys<Popularity::kUniform, false>());
}

// Puts a new value for a key that is there.
template <class C>
void BM_Put(benchmark::State& state) {
  Replace<C>(state, Keys<Popularity::kZipf, true>());
}

template <class C>
void BM_PutUniform(benchmark::State& state) {
  Replace<C>(state, Keys<Popularity::kUniform, true>());
}

// Puts keys that were never seen before into a full cache: each put evicts an entry.
template <class C>
void BM_PutEvict(benchmark::State& state) {
  C& cache = Full<C>();
  // Numbers above those of all entries; every thread of every run takes a range of its own.
  static std::atomic<uint64_t> ranges{1};
  uint64_t entry = ranges.fetch_add(1) << 32;
  ThreadRun run(state);
  for (auto _ : state) {
    const uint64_t key = Scatter(++entry);
    cache.Put(key, ValueOf(key));
  }
  benchmark::ClobberMemory();
  run.Report();
}

void OneThread(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("entries")->Arg(kEntries)->Threads(1);
}

void OneAndTwoThreads(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("entries")->Arg(kEntries)->Threads(1)->Threads(2);
}

BENCHMARK_TEMPLATE(BM_GetHit, FlatHashMap)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetHit, Larder<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetHit, LarderWithTtl<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetHit, MutexList)->Apply(OneAndTwoThreads);

BENCHMARK_TEMPLATE(BM_GetHitUniform, FlatHashMap)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetHitUniform, Larder<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetHitUniform, LarderWithTtl<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetHitUniform, MutexList)->Apply(OneAndTwoThreads);

BENCHMARK_TEMPLATE(BM_GetMiss, FlatHashMap)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetMiss, Larder<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetMiss, MutexList)->Apply(OneAndTwoThreads);

BENCHMARK_TEMPLATE(BM_GetMissUniform, FlatHashMap)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetMissUniform, Larder<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_GetMissUniform, MutexList)->Apply(OneAndTwoThreads);

BENCHMARK_TEMPLATE(BM_Put, FlatHashMap)->Apply(OneThread);
BENCHMARK_TEMPLATE(BM_Put, Larder<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_Put, LarderWithTtl<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_Put, MutexList)->Apply(OneAndTwoThreads);

BENCHMARK_TEMPLATE(BM_PutUniform, FlatHashMap)->Apply(OneThread);
BENCHMARK_TEMPLATE(BM_PutUniform, Larder<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_PutUniform, LarderWithTtl<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_PutUniform, MutexList)->Apply(OneAndTwoThreads);

BENCHMARK_TEMPLATE(BM_PutEvict, Larder<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_PutEvict, LarderWithTtl<Lru>)->Apply(OneAndTwoThreads);
BENCHMARK_TEMPLATE(BM_PutEvict, MutexList)->Apply(OneAndTwoThreads);

}  // namespace
}  // namespace larder::bench
