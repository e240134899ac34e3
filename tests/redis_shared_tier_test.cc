// SPDX-License-Identifier: Apache-2.0
//
// RedisTier as a SharedTier against a healthy redis-server: changes that depend on what is there,
// and word of them. Each is tried with both ways to tell of changes.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/redis_tier.h"
#include "tests/support/redis_cli.h"
#include "tests/support/redis_server.h"
#include "tests/support/redis_terms.h"

namespace larder {
namespace {

using test::kForever;

using Heads = std::vector<std::optional<std::string>>;

class RedisSharedTierTest : public ::testing::TestWithParam<ChangeNotices> {
 protected:
  void SetUp() override {
    auto server = test::RedisServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    options_.unix_socket = server_->unix_socket();
    options_.connect_timeout = absl::Seconds(30);
    options_.command_timeout = absl::Seconds(30);
    options_.key_prefix = "p:";
    options_.change_notices = GetParam();
    auto tier = RedisTier::Create(options_);
    ASSERT_TRUE(tier.ok()) << tier.status();
    tier_ = *std::move(tier);
  }

  std::string Cli(std::initializer_list<std::string_view> words) const {
    auto cli = test::RedisCli::Connect(server_->unix_socket());
    if (!cli.ok()) return std::string(cli.status().message());
    return (*cli)->Run(words).value_or("(error)");
  }

  std::unique_ptr<SharedTier::Subscription> Subscribe() {
    auto subscription = tier_->Subscribe(kForever);
    EXPECT_TRUE(subscription.ok()) << subscription.status();
    return *std::move(subscription);
  }

  // What is told until a change of "end", which is made here, sorted.
  std::vector<std::string> Told(SharedTier::Subscription& subscription) {
    EXPECT_EQ(tier_->Set("end", "", kForever, kForever), absl::OkStatus());
    std::vector<std::string> all;
    while (std::find(all.begin(), all.end(), "end") == all.end()) {
      const auto changes = subscription.Next(absl::Seconds(30));
      if (!changes.ok() || changes->keys.empty()) {
        ADD_FAILURE() << changes.status();
        break;
      }
      all.insert(all.end(), changes->keys.begin(), changes->keys.end());
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    all.erase(std::remove(all.begin(), all.end(), "end"), all.end());
    return all;
  }

  std::unique_ptr<test::RedisServer> server_;
  RedisOptions options_;
  std::unique_ptr<RedisTier> tier_;
};

INSTANTIATE_TEST_SUITE_P(Notices, RedisSharedTierTest,
                         ::testing::Values(ChangeNotices::kTracking, ChangeNotices::kPublish),
                         [](const auto& info) {
                           return info.param == ChangeNotices::kTracking ? "Tracking" : "Publish";
                         });

// Everything that a cache does with the tier. The first error.
absl::Status UseAll(RedisTier& tier) {
  absl::Status first = tier.Ping(kForever);
  first.Update(tier.Set("k", "value", kForever, kForever));
  first.Update(tier.Get("k", kForever).status());
  first.Update(tier.GetMany({"k", "l"}, kForever).status());
  first.Update(tier.GetHeads({"k"}, 1, kForever).status());
  first.Update(tier.TimeToLive("k", kForever).status());
  first.Update(tier.SetIfAbsent("k", "value", kForever, kForever).status());
  first.Update(tier.SetIfHead("k", "v", "value", kForever, kForever).status());
  first.Update(tier.Exchange("k", "value", kForever, 1, kForever).status());
  first.Update(tier.EraseIfHead("k", "v", kForever).status());
  first.Update(tier.Invalidate({"k"}, kForever));
  first.Update(tier.EraseMany({"k"}, kForever).status());
  first.Update(tier.Subscribe(kForever).status());
  return first;
}

// The rights that docs/semantics.md names.
TEST_P(RedisSharedTierTest, NeedsNoMorePermissionsThanIsSaidAndMissesEach) {
  const bool tracking = GetParam() == ChangeNotices::kTracking;
  std::vector<std::string> rights = {"+get",  "+mget",     "+set",      "+del",  "+pttl",
                                     "+type", "+eval",     "+evalsha",  "+ping", "+info",
                                     "+time", "+getrange", "+subscribe"};
  if (tracking) {
    rights.insert(rights.end(), {"+client|id", "+client|tracking", "&__redis__:invalidate"});
  } else {
    rights.insert(rights.end(), {"+publish", "&p:larder.changes"});
  }
  options_.username = "larder";
  options_.password = "pw";
  const auto status_without = [&](std::string_view left_out) {
    Cli({"SCRIPT", "FLUSH"});  // as else nothing needs EVAL
    Cli({"ACL", "SETUSER", "larder", "reset", "on", ">pw", "resetchannels", "~p:*"});
    for (const std::string& right : rights) {
      if (right == left_out) continue;
      EXPECT_EQ(Cli({"ACL", "SETUSER", "larder", right}), "OK");
    }
    const auto tier = RedisTier::Create(options_);
    return UseAll(**tier);
  };
  EXPECT_EQ(status_without(""), absl::OkStatus());
  for (const std::string& right : rights) {
    // Without TIME, Now() is this machine's.
    EXPECT_EQ(status_without(right).ok(), right == "+time") << right;
  }
}

TEST_P(RedisSharedTierTest, HeadsTellAbsentFromEmpty) {
  ASSERT_EQ(tier_->Set("empty", "", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(tier_->Set("short", "ab", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(tier_->Set("long", std::string("a\0cdef", 6), kForever, kForever), absl::OkStatus());
  ASSERT_EQ(Cli({"LPUSH", "p:list", "x"}), "1");
  const std::vector<std::string_view> keys = {"none", "empty", "short", "long", "list"};
  EXPECT_EQ(tier_->GetHeads(keys, 3, kForever).value(),
            Heads({std::nullopt, "", "ab", std::string("a\0c", 3), std::nullopt}));
  EXPECT_EQ(tier_->GetHeads(keys, 0, kForever).value(),
            Heads({std::nullopt, "", "", "", std::nullopt}));
  EXPECT_EQ(tier_->GetHeads(keys, SIZE_MAX, kForever).value(),
            Heads({std::nullopt, "", "ab", std::string("a\0cdef", 6), std::nullopt}));
  EXPECT_EQ(tier_->GetHeads({}, 3, kForever).value(), Heads());
}

TEST_P(RedisSharedTierTest, SetsIfAbsent) {
  EXPECT_EQ(tier_->SetIfAbsent("k", "1", absl::Hours(1), kForever).value(), true);
  EXPECT_EQ(tier_->SetIfAbsent("k", "2", kForever, kForever).value(), false);
  EXPECT_EQ(tier_->Get("k", kForever).value(), "1");
  const absl::Duration left = tier_->TimeToLive("k", kForever).value();
  EXPECT_GT(left, absl::Minutes(30));
  EXPECT_LE(left, absl::Hours(1));
  EXPECT_EQ(tier_->SetIfAbsent("k", "2", absl::ZeroDuration(), kForever).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(RedisSharedTierTest, SetsIfTheHeadIsThere) {
  EXPECT_EQ(tier_->SetIfHead("k", "", "v", kForever, kForever).value(), false) << "not there";
  ASSERT_EQ(tier_->Set("k", "headtail", kForever, kForever), absl::OkStatus());
  EXPECT_EQ(tier_->SetIfHead("k", "heat", "no", kForever, kForever).value(), false);
  EXPECT_EQ(tier_->SetIfHead("k", "headtails", "no", kForever, kForever).value(), false);
  EXPECT_EQ(tier_->SetIfHead("k", "head", "second", absl::Hours(1), kForever).value(), true);
  EXPECT_EQ(tier_->Get("k", kForever).value(), "second");
  EXPECT_GT(tier_->TimeToLive("k", kForever).value(), absl::Minutes(30));
  EXPECT_EQ(tier_->SetIfHead("k", "", "", kForever, kForever).value(), true);
  EXPECT_EQ(tier_->TimeToLive("k", kForever).value(), kForever);
  EXPECT_EQ(tier_->SetIfHead("k", "", "third", kForever, kForever).value(), true) << "empty";
  ASSERT_EQ(Cli({"LPUSH", "p:list", "x"}), "1");
  EXPECT_EQ(tier_->SetIfHead("list", "", "v", kForever, kForever).value(), false);
  EXPECT_EQ(tier_->SetIfHead("list", "x", "v", kForever, kForever).value(), false);
}

TEST_P(RedisSharedTierTest, ErasesIfTheHeadIsThere) {
  EXPECT_EQ(tier_->EraseIfHead("k", "he", kForever).value(), false);
  ASSERT_EQ(tier_->Set("k", "head", kForever, kForever), absl::OkStatus());
  EXPECT_EQ(tier_->EraseIfHead("k", "ha", kForever).value(), false);
  EXPECT_EQ(tier_->EraseIfHead("k", "he", kForever).value(), true);
  EXPECT_EQ(tier_->Get("k", kForever).value(), std::nullopt);
}

TEST_P(RedisSharedTierTest, ExchangesForWhatWasThere) {
  EXPECT_EQ(tier_->Exchange("k", "first", absl::Hours(1), 3, kForever).value(), std::nullopt);
  EXPECT_EQ(tier_->Exchange("k", "", kForever, 3, kForever).value(), "fir");
  EXPECT_EQ(tier_->Exchange("k", "third", kForever, 3, kForever).value(), "");
  EXPECT_EQ(tier_->Exchange("k", "fourth", absl::Hours(1), SIZE_MAX, kForever).value(), "third");
  EXPECT_GT(tier_->TimeToLive("k", kForever).value(), absl::Minutes(30));
  EXPECT_EQ(tier_->Get("k", kForever).value(), "fourth");
}

TEST_P(RedisSharedTierTest, ManyChangesInOneCall) {
  const std::vector<SharedTier::Change> some = {{"a", "1", kForever}, {"b", "2", kForever}};
  EXPECT_EQ(tier_->SetManyIfAbsent(some, kForever).value(), std::vector<bool>({true, true}));
  const std::vector<SharedTier::Change> more = {
      {"b", "x", kForever, "x"}, {"c", "3", kForever, ""}, {"a", "4", kForever, "1"}};
  EXPECT_EQ(tier_->SetManyIfHead(more, kForever).value(), std::vector<bool>({false, false, true}));
  EXPECT_EQ(tier_->SetManyIfAbsent(more, kForever).value(),
            std::vector<bool>({false, true, false}));
  EXPECT_EQ(tier_->ExchangeMany(more, 5, kForever).value(), Heads({"2", "3", "4"}));
  EXPECT_TRUE(tier_->SetManyIfAbsent({}, kForever).value().empty());
  EXPECT_TRUE(tier_->SetManyIfHead({}, kForever).value().empty());
  EXPECT_TRUE(tier_->ExchangeMany({}, 5, kForever).value().empty());
}

TEST_P(RedisSharedTierTest, TellsTheTimeToLive) {
  EXPECT_EQ(tier_->TimeToLive("none", kForever).value(), absl::ZeroDuration());
  ASSERT_EQ(tier_->Set("k", "v", kForever, kForever), absl::OkStatus());
  EXPECT_EQ(tier_->TimeToLive("k", kForever).value(), absl::InfiniteDuration());
}

TEST_P(RedisSharedTierTest, EveryKindOfChangeSetsTheTtl) {
  const absl::Duration ttl = absl::Milliseconds(90'500);
  const auto expect_ttl = [&](std::string_view key) {
    const auto left = tier_->TimeToLive(key, kForever);
    ASSERT_TRUE(left.ok()) << left.status();
    EXPECT_GT(*left, absl::ZeroDuration()) << key;
    EXPECT_LE(*left, ttl) << key;
  };
  ASSERT_EQ(tier_->Set("set", "v", ttl, kForever), absl::OkStatus());
  ASSERT_EQ(tier_->SetIfAbsent("absent", "v", ttl, kForever).value(), true);
  ASSERT_EQ(tier_->Exchange("exchanged", "v", ttl, 1, kForever).value(), std::nullopt);
  ASSERT_EQ(tier_->Set("head", "v", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(tier_->SetIfHead("head", "v", "w", ttl, kForever).value(), true);
  for (const std::string_view key : {"set", "absent", "exchanged", "head"}) expect_ttl(key);
  EXPECT_EQ(tier_->SetIfAbsent("absent", "w", ttl, kForever).value(), false);
  EXPECT_EQ(tier_->Get("absent", kForever).value(), "v");
}

TEST_P(RedisSharedTierTest, ChangesOfWhichOneHasNoTtlAreRefusedTogether) {
  const std::vector<SharedTier::Change> changes = {{"a", "v", absl::Seconds(60), "h"},
                                                   {"b", "v", absl::ZeroDuration(), "h"}};
  EXPECT_EQ(tier_->SetManyIfAbsent(changes, kForever).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier_->SetManyIfHead(changes, kForever).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier_->ExchangeMany(changes, 1, kForever).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier_->Get("a", kForever).value(), std::nullopt);
}

TEST_P(RedisSharedTierTest, HasTheServersClock) {
  EXPECT_LT(absl::AbsDuration(tier_->Now() - absl::Now()), absl::Minutes(1));
  ASSERT_EQ(tier_->Ping(kForever), absl::OkStatus());
  EXPECT_LT(absl::AbsDuration(tier_->Now() - absl::Now()), absl::Minutes(1));
}

TEST_P(RedisSharedTierTest, InvalidatesManyKeysAtOnce) {
  std::vector<std::string> names;
  for (int i = 0; i < 1000; ++i) names.push_back("key-" + std::to_string(i));
  for (int i = 0; i < 1000; i += 100) {
    ASSERT_EQ(tier_->Set(names[i], "v", kForever, kForever), absl::OkStatus());
  }
  const auto subscription = Subscribe();
  const std::vector<std::string_view> keys(names.begin(), names.end());
  ASSERT_EQ(tier_->Invalidate(keys, kForever), absl::OkStatus());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(Told(*subscription), names);
  EXPECT_EQ(Cli({"DBSIZE"}), "1") << "the one that ends";
  EXPECT_EQ(tier_->Invalidate({}, kForever), absl::OkStatus());
}

TEST_P(RedisSharedTierTest, InvalidatesWhereMemoryIsFull) {
  ASSERT_EQ(tier_->Set("k", "v", kForever, kForever), absl::OkStatus());
  const auto subscription = Subscribe();
  ASSERT_EQ(Cli({"CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"}), "OK");
  EXPECT_EQ(tier_->Exchange("k", "w", kForever, 3, kForever).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tier_->Invalidate({"k", "none"}, kForever), absl::OkStatus());
  ASSERT_EQ(Cli({"CONFIG", "SET", "maxmemory", "0"}), "OK");
  EXPECT_EQ(Told(*subscription), std::vector<std::string>({"k", "none"}));
}

TEST_P(RedisSharedTierTest, EveryKindOfChangeIsTold) {
  ASSERT_EQ(tier_->Set("erased", "v", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(tier_->Set("erased too", "v", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(tier_->Set("head", "v", kForever, kForever), absl::OkStatus());
  ASSERT_EQ(tier_->Set("by head", "v", kForever, kForever), absl::OkStatus());
  const auto subscription = Subscribe();
  ASSERT_EQ(tier_->Set("set", "v", absl::Hours(1), kForever), absl::OkStatus());
  ASSERT_EQ(tier_->SetIfAbsent("absent", "v", absl::Hours(1), kForever).value(), true);
  ASSERT_EQ(tier_->SetIfHead("head", "v", "w", absl::Hours(1), kForever).value(), true);
  ASSERT_EQ(tier_->EraseIfHead("by head", "v", kForever).value(), true);
  ASSERT_EQ(tier_->Exchange("exchanged", "v", kForever, 1, kForever).value(), std::nullopt);
  ASSERT_EQ(tier_->Erase("erased", kForever).value(), true);
  ASSERT_EQ(tier_->EraseMany({"erased too"}, kForever).value(), 1u);
  EXPECT_EQ(Told(*subscription),
            std::vector<std::string>(
                {"absent", "by head", "erased", "erased too", "exchanged", "head", "set"}));
}

TEST_P(RedisSharedTierTest, ScriptsThatTheServerForgotAreSentAgain) {
  ASSERT_EQ(tier_->Set("k", "v", kForever, kForever), absl::OkStatus());
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(tier_->Exchange("k", "v", kForever, 3, kForever).value(), "v");
    ASSERT_EQ(Cli({"SCRIPT", "FLUSH"}), "OK");
  }
}

TEST_P(RedisSharedTierTest, ASubscriptionIsWokenAndSaysWhatItTells) {
  auto subscription = Subscribe();
  EXPECT_EQ(subscription->tells_all(), GetParam() == ChangeNotices::kTracking);
  subscription->Wake();
  EXPECT_TRUE(subscription->Next(kForever)->keys.empty());
}

TEST_P(RedisSharedTierTest, WithoutKnowingServersApartThereIsNoSubscription) {
  options_.identify_servers = false;
  const auto tier = RedisTier::Create(options_).value();
  EXPECT_EQ(tier->Subscribe(kForever).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(RedisSharedTierTest, OnlyTheServerThatIsListenedToIsUsed) {
  auto first = Subscribe();
  auto second = Subscribe();
  EXPECT_EQ(first->incarnation(), second->incarnation());
  ASSERT_EQ(tier_->Ping(kForever), absl::OkStatus());
  ASSERT_EQ(server_->Restart(), absl::OkStatus());
  EXPECT_EQ(tier_->Get("k", kForever).status().code(), absl::StatusCode::kUnavailable);
  second = nullptr;
  EXPECT_EQ(tier_->Get("k", kForever).status().code(), absl::StatusCode::kUnavailable);
  absl::Status lost;
  while (lost.ok()) lost = first->Next(absl::Seconds(30)).status();
  EXPECT_EQ(tier_->Get("k", kForever).status().code(), absl::StatusCode::kUnavailable)
      << "lost, but who listened may not know yet";
  const std::string before = first->incarnation();
  first = nullptr;
  EXPECT_EQ(tier_->Get("k", kForever).value_or("(error)"), std::nullopt);

  ASSERT_EQ(tier_->Ping(kForever), absl::OkStatus());
  ASSERT_EQ(server_->Restart(), absl::OkStatus());
  auto third = Subscribe();
  EXPECT_NE(third->incarnation(), before);
  EXPECT_EQ(tier_->Get("k", kForever).value(), std::nullopt);
}

}  // namespace
}  // namespace larder
