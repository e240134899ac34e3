// SPDX-License-Identifier: Apache-2.0
//
// What a fuzz target NAME_fuzz.cc defines, for libFuzzer and for replay.cc; see docs/testing.md.

#ifndef LARDER_TESTS_FUZZ_FUZZ_TARGET_H_
#define LARDER_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

// Tries one input; ends the process if something is wrong.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace larder::fuzz {

// Inputs from which a fuzzer finds others: small, and each about something else.
std::vector<std::string> Seeds();

// Not a gtest assertion, which libFuzzer wouldn't see.
#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

}  // namespace larder::fuzz

#endif  // LARDER_TESTS_FUZZ_FUZZ_TARGET_H_
