// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/missed_keys.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

std::vector<std::string> KeysOf(const std::vector<MissedKeys::Missed>& taken) {
  std::vector<std::string> keys;
  for (const MissedKeys::Missed& missed : taken) keys.push_back(missed.key);
  return keys;
}

TEST(MissedKeysTest, HasTheKeysThatWereAdded) {
  MissedKeys missed(10);
  EXPECT_TRUE(missed.empty());
  EXPECT_FALSE(missed.Contains("a"));
  missed.Add("a");
  missed.Add("b");
  missed.Add("a");
  EXPECT_FALSE(missed.empty());
  EXPECT_TRUE(missed.Contains("a"));
  EXPECT_FALSE(missed.Contains("c"));
  EXPECT_EQ(missed.size(), 2u);
}

TEST(MissedKeysTest, GivesThoseAddedLongestAgoFirst) {
  MissedKeys missed(10);
  for (const char* key : {"a", "b", "c", "a"}) missed.Add(key);
  EXPECT_EQ(KeysOf(missed.Take(2)), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(KeysOf(missed.Take(9)), (std::vector<std::string>{"b", "c", "a"}));
  EXPECT_EQ(missed.size(), 3u);
}

TEST(MissedKeysTest, DropsAKeyThatWasRemoved) {
  MissedKeys missed(10);
  missed.Add("a");
  const auto taken = missed.Take(1);
  missed.Removed(taken[0]);
  EXPECT_FALSE(missed.Contains("a"));
  EXPECT_TRUE(missed.empty());
  missed.Removed(taken[0]);
  EXPECT_TRUE(missed.empty());
}

TEST(MissedKeysTest, KeepsAKeyThatWasAddedAgainMeanwhile) {
  MissedKeys missed(10);
  missed.Add("a");
  const auto taken = missed.Take(1);
  missed.Add("a");
  missed.Removed(taken[0]);
  EXPECT_TRUE(missed.Contains("a"));
  missed.Removed(missed.Take(1)[0]);
  EXPECT_TRUE(missed.empty());
}

TEST(MissedKeysTest, OverflowsWhereThereAreTooMany) {
  MissedKeys missed(2);
  for (const char* key : {"a", "b", "a"}) missed.Add(key);
  EXPECT_FALSE(missed.overflowed());
  missed.Add("c");
  EXPECT_TRUE(missed.overflowed());
  EXPECT_TRUE(missed.Contains("anything"));
  EXPECT_TRUE(missed.Take(10).empty());
  EXPECT_EQ(missed.size(), 2u);
  missed.RemovedAll(missed.last_number());
  EXPECT_FALSE(missed.overflowed());
  EXPECT_TRUE(missed.empty());
  EXPECT_FALSE(missed.Contains("a"));
}

TEST(MissedKeysTest, OfNoneOverflowsAtOnce) {
  MissedKeys missed(0);
  missed.Add("a");
  EXPECT_TRUE(missed.overflowed());
  EXPECT_FALSE(missed.empty());
}

TEST(MissedKeysTest, KeepsWhatWasAddedWhileEverythingWasRemoved) {
  MissedKeys missed(2);
  missed.Add("a");
  const uint64_t number = missed.last_number();
  missed.Add("b");
  missed.RemovedAll(number);
  EXPECT_EQ(KeysOf(missed.Take(9)), std::vector<std::string>{"b"});
  missed.Add("c");
  missed.Add("d");
  const uint64_t overflowed = missed.last_number();
  missed.Add("e");
  missed.RemovedAll(overflowed);
  EXPECT_TRUE(missed.overflowed());
  missed.RemovedAll(missed.last_number());
  EXPECT_TRUE(missed.empty());
}

TEST(MissedKeysTest, DoesWhatAModelDoes) {
  for (int round = 0; round < test::Rounds(20); ++round) {
    const uint64_t seed = test::SeedOfRound(round);
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    constexpr size_t kMost = 4;
    MissedKeys missed(kMost);
    std::map<std::string, int> model;  // and the step at which it was added last
    int overflow = -1;                 // the step of the last addition that was lost
    std::vector<std::pair<MissedKeys::Missed, int>> taken;  // and when
    for (int step = 0; step < 300; ++step) {
      const std::string key(1, static_cast<char>('a' + random() % 6));
      const uint64_t what = random() % 16;
      if (what < 6) {
        missed.Add(key);
        if (overflow >= 0 || (!model.contains(key) && model.size() == kMost)) {
          overflow = step;
        } else {
          model[key] = step;
        }
      } else if (what < 9) {
        taken.clear();
        for (auto& one : missed.Take(random() % 4)) taken.emplace_back(one, step);
        if (overflow >= 0) {
          ASSERT_TRUE(taken.empty());
        }
      } else if (what < 15 && !taken.empty()) {
        const auto& [one, when] = taken[random() % taken.size()];
        missed.Removed(one);
        if (model.contains(one.key) && model[one.key] < when) model.erase(one.key);
      } else if (what == 15) {
        const uint64_t number = missed.last_number();
        const bool added_meanwhile = random() % 2 == 0;
        if (added_meanwhile) missed.Add(key);
        missed.RemovedAll(number);
        const bool was_lost = overflow >= 0 || (!model.contains(key) && model.size() == kMost);
        model.clear();
        overflow = added_meanwhile && was_lost ? step : -1;
        if (added_meanwhile && !was_lost) model[key] = step;
      }
      ASSERT_EQ(missed.overflowed(), overflow >= 0);
      ASSERT_EQ(missed.size(), model.size());
      ASSERT_EQ(missed.empty(), model.empty() && overflow < 0);
      ASSERT_EQ(missed.Contains(key), overflow >= 0 || model.contains(key));
    }
  }
}

// Each writer changes a key of its own, then says that this was missed; one thread removes. What
// was removed has the last change.
TEST(MissedKeysTest, ThreadsLoseNoKey) {
  constexpr int kWriters = 3;
  constexpr int kChanges = 3000;
  MissedKeys missed(100);
  std::vector<std::atomic<int>> changes(kWriters);  // made
  std::vector<int> seen(kWriters, 0);               // when it was removed
  std::atomic<int> writing{kWriters};
  std::vector<std::thread> threads;
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([&, i] {
      for (int change = 1; change <= kChanges; ++change) {
        changes[i].store(change, std::memory_order_relaxed);
        missed.Add(std::to_string(i));
      }
      writing.fetch_sub(1);
    });
  }
  while (writing.load() > 0 || !missed.empty()) {
    for (const MissedKeys::Missed& one : missed.Take(2)) {
      const int i = std::stoi(one.key);
      seen[i] = changes[i].load(std::memory_order_relaxed);
      missed.Removed(one);
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kWriters; ++i) EXPECT_EQ(seen[i], kChanges);
}

}  // namespace
}  // namespace larder::internal
