// SPDX-License-Identifier: Apache-2.0

// Hits and puts of entries that are to be refreshed, kept past their expiry, or tagged; 1 M
// entries.
//
// What these cost beside entries that have no such thing, in the same run; as for get_put:
//   bench/run terms --benchmark_enable_random_interleaving=true --benchmark_repetitions=9

#include "bench/support/contenders.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/type_list.h"
#include "bench/support/works.h"
#include "larder/policy.h"

namespace larder::bench {
namespace {

template <class Policy>
using EachHaving =
    TypeList<Larder<Policy>, LarderHaving<Policy, Having::kTtl>,
             LarderHaving<Policy, Having::kRefresh>, LarderHaving<Policy, Having::kStale>,
             LarderHaving<Policy, Having::kTag>>;

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) {
  using namespace larder::bench;
  using Contenders =
      Concat<TypeList<FlatHashMap>, EachHaving<larder::S3Fifo>, EachHaving<larder::Lru>>;
  RegisterWork<GetHit>(Contenders());
  RegisterWork<GetHitUniform>(Contenders());
  RegisterWork<StringVisit>(Contenders());
  RegisterWork<Put>(Contenders());
  return RunBenchmarks(argc, argv, {});
}
