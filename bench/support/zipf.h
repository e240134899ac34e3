// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_ZIPF_H_
#define LARDER_BENCH_SUPPORT_ZIPF_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace larder::bench {

// `count` keys in 0..keys-1, the k-th most popular of which is drawn with probability proportional
// to 1/k^exponent, exactly (by inversion of the tabulated distribution, not by an approximation).
// Popularity is scattered over the key space: neighbours in popularity are no neighbours in number.
// The same arguments give the same sequence on every machine. keys must be > 0.
// O(keys + count log keys).
std::vector<uint32_t> ZipfKeys(uint32_t keys, double exponent, size_t count, uint64_t seed);

// `count` keys in 0..keys-1, each as likely as any other. keys must be > 0. O(count).
std::vector<uint32_t> UniformKeys(uint32_t keys, size_t count, uint64_t seed);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_ZIPF_H_
