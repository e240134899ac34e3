// SPDX-License-Identifier: Apache-2.0
//
// Contenders (contenders.h) that come from packages. A build without a package leaves its peers
// out, and they are named as not measured.

#ifndef LARDER_BENCH_SUPPORT_PEERS_H_
#define LARDER_BENCH_SUPPORT_PEERS_H_

#include <string>
#include <string_view>

#include "bench/support/rocksdb_cache.h"
#include "bench/support/tbb_lru.h"
#include "bench/support/type_list.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

inline constexpr std::string_view kRocksPackage = "librocksdb-dev";
inline constexpr std::string_view kTbbPackage = "libtbb-dev";

// Their names in benchmarks, also where they are not built.
inline constexpr std::string_view kRocksLruName = "RocksLru";
inline constexpr std::string_view kRocksHyperClockName = "RocksHyperClock";
inline constexpr std::string_view kTbbLruName = "TbbLru";

#if defined(LARDER_BENCH_HAS_ROCKSDB)
struct RocksLru {
  static std::string Name() { return std::string(kRocksLruName); }
  static constexpr bool kEvicts = true;
  template <class K, class V>
  using Cache = RocksCache<K, V, RocksKind::kLru>;
};

struct RocksHyperClock {
  static std::string Name() { return std::string(kRocksHyperClockName); }
  static constexpr bool kEvicts = true;
  template <class K, class V>
  using Cache = RocksCache<K, V, RocksKind::kHyperClock>;
};

inline constexpr bool kHasRocks = true;
using RocksPeers = TypeList<RocksLru, RocksHyperClock>;
#else
inline constexpr bool kHasRocks = false;
using RocksPeers = TypeList<>;
#endif

#if defined(LARDER_BENCH_HAS_TBB)
struct TbbLru {
  static std::string Name() { return std::string(kTbbLruName); }
  static constexpr bool kEvicts = true;
  template <class K, class V>
  using Cache = TbbLruCache<K, V>;
};

inline constexpr bool kHasTbb = true;
using TbbPeers = TypeList<TbbLru>;
#else
inline constexpr bool kHasTbb = false;
using TbbPeers = TypeList<>;
#endif

// Adds to the context of the results which packages' peers were left out, if any.
inline void NamePeersNotMeasured() {
  if (!kHasRocks) benchmark::AddCustomContext("not_measured_rocksdb", std::string(kRocksPackage));
  if (!kHasTbb) benchmark::AddCustomContext("not_measured_onetbb", std::string(kTbbPackage));
}

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_PEERS_H_
