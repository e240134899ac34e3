// SPDX-License-Identifier: Apache-2.0
//
// The works that contenders (contenders.h) are compared at. Each is a class with
//   kName                the benchmark's name
//   Title(argument)      what a table calls it
//   kWrites, kEvicts     whether it writes, and whether it takes a cache that evicts
//   Arguments()          Google Benchmark's name and values of its argument
//   Run<C>(state)        what a thread does with the contender C

#ifndef LARDER_BENCH_SUPPORT_WORKS_H_
#define LARDER_BENCH_SUPPORT_WORKS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/support/filled_cache.h"
#include "bench/support/key_sequences.h"
#include "bench/support/thread_run.h"
#include "bench/support/type_list.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

struct WorkArguments {
  std::string_view name;
  std::vector<int64_t> values;
};

// Where in its sequence a run begins: where the last one of this work and contender ended, so that
// none finds the processor's caches warm from its own rehearsal. Every thread has a range of its
// own.
template <class Work, class C>
size_t TakeRange(size_t operations) {
  static std::atomic<size_t> next{0};
  return next.fetch_add(operations, std::memory_order_relaxed);
}

template <class Work, class C>
void LookUpNumbers(benchmark::State& state, const std::vector<uint64_t>& keys) {
  NumberCache<C>& cache = WithAllNumbers<C>();
  ThreadRun run(state);
  size_t next = TakeRange<Work, C>(run.operations());
  const uint64_t* const sequence = keys.data();
  uint64_t sum = 0;
  size_t found = 0;
  run.Measure([&] {
    if (const std::optional<uint64_t> value = cache.Get(sequence[next++ & (kAccesses - 1)])) {
      sum += *value;
      ++found;
    }
  });
  benchmark::DoNotOptimize(sum);
  run.ReportHits(found);
}

struct ForNumbers {
  static constexpr bool kWrites = false;
  static constexpr bool kEvicts = false;
  static WorkArguments Arguments() { return {.name = "entries", .values = {kEntries}}; }
};

struct GetHit : ForNumbers {
  static constexpr std::string_view kName = "BM_GetHit";
  static std::string Title(int64_t) { return "hit, Zipf"; }
  template <class C>
  static void Run(benchmark::State& state) {
    LookUpNumbers<GetHit, C>(state, PresentKeys(Popularity::kZipf));
  }
};

struct GetHitUniform : ForNumbers {
  static constexpr std::string_view kName = "BM_GetHitUniform";
  static std::string Title(int64_t) { return "hit, uniform"; }
  template <class C>
  static void Run(benchmark::State& state) {
    LookUpNumbers<GetHitUniform, C>(state, PresentKeys(Popularity::kUniform));
  }
};

struct GetMiss : ForNumbers {
  static constexpr std::string_view kName = "BM_GetMiss";
  static std::string Title(int64_t) { return "miss"; }
  template <class C>
  static void Run(benchmark::State& state) {
    LookUpNumbers<GetMiss, C>(state, AbsentKeys());
  }
};

// Puts a new value for a key that is there.
struct Put : ForNumbers {
  static constexpr std::string_view kName = "BM_Put";
  static std::string Title(int64_t) { return "put over an entry"; }
  static constexpr bool kWrites = true;
  template <class C>
  static void Run(benchmark::State& state) {
    NumberCache<C>& cache = WithAllNumbers<C>();
    const uint64_t* const sequence = PresentKeys(Popularity::kZipf).data();
    ThreadRun run(state);
    size_t next = TakeRange<Put, C>(run.operations());
    run.Measure([&] {
      const uint64_t key = sequence[next++ & (kAccesses - 1)];
      cache.Put(key, NumberValue(key));
    });
  }
};

// Puts keys that were never seen before into a full cache: each put evicts an entry.
struct PutEvict : ForNumbers {
  static constexpr std::string_view kName = "BM_PutEvict";
  static std::string Title(int64_t) { return "put, evicting"; }
  static constexpr bool kWrites = true;
  static constexpr bool kEvicts = true;
  template <class C>
  static void Run(benchmark::State& state) {
    NumberCache<C>& cache = FullOfNumbers<C>();
    ThreadRun run(state);
    uint64_t entry = kEntries + TakeRange<PutEvict, C>(run.operations());
    run.Measure([&] {
      const uint64_t key = NumberKey(entry++);
      cache.Put(key, NumberValue(key));
    });
  }
};

// What a user of a text does with it, in short: it reads the bytes, not only the pointer to them.
inline uint64_t LookAt(const std::string& text) {
  return text.size() + static_cast<unsigned char>(text.front());
}

// Calls read(key), which returns what was read or 0, for the texts' keys.
template <class Work, class C, class Read>
[[gnu::always_inline]] inline void LookUpTexts(benchmark::State& state, Read&& read) {
  const TextKey* const sequence = TextKeys().data();
  ThreadRun run(state);
  size_t next = TakeRange<Work, C>(run.operations());
  uint64_t sum = 0;
  size_t found = 0;
  run.Measure([&] {
    const uint64_t looked = read(sequence[next++ & (kAccesses - 1)].view());
    sum += looked;
    found += looked != 0 ? 1 : 0;
  });
  benchmark::DoNotOptimize(sum);
  run.ReportHits(found);
}

// "user:123456" to 100 bytes, which are looked at in place, under the lock where there is one.
struct StringVisit : ForNumbers {
  static constexpr std::string_view kName = "BM_StringVisit";
  static std::string Title(int64_t) { return "text, visited"; }
  template <class C>
  static void Run(benchmark::State& state) {
    TextCache<C>& cache = WithAllTexts<C>();
    LookUpTexts<StringVisit, C>(state, [&cache](std::string_view key) {
      uint64_t looked = 0;
      cache.Visit(key, [&looked](const std::string& text) { looked = LookAt(text); });
      return looked;
    });
  }
};

// The same, looked at after the lookup: by a pinned reference, or a copy where there is none.
struct StringPin : ForNumbers {
  static constexpr std::string_view kName = "BM_StringPin";
  static std::string Title(int64_t) { return "text, pinned"; }
  template <class C>
  static void Run(benchmark::State& state) {
    TextCache<C>& cache = WithAllTexts<C>();
    LookUpTexts<StringPin, C>(state, [&cache](std::string_view key) {
      if constexpr (requires { cache.Pin(key); }) {
        const auto pinned = cache.Pin(key);
        return pinned ? LookAt(*pinned) : 0;
      } else {
        const std::optional<std::string> copy = cache.Get(key);
        return copy ? LookAt(*copy) : 0;
      }
    });
  }
};

// Gets and puts over ten times as many keys as there is room for; what a get misses is put.
struct Mix {
  static constexpr std::string_view kName = "BM_Mix";
  static std::string Title(int64_t read_percent) { return absl::StrCat(read_percent, " % gets"); }
  static constexpr bool kWrites = true;
  static constexpr bool kEvicts = true;
  static WorkArguments Arguments() { return {.name = "read_percent", .values = {95, 50}}; }
  template <class C>
  static void Run(benchmark::State& state) {
    NumberCache<C>& cache = InMixedUse<C>();
    const MixedAccess* const sequence = MixedAccesses(static_cast<int>(state.range(0))).data();
    ThreadRun run(state);
    size_t next = TakeRange<Mix, C>(run.operations());
    uint64_t sum = 0;
    size_t found = 0;
    run.Measure(
        [&] { found += AccessMixed(cache, sequence[next++ & (kMixAccesses - 1)], sum) ? 1 : 0; });
    benchmark::DoNotOptimize(sum);
    run.ReportHits(found);
  }
};

// Registers the work for each contender that can do it, at one and two threads, with names such as
// BM_GetHit<Larder<Lru>>/entries:1000000/threads:2.
template <class Work, class... Contenders>
void RegisterWork(TypeList<Contenders...> contenders) {
  ForEachType(contenders, []<class C>() {
    if constexpr (C::kEvicts || !Work::kEvicts) {
      const std::string name = absl::StrCat(AbseilView(Work::kName), "<", C::Name(), ">");
      auto* const registered = benchmark::RegisterBenchmark(name.c_str(), Work::template Run<C>);
      const WorkArguments arguments = Work::Arguments();
      registered->ArgName(std::string(arguments.name))->Threads(1);
      for (const int64_t value : arguments.values) registered->Arg(value);
      if (C::kEvicts || !Work::kWrites) registered->Threads(2);
    }
  });
}

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_WORKS_H_
