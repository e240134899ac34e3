// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_ROUNDS_H_
#define LARDER_TESTS_SUPPORT_ROUNDS_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/numbers.h"

namespace larder::test {

// Reads a positive number from the environment, `fallback` if the variable is not set. A value that
// is no such number ends the process: a long run asked for in vain would look like a passed one.
inline uint64_t PositiveFromEnvironment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  if (text == nullptr) return fallback;
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number == 0) {
    std::fprintf(stderr, "%s is not a positive number: %s\n", name, text);
    std::abort();
  }
  return number;
}

// How often a randomised test repeats: `base` rounds, which take a few seconds, times the
// environment variable LARDER_TEST_ROUNDS (default 1) for long runs.
inline int Rounds(int base) {
  return static_cast<int>(static_cast<uint64_t>(base) *
                          PositiveFromEnvironment("LARDER_TEST_ROUNDS", 1));
}

// The seed of a test's round. Consecutive from the environment variable LARDER_TEST_SEED (default
// 1), so LARDER_TEST_SEED=<seed a failure printed> starts with the failing one.
inline uint64_t SeedOfRound(int round) {
  return PositiveFromEnvironment("LARDER_TEST_SEED", 1) + static_cast<uint64_t>(round);
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_ROUNDS_H_
