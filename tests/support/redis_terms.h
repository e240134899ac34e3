// SPDX-License-Identifier: Apache-2.0
//
// What tests of the Redis client say often.

#ifndef LARDER_TESTS_SUPPORT_REDIS_TERMS_H_
#define LARDER_TESTS_SUPPORT_REDIS_TERMS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace larder::test {

inline constexpr absl::Duration kForever = absl::InfiniteDuration();
// For what comes soon, or else the test has failed.
inline constexpr absl::Duration kLong = absl::Seconds(60);
// For what doesn't come.
inline constexpr absl::Duration kShort = absl::Milliseconds(30);

// A bulk string, as a server sends it.
inline std::string Word(std::string_view text) {
  return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

inline void ExpectError(const absl::Status& status, absl::StatusCode code,
                        const std::string& text) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(text));
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_REDIS_TERMS_H_
