// SPDX-License-Identifier: Apache-2.0
#include "larder/remote_options.h"

#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

void ExpectInvalid(const RemoteOptions& options, const std::string& field,
                   const std::string& value) {
  const absl::Status status = options.Validate();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
  const std::string message(status.message());
  EXPECT_NE(message.find("RemoteOptions::" + field + " must"), std::string::npos) << message;
  EXPECT_TRUE(message.ends_with(", is " + value)) << message;
}

TEST(RemoteOptionsTest, NothingNeedsToBeSet) { EXPECT_TRUE(RemoteOptions{}.Validate().ok()); }

TEST(RemoteOptionsTest, ExtremeValuesThatAreFine) {
  RemoteOptions most;
  RemoteOptions least;
  for (auto field :
       {&RemoteOptions::ttl, &RemoteOptions::retry_after, &RemoteOptions::timeout,
        &RemoteOptions::load_lease, &RemoteOptions::write_lease, &RemoteOptions::unverified_ttl,
        &RemoteOptions::first_probe, &RemoteOptions::last_probe}) {
    most.*field = absl::InfiniteDuration();
    least.*field = absl::Nanoseconds(1);
  }
  for (auto field : {&RemoteOptions::negative_ttl, &RemoteOptions::stale_if_error,
                     &RemoteOptions::wait_for_other_loads, &RemoteOptions::settle_time}) {
    most.*field = absl::InfiniteDuration();
    least.*field = absl::ZeroDuration();
  }
  most.failures_to_open = std::numeric_limits<int>::max();
  least.failures_to_open = 1;
  most.max_missed_keys = std::numeric_limits<size_t>::max();
  least.max_missed_keys = 0;
  EXPECT_TRUE(most.Validate().ok()) << most.Validate();
  EXPECT_TRUE(least.Validate().ok()) << least.Validate();
}

TEST(RemoteOptionsTest, DurationsThatMustBePositive) {
  const struct {
    absl::Duration RemoteOptions::*field;
    const char* name;
  } kFields[] = {{&RemoteOptions::ttl, "ttl"},
                 {&RemoteOptions::retry_after, "retry_after"},
                 {&RemoteOptions::timeout, "timeout"},
                 {&RemoteOptions::load_lease, "load_lease"},
                 {&RemoteOptions::write_lease, "write_lease"},
                 {&RemoteOptions::unverified_ttl, "unverified_ttl"},
                 {&RemoteOptions::first_probe, "first_probe"},
                 {&RemoteOptions::last_probe, "last_probe"}};
  for (const auto& [field, name] : kFields) {
    RemoteOptions options;
    options.*field = absl::ZeroDuration();
    ExpectInvalid(options, name, "0");
    options.*field = -absl::Seconds(2);
    ExpectInvalid(options, name, "-2s");
  }
}

TEST(RemoteOptionsTest, DurationsThatMustNotBeNegative) {
  const struct {
    absl::Duration RemoteOptions::*field;
    const char* name;
  } kFields[] = {{&RemoteOptions::negative_ttl, "negative_ttl"},
                 {&RemoteOptions::stale_if_error, "stale_if_error"},
                 {&RemoteOptions::wait_for_other_loads, "wait_for_other_loads"},
                 {&RemoteOptions::settle_time, "settle_time"}};
  for (const auto& [field, name] : kFields) {
    RemoteOptions options;
    options.*field = -absl::Milliseconds(3);
    ExpectInvalid(options, name, "-3ms");
  }
}

TEST(RemoteOptionsTest, OtherFields) {
  RemoteOptions options;
  options.last_probe = options.first_probe - absl::Milliseconds(1);
  ExpectInvalid(options, "last_probe", "49ms");
  options = {};
  options.failures_to_open = 0;
  ExpectInvalid(options, "failures_to_open", "0");
  options = {};
  options.when_cut_off = static_cast<WhenCutOff>(7);
  ExpectInvalid(options, "when_cut_off", "7");
}

}  // namespace
}  // namespace larder
