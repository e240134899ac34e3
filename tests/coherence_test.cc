// SPDX-License-Identifier: Apache-2.0
//
// Several servers, each a process with its own memory, and one Redis, to which all kinds of things
// happen: no server reads what was overwritten longer ago than it may be, and none fails a request.

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/coherence_check.h"
#include "tests/support/coherence_server.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

class CoherenceTest : public ::testing::Test {
 protected:
  void Start() { check_ = std::make_unique<CoherenceCheck>(settings_, CoherenceServer::Serve); }
  CoherenceCheck& check() { return *check_; }

  CoherenceSettings settings_{.seed = SeedOfRound(0)};
  std::unique_ptr<CoherenceCheck> check_;
};

TEST_F(CoherenceTest, TheCheckFindsServersThatDoNotHearOfEachOther) {
  settings_.has_tier = false;
  Start();
  check().Run(absl::Milliseconds(700));
  check().Quiesce();
  EXPECT_EQ(check().TakeProblems().size(), 3u);
}

}  // namespace
}  // namespace larder::test
