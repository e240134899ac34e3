// SPDX-License-Identifier: Apache-2.0
//
// RemoteSync and the control block: restarts, flushes, what can't be told, and the end.

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/remote_control.h"
#include "larder/internal/remote_sync.h"
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
using test::TryingHourly;
using Reach = ModelTier::Reach;

constexpr char kControlKey[] = "larder.control";

// Whose calls may fail without its being given up.
RemoteOptions Patient() {
  RemoteOptions options = NeverSettling();
  options.failures_to_open = 1'000'000;
  return options;
}

// Fails calls of one kind, for as long as what it returns is true. The process may outlive that.
std::shared_ptr<std::atomic<bool>> Fail(SyncedProcess& process, ModelCall call,
                                        absl::Status status) {
  const auto failing = std::make_shared<std::atomic<bool>>(true);
  process.tier.SetGate([failing, call, status](ModelCall made, std::string_view) {
    return *failing && made == call ? status : absl::OkStatus();
  });
  return failing;
}

TEST(RemoteSyncControlTest, ARestartedServersEntriesAreDisregarded) {
  ModelServer server;
  SyncedProcess one(&server, 1);
  SyncedProcess two(&server, 2);
  ASSERT_TRUE(one.Start());
  ASSERT_TRUE(two.Start());
  const uint64_t generation = one.generation();
  server.Restart(server.Save());
  ASSERT_TRUE(Eventually([&] {
    return one.generation() != 0 && one.generation() != generation &&
           one.generation() == two.generation();
  }));
  // Word of the block's change may come when it has been read.
  ASSERT_TRUE(one.WaitForIdle(RemoteHealth::kUp));
  const auto control = one.sync.control();
  ASSERT_NE(control, nullptr);
  EXPECT_EQ(control->incarnation(), server.incarnation());
  EXPECT_EQ(one.stats().generations + two.stats().generations, 2);
}

TEST(RemoteSyncControlTest, AServerThatComesBackEmptyGetsANewBlock) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  const uint64_t generation = process.generation();
  server.Restart({});
  ASSERT_TRUE(
      Eventually([&] { return process.generation() != 0 && process.generation() != generation; }));
}

TEST(RemoteSyncControlTest, AFlushForgetsAllAndNeedsNoTimeToSettle) {
  ModelServer server;
  SyncedProcess one(&server, 1, NeverSettling());
  SyncedProcess two(&server, 2, NeverSettling());
  ASSERT_TRUE(one.Start());
  ASSERT_TRUE(two.Start());
  const uint64_t generation = one.generation();
  server.Flush();
  for (SyncedProcess* process : {&one, &two}) {
    ASSERT_TRUE(Eventually([&] { return process->target.Count("forget") >= 2; }));
    ASSERT_TRUE(process->WaitForIdle(RemoteHealth::kUp));
  }
  EXPECT_NE(one.generation(), generation);
  EXPECT_EQ(one.generation(), two.generation());
}

TEST(RemoteSyncControlTest, AFlushedTierIsNotReadBeforeThereIsANewBlock) {
  ModelServer server;
  SyncedProcess process(&server, 1, Patient());
  ASSERT_TRUE(process.Start());
  const auto failing = Fail(process, ModelCall::kSetIfAbsent, absl::ResourceExhaustedError("full"));
  server.Flush();
  ASSERT_TRUE(process.WaitForIdle(RemoteHealth::kSyncing));
  EXPECT_FALSE(process.sync.MayRead());
  EXPECT_EQ(process.stats().last_error, absl::ResourceExhaustedError("full"));
  *failing = false;
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
}

TEST(RemoteSyncControlTest, AFlushForgetsAllEvenIfNothingCanBeRead) {
  ModelServer server;
  SyncedProcess process(&server, 1, Patient());
  ASSERT_TRUE(process.Start());
  const auto failing = Fail(process, ModelCall::kGet, absl::UnavailableError("lost"));
  server.Flush();
  EXPECT_TRUE(Eventually([&] { return process.target.Count("forget") == 2; }));
  *failing = false;
}

TEST(RemoteSyncControlTest, ABlockOfAnOlderClockForgetsAll) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  const std::string backup = *server.Peek(kControlKey);
  ASSERT_TRUE(process.sync.Tick("prefix").ok());
  server.Put(kControlKey, backup);
  EXPECT_TRUE(Eventually([&] { return process.target.Count("forget") == 2; }));
}

TEST(RemoteSyncControlTest, BlocksThatAreLostAgainAndAgainAreMadeAnewLessAndLessOften) {
  ModelServer server;
  SyncedProcess process(&server, 1, TryingHourly());
  ASSERT_TRUE(process.Start());
  for (int i = 0; i < 5 && process.sync.MayRead(); ++i) {
    const uint64_t generations = process.stats().generations;
    server.Put(kControlKey, "rubbish");
    ASSERT_TRUE(Eventually(
        [&] { return process.stats().generations > generations || !process.sync.MayRead(); }));
  }
  EXPECT_TRUE(process.WaitForIdle(RemoteHealth::kSyncing));
}

TEST(RemoteSyncControlTest, ADamagedBlockIsReplaced) {
  ModelServer server;
  SyncedProcess process(&server, 1, NeverSettling());
  ASSERT_TRUE(process.Start());
  const uint64_t generation = process.generation();
  for (const char* rubbish : {"", "rubbish", "rubbish that is longer than the head of a block"}) {
    const int64_t forgotten = process.target.Count("forget");
    server.Put(kControlKey, rubbish);
    ASSERT_TRUE(Eventually([&] { return process.target.Count("forget") > forgotten; }));
    ASSERT_TRUE(process.WaitForIdle(RemoteHealth::kUp));
  }
  EXPECT_NE(process.generation(), generation);
}

TEST(RemoteSyncControlTest, ABlockOfAnotherVersionIsLeftAlone) {
  ModelServer server;
  SyncedProcess process(&server, 1, Patient());
  ASSERT_TRUE(process.Start());
  const std::string block = *server.Peek(kControlKey);
  std::string newer = block;
  newer[3] = 99;
  ASSERT_TRUE(absl::IsUnimplemented(ControlBlock::Decode(newer).status()));
  server.Put(kControlKey, newer);
  ASSERT_TRUE(process.WaitForIdle(RemoteHealth::kSyncing));
  EXPECT_FALSE(process.sync.MayRead());
  EXPECT_TRUE(absl::IsUnimplemented(process.stats().last_error));
  EXPECT_TRUE(absl::IsUnimplemented(process.sync.Renew()));
  EXPECT_EQ(server.Peek(kControlKey), newer);
  server.Put(kControlKey, block);
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
}

TEST(RemoteSyncControlTest, ABlockThatChangedAndCantBeReadIsNotReadUnder) {
  ModelServer server;
  SyncedProcess one(&server, 1, Patient());
  SyncedProcess two(&server, 2, Patient());
  ASSERT_TRUE(one.Start());
  ASSERT_TRUE(two.Start());
  const auto failing = Fail(one, ModelCall::kGet, absl::UnavailableError("lost"));
  ASSERT_TRUE(two.sync.Renew().ok());
  ASSERT_TRUE(one.WaitFor(RemoteHealth::kSyncing));
  EXPECT_FALSE(one.sync.MayRead());
  *failing = false;
  ASSERT_TRUE(one.WaitFor(RemoteHealth::kUp));
  EXPECT_EQ(one.generation(), two.generation());
  EXPECT_EQ(one.target.Count("forget"), 2);
}

TEST(RemoteSyncControlTest, ABlockThatChangesWhileItWaitsToTryAgainIsNotReadUnder) {
  ModelServer server;
  SyncedProcess one(&server, 1, TryingHourly(Patient()));
  SyncedProcess two(&server, 2);
  ASSERT_TRUE(one.Start());
  ASSERT_TRUE(two.Start());
  Fail(one, ModelCall::kInvalidate, absl::UnavailableError("lost"));
  one.sync.Missed("a");
  ASSERT_TRUE(Eventually([&] { return one.stats().failed_calls == 1; }));
  EXPECT_TRUE(one.sync.MayRead());
  ASSERT_TRUE(two.sync.Renew().ok());
  EXPECT_TRUE(one.WaitFor(RemoteHealth::kSyncing));
}

TEST(RemoteSyncControlTest, WhatCouldNotBeInvalidatedIsMadeUpForBeforeTheTierIsTrusted) {
  for (const bool everything : {false, true}) {
    ModelServer server;
    SyncedProcess process(&server, 1);
    ASSERT_TRUE(process.Start());
    const uint64_t generation = process.generation();
    process.tier.CutOff();
    ASSERT_TRUE(process.WaitFor(RemoteHealth::kDown));
    const absl::Status status =
        everything ? process.sync.Renew() : process.sync.Tick("prefix").status();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    process.tier.SetReach(Reach::kWhole);
    ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
    EXPECT_NE(process.generation(), generation);
  }
}

TEST(RemoteSyncControlTest, WhatWasNotAnsweredIsMadeUpForToo) {
  ModelServer server;
  SyncedProcess process(&server, 1, NeverSettling());
  ASSERT_TRUE(process.Start());
  const uint64_t generation = process.generation();
  const auto failing = Fail(process, ModelCall::kSetIfHead, absl::DeadlineExceededError("slow"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(process.sync.Tick().status()));
  EXPECT_FALSE(process.sync.MayRead());
  *failing = false;
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_NE(process.generation(), generation);
}

TEST(RemoteSyncControlTest, WhatIsInvalidatedWhileTheSubscriptionIsLostIsMadeUpForToo) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  std::atomic<bool> lost{false};
  process.tier.SetGate([&](ModelCall call, std::string_view) {
    if (call == ModelCall::kSetIfHead && !lost.exchange(true)) {
      process.tier.LoseSubscriptions();
      EXPECT_TRUE(Eventually([&] { return process.sync.watch() == 2; }));
    }
    return absl::OkStatus();
  });
  const auto ticked = process.sync.Tick("prefix");
  ASSERT_TRUE(ticked.ok()) << ticked.status();
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_NE(process.generation(), (*ticked)->generation());
}

TEST(RemoteSyncControlTest, NothingIsReadBetweenRenewLaterAndTheNewGeneration) {
  ModelServer server;
  SyncedProcess process(&server, 1, NeverSettling());
  ASSERT_TRUE(process.Start());
  const uint64_t generation = process.generation();
  process.tier.SetReach(Reach::kHanging);
  process.sync.RenewLater();
  EXPECT_FALSE(process.sync.MayRead());
  process.tier.SetReach(Reach::kWhole);
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_NE(process.generation(), generation);
}

TEST(RemoteSyncControlTest, ARenewalThatIsAskedForDuringAnotherIsAnother) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  std::atomic<int> renewals{0};
  process.tier.SetGate([&](ModelCall call, std::string_view) {
    if (call == ModelCall::kSetIfHead && renewals++ == 0) process.sync.RenewLater();
    return absl::OkStatus();
  });
  process.sync.RenewLater();
  EXPECT_TRUE(Eventually([&] { return process.sync.MayRead() && process.tier.Idle(); }));
  EXPECT_EQ(renewals, 2);
}

TEST(RemoteSyncControlTest, WhereCallsWereGivenUpNoneIsTried) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  const auto failing = Fail(process, ModelCall::kPing, absl::UnavailableError("lost"));
  for (int i = 0; i < 3; ++i) process.sync.Report(absl::UnavailableError("reset by peer"));
  const size_t calls = process.tier.calls(ModelCall::kGet);
  const absl::Status status = process.sync.Renew();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_NE(status.message().find("UNAVAILABLE"), std::string::npos) << status;
  EXPECT_EQ(process.tier.calls(ModelCall::kGet), calls);
  *failing = false;
}

TEST(RemoteSyncControlTest, WhatIsInvalidatedUnheardIsMadeUpForOnceItIsHeard) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  const auto failing = Fail(process, ModelCall::kSubscribe, absl::PermissionDeniedError("no"));
  ASSERT_TRUE(process.sync.Start().ok());
  const auto ticked = process.sync.Tick();
  ASSERT_TRUE(ticked.ok()) << ticked.status();
  *failing = false;
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_NE(process.generation(), (*ticked)->generation());
}

TEST(RemoteSyncControlTest, WhatIsRemovedUnheardIsMadeUpForOnceItIsHeard) {
  ModelServer server;
  SyncedProcess other(&server, 2);
  ASSERT_TRUE(other.Start());
  const uint64_t generation = other.generation();
  SyncedProcess process(&server, 1);
  const auto failing = Fail(process, ModelCall::kSubscribe, absl::PermissionDeniedError("no"));
  process.sync.Missed("a");
  ASSERT_TRUE(process.sync.Start().ok());
  ASSERT_TRUE(Eventually([&] { return !process.sync.IsMissed("a"); }));
  *failing = false;
  ASSERT_TRUE(process.WaitFor(RemoteHealth::kUp));
  EXPECT_NE(process.generation(), generation);
}

TEST(RemoteSyncControlTest, WhereItMayNotListenOthersHearOfWhatWasMissed) {
  ModelServer server;
  SyncedProcess other(&server, 2);
  ASSERT_TRUE(other.Start());
  const uint64_t generation = other.generation();
  SyncedProcess process(&server, 1);
  Fail(process, ModelCall::kSubscribe, absl::PermissionDeniedError("no"));
  process.sync.Missed("a");
  ASSERT_TRUE(process.sync.Start().ok());
  ASSERT_TRUE(Eventually([&] { return other.target.Count("key a") == 1; }));
  process.sync.RenewLater();
  ASSERT_TRUE(Eventually([&] { return other.generation() != generation; }));
  // The breaker closes, too.
  for (int i = 0; i < 3; ++i) process.sync.Report(absl::UnavailableError("lost"));
  ASSERT_TRUE(Eventually([&] { return process.sync.MayCall(); }));
  EXPECT_EQ(process.sync.health(), RemoteHealth::kDown);
  EXPECT_TRUE(
      Eventually([&] { return process.stats().last_error == absl::PermissionDeniedError("no"); }));
}

// --- The end

TEST(RemoteSyncControlTest, StopsWhileEverythingHangs) {
  for (const bool subscribed : {false, true}) {
    ModelServer server;
    RemoteOptions options = QuickRemoteOptions();
    options.timeout = absl::Milliseconds(2);
    SyncedProcess process(&server, 1, options);
    if (subscribed) {
      ASSERT_TRUE(process.Start());
    }
    process.tier.SetReach(Reach::kHanging);
    if (!subscribed) {
      ASSERT_TRUE(process.sync.Start().ok());
    }
    process.sync.Missed("a");
    process.sync.RenewLater();
    ASSERT_TRUE(Eventually([&] { return process.tier.calls() >= 1; }));
    process.sync.Stop();
    process.sync.Stop();
    EXPECT_EQ(process.sync.health(), RemoteHealth::kDown);
    EXPECT_EQ(process.sync.watch(), 0);
    EXPECT_FALSE(process.sync.MayRead());
    EXPECT_EQ(process.tier.subscriptions(), 0);
  }
}

TEST(RemoteSyncControlTest, StopsWhileItWaitsLongToTryAgain) {
  ModelServer server;
  SyncedProcess process(&server, 1, TryingHourly());
  process.tier.CutOff();
  ASSERT_TRUE(process.sync.Start().ok());
  ASSERT_TRUE(Eventually([&] { return process.stats().failed_calls == 1; }));
  process.sync.Stop();
}

TEST(RemoteSyncControlTest, RemovesWhatItCanBeforeItStops) {
  ModelServer server;
  SyncedProcess process(&server, 1, TryingHourly());
  ASSERT_TRUE(process.Start());
  const std::string block = *server.Peek(kControlKey);
  server.Put("a", "old");
  const auto failing = Fail(process, ModelCall::kInvalidate, absl::UnavailableError("lost"));
  process.sync.Missed("a");
  ASSERT_TRUE(Eventually([&] { return process.stats().failed_calls == 1; }));
  process.sync.RenewLater();
  *failing = false;
  process.sync.Stop();
  EXPECT_EQ(server.Peek("a"), std::nullopt);
  EXPECT_NE(server.Peek(kControlKey), block);
}

}  // namespace
}  // namespace larder::internal
