// SPDX-License-Identifier: Apache-2.0
//
// For tests of RedisTier against a ScriptedServer.

#ifndef LARDER_TESTS_SUPPORT_SCRIPTED_REDIS_H_
#define LARDER_TESTS_SUPPORT_SCRIPTED_REDIS_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_terms.h"
#include "tests/support/scripted_server.h"

namespace larder::test {

// The end of an encoded GET of a key named "k".
inline constexpr std::string_view kGetK = "$3\r\nGET\r\n$1\r\nk\r\n";

// One connection, and no questions but the test's.
inline RedisOptions OptionsFor(const ScriptedServer& server) {
  RedisOptions options;
  options.unix_socket = server.unix_socket();
  options.connect_timeout = absl::Seconds(30);
  options.command_timeout = absl::Seconds(30);
  options.max_connections = 1;
  options.identify_servers = false;
  return options;
}

inline std::unique_ptr<RedisTier> Tier(RedisOptions options) {
  auto tier = RedisTier::Create(std::move(options));
  EXPECT_TRUE(tier.ok()) << tier.status();
  return *std::move(tier);
}

inline void ExpectValue(RedisTier& tier, const std::string& expected) {
  const auto value = tier.Get("k", kForever);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*value, expected);
}

// Answers each GET of "k" by "fine", also those that come together, until the client leaves.
inline void BehaveWell(ScriptedConnection& connection) {
  std::string read;
  for (std::string some = connection.Read(); !some.empty(); some = connection.Read()) {
    read += some;
    for (size_t at = read.find(kGetK); at != read.npos; at = read.find(kGetK)) {
      read.erase(0, at + kGetK.size());
      connection.Write("$4\r\nfine\r\n");
    }
  }
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_SCRIPTED_REDIS_H_
