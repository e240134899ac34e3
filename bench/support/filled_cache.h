// SPDX-License-Identifier: Apache-2.0
//
// Contenders' caches with entries in them, shared by all benchmarks of a program: filling one takes
// far longer than what is measured. Each is made when it is first asked for and lives to the
// program's end. Thread-safe.

#ifndef LARDER_BENCH_SUPPORT_FILLED_CACHE_H_
#define LARDER_BENCH_SUPPORT_FILLED_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/support/key_sequences.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

template <class C>
using NumberCache = typename C::template Cache<uint64_t, uint64_t>;

template <class C>
using TextCache = typename C::template Cache<std::string, std::string>;

// Parts of a cache fill unevenly. With this capacity every one of `entries` is there.
constexpr size_t WithRoomToSpare(size_t entries) { return entries + entries / 4; }

template <class C>
void FillWithNumbers(NumberCache<C>& cache, uint64_t entries) {
  for (uint64_t entry = 0; entry < entries; ++entry) {
    const uint64_t key = NumberKey(entry);
    cache.Put(key, NumberValue(key));
  }
}

template <class C>
void FillWithTexts(TextCache<C>& cache, uint32_t entries) {
  for (uint32_t entry = 0; entry < entries; ++entry) {
    cache.Put(absl::StrCat("user:", entry), TextValue(entry));
  }
}

// Has every entry of PresentKeys().
template <class C>
NumberCache<C>& WithAllNumbers() {
  static const auto cache = [] {
    auto made = std::make_unique<NumberCache<C>>(WithRoomToSpare(kEntries));
    FillWithNumbers<C>(*made, kEntries);
    return made;
  }();
  return *cache;
}

// Has every entry of TextKeys().
template <class C>
TextCache<C>& WithAllTexts() {
  static const auto cache = [] {
    auto made = std::make_unique<TextCache<C>>(WithRoomToSpare(kEntries));
    FillWithTexts<C>(*made, kEntries);
    return made;
  }();
  return *cache;
}

// Full: whatever is put evicts.
template <class C>
NumberCache<C>& FullOfNumbers() {
  static const auto cache = [] {
    auto made = std::make_unique<NumberCache<C>>(kEntries);
    FillWithNumbers<C>(*made, kEntries);
    return made;
  }();
  return *cache;
}

// Looks an entry up as a service does, and puts what it misses. Returns whether it was there.
template <class Cache>
inline bool AccessMixed(Cache& cache, const MixedAccess& access, uint64_t& sum) {
  if (!access.put) {
    if (const std::optional<uint64_t> value = cache.Get(access.key)) {
      sum += *value;
      return true;
    }
  }
  cache.Put(access.key, NumberValue(access.key));
  return false;
}

// Full, and used for long enough that it has those of the kMixKeys keys which its policy keeps.
template <class C>
NumberCache<C>& InMixedUse() {
  static const auto cache = [] {
    constexpr size_t kWarmUp = 2 * kEntries;
    auto made = std::make_unique<NumberCache<C>>(kEntries);
    FillWithNumbers<C>(*made, kEntries);
    const std::vector<MixedAccess>& accesses = MixedAccesses(95);
    uint64_t sum = 0;
    for (size_t i = accesses.size() - kWarmUp; i < accesses.size(); ++i) {
      AccessMixed(*made, accesses[i], sum);
    }
    benchmark::DoNotOptimize(sum);
    return made;
  }();
  return *cache;
}

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_FILLED_CACHE_H_
