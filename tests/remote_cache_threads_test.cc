// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "larder/internal/mutex.h"
#include "larder/internal/remote_control.h"
#include "larder/remote_options.h"
#include "tests/support/model_tier.h"
#include "tests/support/remote_server.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

constexpr size_t kServers = 3;
constexpr size_t kThreads = 2;  // of each server
constexpr size_t kKeys = 4;
constexpr int kOperations = 150;  // of each thread

// Servers that read, write and invalidate at once, while the tier gets into trouble.
class World {
 public:
  explicit World(uint64_t seed) : seed_(seed) {
    for (size_t i = 0; i < kServers; ++i) {
      servers_.push_back(std::make_unique<RemoteServer>(&redis_, &store_));
    }
  }

  void Run() {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kServers * kThreads; ++i) {
      threads.emplace_back([this, i] { Work(i); });
    }
    std::thread trouble([this] { MakeTrouble(); });
    for (std::thread& thread : threads) thread.join();
    is_over_ = true;
    trouble.join();
    for (const auto& server : servers_) {
      server->tier().SetReach(ModelTier::Reach::kWhole);
      server->tier().ReleaseChanges();
    }
  }

  // What everybody must have in the end.
  void ExpectAgreement() {
    // One who comes back may have something to remove.
    for (int round = 0; round < 2; ++round) {
      for (const auto& server : servers_) server->AwaitTold();
    }
    for (size_t i = 0; i < kKeys; ++i) {
      const std::string key = Key(i);
      const auto row = store_.Find(key);
      for (size_t s = 0; s < kServers; ++s) {
        const auto in_memory = servers_[s]->InMemory(key);
        if (in_memory.has_value()) {
          EXPECT_EQ(*in_memory, row.has_value() ? row->value : "(none)") << Where(s, key);
        }
        EXPECT_EQ(servers_[s]->Load(key, false).value_or("(none)"),
                  row.has_value() ? row->value : "(none)")
            << Where(s, key);
      }
    }
  }

 private:
  static std::string Key(size_t i) { return "key:" + std::to_string(i); }
  std::string Where(size_t server, const std::string& key) const {
    return "seed " + std::to_string(seed_) + ", server " + std::to_string(server) + ", " + key;
  }

  void Work(size_t number) {
    const size_t s = number % kServers;
    RemoteServer& server = *servers_[s];
    std::mt19937_64 random(seed_ * 1000 + number);
    for (int i = 0; i < kOperations; ++i) {
      const size_t k = random() % kKeys;
      const std::string key = Key(k);
      const uint64_t what = random() % 1000;
      if (what < 700) {
        (void)server.Get(key);
      } else if (what < 980) {
        internal::MutexLock lock(&writing_[s][k]);
        const std::string value = std::to_string(number) + ":" + std::to_string(i);
        server.Put(key, what < 950 ? std::optional(ModelStore::Row{value, {"t"}}) : std::nullopt);
      } else if (what < 990) {
        server.cache().InvalidateTagged("t").IgnoreError();
      } else if (what < 998) {
        server.cache().InvalidatePrefixed("key:").IgnoreError();
      } else {
        server.cache().InvalidateAll().IgnoreError();
      }
      ++operations_;
    }
  }

  void MakeTrouble() {
    std::mt19937_64 random(seed_);
    ModelServer::Data dump = redis_.Save();
    // Some troubles would make up for others if they came too often: most are to last for a while.
    for (uint64_t next = 0; !is_over_;) {
      if (operations_ < next) {
        std::this_thread::yield();
        continue;
      }
      next = operations_ + random() % 60;
      ModelTier& tier = servers_[random() % kServers]->tier();
      switch (random() % 9) {
        case 0:
          tier.CutOff();
          break;
        case 1:
        case 2:
          tier.SetReach(ModelTier::Reach::kWhole);
          tier.ReleaseChanges();
          break;
        case 3:
          tier.LoseSubscriptions();
          break;
        case 4:
          tier.HoldChanges();
          break;
        case 5:
          tier.SetReach(ModelTier::Reach::kDeaf);
          break;
        case 6:
          redis_.Remove(random() % 2 == 0 ? Key(random() % kKeys) : internal::TagKey("t"));
          break;
        case 7:
          if (random() % 8 == 0) redis_.Flush();
          dump = redis_.Save();
          break;
        default:
          if (random() % 8 == 0) redis_.Restart(dump);
      }
    }
  }

  const uint64_t seed_;
  ModelServer redis_;
  ModelStore store_;
  std::vector<std::unique_ptr<RemoteServer>> servers_;
  std::array<std::array<internal::Mutex, kKeys>, kServers> writing_;
  std::atomic<uint64_t> operations_{0};
  std::atomic<bool> is_over_{false};
};

TEST(RemoteCacheThreadsTest, AllServersAgreeWhateverHappenedOnTheWay) {
  const int rounds = Rounds(100);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    World world(SeedOfRound(round));
    world.Run();
    world.ExpectAgreement();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace larder::test
