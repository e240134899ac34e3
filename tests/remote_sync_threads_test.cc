// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdint>
#include <random>
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
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using test::Eventually;
using test::ModelServer;
using test::ModelTier;
using test::SyncedProcess;
using test::TryingHourly;
using Reach = ModelTier::Reach;

RemoteOptions ShortOptions() {
  RemoteOptions options = test::QuickRemoteOptions();
  options.timeout = absl::Milliseconds(2);
  options.unverified_ttl = absl::Milliseconds(1);
  options.max_missed_keys = 8;
  return options;
}

// What a cache does with it, at random.
void Use(SyncedProcess& process, std::mt19937_64& random) {
  const std::string key = "key" + std::to_string(random() % 16);
  switch (random() % 8) {
    case 0:
      static_cast<void>(process.sync.Tick(key));
      return;
    case 1:
      static_cast<void>(process.sync.Tick());
      return;
    case 2:
      static_cast<void>(process.sync.Renew());
      return;
    case 3:
      process.sync.RenewLater();
      return;
    case 4:
      process.sync.Missed(key);
      return;
    case 5:
      process.sync.Report(process.tier.Set(key, "v", absl::InfiniteDuration(), absl::Seconds(1)));
      return;
    case 6:
      static_cast<void>(process.stats());
      return;
    default:
      if (const auto control = process.sync.control()) {
        static_cast<void>(control->Covers(key, control->generation(), 0));
        static_cast<void>(process.sync.IsMissed(key));
      }
  }
}

void Trouble(ModelServer& server, SyncedProcess& process, std::mt19937_64& random) {
  switch (random() % 8) {
    case 0:
      process.tier.LoseSubscriptions();
      return;
    case 1:
      process.tier.CutOff();
      return;
    case 2:
      process.tier.SetReach(Reach::kHanging);
      return;
    case 3:
      process.tier.SetReach(Reach::kDeaf);
      return;
    case 4:
      server.Flush();
      return;
    case 5:
      server.Restart(random() % 2 == 0 ? server.Save() : ModelServer::Data());
      return;
    case 6:
      server.Put(kControlKey, "rubbish");
      return;
    default:
      process.tier.SetReach(Reach::kWhole);
  }
}

TEST(RemoteSyncThreadsTest, WhateverHappensAllAgreeInTheEnd) {
  for (int round = 0; round < test::Rounds(4); ++round) {
    const uint64_t seed = test::SeedOfRound(round);
    SCOPED_TRACE(seed);
    ModelServer server;
    SyncedProcess one(&server, 1, ShortOptions());
    SyncedProcess two(&server, 2, ShortOptions());
    ASSERT_TRUE(one.sync.Start().ok());
    ASSERT_TRUE(two.sync.Start().ok());
    std::atomic<int> using_it{4};
    test::RunThreads(5, [&](int thread) {
      std::mt19937_64 random(seed * 8 + static_cast<uint64_t>(thread));
      if (thread == 4) {
        while (using_it > 0) Trouble(server, random() % 2 == 0 ? one : two, random);
        return;
      }
      for (int i = 0; i < 100; ++i) Use(thread % 2 == 0 ? one : two, random);
      --using_it;
    });
    one.sync.Missed("key1");
    for (SyncedProcess* process : {&one, &two}) process->tier.SetReach(Reach::kWhole);
    ASSERT_TRUE(Eventually([&] {
      const auto block = one.sync.control();
      const auto same = two.sync.control();
      return one.tier.Idle() && two.tier.Idle() && block != nullptr && same != nullptr &&
             *block == *same && block->Encode() == server.Peek(kControlKey) &&
             block->incarnation() == server.incarnation() && one.stats().missed_waiting == 0 &&
             two.stats().missed_waiting == 0;
    }));
  }
}

TEST(RemoteSyncThreadsTest, ConcurrentTicksShareChangesOfTheBlock) {
  constexpr int kThreads = 8;
  constexpr int kTicks = 20;
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  const auto before = process.sync.control();
  test::RunThreads(kThreads, [&](int thread) {
    uint64_t last = before->clock();
    for (int i = 0; i < kTicks; ++i) {
      const std::string prefix = "p" + std::to_string(thread) + "." + std::to_string(i);
      const auto block = process.sync.Tick(prefix);
      ASSERT_TRUE(block.ok()) << block.status();
      EXPECT_GT((*block)->clock(), last);
      EXPECT_FALSE((*block)->Covers(prefix, (*block)->generation(), last));
      // It is in use by the time that the call returns.
      const auto known = process.sync.control();
      ASSERT_NE(known, nullptr);
      EXPECT_GE(known->clock(), (*block)->clock());
      last = (*block)->clock();
    }
  });
  EXPECT_EQ(process.sync.control()->generation(), before->generation());
  EXPECT_EQ(process.sync.control()->prefixes(), kThreads * kTicks);
}

TEST(RemoteSyncThreadsTest, ManyRenewalsThatAreAskedForAreNoReasonToWait) {
  ModelServer server;
  SyncedProcess process(&server, 1, TryingHourly());
  ASSERT_TRUE(process.Start());
  test::RunThreads(8, [&](int) {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(process.sync.Renew().ok());
  });
  EXPECT_TRUE(process.WaitForIdle(RemoteHealth::kUp));
}

TEST(RemoteSyncThreadsTest, NoRenewalIsLostAmongTicks) {
  ModelServer server;
  SyncedProcess process(&server, 1);
  ASSERT_TRUE(process.Start());
  const auto generation = [&server] {
    return ControlBlock::Decode(*server.Peek("larder.control"))->generation();
  };
  test::RunThreads(8, [&](int thread) {
    for (int i = 0; i < 20; ++i) {
      const uint64_t before = generation();
      const bool renews = thread % 2 == 0;
      ASSERT_TRUE((renews ? process.sync.Renew() : process.sync.Tick().status()).ok());
      if (renews) {
        EXPECT_NE(generation(), before);
      }
    }
  });
}

TEST(RemoteSyncThreadsTest, StopsUnderAllCalls) {
  for (int round = 0; round < test::Rounds(10); ++round) {
    ModelServer server;
    SyncedProcess process(&server, 1, ShortOptions());
    ASSERT_TRUE(process.sync.Start().ok());
    test::RunThreads(3, [&](int thread) {
      std::mt19937_64 random(test::SeedOfRound(round) * 4 + static_cast<uint64_t>(thread));
      if (thread == 2) {
        process.sync.Stop();
        return;
      }
      for (int i = 0; i < 30; ++i) Use(process, random);
    });
    EXPECT_EQ(process.sync.health(), RemoteHealth::kDown);
    EXPECT_EQ(process.sync.control(), nullptr);
  }
}

}  // namespace
}  // namespace larder::internal
