// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/remote_sync.h"

#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/nanos.h"
#include "larder/internal/process_clock.h"
#include "larder/internal/remote_control.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "tests/support/model_tier.h"
#include "tests/support/remote_sync_fixture.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using test::Eventually;
using test::ModelCall;
using test::ModelServer;
using test::ModelTier;
using test::NeverSettling;
using test::QuickRemoteOptions;
using test::SyncedProcess;
using Reach = ModelTier::Reach;

constexpr char kControl[] = "larder.control";

RemoteOptions With(void (*change)(RemoteOptions&)) {
  RemoteOptions options = QuickRemoteOptions();
  change(options);
  return options;
}

// Lets a call of one kind fail, for as long as it is told to.
class Fault {
 public:
  Fault(ModelTier* tier, ModelCall call, absl::Status status) {
    tier->SetGate([this, call, status](ModelCall made, std::string_view key) {
      if (made != call || (made == ModelCall::kGet && key != kControl)) return absl::OkStatus();
      if (over_) return absl::OkStatus();
      ++failed_;
      return status;
    });
  }
  int failed() const { return failed_; }
  void End() { over_ = true; }

 private:
  std::atomic<int> failed_{0};
  std::atomic<bool> over_{false};
};

TEST(RemoteSyncTest, TrustsNothingBeforeItHasStarted) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  EXPECT_EQ(process.sync.health(), RemoteHealth::kDown);
  EXPECT_FALSE(process.sync.MayRead());
  EXPECT_TRUE(process.sync.MayCall());
  EXPECT_EQ(process.sync.control(), nullptr);
  EXPECT_EQ(process.sync.watch(), 0);
  process.sync.Stop();
  EXPECT_EQ(process.tier.calls(), 0);
}

TEST(RemoteSyncTest, TrustsATierThatAnswersAtOnce) {
  ModelServer server;
  SyncedProcess process(&server, 1, NeverSettling());
  ASSERT_TRUE(process.Start());
  EXPECT_TRUE(process.sync.MayRead());
  EXPECT_TRUE(process.sync.MayCall());
  EXPECT_EQ(process.sync.watch(), 1);
  EXPECT_EQ(process.target.Count("forget"), 1);

  const auto control = process.sync.control();
  ASSERT_NE(control, nullptr);
  EXPECT_EQ(control->Encode(), server.Peek(kControl));
  EXPECT_EQ(control->incarnation(), server.incarnation());
  const RemoteStats stats = process.stats();
  EXPECT_EQ(stats.connects, 1);
  EXPECT_EQ(stats.generations, 1);
  EXPECT_EQ(stats.flushes, 1);
  EXPECT_EQ(stats.failed_calls, 0);
}

TEST(RemoteSyncTest, PassesOnChangesOfAllKeysButTheControlBlocks) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  server.Put("a", "1");
  server.Put("larder.tag.t", "1");
  server.Remove("a");
  ASSERT_TRUE(Eventually([&] { return process.target.Count("key larder.tag.t") == 1; }));
  EXPECT_GE(process.target.Count("key a"), 1);
  EXPECT_EQ(process.target.Count("key larder.control"), 0);
  EXPECT_GE(process.stats().changes, 2);
}

TEST(RemoteSyncTest, ServersAgreeOnOneControlBlock) {
  ModelServer server;
  SyncedProcess one(&server, 1);
  SyncedProcess two(&server, 2);
  ASSERT_TRUE(one.Start());
  ASSERT_TRUE(two.Start());
  EXPECT_EQ(*one.sync.control(), *two.sync.control());
  EXPECT_EQ(two.stats().generations, 0);
}

TEST(RemoteSyncTest, AdoptsAnotherServersInvalidations) {
  ModelServer server;
  SyncedProcess one(&server, 1, NeverSettling());
  SyncedProcess two(&server, 2, NeverSettling());
  ASSERT_TRUE(one.Start());
  ASSERT_TRUE(two.Start());

  const auto ticked = one.sync.Tick("pre");
  ASSERT_TRUE(ticked.ok());
  EXPECT_EQ(*ticked, one.sync.control());
  EXPECT_FALSE((*ticked)->Covers("prefix", (*ticked)->generation(), (*ticked)->clock() - 1));
  ASSERT_TRUE(Eventually([&] { return two.target.Count("prefix pre") == 1; }));
  EXPECT_EQ(*two.sync.control(), **ticked);

  const uint64_t old = one.generation();
  ASSERT_TRUE(one.sync.Renew().ok());
  EXPECT_NE(one.generation(), old);
  ASSERT_TRUE(Eventually([&] { return two.target.Count("forget") == 2; }));
  EXPECT_EQ(two.generation(), one.generation());
  ASSERT_TRUE(one.WaitForIdle(RemoteHealth::kUp));
  // What it asked for itself is its caller's to do.
  EXPECT_EQ(one.target.Count("prefix pre"), 0);
  EXPECT_EQ(one.target.Count("forget"), 1);
}

TEST(RemoteSyncTest, TicksThatCollideAllCount) {
  ModelServer server;
  SyncedProcess one(&server, 1);
  SyncedProcess two(&server, 2);
  ASSERT_TRUE(one.Start());
  ASSERT_TRUE(two.Start());
  std::atomic<int> collisions{0};
  one.tier.SetGate([&](ModelCall call, std::string_view) {
    if (call == ModelCall::kSetIfHead && collisions++ < 3) return two.sync.Tick("two").status();
    return absl::OkStatus();
  });
  const auto ticked = one.sync.Tick("one");
  ASSERT_TRUE(ticked.ok()) << ticked.status();
  EXPECT_GT(collisions, 3);
  EXPECT_EQ((*ticked)->prefixes(), 2);
  EXPECT_EQ(*one.sync.control(), **ticked);
  // The other's is one it has to learn of.
  ASSERT_TRUE(Eventually([&] { return one.target.Count("prefix two") >= 1; }));
  EXPECT_EQ(one.target.Count("prefix one"), 0);
}

TEST(RemoteSyncTest, GetsALostSubscriptionAgainAndForgets) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  const uint64_t generation = process.generation();
  process.tier.LoseSubscriptions();
  ASSERT_TRUE(Eventually([&] { return process.sync.watch() == 2; }));
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_EQ(process.target.Count("forget"), 2);
  EXPECT_EQ(process.generation(), generation);
  EXPECT_EQ(process.stats().disconnects, 1);
  EXPECT_EQ(process.stats().connects, 2);
}

TEST(RemoteSyncTest, ATierThatWasAwayIsNotReadBeforeItHasSettled) {
  ModelServer server;
  SyncedProcess process(&server, 1, NeverSettling());
  ASSERT_TRUE(process.Start());
  for (uint64_t watch = 2; watch < 4; ++watch) {
    process.tier.LoseSubscriptions();
    ASSERT_TRUE(Eventually([&] { return process.sync.watch() == watch; }));
    ASSERT_TRUE(process.WaitForIdle(RemoteHealth::kSyncing));
    EXPECT_FALSE(process.sync.MayRead());
    EXPECT_TRUE(process.sync.MayCall());
    EXPECT_EQ(process.sync.control(), nullptr);
  }
  // What is told meanwhile is passed on, what is missed is removed.
  server.Put("a", "1");
  process.sync.Missed("a");
  ASSERT_TRUE(Eventually([&] { return !process.sync.IsMissed("a"); }));
  EXPECT_EQ(server.Peek("a"), std::nullopt);
  EXPECT_GE(process.target.Count("key a"), 1);
}

TEST(RemoteSyncTest, ATierThatWasAwayAtTheStartHasToSettleToo) {
  ModelServer server;
  SyncedProcess process(&server, 1, NeverSettling());
  process.tier.CutOff();
  ASSERT_TRUE(process.sync.Start().ok());
  ASSERT_TRUE(Eventually([&] { return process.tier.calls(ModelCall::kSubscribe) >= 3; }));
  process.tier.SetReach(Reach::kWhole);
  ASSERT_TRUE(process.WaitForIdle(RemoteHealth::kSyncing));
}

TEST(RemoteSyncTest, ATierThatWasAwayIsReadOnceItHasSettled) {
  ModelServer server;
  SyncedProcess process(&server, 1, With([](RemoteOptions& options) {
    options.settle_time = absl::Milliseconds(2);
  }));
  ASSERT_TRUE(process.Start());
  process.tier.LoseSubscriptions();
  ASSERT_TRUE(Eventually([&] { return process.sync.watch() == 2; }));
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
}

TEST(RemoteSyncTest, ATierThatFailsBeforeItHasSettledHasToSettleAnew) {
  ModelServer server;
  RemoteOptions options = QuickRemoteOptions();
  options.settle_time = absl::Milliseconds(20);
  options.failures_to_open = 1'000'000;
  SyncedProcess process(&server, 1, options);
  ASSERT_TRUE(process.Start());
  Fault fault(&process.tier, ModelCall::kInvalidate, absl::UnavailableError("not yet"));
  process.sync.Missed("a");
  process.tier.LoseSubscriptions();
  ASSERT_TRUE(Eventually([&] { return process.sync.watch() == 2; }));
  const int failed = fault.failed();
  ASSERT_TRUE(Eventually([&] { return fault.failed() >= failed + 40; }));  // for longer than that
  const int64_t back = ProcessClock::NowNanos();
  fault.End();
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_GE(ProcessClock::NowNanos() - back, ToNanos(options.settle_time));
}

TEST(RemoteSyncTest, ASubscriptionThatIsLostBeforeTheTierHasSettledHasItSettleAnew) {
  ModelServer server;
  RemoteOptions options = QuickRemoteOptions();
  options.settle_time = absl::Milliseconds(20);
  options.first_probe = options.last_probe = absl::Nanoseconds(1);
  std::atomic<bool> waits = false;
  SyncedProcess process(&server, 1, options);
  ASSERT_TRUE(process.Start());
  process.tier.SetGate([&](ModelCall call, std::string_view) {
    if (call == ModelCall::kSubscribe) {
      EXPECT_TRUE(Eventually([&] { return !waits; }));
    }
    return absl::OkStatus();
  });
  process.tier.LoseSubscriptions();
  ASSERT_TRUE(Eventually([&] { return process.sync.watch() == 2; }));
  const int64_t settled = ProcessClock::NowNanos() + ToNanos(options.settle_time);
  waits = true;
  process.tier.LoseSubscriptions();
  ASSERT_TRUE(Eventually([&] { return process.sync.watch() == 0; }));
  ASSERT_TRUE(Eventually([&] { return ProcessClock::NowNanos() > settled; }));
  const int64_t back = ProcessClock::NowNanos();
  waits = false;
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_GE(ProcessClock::NowNanos() - back, ToNanos(options.settle_time));
}

TEST(RemoteSyncTest, WhatWasMissedIsRemovedBeforeTheTierIsTrusted) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  SyncedProcess other(&server, 2);
  ASSERT_TRUE(process.Start());
  ASSERT_TRUE(other.Start());
  server.Put("a", "old");
  process.tier.CutOff();
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kDown));
  std::vector<std::string> keys;
  for (int i = 0; i < 1000; ++i) keys.push_back("missed" + std::to_string(i));
  keys.push_back("a");
  for (const std::string& key : keys) process.sync.Missed(key);
  EXPECT_TRUE(process.sync.IsMissed("a"));
  EXPECT_FALSE(process.sync.IsMissed("b"));
  EXPECT_EQ(process.stats().missed_waiting, 1001);

  Fault fault(&process.tier, ModelCall::kInvalidate, absl::UnavailableError("not yet"));
  process.tier.SetReach(Reach::kWhole);
  ASSERT_TRUE(Eventually([&] { return fault.failed() >= 2; }));
  EXPECT_NE(process.sync.health(), RemoteHealth::kUp);
  EXPECT_EQ(process.stats().missed_waiting, 1001);
  fault.End();
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_EQ(process.stats().missed_waiting, 0);
  EXPECT_FALSE(process.sync.IsMissed("a"));
  EXPECT_EQ(server.Peek("a"), std::nullopt);
  ASSERT_TRUE(Eventually([&] { return other.target.Count("key missed999") == 1; }));
}

TEST(RemoteSyncTest, WhatIsMissedWhileItIsRemovedIsRemovedAgain) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  std::atomic<int> removals{0};
  process.tier.SetGate([&](ModelCall call, std::string_view) {
    if (call == ModelCall::kInvalidate && removals++ == 0) process.sync.Missed("a");
    return absl::OkStatus();
  });
  process.sync.Missed("a");
  ASSERT_TRUE(Eventually([&] { return !process.sync.IsMissed("a"); }));
  EXPECT_EQ(removals, 2);
  EXPECT_EQ(process.sync.health(), RemoteHealth::kUp);
}

TEST(RemoteSyncTest, TooMuchMissedHasAllDisregarded) {
  ModelServer server;
  SyncedProcess process(&server, 1,
                        With([](RemoteOptions& options) { options.max_missed_keys = 2; }));
  ASSERT_TRUE(process.Start());
  const uint64_t generation = process.generation();
  process.tier.CutOff();
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kDown));
  for (const char* key : {"a", "b", "c"}) process.sync.Missed(key);
  EXPECT_TRUE(process.sync.IsMissed("any"));
  process.tier.SetReach(Reach::kWhole);
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_NE(process.generation(), generation);
  EXPECT_FALSE(process.sync.IsMissed("c"));
  EXPECT_FALSE(process.sync.IsMissed("any"));
  EXPECT_EQ(process.stats().missed_waiting, 0);
}

TEST(RemoteSyncTest, WhereNothingIsRememberedEveryMissedKeyHasAllDisregarded) {
  ModelServer server;
  SyncedProcess process(&server, 1, With([](RemoteOptions& options) {
    options.max_missed_keys = 0;
    options.settle_time = absl::Hours(1);
  }));
  ASSERT_TRUE(process.Start());
  const uint64_t generation = process.generation();
  process.sync.Missed("a");
  ASSERT_TRUE(process.WaitForIdle(RemoteHealth::kUp));
  EXPECT_NE(process.generation(), generation);
}

TEST(RemoteSyncTest, BreakerOpensAfterFailuresInARowAndClosesAfterAPing) {
  ModelServer server;
  std::atomic<bool> changed{false};
  std::atomic<bool> over{false};
  std::atomic<int> pings{0};
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  // Three fail, the fourth doesn't.
  process.tier.SetGate([&](ModelCall call, std::string_view) -> absl::Status {
    if (call != ModelCall::kPing) return absl::OkStatus();
    const int ping = ++pings;
    EXPECT_TRUE(Eventually([&] { return ping == 4 ? over.load() : changed.load(); }));
    return ping < 4 ? absl::DeadlineExceededError("slow") : absl::OkStatus();
  });
  const absl::Status failure = absl::UnavailableError("lost");
  for (const absl::Status& status :
       {failure, failure, absl::OkStatus(), failure, failure,
        absl::ResourceExhaustedError("full: answers all the same"), failure, failure,
        absl::FailedPreconditionError("of one key only"), failure, failure}) {
    process.sync.Report(status);
  }
  EXPECT_EQ(process.sync.health(), RemoteHealth::kUp);
  process.sync.Report(failure);
  EXPECT_EQ(process.sync.health(), RemoteHealth::kDown);
  EXPECT_FALSE(process.sync.MayCall());
  EXPECT_FALSE(process.sync.MayRead());
  // The subscription is there all the while.

  server.Put("a", "1");
  process.sync.Missed("a");
  changed = true;
  ASSERT_TRUE(Eventually([&] { return pings == 4; }));
  EXPECT_FALSE(process.sync.MayCall());
  EXPECT_EQ(process.tier.calls(ModelCall::kInvalidate), 0);
  EXPECT_GE(process.target.Count("key a"), 1);
  over = true;
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_TRUE(process.sync.MayCall());
  EXPECT_EQ(server.Peek("a"), std::nullopt);
  const RemoteStats stats = process.stats();
  EXPECT_EQ(stats.breaker_opens, 1);
  EXPECT_EQ(stats.connects, 1);
  EXPECT_EQ(stats.failed_calls, 11 + 3);
  EXPECT_EQ(stats.timeouts, 3);
  EXPECT_EQ(stats.last_error, absl::DeadlineExceededError("slow"));
}

TEST(RemoteSyncTest, ASubscriptionToWhatDoesNotAnswerIsGivenUp) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  Fault fault(&process.tier, ModelCall::kPing, absl::UnavailableError("another server"));
  for (int i = 0; i < 3; ++i) process.sync.Report(absl::UnavailableError("lost"));
  ASSERT_TRUE(Eventually([&] { return process.stats().connects >= 2; }));
  fault.End();
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
}

TEST(RemoteSyncTest, ATierWhoseBreakerWasOpenHasToSettle) {
  ModelServer server;
  SyncedProcess process(&server, 1, NeverSettling());
  ASSERT_TRUE(process.Start());
  for (int i = 0; i < 3; ++i) process.sync.Report(absl::UnavailableError("lost"));
  ASSERT_TRUE(process.WaitForIdle(RemoteHealth::kSyncing));
  EXPECT_TRUE(process.sync.MayCall());
}

TEST(RemoteSyncTest, MemoryIsKeptForAWhileWhenCutOff) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  process.tier.CutOff();
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kDown));
  ASSERT_TRUE(Eventually([&] { return process.tier.calls(ModelCall::kSubscribe) >= 4; }));
  EXPECT_EQ(process.target.Count("forget"), 1);
}

TEST(RemoteSyncTest, MemoryThatIsKeptForAWhileIsForgottenThen) {
  ModelServer server;
  SyncedProcess process(&server, 1, With([](RemoteOptions& options) {
    options.unverified_ttl = absl::Milliseconds(2);
    options.first_probe = options.last_probe = absl::Hours(1);
  }));
  ASSERT_TRUE(process.Start());
  process.tier.CutOff();
  // Also what has got there since.
  ASSERT_TRUE(Eventually([&] { return process.target.Count("forget") >= 4; }));
  EXPECT_EQ(process.sync.health(), RemoteHealth::kDown);
}

TEST(RemoteSyncTest, MemoryIsForgottenAtOnceWhereThatIsWanted) {
  ModelServer server;
  SyncedProcess process(
      &server, 1, With([](RemoteOptions& options) { options.when_cut_off = WhenCutOff::kFlush; }));
  ASSERT_TRUE(process.Start());
  process.tier.CutOff();
  ASSERT_TRUE(Eventually([&] { return process.target.Count("forget") == 2; }));
  EXPECT_EQ(process.sync.health(), RemoteHealth::kDown);
}

}  // namespace
}  // namespace larder::internal
