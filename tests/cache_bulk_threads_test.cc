// SPDX-License-Identifier: Apache-2.0
// Random sets of keys that overlap, asked for by many threads, one by one and together: each key is
// loaded at most once at a time, everyone gets the right values, nobody waits for ever.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/thread_pool.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;
using Keys = std::vector<uint64_t>;
using Result = absl::StatusOr<uint64_t>;
using Answers = std::map<uint64_t, Result>;

constexpr uint64_t kKeys = 24;
constexpr int kThreads = 4;

// What is loaded: a key's value, or NotFound, or an error, for good.
Result ValueOf(uint64_t key) {
  if (key % 7 == 3) return absl::NotFoundError("no such key");
  if (key % 11 == 5) return absl::DataLossError("torn");
  return key * 1000;
}

// The database. Counts who loads each key.
class Database {
 public:
  explicit Database(IntCache& cache) : cache_(cache) {}

  Result Load(uint64_t key, uint64_t seed) {
    Begin(key);
    MaybeAsk(key, seed);
    End(key);
    return ValueOf(key);
  }

  Answers LoadAll(const Keys& keys, uint64_t seed) {
    Answers answers;
    for (const uint64_t key : keys) Begin(key);
    MaybeAsk(*std::max_element(keys.begin(), keys.end()), seed);
    for (const uint64_t key : keys) {
      End(key);
      if (const Result value = ValueOf(key); !absl::IsNotFound(value.status())) {
        answers.emplace(key, value);
      }
    }
    return answers;
  }

  uint64_t overlaps() const { return overlaps_.load(); }
  uint64_t wrong() const { return wrong_.load(); }

  // Asks for some keys, and compares what comes.
  void Ask(std::mt19937_64& random, uint64_t first_key, const LoadOptions& options) {
    const auto any_key = [&] { return first_key + random() % (kKeys - first_key); };
    const uint64_t seed = random();
    if (random() % 3 == 0) {
      const uint64_t key = any_key();
      Check(key, cache_.GetOrLoad(
                     key, [this, seed](uint64_t loaded) { return Load(loaded, seed); }, options));
      return;
    }
    Keys keys(1 + random() % 8);
    std::generate(keys.begin(), keys.end(), any_key);
    const std::vector<Result> results = cache_.GetOrLoadAll(
        keys,
        [this, seed](const Keys& missing) -> absl::StatusOr<Answers> {
          return LoadAll(missing, seed);
        },
        options);
    for (size_t i = 0; i < keys.size(); ++i) Check(keys[i], results[i]);
  }

 private:
  void Begin(uint64_t key) {
    if (loading_[key].exchange(true)) overlaps_.fetch_add(1);
    std::this_thread::yield();
  }
  void End(uint64_t key) { loading_[key].store(false); }

  // Loaders ask for keys that are higher than their own only: they can't wait in a circle.
  void MaybeAsk(uint64_t key, uint64_t seed) {
    std::mt19937_64 random(seed + key);
    if (key + 1 < kKeys && random() % 4 == 0) Ask(random, key + 1, LoadOptions::Default());
  }

  void Check(uint64_t key, const Result& result) {
    const Result right = ValueOf(key);
    // To a loader that asks while the cache is being destroyed.
    if (absl::IsCancelled(result.status())) return;
    if (result.status().code() != right.status().code() || (right.ok() && *result != *right)) {
      wrong_.fetch_add(1);
      ADD_FAILURE() << "key " << key << ": " << result.status();
    }
  }

  IntCache& cache_;
  std::array<std::atomic<bool>, kKeys> loading_{};
  std::atomic<uint64_t> overlaps_{0};
  std::atomic<uint64_t> wrong_{0};
};

void RunRound(uint64_t seed, const IntCache::Options& options, const LoadOptions& load_options) {
  SCOPED_TRACE(testing::Message() << "LARDER_TEST_SEED=" << seed);
  auto cache = IntCache::Create(options).value();
  Database database(*cache);
  RunThreads(kThreads, [&](int thread) {
    std::mt19937_64 random(seed * kThreads + static_cast<uint64_t>(thread));
    for (int i = 0; i < 40; ++i) {
      database.Ask(random, 0, load_options);
      if (random() % 4 == 0) cache->Erase(random() % kKeys);
      if (random() % 16 == 0) cache->Clear();
    }
  });
  const absl::Status sound = cache->CheckInvariants();
  EXPECT_TRUE(sound.ok()) << sound;
  EXPECT_EQ(database.overlaps(), 0u);
  EXPECT_EQ(database.wrong(), 0u);
}

IntCache::Options SmallCache() {
  IntCache::Options options;
  options.capacity = 16;  // some are evicted
  return options;
}

TEST(CacheBulkThreadsTest, LoadsInTheCallersThreads) {
  for (int round = 0; round < Rounds(10); ++round) {
    RunRound(SeedOfRound(round), SmallCache(), LoadOptions::Default());
  }
}

TEST(CacheBulkThreadsTest, LoadsThatTakeTurns) {
  auto options = SmallCache();
  options.max_concurrent_loads = 1;
  for (int round = 0; round < Rounds(10); ++round) {
    RunRound(SeedOfRound(round), options, LoadOptions::Default());
  }
}

TEST(CacheBulkThreadsTest, LoadsOnAnExecutor) {
  const auto pool = ThreadPool::Create({.threads = 2}).value();
  auto options = SmallCache();
  options.executor = pool.get();
  for (int round = 0; round < Rounds(10); ++round) {
    RunRound(SeedOfRound(round), options, LoadOptions{.hard_timeout = absl::Hours(1)});
  }
}

TEST(CacheBulkThreadsTest, LoadsInTheBackgroundToo) {
  const auto pool = ThreadPool::Create({.threads = 2}).value();
  auto options = SmallCache();
  options.executor = pool.get();
  options.ttl = absl::Milliseconds(1);
  options.refresh_after = absl::Microseconds(1);
  options.stale_while_revalidate = absl::Milliseconds(1);
  options.negative_ttl = absl::Microseconds(10);
  options.max_concurrent_loads = 2;
  options.retry_after = absl::ZeroDuration();
  for (int round = 0; round < Rounds(10); ++round) {
    SCOPED_TRACE(testing::Message() << "LARDER_TEST_SEED=" << SeedOfRound(round));
    auto cache = IntCache::Create(options).value();
    auto database = std::make_unique<Database>(*cache);
    RunThreads(kThreads, [&](int thread) {
      std::mt19937_64 random(SeedOfRound(round) * kThreads + static_cast<uint64_t>(thread));
      for (int i = 0; i < 40; ++i) database->Ask(random, 0, LoadOptions::Default());
    });
    // Waits for what runs in the background, and drops what hasn't begun.
    cache.reset();
    EXPECT_EQ(database->overlaps(), 0u);
    EXPECT_EQ(database->wrong(), 0u);
  }
}

}  // namespace
}  // namespace larder::test
