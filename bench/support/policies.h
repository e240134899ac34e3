// SPDX-License-Identifier: Apache-2.0
//
// The eviction policies that benchmarks run with: one line each.

#ifndef LARDER_BENCH_SUPPORT_POLICIES_H_
#define LARDER_BENCH_SUPPORT_POLICIES_H_

#include "bench/support/type_list.h"
#include "larder/policy.h"

namespace larder::bench {

// clang-format off
using Policies = TypeList<
    Lru,
    Sieve,
    S3Fifo
    >;

// Those that are compared with other caches.
using ComparedPolicies = TypeList<
    Lru,
    S3Fifo
    >;
// clang-format on

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_POLICIES_H_
