// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/circuit_breaker.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "larder/circuit_breaker_options.h"
#include "larder/circuit_state.h"
#include "larder/internal/node.h"

namespace larder::internal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Admission = CircuitBreaker::Admission;

void ExpectInvalid(const CircuitBreakerOptions& options, const std::string& field,
                   const std::string& value) {
  const absl::Status status = options.Validate();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(field), HasSubstr(value)));
}

TEST(CircuitBreakerOptionsTest, NothingNeedsToBeSet) {
  EXPECT_TRUE(CircuitBreakerOptions{}.Validate().ok());
  EXPECT_TRUE(CircuitBreakerOptions{.failures = 1}.Validate().ok());
}

TEST(CircuitBreakerOptionsTest, ExtremeValuesThatAreFine) {
  constexpr int kMost = std::numeric_limits<int>::max();
  const CircuitBreakerOptions most{.failures = 10'000,
                                   .window = 10'000,
                                   .open_for = absl::InfiniteDuration(),
                                   .most_open_for = absl::InfiniteDuration(),
                                   .half_open_loads = kMost,
                                   .successes = kMost};
  EXPECT_TRUE(most.Validate().ok()) << most.Validate();
  const CircuitBreakerOptions least{.failures = 1,
                                    .window = 1,
                                    .open_for = absl::Nanoseconds(1) / 4,
                                    .most_open_for = absl::Nanoseconds(1) / 4};
  EXPECT_TRUE(least.Validate().ok()) << least.Validate();
}

TEST(CircuitBreakerOptionsTest, ErrorsNameTheFieldAndItsValue) {
  ExpectInvalid({.failures = -1}, "failures", "-1");
  ExpectInvalid({.failures = 10'001}, "failures", "10001");
  ExpectInvalid({.failures = 5, .window = 4}, "window", "4");
  ExpectInvalid({.failures = 5, .window = -7}, "window", "-7");
  ExpectInvalid({.failures = 5, .window = 10'001}, "window", "10001");
  ExpectInvalid({.failures = 5, .open_for = absl::ZeroDuration()}, "open_for", "0");
  ExpectInvalid({.failures = 5, .open_for = absl::Seconds(-2)}, "open_for", "-2s");
  ExpectInvalid({.failures = 5, .most_open_for = absl::Seconds(4)}, "most_open_for", "4s");
  ExpectInvalid({.failures = 5, .half_open_loads = 0}, "half_open_loads", "0");
  ExpectInvalid({.failures = 5, .successes = 0}, "successes", "0");
}

TEST(CircuitBreakerOptionsTest, WithoutABreakerTheOtherFieldsDontMatter) {
  EXPECT_TRUE((CircuitBreakerOptions{.window = -1, .open_for = absl::Seconds(-1)}).Validate().ok());
}

TEST(CircuitStateTest, HasWordsForLogs) {
  EXPECT_EQ(CircuitStateName(CircuitState::kClosed), "closed");
  EXPECT_EQ(CircuitStateName(CircuitState::kOpen), "open");
  EXPECT_EQ(CircuitStateName(CircuitState::kHalfOpen), "half_open");
}

// Loads one after the other, each over before the next.
class CircuitBreakerTest : public ::testing::Test {
 protected:
  // Three failures in a row open it for 100 ns.
  static CircuitBreakerOptions Three() {
    return {.failures = 3, .open_for = absl::Nanoseconds(100)};
  }

  // Whether the load was admitted.
  static bool Load(CircuitBreaker& breaker, bool ok, int64_t now) {
    const std::optional<Admission> admission = breaker.Admit(now);
    if (admission.has_value()) breaker.Report(*admission, ok, now);
    return admission.has_value();
  }

  static void Open(CircuitBreaker& breaker, int64_t now) {
    while (breaker.state(now) == CircuitState::kClosed) ASSERT_TRUE(Load(breaker, false, now));
    ASSERT_EQ(breaker.state(now), CircuitState::kOpen);
  }
};

TEST_F(CircuitBreakerTest, WithoutFailuresSetItNeverOpens) {
  CircuitBreaker breaker({.window = -5, .open_for = absl::ZeroDuration()});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Load(breaker, false, i));
  EXPECT_EQ(breaker.state(100), CircuitState::kClosed);
  EXPECT_EQ(breaker.opens(), 0u);
  EXPECT_EQ(breaker.next_probe(), kNever);
}

TEST_F(CircuitBreakerTest, OpensAfterFailuresInARow) {
  CircuitBreaker breaker(Three());
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(Load(breaker, false, 0));
    EXPECT_TRUE(Load(breaker, false, 0));
    EXPECT_TRUE(Load(breaker, true, 0));
  }
  EXPECT_TRUE(Load(breaker, false, 5));
  EXPECT_TRUE(Load(breaker, false, 6));
  EXPECT_EQ(breaker.state(7), CircuitState::kClosed);
  EXPECT_EQ(breaker.next_probe(), kNever);
  EXPECT_TRUE(Load(breaker, false, 7));
  EXPECT_EQ(breaker.state(7), CircuitState::kOpen);
  EXPECT_EQ(breaker.opens(), 1u);
  EXPECT_EQ(breaker.next_probe(), 107);
  EXPECT_FALSE(breaker.Admit(7).has_value());
  EXPECT_FALSE(breaker.Admit(106).has_value());
}

TEST_F(CircuitBreakerTest, OneFailureMayBeEnough) {
  CircuitBreaker breaker({.failures = 1});
  EXPECT_TRUE(Load(breaker, true, 0));
  EXPECT_TRUE(Load(breaker, false, 0));
  EXPECT_FALSE(breaker.Admit(0).has_value());
}

TEST_F(CircuitBreakerTest, OpensAfterFailuresAmongTheLastLoads) {
  CircuitBreaker breaker({.failures = 3, .window = 5});
  // Two of every five.
  for (int i = 0; i < 10; ++i) {
    for (const bool ok : {false, true, true, false, true}) EXPECT_TRUE(Load(breaker, ok, 0));
  }
  // The last five: true, false, true, then these two.
  EXPECT_TRUE(Load(breaker, false, 0));
  EXPECT_EQ(breaker.state(0), CircuitState::kClosed);
  EXPECT_TRUE(Load(breaker, false, 0));
  EXPECT_EQ(breaker.state(0), CircuitState::kOpen);
}

TEST_F(CircuitBreakerTest, AFailureLeavesTheWindowWhenEnoughLoadsFollow) {
  CircuitBreaker breaker({.failures = 2, .window = 4});
  EXPECT_TRUE(Load(breaker, false, 0));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Load(breaker, true, 0));
  EXPECT_TRUE(Load(breaker, false, 0)) << "pushes the first one out";
  EXPECT_EQ(breaker.state(0), CircuitState::kClosed);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(Load(breaker, true, 0));
  EXPECT_TRUE(Load(breaker, false, 0));
  EXPECT_EQ(breaker.state(0), CircuitState::kOpen);
}

TEST_F(CircuitBreakerTest, IsHalfOpenOnceTheWaitIsOver) {
  CircuitBreaker breaker(Three());
  Open(breaker, 0);
  EXPECT_EQ(breaker.state(99), CircuitState::kOpen);
  EXPECT_EQ(breaker.state(100), CircuitState::kHalfOpen) << "though nobody has asked yet";
  EXPECT_EQ(breaker.next_probe(), 100);
  EXPECT_TRUE(breaker.Admit(100).has_value());
  EXPECT_EQ(breaker.state(100), CircuitState::kHalfOpen);
  EXPECT_EQ(breaker.state(50), CircuitState::kHalfOpen) << "time that goes back changes nothing";
  EXPECT_EQ(breaker.next_probe(), kNever);
  EXPECT_FALSE(breaker.Admit(1'000'000).has_value()) << "one probe at once";
}

TEST_F(CircuitBreakerTest, AProbeThatSucceedsCloses) {
  CircuitBreaker breaker(Three());
  Open(breaker, 0);
  EXPECT_TRUE(Load(breaker, true, 100));
  EXPECT_EQ(breaker.state(100), CircuitState::kClosed);
  // Earlier failures are forgotten.
  EXPECT_TRUE(Load(breaker, false, 100));
  EXPECT_TRUE(Load(breaker, false, 100));
  EXPECT_EQ(breaker.state(100), CircuitState::kClosed);
  EXPECT_TRUE(Load(breaker, false, 100));
  EXPECT_EQ(breaker.state(100), CircuitState::kOpen);
  EXPECT_EQ(breaker.opens(), 2u);
}

TEST_F(CircuitBreakerTest, AProbeThatFailsOpensAgain) {
  CircuitBreaker breaker(Three());
  Open(breaker, 0);
  const std::optional<Admission> probe = breaker.Admit(100);
  ASSERT_TRUE(probe.has_value());
  breaker.Report(*probe, false, 130);
  EXPECT_EQ(breaker.state(130), CircuitState::kOpen);
  EXPECT_EQ(breaker.next_probe(), 230) << "counted from the failure";
  EXPECT_EQ(breaker.opens(), 2u);
  EXPECT_TRUE(Load(breaker, true, 230));
  EXPECT_EQ(breaker.state(230), CircuitState::kClosed);
}

TEST_F(CircuitBreakerTest, AsManyProbesAsAskedForRunAtOnce) {
  CircuitBreakerOptions options = Three();
  options.half_open_loads = 2;
  options.successes = 3;
  CircuitBreaker breaker(options);
  Open(breaker, 0);
  const std::optional<Admission> first = breaker.Admit(100);
  const std::optional<Admission> second = breaker.Admit(100);
  ASSERT_TRUE(first.has_value());
  ASSERT_TRUE(second.has_value());
  EXPECT_FALSE(breaker.Admit(100).has_value());
  breaker.Report(*first, true, 110);
  const std::optional<Admission> third = breaker.Admit(110);
  ASSERT_TRUE(third.has_value());
  EXPECT_FALSE(breaker.Admit(110).has_value());
  breaker.Report(*third, true, 120);
  EXPECT_EQ(breaker.state(120), CircuitState::kHalfOpen) << "two of three";
  breaker.Report(*second, true, 130);
  EXPECT_EQ(breaker.state(130), CircuitState::kClosed);
}

TEST_F(CircuitBreakerTest, OneOfSeveralProbesThatFailsIsEnough) {
  CircuitBreakerOptions options = Three();
  options.half_open_loads = 3;
  options.successes = 2;
  CircuitBreaker breaker(options);
  Open(breaker, 0);
  std::vector<Admission> probes;
  for (int i = 0; i < 3; ++i) probes.push_back(breaker.Admit(100).value());
  breaker.Report(probes[0], true, 110);
  breaker.Report(probes[1], false, 120);
  EXPECT_EQ(breaker.next_probe(), 220);
  // The last one is too late, whatever it says.
  breaker.Report(probes[2], false, 150);
  EXPECT_EQ(breaker.next_probe(), 220);
  EXPECT_EQ(breaker.opens(), 2u);
  // All three places are free again, and the success that was is forgotten.
  for (int i = 0; i < 3; ++i) probes[i] = breaker.Admit(220).value();
  EXPECT_FALSE(breaker.Admit(220).has_value());
  breaker.Report(probes[0], true, 230);
  EXPECT_EQ(breaker.state(230), CircuitState::kHalfOpen);
  breaker.Report(probes[1], true, 230);
  EXPECT_EQ(breaker.state(230), CircuitState::kClosed);
}

TEST_F(CircuitBreakerTest, LoadsFromBeforeDontCountInALaterState) {
  CircuitBreaker breaker(Three());
  std::vector<Admission> early;
  for (int i = 0; i < 8; ++i) early.push_back(breaker.Admit(0).value());
  Open(breaker, 0);
  // While open.
  breaker.Report(early[0], true, 10);
  breaker.Report(early[1], false, 10);
  EXPECT_EQ(breaker.next_probe(), 100);
  EXPECT_EQ(breaker.opens(), 1u);
  // While half-open.
  const std::optional<Admission> probe = breaker.Admit(100);
  ASSERT_TRUE(probe.has_value());
  breaker.Report(early[2], true, 110);
  breaker.Report(early[3], false, 110);
  breaker.Abandon(early[4]);
  EXPECT_EQ(breaker.state(110), CircuitState::kHalfOpen);
  EXPECT_FALSE(breaker.Admit(110).has_value()) << "the probe's place isn't theirs to give back";
  // While closed again.
  breaker.Report(*probe, true, 120);
  for (int i = 5; i < 8; ++i) breaker.Report(early[i], false, 130);
  EXPECT_EQ(breaker.state(130), CircuitState::kClosed);
  EXPECT_EQ(breaker.opens(), 1u);
}

TEST_F(CircuitBreakerTest, AnAbandonedProbeMakesWayForAnother) {
  CircuitBreaker breaker(Three());
  Open(breaker, 0);
  for (int i = 0; i < 10; ++i) {
    const std::optional<Admission> probe = breaker.Admit(100);
    ASSERT_TRUE(probe.has_value());
    EXPECT_FALSE(breaker.Admit(100).has_value());
    breaker.Abandon(*probe);
    EXPECT_EQ(breaker.state(100), CircuitState::kHalfOpen);
  }
  EXPECT_TRUE(Load(breaker, true, 100));
  EXPECT_EQ(breaker.state(100), CircuitState::kClosed);
}

TEST_F(CircuitBreakerTest, AnAbandonedLoadSaysNothingWhileClosed) {
  CircuitBreaker breaker(Three());
  EXPECT_TRUE(Load(breaker, false, 0));
  EXPECT_TRUE(Load(breaker, false, 0));
  breaker.Abandon(breaker.Admit(0).value());
  EXPECT_EQ(breaker.state(0), CircuitState::kClosed);
  EXPECT_TRUE(Load(breaker, false, 0));
  EXPECT_EQ(breaker.state(0), CircuitState::kOpen);
}

TEST_F(CircuitBreakerTest, StaysOpenLongerEachTimeUpToTheMost) {
  CircuitBreakerOptions options = Three();
  options.most_open_for = absl::Nanoseconds(500);
  CircuitBreaker breaker(options);
  for (int i = 0; i < 2; ++i) {
    int64_t now = 1'000'000 * i;
    Open(breaker, now);
    for (const int64_t wait : {100, 200, 400, 500, 500}) {
      EXPECT_EQ(breaker.next_probe(), now + wait);
      EXPECT_FALSE(breaker.Admit(now + wait - 1).has_value());
      now += wait;
      EXPECT_TRUE(Load(breaker, false, now));
    }
    now += 500;
    EXPECT_TRUE(Load(breaker, true, now));
    EXPECT_EQ(breaker.state(now), CircuitState::kClosed) << "and begins anew";
  }
  EXPECT_EQ(breaker.opens(), 12u);
}

TEST_F(CircuitBreakerTest, StaysOpenForGoodIfToldTo) {
  for (const absl::Duration longest :
       {absl::InfiniteDuration(), absl::Hours(24) * 365 * 200, absl::Nanoseconds(kNever)}) {
    CircuitBreaker breaker({.failures = 1, .open_for = longest});
    Open(breaker, kNever / 2);
    EXPECT_EQ(breaker.next_probe(), kNever);
    EXPECT_FALSE(breaker.Admit(kNever - 1).has_value());
  }
}

TEST_F(CircuitBreakerTest, DoublingSaturates) {
  CircuitBreaker breaker({.failures = 1,
                          .open_for = absl::Nanoseconds(kNever / 2),
                          .most_open_for = absl::InfiniteDuration()});
  constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
  Open(breaker, kLowest);
  EXPECT_EQ(breaker.next_probe(), kLowest + kNever / 2);
  EXPECT_TRUE(Load(breaker, false, kLowest + kNever / 2));
  EXPECT_EQ(breaker.next_probe(), kLowest + kNever / 2 + (kNever - 1));
  EXPECT_TRUE(Load(breaker, false, kNever - 1));
  EXPECT_EQ(breaker.next_probe(), kNever);
}

}  // namespace
}  // namespace larder::internal
