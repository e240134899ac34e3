// SPDX-License-Identifier: Apache-2.0
#include "src/redis_messages.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "tests/support/redis_terms.h"

namespace larder::internal {
namespace {

using test::Word;
using Strings = std::vector<std::string>;

std::string Words(const Strings& words) {
  std::string array = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) array += Word(word);
  return array;
}

constexpr std::string_view kInvalidate = "__redis__:invalidate";
constexpr std::string_view kNotices = "app:larder.changes";
constexpr std::string_view kPong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";

std::string Subscribed(std::string_view channel) {
  return "*3\r\n" + Word("subscribe") + Word(channel) + ":1\r\n";
}

std::string Message(std::string_view channel, std::string_view payload) {
  return "*3\r\n" + Word("message") + Word(channel) + std::string(payload);
}

std::string Changed(const Strings& keys) { return Message(kInvalidate, Words(keys)); }

class RedisMessagesTest : public testing::Test {
 protected:
  absl::Status Feed(std::string_view bytes) { return tracking_.Feed(bytes); }
  void Subscribe() { ASSERT_EQ(Feed(Subscribed(kInvalidate)), absl::OkStatus()); }

  RedisMessages tracking_{RedisMessages::From::kTracking, "app:"};
};

TEST_F(RedisMessagesTest, TellOfKeysWithoutThePrefixEachOnceInOrder) {
  EXPECT_FALSE(tracking_.subscribed());
  Subscribe();
  EXPECT_TRUE(tracking_.subscribed());
  EXPECT_FALSE(tracking_.has_changes());
  ASSERT_EQ(Feed(Changed({"app:b", "app:a"}) + Changed({"app:b", "app:", "app:c"})),
            absl::OkStatus());
  EXPECT_TRUE(tracking_.has_changes());
  const SharedTier::Changes changes = tracking_.TakeChanges();
  EXPECT_EQ(changes.keys, (Strings{"b", "a", "", "c"}));
  EXPECT_FALSE(changes.all);
  EXPECT_FALSE(tracking_.has_changes());
  EXPECT_EQ(tracking_.TakeChanges().keys, Strings());
}

TEST_F(RedisMessagesTest, KeysMayHaveAnyBytes) {
  Subscribe();
  const std::string key("\0\r\n$5\r\n\xff", 8);
  ASSERT_EQ(Feed(Changed({"app:" + key})), absl::OkStatus());
  EXPECT_EQ(tracking_.TakeChanges().keys, Strings{key});
}

TEST_F(RedisMessagesTest, TellNothingOfKeysWithoutThePrefixAndOfProbes) {
  Subscribe();
  ASSERT_EQ(Feed(Changed({"app", "other:x", "xapp:x", "app:larder.probe.1"}) + Changed({})),
            absl::OkStatus());
  EXPECT_FALSE(tracking_.has_changes());
}

TEST_F(RedisMessagesTest, KeysBehindOneWithoutThePrefixAreTold) {
  Subscribe();
  ASSERT_EQ(Feed(Changed({"other:x", "app:a", "app:larder.probe.1", "app:b"})), absl::OkStatus());
  EXPECT_EQ(tracking_.TakeChanges().keys, (Strings{"a", "b"}));
}

// The limits are those of one message: together these have more keys and bytes.
TEST_F(RedisMessagesTest, AnyNumberOfMessagesMayCome) {
  Subscribe();
  const std::string many = Changed(Strings(1000, "app:x"));
  for (int i = 0; i < 1100; ++i) ASSERT_EQ(Feed(many), absl::OkStatus()) << i;
  const std::string large = Changed({"app:" + std::string(1 << 20, 'x')});
  for (int i = 0; i < 300; ++i) ASSERT_EQ(Feed(large), absl::OkStatus()) << i;
  EXPECT_EQ(tracking_.TakeChanges().keys.size(), 2u);
}

TEST_F(RedisMessagesTest, SeeTheProbeThatIsExpected) {
  tracking_.ExpectProbe("17");
  Subscribe();
  ASSERT_EQ(Feed(Changed({"app:larder.probe.18", "larder.probe.17"})), absl::OkStatus());
  EXPECT_FALSE(tracking_.probed());
  ASSERT_EQ(Feed(Changed({"app:larder.probe.17"})), absl::OkStatus());
  EXPECT_TRUE(tracking_.probed());
  EXPECT_FALSE(tracking_.has_changes());
}

TEST_F(RedisMessagesTest, TellWhenAllWasRemoved) {
  Subscribe();
  for (const char* nothing : {"$-1\r\n", "*-1\r\n"}) {
    ASSERT_EQ(Feed(Changed({"app:a"}) + Message(kInvalidate, nothing) + Changed({"app:b"})),
              absl::OkStatus());
    const SharedTier::Changes changes = tracking_.TakeChanges();
    EXPECT_TRUE(changes.all);
    EXPECT_EQ(changes.keys, Strings{"b"});
    EXPECT_FALSE(tracking_.TakeChanges().all);
  }
}

TEST_F(RedisMessagesTest, CountPongs) {
  Subscribe();
  ASSERT_EQ(Feed(std::string(kPong) + Changed({"app:a"}) + std::string(kPong)), absl::OkStatus());
  EXPECT_EQ(tracking_.pongs(), 2u);
  RedisMessages idle(RedisMessages::From::kNothing, "app:");
  ASSERT_EQ(idle.Feed("+PONG\r\n"), absl::OkStatus());
  EXPECT_EQ(idle.pongs(), 1u);
  EXPECT_EQ(idle.Feed(kPong).code(), absl::StatusCode::kInternal);
}

TEST_F(RedisMessagesTest, ComeInPiecesAsWellAsWhole) {
  const std::string bytes = Subscribed(kInvalidate) + Changed({"app:one", "app:two"}) +
                            std::string(kPong) + Message(kInvalidate, "$-1\r\n") +
                            Changed({"app:three"});
  for (const char byte : bytes) ASSERT_EQ(Feed(std::string_view(&byte, 1)), absl::OkStatus());
  EXPECT_EQ(tracking_.TakeChanges().keys, Strings{"three"});
  EXPECT_EQ(tracking_.pongs(), 1u);
}

TEST_F(RedisMessagesTest, ManyKeysInOneMessage) {
  Subscribe();
  Strings keys;
  Strings told;
  for (int i = 0; i < 200000; ++i) {
    told.push_back(std::to_string(i));
    keys.push_back("app:" + told.back());
  }
  ASSERT_EQ(Feed(Changed(keys)), absl::OkStatus());
  EXPECT_EQ(tracking_.key_count(), told.size());
  EXPECT_EQ(tracking_.TakeChanges().keys, told);
}

TEST_F(RedisMessagesTest, NonsenseEndsThem) {
  for (const std::string& nonsense : {
           std::string("hello\r\n"),
           std::string("HTTP/1.1 400 Bad Request\r\n\r\n"),
           std::string("+OK\r\n"),
           std::string("+PONG\r\n"),
           std::string(":1\r\n"),
           std::string("$4\r\npong\r\n"),
           std::string("*0\r\n"),
           std::string("*-1\r\n"),
           std::string("*1\r\n*0\r\n"),
           std::string("*2\r\n*0\r\n*0\r\n"),
           std::string("*2000000000\r\n"),
           std::string("*3\r\n*1048577\r\n"),
           std::string("*3\r\n*1048576\r\n*4\r\n"),
           std::string("*99999999999999999999\r\n"),
           std::string("$-5\r\n"),
           Words({"pong", "x"}),
           Words({"message", std::string(kInvalidate), "key"}),
           Words({"message", std::string(kNotices), "kkey"}),
           Message(kInvalidate, ":1\r\n"),
           Message(kInvalidate, "*1\r\n:1\r\n"),
           Message(kInvalidate, "*2\r\n$1\r\na\r\n$-1\r\n"),
           Message(kInvalidate, "*1\r\n*1\r\n$1\r\na\r\n"),
           Message("x", Words({"app:a"})),
           "*3\r\n" + Word("unsubscribe") + Word(kInvalidate) + ":0\r\n",
           "*3\r\n" + Word("subscribe") + Word(kInvalidate) + ":2\r\n",
           "*4\r\n" + Word("message") + Word(kInvalidate) + Words({"app:a"}) + Word(""),
       }) {
    RedisMessages messages(RedisMessages::From::kTracking, "app:");
    ASSERT_EQ(messages.Feed(Subscribed(kInvalidate) + Changed({"app:a"})), absl::OkStatus());
    EXPECT_EQ(messages.Feed(nonsense).code(), absl::StatusCode::kInternal) << nonsense;
    EXPECT_EQ(messages.Feed(kPong).code(), absl::StatusCode::kInternal) << nonsense;
  }
}

TEST_F(RedisMessagesTest, NothingIsToldBeforeTheSubscription) {
  EXPECT_EQ(Feed(Changed({"app:a"})).code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(tracking_.has_changes());
}

TEST_F(RedisMessagesTest, ErrorsMeanWhatTheyMean) {
  EXPECT_EQ(Feed("-NOPERM no channel\r\n").code(), absl::StatusCode::kPermissionDenied);
  RedisMessages cannot(RedisMessages::From::kTracking, "");
  EXPECT_EQ(cannot.Feed("-ERR unknown command\r\n").code(), absl::StatusCode::kFailedPrecondition);
  RedisMessages does_not(RedisMessages::From::kTracking, "");
  ASSERT_EQ(does_not.Feed(Subscribed(kInvalidate)), absl::OkStatus());
  EXPECT_EQ(does_not.Feed("-ERR what?\r\n").code(), absl::StatusCode::kInternal);
}

TEST_F(RedisMessagesTest, WithoutAPrefixAllKeysAreTold) {
  RedisMessages messages(RedisMessages::From::kTracking, "");
  ASSERT_EQ(messages.Feed(Subscribed(kInvalidate) + Changed({"a", "app:b", "larder.probe.x"})),
            absl::OkStatus());
  EXPECT_EQ(messages.TakeChanges().keys, (Strings{"a", "app:b"}));
}

TEST(RedisNoticesTest, AnotherOnesProbeChangesNothing) {
  RedisMessages messages(RedisMessages::From::kNotices, "app:");
  messages.ExpectProbe("17");
  const auto probe = [](std::string_view text) { return Message(kNotices, Word(text)); };
  ASSERT_EQ(messages.Feed(Subscribed(kNotices) + probe("p18")), absl::OkStatus());
  EXPECT_FALSE(messages.probed());
  ASSERT_EQ(messages.Feed(probe("p17") + probe("p18")), absl::OkStatus());
  EXPECT_TRUE(messages.probed());
}

TEST(RedisNoticesTest, TellOfAKeyOrOfAllOrNothing) {
  RedisMessages messages(RedisMessages::From::kNotices, "app:");
  EXPECT_EQ(messages.channel(), kNotices);
  messages.ExpectProbe("17");
  ASSERT_EQ(messages.Feed(Subscribed(kNotices) + Message(kNotices, Word("kapp:a")) +
                          Message(kNotices, Word("k")) + Message(kNotices, Word("p18"))),
            absl::OkStatus());
  EXPECT_FALSE(messages.probed());
  EXPECT_EQ(messages.TakeChanges().keys, (Strings{"app:a", ""}));
  ASSERT_EQ(messages.Feed(Message(kNotices, Word("p17")) + Message(kNotices, Word("a"))),
            absl::OkStatus());
  EXPECT_TRUE(messages.probed());
  EXPECT_TRUE(messages.TakeChanges().all);
  for (const std::string& nonsense : {Word(""), Word("aa"), Word("x"), Words({"k"}),
                                      std::string("$-1\r\n"), std::string(":1\r\n")}) {
    RedisMessages others(RedisMessages::From::kNotices, "app:");
    ASSERT_EQ(others.Feed(Subscribed(kNotices)), absl::OkStatus());
    EXPECT_EQ(others.Feed(Message(kNotices, nonsense)).code(), absl::StatusCode::kInternal);
  }
}

}  // namespace
}  // namespace larder::internal
