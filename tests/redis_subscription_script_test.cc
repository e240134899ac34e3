// SPDX-License-Identifier: Apache-2.0
//
// RedisSubscription with servers that can't tell of changes, or talk nonsense: by script.
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/mutex.h"
#include "larder/redis_tier.h"
#include "src/redis_client.h"
#include "src/redis_subscription.h"
#include "tests/support/redis_terms.h"
#include "tests/support/scripted_server.h"

namespace larder::internal {
namespace {

using test::kForever;
using test::kLong;
using test::kShort;
using test::ScriptedConnection;
using test::ScriptedServer;
using test::Word;

std::string Invalidated(std::string_view key) {
  return "*3\r\n" + Word("message") + Word("__redis__:invalidate") + "*1\r\n" + Word(key);
}

// Whom a server tells of changes.
enum class Tells { kAll, kOthersThanAsked, kNobody };

// Answers what a subscription asks, as Redis does unless told otherwise; one test's server.
class FakeRedis {
 public:
  explicit FakeRedis(Tells tells = Tells::kAll)
      : tells_(tells),
        server_([this](int, ScriptedConnection& connection) { Serve(connection); },
                ScriptedServer::Connections::kAtOnce) {}

  // Answers a command that has this word so from now on. An empty answer is none; kClose is the
  // end of the connection.
  static constexpr std::string_view kClose = "close";
  // What a script answers that did what it was to.
  static constexpr std::string_view kGranted = "granted";
  void Answer(std::string_view word, std::string_view answer) {
    MutexLock lock(&mutex_);
    answers_[std::string(word)] = answer;
  }

  // The same, but only once somebody has subscribed.
  void AnswerLater(std::string_view word, std::string_view answer) {
    MutexLock lock(&mutex_);
    later_answers_[std::string(word)] = answer;
  }

  // The last command that has this word.
  std::string Asked(std::string_view word) {
    MutexLock lock(&mutex_);
    return asked_[std::string(word)];
  }

  // Says something to who is subscribed.
  void Say(std::string_view bytes) {
    MutexLock lock(&mutex_);
    subscriber_->Write(bytes);
  }

  RedisOptions options() const {
    RedisOptions options;
    options.unix_socket = server_.unix_socket();
    options.connect_timeout = kLong;
    options.heartbeat_interval = kLong;
    options.heartbeat_timeout = kLong;
    return options;
  }

 private:
  void Serve(ScriptedConnection& connection) {
    while (true) {
      const std::string request = connection.Read();
      MutexLock lock(&mutex_);
      if (request.empty() || !Answer(connection, request)) {
        if (subscriber_ == &connection) subscriber_ = nullptr;
        return;
      }
    }
  }

  // False to close the connection.
  bool Answer(ScriptedConnection& connection, const std::string& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const auto& [word, answer] : answers_) {
      if (request.find(Word(word)) == std::string::npos) continue;
      asked_[word] = request;
      if (answer == kClose) return false;
      if (word == "SUBSCRIBE") subscriber_ = &connection;
      const auto later = later_answers_.find(word);
      if (subscriber_ != nullptr && later != later_answers_.end()) {
        return connection.Write(later->second);
      }
      if (word == "TRACKING") asker_ = &connection;
      if (word == "EVAL") TellOfProbe(request);
      if (word == "PING" && subscriber_ != &connection) return true;
      return connection.Write(answer == kGranted ? Granted(request) : answer);
    }
    ADD_FAILURE() << "unexpected: " << request;
    return false;
  }

  // A script repeats its last argument.
  static std::string Granted(const std::string& request) {
    const size_t end = request.size() - 2;
    const size_t begin = request.rfind('\n', end - 1) + 1;
    return Word("+" + request.substr(begin, end - begin));
  }

  void TellOfProbe(const std::string& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (subscriber_ == nullptr || tells_ == Tells::kNobody) return;
    if (subscriber_ == asker_ && tells_ == Tells::kOthersThanAsked) return;
    const size_t at = request.rfind('\n', request.find("larder.probe.")) + 1;
    subscriber_->Write(Invalidated(request.substr(at, request.find("\r\n", at) - at)));
  }

  const Tells tells_;
  Mutex mutex_;
  std::map<std::string, std::string> answers_ ABSL_GUARDED_BY(mutex_) = {
      {"INFO", Word("# Server\r\nredis_version:0\r\nrun_id:abc\r\n")},
      {"ID", ":7\r\n"},
      {"TRACKING", "+OK\r\n"},
      {"SUBSCRIBE", "*3\r\n" + Word("subscribe") + Word("__redis__:invalidate") + ":1\r\n"},
      {"EVAL", std::string(kGranted)},
      {"PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"},
  };
  std::map<std::string, std::string> later_answers_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> asked_ ABSL_GUARDED_BY(mutex_);
  ScriptedConnection* subscriber_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // Who turned tracking on.
  ScriptedConnection* asker_ ABSL_GUARDED_BY(mutex_) = nullptr;
  ScriptedServer server_;  // last: its threads use the others
};

// What is asked, in the order in which it is.
constexpr std::string_view kStages[] = {"INFO", "ID", "TRACKING", "SUBSCRIBE", "EVAL"};

absl::StatusOr<std::unique_ptr<RedisSubscription>> Start(const RedisOptions& options,
                                                         absl::Duration timeout = kForever) {
  return RedisSubscription::Start(options, RedisAddress(options), Deadline::After(timeout));
}

TEST(RedisSubscriptionScriptTest, AServerThatBehavesWellIsHeard) {
  FakeRedis redis;
  const auto subscription = Start(redis.options());
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  EXPECT_EQ((*subscription)->incarnation(), "abc");
  EXPECT_EQ((*subscription)->connections(), 1u);
  redis.Say(Invalidated("key"));
  EXPECT_EQ((*subscription)->Next(kForever)->keys, std::vector<std::string>{"key"});
}

TEST(RedisSubscriptionScriptTest, WhereOneConnectionIsNotToldTwoAreMade) {
  FakeRedis redis(Tells::kOthersThanAsked);
  RedisOptions options = redis.options();
  options.connect_timeout = absl::Seconds(4);  // half of which it takes to find out
  const auto subscription = Start(options);
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  EXPECT_EQ((*subscription)->connections(), 2u);
  redis.Say(Invalidated("key"));
  EXPECT_EQ((*subscription)->Next(kForever)->keys, std::vector<std::string>{"key"});
}

TEST(RedisSubscriptionScriptTest, AServerThatTellsNobodyIsRefused) {
  FakeRedis redis(Tells::kNobody);
  RedisOptions options = redis.options();
  options.connect_timeout = absl::Seconds(4);
  const absl::Status status = Start(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("kPublish"), std::string::npos) << status;
}

TEST(RedisSubscriptionScriptTest, AServerThatCannotTellIsRefused) {
  for (const std::string_view stage : kStages) {
    FakeRedis redis;
    redis.Answer(stage, "-ERR unknown command or subcommand\r\n");
    const absl::Status status = Start(redis.options()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << stage << ": " << status;
  }
  FakeRedis redis;
  redis.Answer("INFO", Word("# Server\r\nrun_id:\r\n"));
  const absl::Status status = Start(redis.options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("run_id"), std::string::npos) << status;
}

TEST(RedisSubscriptionScriptTest, NonsenseWhileItComesAboutIsAnError) {
  for (const std::string_view stage : kStages) {
    for (const std::string_view nonsense : {"hello\r\n", "*2000000000\r\n", "*2\r\n*0\r\n*0\r\n"}) {
      FakeRedis redis;
      redis.Answer(stage, nonsense);
      const absl::Status status = Start(redis.options()).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << stage << ": " << status;
    }
  }
}

TEST(RedisSubscriptionScriptTest, ALostConnectionWhileItComesAboutIsUnavailable) {
  for (const std::string_view stage : kStages) {
    FakeRedis redis;
    redis.Answer(stage, FakeRedis::kClose);
    const absl::Status status = Start(redis.options()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << stage << ": " << status;
  }
}

TEST(RedisSubscriptionScriptTest, ComesAboutInTimeOrNot) {
  for (const std::string_view stage : kStages) {
    FakeRedis redis;
    redis.Answer(stage, "");
    RedisOptions options = redis.options();
    absl::Status status = Start(options, kShort).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << stage << ": " << status;
    options.connect_timeout = kShort;
    status = Start(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << stage << ": " << status;
    EXPECT_NE(status.message().find("connect_timeout 30ms"), std::string::npos) << status;
  }
}

// As while a replica takes over behind a proxy. It isn't said to be unable to tell.
TEST(RedisSubscriptionScriptTest, WhereAnotherServerAnswersTheProbeItIsUnavailable) {
  FakeRedis redis;
  redis.AnswerLater("INFO", Word("# Server\r\nrun_id:def\r\n"));
  const absl::Status status = Start(redis.options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_NE(status.message().find("server def answers, not abc"), std::string::npos) << status;
}

// It isn't said to be unable to tell.
TEST(RedisSubscriptionScriptTest, AServerThatFallsSilentBeforeTheProbeIsToldIsUnavailable) {
  FakeRedis redis(Tells::kNobody);
  redis.Answer("PING", "");
  RedisOptions options = redis.options();
  options.connect_timeout = absl::Milliseconds(300);
  const absl::Status status = Start(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_NE(status.message().find("connect_timeout 300ms"), std::string::npos) << status;
}

TEST(RedisSubscriptionScriptTest, WhatIsToldWhileItComesAboutIsNotLost) {
  FakeRedis redis;
  redis.Answer("SUBSCRIBE", "*3\r\n" + Word("subscribe") + Word("__redis__:invalidate") + ":1\r\n" +
                                Invalidated("early"));
  const auto subscription = Start(redis.options());
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  EXPECT_EQ((*subscription)->Next(kForever)->keys, std::vector<std::string>{"early"});
}

TEST(RedisSubscriptionScriptTest, OnlyKeysWithThePrefixAreAskedFor) {
  FakeRedis redis;
  RedisOptions options = redis.options();
  options.key_prefix = "users:";
  ASSERT_TRUE(Start(options).ok());
  EXPECT_EQ(redis.Asked("TRACKING"), "*8\r\n" + Word("CLIENT") + Word("TRACKING") + Word("ON") +
                                         Word("REDIRECT") + Word("7") + Word("BCAST") +
                                         Word("PREFIX") + Word("users:"));
}

TEST(RedisSubscriptionScriptTest, WhatWasHeardFirstDoesNotHideThatItIsLost) {
  FakeRedis redis;
  const auto subscription = Start(redis.options());
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  redis.Say(Invalidated("key") + "+nonsense\r\n");
  const absl::Status status = (*subscription)->Next(kForever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  EXPECT_EQ((*subscription)->Next(kForever).status(), status);
}

TEST(RedisSubscriptionScriptTest, ASilentServerHasTheTimeoutToAnswer) {
  FakeRedis redis;
  RedisOptions options = redis.options();
  options.heartbeat_interval = absl::Milliseconds(1);
  options.heartbeat_timeout = absl::Milliseconds(200);
  const auto subscription = Start(options);
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  redis.Answer("PING", "");
  const absl::Duration begin = Deadline::Monotonic();
  test::ExpectError((*subscription)->Next(kForever).status(), absl::StatusCode::kDeadlineExceeded,
                    RedisAddress(options) + ": subscription: no sign of life within 200ms");
  EXPECT_GE(Deadline::Monotonic() - begin, options.heartbeat_timeout);
}

// The connection that is told answers, the one that turned tracking on doesn't.
TEST(RedisSubscriptionScriptTest, BothConnectionsHaveToLive) {
  FakeRedis redis;
  RedisOptions options = redis.options();
  options.heartbeat_interval = absl::Milliseconds(1);
  options.heartbeat_timeout = absl::Milliseconds(200);
  const auto subscription =
      RedisSubscription::Start(options, RedisAddress(options), Deadline::After(kForever),
                               RedisSubscription::Connections::kTwo);
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  absl::Status status;
  for (int i = 0; i < 50 && status.ok(); ++i)
    status = (*subscription)->Next(absl::Milliseconds(100)).status();
  test::ExpectError(status, absl::StatusCode::kDeadlineExceeded, "no sign of life");
}

TEST(RedisSubscriptionScriptTest, AWakeEndsOneWaitOnly) {
  FakeRedis redis;
  const auto subscription = Start(redis.options());
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  (*subscription)->Wake();
  EXPECT_TRUE((*subscription)->Next(kForever)->keys.empty());
  const absl::Duration begin = Deadline::Monotonic();
  EXPECT_TRUE((*subscription)->Next(kShort)->keys.empty());
  EXPECT_GE(Deadline::Monotonic() - begin, kShort);
}

TEST(RedisSubscriptionScriptTest, NonsenseEndsIt) {
  for (const std::string& nonsense :
       {std::string("+PONG\r\n"), std::string("*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        std::string("*3\r\n*2000000000\r\n"),
        "*3\r\n" + Word("unsubscribe") + Word("__redis__:invalidate") + ":0\r\n"}) {
    FakeRedis redis;
    const auto subscription = Start(redis.options());
    ASSERT_TRUE(subscription.ok()) << subscription.status();
    redis.Say(nonsense);
    const absl::Status status = (*subscription)->Next(kForever).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << nonsense << status;
    EXPECT_EQ((*subscription)->Next(kForever).status(), status);
  }
}

TEST(RedisSubscriptionScriptTest, AnErrorEndsItAsWhatItIs) {
  FakeRedis redis;
  const auto subscription = Start(redis.options());
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  redis.Say("-NOPERM not any more\r\n");
  const absl::Status status = (*subscription)->Next(kForever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
  EXPECT_NE(status.message().find("not any more"), std::string::npos) << status;
}

TEST(RedisSubscriptionScriptTest, AnythingThatComesIsASignOfLife) {
  FakeRedis redis;
  RedisOptions options = redis.options();
  options.heartbeat_interval = absl::Milliseconds(1);
  const auto subscription = Start(options);
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  redis.Answer("PING", Invalidated("instead of a pong"));
  for (int i = 0; i < 5; ++i) {
    const auto changes = (*subscription)->Next(kForever);
    ASSERT_TRUE(changes.ok()) << changes.status();
  }
}

}  // namespace
}  // namespace larder::internal
