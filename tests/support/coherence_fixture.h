// SPDX-License-Identifier: Apache-2.0
//
// CoherenceFixture: a coherence check for tests, and what may happen to its Redis and its network.

#ifndef LARDER_TESTS_SUPPORT_COHERENCE_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_COHERENCE_FIXTURE_H_

#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/coherence_check.h"
#include "tests/support/coherence_server.h"
#include "tests/support/rounds.h"

namespace larder::test {

// Its parameter is the round. Seed 1 has what a test asks for, and else the defaults; all others
// have any settings where it doesn't ask.
class CoherenceFixture : public ::testing::TestWithParam<int> {
 protected:
  CoherenceFixture() {
    if (settings_.seed == 1) return;
    constexpr WritePolicy kPolicies[] = {WritePolicy::kThrough, WritePolicy::kAround,
                                         WritePolicy::kBehind};
    settings_.write_policy = kPolicies[random_() % 3];
    settings_.when_cut_off = random_() % 3 == 0 ? WhenCutOff::kFlush : WhenCutOff::kKeep;
    settings_.tcp = random_() % 2 == 0;
    settings_.others_write = random_() % 2 == 0;
    if (random_() % 2 == 0) {
      settings_.hot_keys = 1 + random_() % 3;
      settings_.share_of_writes = 50;
      settings_.pause = absl::Microseconds(100);
    }
  }

  void Start() { check_ = std::make_unique<CoherenceCheck>(settings_, CoherenceServer::Serve); }
  CoherenceCheck& check() { return *check_; }

  void Run(int ms) { check().Run(absl::Milliseconds(ms)); }
  // Redis's answer.
  std::string Redis(std::initializer_list<std::string_view> words) { return check().Redis(words); }

  // Faults through which every server stays connected.
  template <class Faults>
  void Live(Faults&& faults) {
    Start();
    Run(50);
    faults();
    Run(100);
    check().Quiesce();
  }

  // Faults that cut servers off, and are over when `faults` returns.
  template <class Faults>
  void Live(CoherenceCheck::CutOff cut_off, Faults&& faults, int alone = -1) {
    Start();
    Run(100);
    check().Expect(cut_off, alone);
    faults();
    check().Recover();
    Run(150);
    check().Quiesce();
  }

  // What another program might do to any of the keys.
  void ChangeKey() {
    constexpr std::string_view kMakeList =
        "redis.call('DEL',KEYS[1]) redis.call('LPUSH',KEYS[1],'x')";
    const std::string key = AnyKey();
    switch (random_() % 9) {
      case 0:
        Redis({"SET", key, "rubbish"});
        break;
      case 1:
        Redis({"SETRANGE", key, "70", "?"});
        break;
      case 2:
        Redis({"SETRANGE", key, "10", "?"});
        break;
      case 3:
        Redis({"APPEND", key, "?"});
        break;
      case 4:
        Redis({"PEXPIRE", key, "1"});
        break;
      case 5:
        Redis({"PERSIST", key});
        break;
      case 6:
        Redis({"RENAME", key, AnyKey()});
        break;
      case 7:
        Redis({"EVAL", kMakeList, "1", key});
        break;
      default:
        Redis({"DEL", key});
    }
  }
  std::string AnyKey() {
    return absl::StrCat(
        "check:", CoherenceTruth::KeyName(static_cast<int>(random_() % CoherenceTruth::kKeys)));
  }

  // And to what keeps track of them.
  void ChangeControl() {
    switch (random_() % 3) {
      case 0:
        Redis({"DEL", "check:larder.control"});
        break;
      case 1:
        Redis({"SET", "check:larder.control", "rubbish"});
        break;
      default:
        Redis({"DEL", "check:larder.tag.tag0", "check:larder.tag.tag1"});
    }
  }

  // A fault of Redis or of the network, with an end.
  void AnyFault() {
    const auto server = static_cast<int>(random_() % CoherenceCheck::kServers);
    const auto ms = static_cast<int>(20 + random_() % 200);
    const auto during = [&](auto begin, auto end) {
      begin();
      Run(ms);
      end();
    };
    switch (random_() % 10) {
      case 0:
        return during([&] { check().redis().Kill(); },
                      [&] { EXPECT_TRUE(check().redis().Restart().ok()); });
      case 1:
        return during([&] { check().redis().Pause(); }, [&] { check().redis().Resume(); });
      case 2:
        return during([&] { check().relay(server).Stop(); }, [&] { check().relay(server).Go(); });
      case 3:
        return during([&] { check().relay(server).Stop(Relayed::kListening); },
                      [&] { check().relay(server).Go(); });
      case 4:
        return during([&] { check().relay(server).CutReplies(2000); },
                      [&] { check().relay(server).CutReplies(0); });
      case 5:
        return during([&] { check().relay(server).GarbleReplies(20); },
                      [&] { check().relay(server).GarbleReplies(0); });
      case 6:
        return during(
            [&] {
              Redis({"CONFIG", "SET", "maxmemory", "1"});
            },
            [&] {
              Redis({"CONFIG", "SET", "maxmemory", "0"});
            });
      case 7:
        Redis({"FLUSHALL"});
        break;
      case 8:
        ChangeControl();
        break;
      default:
        Redis({"CLIENT", "KILL", "TYPE", random_() % 2 == 0 ? "normal" : "pubsub"});
    }
    Run(ms / 4);
  }

  // Gives up after a while.
  template <class Condition>
  void WaitUntil(Condition&& condition) {
    for (int i = 0; i < 3000 && !condition(); ++i) Run(10);
    EXPECT_TRUE(condition());
  }

  // Does it to the network of every server.
  template <class... Parameters, class... Arguments>
  void ToAll(void (FaultRelay::*fault)(Parameters...), Arguments... arguments) {
    for (int i = 0; i < CoherenceCheck::kServers; ++i) (check().relay(i).*fault)(arguments...);
  }

  CoherenceSettings settings_{.seed = SeedOfRound(GetParam())};
  std::mt19937_64 random_{settings_.seed};
  std::unique_ptr<CoherenceCheck> check_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_COHERENCE_FIXTURE_H_
