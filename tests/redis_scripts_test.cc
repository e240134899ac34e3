// SPDX-License-Identifier: Apache-2.0
//
// Scripts, and what servers may answer to them.
#include "src/redis_scripts.h"

#include <atomic>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"
#include "src/redis_reply.h"
#include "tests/support/redis_terms.h"
#include "tests/support/scripted_redis.h"
#include "tests/support/scripted_server.h"

namespace larder {
namespace {

using test::kForever;
using test::OptionsFor;
using test::ScriptedConnection;
using test::ScriptedServer;
using test::Tier;
using test::Word;

TEST(RedisScriptsTest, AreNamedByTheirSha1) {
  EXPECT_EQ(internal::Sha1Hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(internal::Sha1Hex(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(internal::Sha1Hex(std::string(1000, 'a')), "291e9a6c66994949b57ba5e650361e98fc36b1ba");
}

TEST(RedisScriptsTest, ErrorsInThemMeanWhatTheyMeanOutside) {
  const std::string before7 =
      "ERR Error running script (call to f_1): @user_script:7: @user_script: 7: ";
  const auto code = [](const std::string& text) {
    return internal::MeaningOfErrorReply("SetIfHead", text).code;
  };
  EXPECT_EQ(code(before7 + "-OOM command not allowed"), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(before7 + "-READONLY You can't write"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("OOM command not allowed"), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(before7 + "Unknown Redis command"), absl::StatusCode::kInternal);
  const std::string refused = "The user executing the script can't run this command or subcommand";
  EXPECT_EQ(code(before7 + refused), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code("ERR " + refused), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code("ERR ACL failure in script: User u has no permissions to run the 'set' command"),
            absl::StatusCode::kPermissionDenied);
}

// Whoever is told that it made a change that it didn't make would go on with a wrong value.
TEST(RedisScriptsTest, AnAnswerThatIsNotTheRequestsOwnIsRefused) {
  for (const std::string_view nonsense :
       {"+OK\r\n", "$-1\r\n", "$2\r\n+0\r\n", "$0\r\n\r\n", ":1\r\n",
        "*3\r\n$1\r\n0\r\n$-1\r\n$-1\r\n", "*3\r\n$-1\r\n$-1\r\n$-1\r\n"}) {
    ScriptedServer server([&](int, ScriptedConnection& connection) {
      connection.Read();
      connection.Write(nonsense);
      connection.Read();
    });
    const auto tier = Tier(OptionsFor(server));
    EXPECT_EQ(tier->SetIfHead("k", "h", "v", kForever, kForever).status().code(),
              absl::StatusCode::kInternal);
    EXPECT_EQ(tier->Exchange("k", "v", kForever, 3, kForever).status().code(),
              absl::StatusCode::kInternal);
    EXPECT_EQ(tier->Invalidate({"k"}, kForever).code(), absl::StatusCode::kInternal);
    EXPECT_EQ(server.connections(), 3) << "each is left";
  }
}

TEST(RedisScriptsTest, NorIsTheAnswerToAnEarlierRequestTaken) {
  ScriptedServer server([](int, ScriptedConnection& connection) {
    // The token is the third word from the end; the head and a request's end follow.
    const std::string request = connection.Read();
    const std::string_view end = "\r\n$1\r\nh\r\n";
    const size_t begin = request.rfind('\n', request.size() - end.size() - 1) + 1;
    const std::string verdict =
        Word("+" + request.substr(begin, request.size() - end.size() - begin));
    connection.Write(verdict);
    connection.Read();
    connection.Write(verdict);
    connection.Read();
  });
  const auto tier = Tier(OptionsFor(server));
  EXPECT_EQ(tier->EraseIfHead("k", "h", kForever).value_or(false), true);
  EXPECT_EQ(tier->EraseIfHead("k", "h", kForever).status().code(), absl::StatusCode::kInternal);
}

// The head comes twice, since the token says nothing about it.
TEST(RedisScriptsTest, AHeadThatWasChangedUnderWayIsRefused) {
  for (const std::string_view heads :
       {"$1\r\na\r\n$1\r\nb\r\n", "$0\r\n\r\n$-1\r\n", "$1\r\na\r\n$2\r\naa\r\n"}) {
    ScriptedServer server([&](int, ScriptedConnection& connection) {
      const std::string request = connection.Read();
      const size_t end = request.find("\r\n$1\r\n3\r\n" + Word("v"));
      const size_t begin = request.rfind('\n', end) + 1;
      connection.Write("*3\r\n" + Word(request.substr(begin, end - begin)) + std::string(heads));
      connection.Read();
    });
    const auto tier = Tier(OptionsFor(server));
    const auto head = tier->Exchange("k", "v", absl::InfiniteDuration(), 3, kForever);
    EXPECT_EQ(head.status().code(), absl::StatusCode::kInternal) << heads;
    EXPECT_NE(head.status().message().find("expected its own answer"), std::string_view::npos)
        << head.status();
  }
}

// Those that were executed would be once more.
TEST(RedisScriptsTest, AreNotSentAgainWhereOnlySomeWereForgotten) {
  std::atomic<int> requests{0};
  ScriptedServer server([&](int, ScriptedConnection& connection) {
    std::string request = connection.Read();
    ++requests;
    // The first change's token is followed by its head, value and no ttl.
    const size_t end = request.find("\r\n" + Word("h"));
    const size_t begin = request.rfind('\n', end) + 1;
    connection.Write(Word("+" + request.substr(begin, end - begin)) +
                     "-NOSCRIPT No matching script\r\n");
    while (!connection.Read().empty()) ++requests;
  });
  const auto tier = Tier(OptionsFor(server));
  const auto done = tier->SetManyIfHead(
      {{"a", "v", absl::InfiniteDuration(), "h"}, {"b", "v", absl::InfiniteDuration(), "h"}},
      kForever);
  EXPECT_EQ(done.status().code(), absl::StatusCode::kUnavailable) << done.status();
  EXPECT_EQ(requests, 1);
}

}  // namespace
}  // namespace larder
