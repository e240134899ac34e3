// SPDX-License-Identifier: Apache-2.0
//
// usage: NAME_replay CORPUS
//
// Tests a fuzz target without a fuzzer: its seeds, all files of a directory, and a few inputs made
// of these at random.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/rounds.h"

namespace larder::fuzz {
namespace {

void Try(const std::string& input) {
  // A copy without a byte to spare, so that AddressSanitizer sees a read past its end.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

class InputTest : public testing::Test {
 public:
  explicit InputTest(std::string input) : input_(std::move(input)) {}
  void TestBody() override { Try(input_); }

 private:
  const std::string input_;
};

// A little of what a fuzzer does.
class RandomInputsTest : public testing::Test {
 public:
  explicit RandomInputsTest(std::vector<std::string> inputs) : inputs_(std::move(inputs)) {}

  void TestBody() override {
    for (int round = 0; round < test::Rounds(20); ++round) {
      const uint64_t seed = test::SeedOfRound(round);
      std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
      std::fflush(stdout);  // before it ends the process
      random_.seed(seed);
      for (int i = 0; i < 100; ++i) {
        std::string input = Any();
        for (uint64_t changes = 1 + random_() % 5; changes > 0; --changes) Change(&input);
        Try(input);
      }
    }
  }

 private:
  const std::string& Any() { return inputs_[random_() % inputs_.size()]; }

  void Change(std::string* input) {
    const size_t at = random_() % (input->size() + 1);
    const size_t size = random_() % 16;
    switch (random_() % 6) {
      case 0:
        if (at < input->size()) (*input)[at] ^= static_cast<char>(1 << random_() % 8);
        break;
      case 1:
        if (at < input->size()) (*input)[at] = static_cast<char>(random_());
        break;
      case 2:
        input->erase(at, size);
        break;
      case 3:
        for (size_t i = 0; i < size; ++i) input->insert(at, 1, static_cast<char>(random_()));
        break;
      case 4: {
        const std::string& other = Any();
        const size_t from = random_() % (other.size() + 1);
        input->insert(at, other, from, random_() % 64);
        break;
      }
      case 5:
        input->resize(at);
        break;
    }
  }

  const std::vector<std::string> inputs_;
  std::mt19937_64 random_;
};

std::string Contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void RegisterTests(const std::filesystem::path& corpus) {
  std::vector<std::pair<std::string, std::string>> inputs;
  const std::vector<std::string> seeds = Seeds();
  for (size_t i = 0; i < seeds.size(); ++i)
    inputs.emplace_back("Seed" + std::to_string(i), seeds[i]);
  for (const auto& entry : std::filesystem::directory_iterator(corpus))
    inputs.emplace_back(entry.path().filename().string(), Contents(entry.path()));
  std::sort(inputs.begin(), inputs.end());

  std::vector<std::string> all;
  for (const auto& [name, input] : inputs) {
    testing::RegisterTest("CorpusTest", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [input = input]() -> testing::Test* { return new InputTest(input); });
    all.push_back(input);
  }
  testing::RegisterTest("CorpusTest", "RandomInputs", nullptr, nullptr, __FILE__, __LINE__,
                        [all]() -> testing::Test* { return new RandomInputsTest(all); });
}

}  // namespace
}  // namespace larder::fuzz

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
    return 2;
  }
  larder::fuzz::RegisterTests(argv[1]);
  return RUN_ALL_TESTS();
}
