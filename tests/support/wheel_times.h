// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_WHEEL_TIMES_H_
#define LARDER_TESTS_SUPPORT_WHEEL_TIMES_H_

#include <cstdint>
#include <limits>

namespace larder::test {

// Times as the timer wheel counts them, in nanoseconds.
inline constexpr int64_t kTick = int64_t{1} << 20;
inline constexpr int64_t kSecond = 1'000'000'000;
inline constexpr int64_t kDay = 86'400 * kSecond;
inline constexpr int64_t kYear = 365 * kDay;
inline constexpr int64_t kBegin = std::numeric_limits<int64_t>::min();

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_WHEEL_TIMES_H_
