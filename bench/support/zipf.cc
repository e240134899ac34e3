// SPDX-License-Identifier: Apache-2.0

#include "bench/support/zipf.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace larder::bench {
namespace {

// std::uniform_int_distribution, std::shuffle and std::generate_canonical may differ from one
// standard library to the next; mt19937_64 itself may not.
uint32_t Below(uint32_t bound, std::mt19937_64& random) {
  return static_cast<uint32_t>(((random() >> 32) * bound) >> 32);
}

double UnitInterval(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1.0p-53;
}

}  // namespace

std::vector<uint32_t> ZipfKeys(uint32_t keys, double exponent, size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> cumulative(keys);
  double total = 0;
  for (uint32_t rank = 0; rank < keys; ++rank) {
    total += std::pow(rank + 1.0, -exponent);
    cumulative[rank] = total;
  }
  std::vector<uint32_t> key_of_rank(keys);
  std::iota(key_of_rank.begin(), key_of_rank.end(), 0u);
  for (uint32_t i = keys - 1; i > 0; --i) {
    std::swap(key_of_rank[i], key_of_rank[Below(i + 1, random)]);
  }
  std::vector<uint32_t> sequence(count);
  for (uint32_t& key : sequence) {
    const double point = UnitInterval(random) * total;
    const auto it = std::upper_bound(cumulative.begin(), cumulative.end(), point);
    const auto rank = static_cast<uint32_t>(it - cumulative.begin());
    key = key_of_rank[std::min(rank, keys - 1)];
  }
  return sequence;
}

std::vector<uint32_t> UniformKeys(uint32_t keys, size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint32_t> sequence(count);
  for (uint32_t& key : sequence) key = Below(keys, random);
  return sequence;
}

}  // namespace larder::bench
