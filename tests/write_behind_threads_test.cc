// SPDX-License-Identifier: Apache-2.0
//
// Write-behind under threads: producers, flushes, a store that fails at random, and the end.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/mutex.h"
#include "larder/internal/write_behind.h"
#include "larder/write_behind_options.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"
#include "tests/support/write_behind_target.h"

namespace larder::internal {
namespace {

using ::larder::test::Eventually;
using ::larder::test::FindNumber;
using ::larder::test::NumberTarget;
using ::larder::test::NumberWrite;
using ::larder::test::PutNumber;
using ::larder::test::Rounds;
using ::larder::test::RunThreads;
using ::larder::test::SeedOfRound;

constexpr int kProducers = 4;
constexpr int kKeys = 12;

// Producers that write the same keys, as users of TieredCache do: under a lock of the key.
class Crowd {
 public:
  explicit Crowd(uint64_t seed)
      : seed_(seed),
        random_(seed),
        options_(DrawOptions()),
        engine_(options_, nullptr, &target_, seed) {
    target_.answer = [this](const NumberWrite& write) { return Answer(write); };
    target_.answer_give_up = [this](const NumberWrite& write) { return AnswerGiveUp(write); };
    failing_percent_ = random_() % 60;
    EXPECT_TRUE(engine_.Start().ok());
  }

  // Each producer writes `writes` times, or until the engine is closed.
  void Produce(int producer, int writes) {
    std::mt19937_64 random(seed_ * kProducers + static_cast<uint64_t>(producer));
    for (int i = 0; i < writes; ++i) {
      const int key = static_cast<int>(random() % kKeys);
      if (random() % 64 == 0) {
        FlushOnce(absl::Microseconds(random() % 2'000));
      } else if (!Put(key, 1 + random() % 50)) {
        return;
      }
    }
  }

  WriteBehind& engine() { return engine_; }
  void set_failing_percent(uint64_t percent) { failing_percent_.store(percent); }

  // Once nobody writes any more: each write has ended once, and as it should. `left`: as Close
  // says.
  void Check(const WriteBehind::Left& left) {
    EXPECT_FALSE(went_wrong_.load());
    std::set<int> left_values;
    for (const auto& write : left.writes) left_values.insert(NumberWrite::Of(*write).value);
    EXPECT_TRUE(left.writes.empty() || !left.status.ok());
    const std::map<uint64_t, int> acknowledged = target_.Acknowledged();
    for (const auto& [sequence, times] : acknowledged) {
      EXPECT_EQ(times, 1) << sequence << " was acknowledged twice";
      EXPECT_EQ(left_values.count(static_cast<int>(sequence)), 0u);
    }
    size_t queued = 0;
    for (int name = 0; name < kKeys; ++name) queued += CheckKey(name, acknowledged, left_values);
    EXPECT_EQ(acknowledged.size() + left_values.size(), queued);
    const WriteBehindStats stats = engine_.Stats();
    EXPECT_EQ(stats.queued, left_values.size());
    EXPECT_EQ(stats.in_flight, 0u);
    EXPECT_EQ(stats.stored + stats.coalesced + stats.given_up + stats.through_failures,
              acknowledged.size());
    // Of each producer one that is written through, and for each batch one that was to replace what
    // that batch has taken.
    const auto threads = static_cast<uint64_t>(options_.threads);
    EXPECT_LE(most_queued_.load(), options_.max_entries + kProducers * (1 + threads));
  }

 private:
  struct Key {
    std::mutex mutex;
    std::vector<int> accepted;  // queued, with OK
    std::vector<int> refused;   // queued, to be written through, and failed
    std::atomic<int> writers{0};
    std::mutex given_up_mutex;
    std::set<int> given_up;

    bool IsGivenUp(int value) {
      std::lock_guard<std::mutex> lock(given_up_mutex);
      return given_up.count(value) > 0;
    }
    int LastGivenUp() {
      std::lock_guard<std::mutex> lock(given_up_mutex);
      return given_up.empty() ? 0 : *given_up.rbegin();
    }
  };

  WriteBehindOptions DrawOptions() {
    WriteBehindOptions options;
    constexpr std::array<WhenFull, 3> kWhenFull = {WhenFull::kBlock, WhenFull::kReject,
                                                   WhenFull::kWriteThrough};
    options.when_full = kWhenFull[seed_ % 3];
    options.full_timeout = random_() % 2 == 0 ? absl::Seconds(100) : absl::Microseconds(50);
    options.max_entries = 1 + random_() % 10;
    options.max_bytes = 60 + random_() % 300;
    options.coalescing = random_() % 2 == 0 ? Coalescing::kLatest : Coalescing::kNone;
    options.batch_size = 1 + random_() % 6;
    options.batch_delay = absl::Microseconds(random_() % 3 * 100);
    options.threads = static_cast<int>(1 + random_() % 4);
    options.first_backoff = absl::Microseconds(1 + random_() % 50);
    options.max_backoff = absl::Microseconds(200);
    options.max_attempts = static_cast<int>(random_() % 2 * 5);
    EXPECT_TRUE(options.Validate().ok());
    return options;
  }

  // False: the engine is closed.
  bool Put(int name, uint64_t bytes) {
    Key& key = keys_[static_cast<size_t>(name)];
    std::lock_guard<std::mutex> lock(key.mutex);
    const int value = last_value_.fetch_add(1) + 1;
    auto write = std::make_shared<NumberWrite>(name, value, bytes);
    write->set_sequence(static_cast<uint64_t>(value));
    auto room = engine_.Reserve(*write);
    if (!room.ok()) return !absl::IsFailedPrecondition(room.status());
    if (room->write_through()) {
      const bool ok = engine_.EnqueueAndWait(*std::move(room), std::move(write)).ok();
      (ok ? key.accepted : key.refused).push_back(value);
      if (ok && target_.Stored(name).back() != value) went_wrong_.store(true);
      return true;
    }
    engine_.Enqueue(*std::move(room), std::move(write));
    key.accepted.push_back(value);
    // Of this key nobody else writes now.
    if (FindNumber(engine_, name) != value && !IsDone(name, value)) went_wrong_.store(true);
    uint64_t most = most_queued_.load();
    const uint64_t queued = engine_.Stats().queued;
    while (queued > most && !most_queued_.compare_exchange_weak(most, queued)) {
    }
    return true;
  }

  // In the store, or given up.
  bool IsDone(int name, int value) {
    const std::vector<int> stored = target_.Stored(name);
    return (!stored.empty() && stored.back() == value) ||
           keys_[static_cast<size_t>(name)].IsGivenUp(value);
  }

  void FlushOnce(absl::Duration timeout) {
    std::vector<int> accepted(kKeys);
    for (int name = 0; name < kKeys; ++name) {
      Key& key = keys_[static_cast<size_t>(name)];
      std::unique_lock<std::mutex> lock(key.mutex, std::try_to_lock);
      if (lock.owns_lock() && !key.accepted.empty()) accepted[size_t(name)] = key.accepted.back();
    }
    if (!engine_.Flush(timeout).ok()) return;
    for (int name = 0; name < kKeys; ++name) {
      const std::vector<int> stored = target_.Stored(name);
      const int last = std::max(stored.empty() ? 0 : stored.back(),
                                keys_[static_cast<size_t>(name)].LastGivenUp());
      if (last < accepted[static_cast<size_t>(name)]) went_wrong_.store(true);
    }
  }

  absl::Status Answer(const NumberWrite& write) {
    Key& key = keys_[static_cast<size_t>(write.key)];
    if (key.writers.fetch_add(1) != 0) went_wrong_.store(true);
    const uint64_t draw = Mix(static_cast<uint64_t>(write.value) + calls_.fetch_add(1));
    if (draw % 16 == 0) std::this_thread::yield();
    key.writers.fetch_sub(1);
    if (draw / 16 % 100 >= failing_percent_.load()) return absl::OkStatus();
    return draw / 1'600 % 8 == 0 ? absl::DataLossError("broken") : absl::UnavailableError("down");
  }

  absl::Status AnswerGiveUp(const NumberWrite& write) {
    if (Mix(calls_.fetch_add(1)) % 2 == 0) return absl::UnavailableError("disk full");
    Key& key = keys_[static_cast<size_t>(write.key)];
    std::lock_guard<std::mutex> lock(key.given_up_mutex);
    if (!key.given_up.insert(write.value).second) went_wrong_.store(true);
    return absl::OkStatus();
  }

  static uint64_t Mix(uint64_t x) { return (x + 1) * 0x9e3779b97f4a7c15 >> 20; }

  // Returns how many of its writes were queued.
  size_t CheckKey(int name, const std::map<uint64_t, int>& acknowledged,
                  const std::set<int>& left_values) {
    Key& key = keys_[static_cast<size_t>(name)];
    const std::vector<int> stored = target_.Stored(name);
    const std::set<int> stored_set(stored.begin(), stored.end());
    EXPECT_TRUE(std::is_sorted(stored.begin(), stored.end())) << "out of order: key " << name;
    EXPECT_EQ(stored_set.size(), stored.size());
    for (const int value : key.refused) {
      EXPECT_EQ(acknowledged.count(static_cast<uint64_t>(value)), 1u);
      EXPECT_EQ(stored_set.count(value), 0u);
    }
    bool has_later = false;
    for (size_t i = key.accepted.size(); i-- > 0;) {
      const int value = key.accepted[i];
      const bool is_left = left_values.count(value) > 0;
      const bool is_stored = stored_set.count(value) > 0;
      const bool is_given_up = key.IsGivenUp(value);
      EXPECT_LE(is_left + is_stored + is_given_up, 1) << value;
      EXPECT_NE(is_left, acknowledged.count(static_cast<uint64_t>(value)) > 0) << value;
      EXPECT_TRUE(is_left || is_stored || is_given_up ||
                  (has_later && options_.coalescing == Coalescing::kLatest))
          << value << " of key " << name << " was lost";
      has_later = true;
    }
    return key.accepted.size() + key.refused.size();
  }

  const uint64_t seed_;
  std::mt19937_64 random_;
  const WriteBehindOptions options_;
  NumberTarget target_;
  std::array<Key, kKeys> keys_;
  std::atomic<int> last_value_{0};
  std::atomic<uint64_t> calls_{0};
  std::atomic<uint64_t> failing_percent_{0};
  std::atomic<uint64_t> most_queued_{0};
  std::atomic<bool> went_wrong_{false};
  WriteBehind engine_;
};

TEST(WriteBehindThreadsTest, EachWriteReachesTheStoreInOrderOrIsGivenUp) {
  for (int round = 0; round < Rounds(12); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(seed);
    Crowd crowd(seed);
    RunThreads(kProducers, [&](int i) { crowd.Produce(i, 400); });
    const WriteBehind::Left left = crowd.engine().Close(absl::InfiniteDuration(), false);
    EXPECT_TRUE(left.writes.empty());
    crowd.Check(left);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(WriteBehindThreadsTest, CloseEndsWhileOthersWriteAndSaysWhatIsLeft) {
  for (int round = 0; round < Rounds(12); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(seed);
    Crowd crowd(seed);
    std::thread closer([&] {
      Eventually([&] { return crowd.engine().Stats().stored > 100; });
      if (seed % 4 != 0) crowd.set_failing_percent(100);
      const bool give_up = seed % 2 == 0;
      RunThreads(2, [&](int) {
        crowd.engine().Close(seed % 4 == 0 ? absl::InfiniteDuration() : absl::ZeroDuration(),
                             give_up);
      });
    });
    RunThreads(kProducers, [&](int i) { crowd.Produce(i, 1'000'000'000); });
    closer.join();
    const WriteBehind::Left left = crowd.engine().Close(absl::ZeroDuration(), false);
    crowd.Check(left);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(WriteBehindThreadsTest, ItEndsWithTheStoreDown) {
  for (int round = 0; round < Rounds(50); ++round) {
    NumberTarget target;
    target.answer = [](const NumberWrite&) { return absl::UnavailableError("down"); };
    WriteBehind engine({.batch_delay = absl::ZeroDuration(), .threads = 1 + round % 3}, nullptr,
                       &target, 1);
    ASSERT_TRUE(engine.Start().ok());
    for (int i = 1; i <= round; ++i) ASSERT_TRUE(PutNumber(engine, i, i).ok());
  }
}

// Takes its time over the acknowledgement of 1, until 2, of the same key, is in the store.
class SlowToAcknowledge : public NumberTarget {
 public:
  void Acknowledge(std::span<const uint64_t> sequences) override {
    for (const uint64_t sequence : sequences) {
      while (sequence == 1 && Stored(/*key=*/7).size() < 2) std::this_thread::yield();
      const MutexLock lock(&mutex_);
      order_.push_back(sequence);
    }
  }

  std::vector<uint64_t> order() const {
    const MutexLock lock(&mutex_);
    return order_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<uint64_t> order_ ABSL_GUARDED_BY(mutex_);
};

TEST(WriteBehindThreadsTest, AcknowledgementsDoNotOvertakeThoseOfOlderWrites) {
  WriteBehindOptions options;
  options.threads = 2;
  options.batch_delay = absl::ZeroDuration();
  SlowToAcknowledge target;
  WriteBehind engine(options, nullptr, &target, /*seed=*/1);
  ASSERT_TRUE(engine.Start().ok());
  ASSERT_TRUE(PutNumber(engine, 7, 1).ok());
  while (target.Stored(7).empty()) std::this_thread::yield();
  ASSERT_TRUE(PutNumber(engine, 7, 2).ok());
  ASSERT_TRUE(engine.Flush(absl::InfiniteDuration()).ok());
  ASSERT_TRUE(engine.Close(absl::InfiniteDuration(), /*give_up_rest=*/false).status.ok());
  EXPECT_EQ(target.order(), (std::vector<uint64_t>{1, 2}));
}

TEST(WriteBehindThreadsTest, AFlushIsToldWhatACloseLeaves) {
  WriteBehindOptions options;
  NumberTarget target;
  std::atomic<bool> asked{false};
  target.answer = [&](const NumberWrite&) {
    asked = true;
    asked.notify_all();
    return absl::UnavailableError("down");
  };
  WriteBehind engine(options, nullptr, &target, /*seed=*/1);
  ASSERT_TRUE(engine.Start().ok());
  ASSERT_TRUE(PutNumber(engine, 7, 1).ok());
  absl::Status flushed;
  std::thread flusher([&] { flushed = engine.Flush(absl::InfiniteDuration()); });
  asked.wait(false);
  EXPECT_EQ(engine.Close(absl::ZeroDuration(), /*give_up_rest=*/false).writes.size(), 1u);
  flusher.join();
  EXPECT_FALSE(flushed.ok());
}

}  // namespace
}  // namespace larder::internal
