// SPDX-License-Identifier: Apache-2.0
//
// What RemoteTier itself does: the default GetMany and EraseMany.
#include "larder/remote_tier.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

using ::testing::ElementsAre;

// A tier in a map, which refuses one key.
class MapTier : public RemoteTier {
 public:
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key,
                                                 absl::Duration timeout) override {
    if (absl::Status status = Check(key, timeout); !status.ok()) return status;
    const auto found = values.find(key);
    if (found == values.end()) return std::nullopt;
    return found->second;
  }

  absl::Status Set(std::string_view key, std::string_view value, absl::Duration,
                   absl::Duration timeout) override {
    if (absl::Status status = Check(key, timeout); !status.ok()) return status;
    values[std::string(key)] = std::string(value);
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Erase(std::string_view key, absl::Duration timeout) override {
    if (absl::Status status = Check(key, timeout); !status.ok()) return status;
    return values.erase(std::string(key)) > 0;
  }

  std::map<std::string, std::string, std::less<>> values;
  absl::Duration longest_timeout = absl::ZeroDuration();

 private:
  absl::Status Check(std::string_view key, absl::Duration timeout) {
    if (timeout <= absl::ZeroDuration()) return absl::DeadlineExceededError("no time");
    longest_timeout = std::max(longest_timeout, timeout);
    return key == "bad" ? absl::InternalError("bad key") : absl::OkStatus();
  }
};

TEST(RemoteTierTest, GetManyKeepsTheOrder) {
  MapTier tier;
  tier.values = {{"a", "1"}, {"c", ""}};
  const auto values = tier.GetMany({"c", "b", "a", "c"}, absl::InfiniteDuration());
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_THAT(*values, ElementsAre("", std::nullopt, "1", ""));
  EXPECT_TRUE(tier.GetMany({}, absl::InfiniteDuration())->empty());
}

TEST(RemoteTierTest, GetManyIsAllOrNothing) {
  MapTier tier;
  EXPECT_EQ(tier.GetMany({"a", "bad"}, absl::InfiniteDuration()).status().code(),
            absl::StatusCode::kInternal);
}

TEST(RemoteTierTest, EraseManyCountsWhatWasThere) {
  MapTier tier;
  tier.values = {{"a", "1"}, {"b", "2"}, {"c", "3"}};
  const auto erased = tier.EraseMany({"a", "a", "x", "b"}, absl::InfiniteDuration());
  ASSERT_TRUE(erased.ok()) << erased.status();
  EXPECT_EQ(*erased, 2u);
  EXPECT_EQ(tier.values.size(), 1u);
  EXPECT_FALSE(tier.EraseMany({"c", "bad"}, absl::InfiniteDuration()).ok());
  EXPECT_TRUE(tier.values.empty());
}

TEST(RemoteTierTest, OneTimeoutIsSharedByAllKeys) {
  MapTier tier;
  EXPECT_TRUE(tier.GetMany({"a", "b"}, absl::Hours(1)).ok());
  EXPECT_LE(tier.longest_timeout, absl::Hours(1));
  EXPECT_EQ(tier.GetMany({"a"}, absl::ZeroDuration()).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(tier.EraseMany({"a"}, absl::Seconds(-1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace larder
