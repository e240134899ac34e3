// SPDX-License-Identifier: Apache-2.0
//
// RandomBits: a number that nobody else has.

#ifndef LARDER_INTERNAL_RANDOM_BITS_H_
#define LARDER_INTERNAL_RANDOM_BITS_H_

#include <cstdint>
#include <random>

namespace larder::internal {

// 64 bits from the operating system: for names, salts and seeds. Slow, some microseconds.
inline uint64_t RandomBits() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_RANDOM_BITS_H_
