// SPDX-License-Identifier: Apache-2.0
//
// Gives a program with libFuzzer one more option, --write_seeds=DIRECTORY: writes the target's
// seeds to files, and ends.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

namespace larder::fuzz {
namespace {

void WriteSeeds(const std::string& directory) {
  const std::vector<std::string> seeds = Seeds();
  for (size_t i = 0; i < seeds.size(); ++i) {
    const std::string path = directory + "/seed" + std::to_string(i);
    std::ofstream file(path, std::ios::binary);
    file << seeds[i] << std::flush;
    if (!file) {
      std::perror(path.c_str());
      std::exit(1);
    }
  }
}

}  // namespace
}  // namespace larder::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kWriteSeeds = "--write_seeds=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    if (argument.substr(0, kWriteSeeds.size()) != kWriteSeeds) continue;
    larder::fuzz::WriteSeeds(std::string(argument.substr(kWriteSeeds.size())));
    std::exit(0);
  }
  return 0;
}
