// SPDX-License-Identifier: Apache-2.0
//
// What is compared: larder, and what services use without it. Each contender is a class with
//   Name()               as it stands in the names of benchmarks
//   kEvicts              whether it is a cache: bounded, and written by several threads
//   Cache<K, V>          made of a capacity, with
//     Get(key)           std::optional<V>, a copy
//     Visit(key, look)   calls look(const V&) if there is a value; whether there was
//     Pin(key)           as a pointer to a value that stays; only where that takes no copy
//     Put(key, value)
// Strings are looked up by std::string_view. Contenders from other projects are in peers.h.

#ifndef LARDER_BENCH_SUPPORT_CONTENDERS_H_
#define LARDER_BENCH_SUPPORT_CONTENDERS_H_

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "bench/support/abseil_index.h"
#include "bench/support/mutex_list_lru.h"
#include "bench/support/spin_striped_lru.h"
#include "benchmark/benchmark.h"
#include "larder/cache.h"

namespace larder::bench {

// A cache, or the end of the program, which says why.
template <class C>
std::unique_ptr<C> CreateOrExit(typename C::Options options) {
  absl::StatusOr<std::unique_ptr<C>> cache = C::Create(std::move(options));
  if (!cache.ok()) {
    absl::FPrintF(stderr, "larder: %s\n", cache.status().ToString());
    std::exit(1);
  }
  return *std::move(cache);
}

// What a cache's entries have beside key and value.
enum class Having {
  kNothing,
  kTtl,
  kRefresh,  // a ttl, and a time to be refreshed at, both far off
  kStale,    // a ttl, and windows in which they may be served past it
  kTag,      // one of a thousand tags
};

template <class K, class V, class Policy, Having kHaving>
class LarderCache {
 public:
  explicit LarderCache(size_t capacity) {
    typename Underlying::Options options;
    options.capacity = capacity;
    if (kHaving != Having::kNothing && kHaving != Having::kTag) options.ttl = absl::Hours(1);
    if (kHaving == Having::kRefresh) options.refresh_after = RefreshAfter::Share(0.5);
    if (kHaving == Having::kStale) {
      options.stale_while_revalidate = absl::Minutes(1);
      options.stale_if_error = absl::Hours(1);
    }
    cache_ = CreateOrExit<Underlying>(std::move(options));
  }

  template <class Q>
  std::optional<V> Get(const Q& key) {
    return cache_->Get(key);
  }
  template <class Q, class Look>
  bool Visit(const Q& key, Look&& look) {
    return cache_->Visit(key, look);
  }
  template <class Q>
  auto Pin(const Q& key) {
    return cache_->Pin(key);
  }
  void Put(K key, V value) {
    PutOptions options;
    if constexpr (kHaving == Having::kTag) {
      options.tags.push_back(absl::StrCat("tag:", std::hash<K>()(key) % 1000));
    }
    benchmark::DoNotOptimize(cache_->Put(std::move(key), std::move(value), std::move(options)));
  }

 private:
  using Underlying = larder::Cache<K, V, Policy>;

  std::unique_ptr<Underlying> cache_;
};

template <class Policy>
struct Larder {
  static std::string Name() { return absl::StrCat("Larder<", AbseilView(Policy::kName), ">"); }
  static constexpr bool kEvicts = true;
  template <class K, class V>
  using Cache = LarderCache<K, V, Policy, Having::kNothing>;
};

template <class Policy, Having kHaving>
struct LarderHaving {
  static std::string Name() {
    constexpr std::string_view kNames[] = {"", "WithTtl", "Refreshed", "Stale", "Tagged"};
    return absl::StrCat("Larder", AbseilView(kNames[static_cast<int>(kHaving)]), "<",
                        AbseilView(Policy::kName), ">");
  }
  static constexpr bool kEvicts = true;
  template <class K, class V>
  using Cache = LarderCache<K, V, Policy, kHaving>;
};

template <class Policy>
using LarderWithTtl = LarderHaving<Policy, Having::kTtl>;

// Neither bounded nor locked: what no cache can be faster than. Several threads may only read.
template <class K, class V>
class BareMap {
 public:
  explicit BareMap(size_t capacity) { map_.reserve(capacity); }

  template <class Q>
  std::optional<V> Get(const Q& key) {
    const V* const value = Pin(key);
    return value == nullptr ? std::nullopt : std::optional<V>(*value);
  }
  template <class Q, class Look>
  bool Visit(const Q& key, Look&& look) {
    const V* const value = Pin(key);
    if (value == nullptr) return false;
    look(*value);
    return true;
  }
  template <class Q>
  const V* Pin(const Q& key) {
    const auto it = map_.find(key);
    return it == map_.end() ? nullptr : &it->second;
  }
  void Put(K key, V value) { map_.insert_or_assign(std::move(key), std::move(value)); }

 private:
  FlatIndex<K, V> map_;
};

struct FlatHashMap {
  static std::string Name() { return "FlatHashMap"; }
  static constexpr bool kEvicts = false;
  template <class K, class V>
  using Cache = BareMap<K, V>;
};

struct MutexList {
  static std::string Name() { return "MutexList"; }
  static constexpr bool kEvicts = true;
  template <class K, class V>
  using Cache = MutexListLru<K, V>;
};

struct SpinStripes {
  static std::string Name() { return "SpinStripes"; }
  static constexpr bool kEvicts = true;
  template <class K, class V>
  using Cache = SpinStripedLru<K, V>;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_CONTENDERS_H_
