// SPDX-License-Identifier: Apache-2.0

// Larder beside a bare hash map, locked LRUs, RocksDB's caches and oneTBB; one table, two minutes.
//
// The works of get_put, on the same keys in the same order for all. Threads are pinned, and the
// repetitions of all benchmarks are run in random order, so that a noisy minute hits all alike.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/support/contenders.h"
#include "bench/support/peers.h"
#include "bench/support/peers_table.h"
#include "bench/support/policies.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/type_list.h"
#include "bench/support/works.h"

namespace larder::bench {
namespace {

using Kind = PeersTable::Kind;
using Ours = ComparedPolicies::Each<Larder>;
using Contenders =
    Concat<Ours, TypeList<FlatHashMap, MutexList, SpinStripes>, RocksPeers, TbbPeers>;
using Works = TypeList<GetHit, GetHitUniform, StringVisit, StringPin, PutEvict, Mix>;

std::vector<PeersTable::Contender> Columns() {
  std::vector<PeersTable::Contender> columns;
  ForEachType(ComparedPolicies(), [&columns]<class Policy>() {
    columns.push_back(
        {.name = Larder<Policy>::Name(), .title = std::string(Policy::kName), .kind = Kind::kOurs});
  });
  const std::string no_rocks(kHasRocks ? "" : kRocksPackage);
  const std::string no_tbb(kHasTbb ? "" : kTbbPackage);
  columns.push_back({.name = FlatHashMap::Name(), .title = "bare map", .kind = Kind::kBaseline});
  columns.push_back({.name = MutexList::Name(), .title = "mutex, list", .kind = Kind::kBaseline});
  columns.push_back(
      {.name = SpinStripes::Name(), .title = "64 spin stripes", .kind = Kind::kRival});
  columns.push_back({.name = std::string(kRocksLruName),
                     .title = "RocksDB LRU",
                     .kind = Kind::kRival,
                     .missing_package = no_rocks});
  columns.push_back({.name = std::string(kRocksHyperClockName),
                     .title = "RocksDB HyperClock",
                     .kind = Kind::kRival,
                     .missing_package = no_rocks});
  columns.push_back({.name = std::string(kTbbLruName),
                     .title = "oneTBB LRU",
                     .kind = Kind::kRival,
                     .missing_package = no_tbb});
  return columns;
}

std::vector<PeersTable::Work> Rows() {
  std::vector<PeersTable::Work> rows;
  ForEachType(Works(), [&rows]<class Work>() {
    const WorkArguments arguments = Work::Arguments();
    for (const int64_t value : arguments.values) {
      rows.push_back({.benchmark = std::string(Work::kName),
                      .arguments = absl::StrCat(AbseilView(arguments.name), ":", value),
                      .title = Work::Title(value)});
    }
  });
  return rows;
}

int Main(int argc, char** argv) {
  ForEachType(Works(), []<class Work>() { RegisterWork<Work>(Contenders()); });
  NamePeersNotMeasured();
  PeersTable table(Rows(), {1, 2}, Columns());
  return RunBenchmarks(argc, argv,
                       {"--benchmark_repetitions=9", "--benchmark_min_time=0.03",
                        "--benchmark_enable_random_interleaving=true"},
                       &table);
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
