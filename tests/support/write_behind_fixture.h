// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_WRITE_BEHIND_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_WRITE_BEHIND_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/write_behind.h"
#include "larder/manual_clock.h"
#include "larder/write_behind_options.h"
#include "tests/support/write_behind_target.h"

namespace larder::test {

// An engine on a clock that is moved by hand, without threads: RunOnce writes what is due.
class WriteBehindFixture : public ::testing::Test {
 protected:
  using Batches = std::vector<std::vector<int>>;
  static constexpr absl::Duration kDelay = absl::Milliseconds(10);

  internal::WriteBehind& Make(WriteBehindOptions options = {}) {
    EXPECT_TRUE(options.Validate().ok()) << options.Validate();
    engine_ = std::make_unique<internal::WriteBehind>(options, &clock_, &target_, /*seed=*/1);
    return *engine_;
  }

  // Runs what is due; what that wrote.
  Batches Run() {
    while (engine_->RunOnce() > 0) {
    }
    return target_.TakeBatches();
  }

  Batches RunAfter(absl::Duration step) {
    clock_.Advance(step);
    return Run();
  }

  absl::Status Put(int key, int value, uint64_t bytes = 1) {
    return PutNumber(*engine_, key, value, bytes);
  }
  void MustPut(int key, int value, uint64_t bytes = 1) { ASSERT_TRUE(Put(key, value, bytes).ok()); }

  // From now on all attempts end so.
  void AnswerAlways(const absl::Status& status) {
    target_.answer = [status](const NumberWrite&) { return status; };
  }

  bool IsAcknowledged(int value) {
    const auto acknowledged = target_.Acknowledged();
    const auto found = acknowledged.find(static_cast<uint64_t>(value));
    if (found == acknowledged.end()) return false;
    EXPECT_EQ(found->second, 1) << value << " was acknowledged twice";
    return true;
  }

  ManualClock clock_;
  NumberTarget target_;
  std::unique_ptr<internal::WriteBehind> engine_;
};

inline const absl::Status& Unavailable() {
  static const absl::Status status = absl::UnavailableError("down");
  return status;
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_WRITE_BEHIND_FIXTURE_H_
