// SPDX-License-Identifier: Apache-2.0

// Hits, misses, puts, evicting puts, texts and mixed loads in larder, per policy; 1 M entries.
//
// Beside larder a bare hash map, which no cache can beat, and a mutex around a list. All are asked
// for the same keys in the same order, Zipf-distributed (0.99) unless the name says Uniform. For a
// fair comparison on a noisy machine:
//   bench/run get_put --benchmark_enable_random_interleaving=true --benchmark_repetitions=9

#include "bench/support/contenders.h"
#include "bench/support/policies.h"
#include "bench/support/run_benchmarks.h"
#include "bench/support/type_list.h"
#include "bench/support/works.h"

int main(int argc, char** argv) {
  using namespace larder::bench;
  using WithoutTtl = Concat<TypeList<FlatHashMap>, Policies::Each<Larder>, TypeList<MutexList>>;
  using All = Concat<WithoutTtl, Policies::Each<LarderWithTtl>>;
  RegisterWork<GetHit>(All());
  RegisterWork<GetHitUniform>(All());
  RegisterWork<GetMiss>(WithoutTtl());
  RegisterWork<Put>(All());
  RegisterWork<PutEvict>(All());
  RegisterWork<StringVisit>(WithoutTtl());
  RegisterWork<StringPin>(WithoutTtl());
  RegisterWork<Mix>(WithoutTtl());
  return RunBenchmarks(argc, argv, {});
}
