// SPDX-License-Identifier: Apache-2.0
#include "bench/support/traces.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace larder::bench {
namespace {

class TracesTest : public ::testing::Test {
 protected:
  // With a space and a quote, since a shell gets to see it.
  TracesTest() : directory_(absl::StrCat(::testing::TempDir(), "/some user's traces")) {
    std::filesystem::create_directories(directory_);
  }
  ~TracesTest() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& name, const std::string& content) {
    std::ofstream(absl::StrCat(directory_, "/", name), std::ios::binary) << content;
  }

  const std::string directory_;
};

TEST_F(TracesTest, ReadsReferenceHits) {
  Write("reference.tsv", "trace\tpolicy\tcapacity\thits\trequests\nloop\tLRU\t5\t7\t100\n");
  const absl::StatusOr<std::vector<ReferenceHits>> hits = ReadReferenceHits(directory_);
  ASSERT_TRUE(hits.ok()) << hits.status();
  ASSERT_EQ(hits->size(), 1u);
  EXPECT_EQ(hits->front().trace, "loop");
  EXPECT_EQ(hits->front().policy, "LRU");
  EXPECT_EQ(hits->front().capacity, 5u);
  EXPECT_EQ(hits->front().hits, 7u);
  EXPECT_EQ(hits->front().requests, 100u);
}

TEST_F(TracesTest, SaysWhatIsWrongWithReferenceHits) {
  EXPECT_TRUE(absl::IsNotFound(ReadReferenceHits(directory_).status()));
  Write("reference.tsv", "heading\nloop\tLRU\tfive\t7\t100\n");
  const absl::Status status = ReadReferenceHits(directory_).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "reference.tsv:2")) << status;
}

TEST_F(TracesTest, ReadsACompressedTrace) {
  Write("loop.u32", std::string("\1\0\0\0\2\1\0\0\xff\xff\xff\xff", 12));
  ASSERT_EQ(std::system(absl::StrCat("xz \"", directory_, "/loop.u32\"").c_str()), 0);
  const absl::StatusOr<std::vector<uint32_t>> trace = ReadTrace(directory_, "loop");
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(*trace, (std::vector<uint32_t>{1, 0x102, 0xffffffff}));
  EXPECT_FALSE(ReadTrace(directory_, "none").ok());
}

TEST_F(TracesTest, GeneratesTheSameTracesAgain) {
  const std::vector<GeneratedTrace> traces = GenerateTraces(100, 10'000);
  const std::vector<GeneratedTrace> again = GenerateTraces(100, 10'000);
  ASSERT_EQ(traces.size(), again.size());
  for (size_t i = 0; i < traces.size(); ++i) {
    EXPECT_EQ(traces[i].name, again[i].name);
    EXPECT_EQ(traces[i].keys, again[i].keys);
    EXPECT_GE(traces[i].keys.size(), 10'000u);
    EXPECT_GT(*std::max_element(traces[i].keys.begin(), traces[i].keys.end()), 100u);
  }
}

}  // namespace
}  // namespace larder::bench
