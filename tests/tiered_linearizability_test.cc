// SPDX-License-Identifier: Apache-2.0
// A TieredCache is a map that forgets nothing, whatever its memory evicts: threads write and read a
// few keys through a cache that holds one or two of them, over a store that fails and dawdles, and
// what they saw must be linearizable. At the end cache and store must have the same.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/mutex.h"
#include "larder/tiered_cache.h"
#include "tests/support/history.h"
#include "tests/support/linearizability.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using Tiered = TieredCache<uint64_t, uint64_t>;

struct Workload {
  const char* name;
  WritePolicy policy;
  Coalescing coalescing = Coalescing::kLatest;
  WhenFull when_full = WhenFull::kBlock;
  uint64_t max_entries = 1000;
  uint64_t capacity = 2;
  bool fails = true;

  friend void PrintTo(const Workload& w, std::ostream* out) { *out << w.name; }
};

constexpr Workload kWorkloads[] = {
    {.name = "Through", .policy = WritePolicy::kThrough},
    {.name = "ThroughWithRoom", .policy = WritePolicy::kThrough, .capacity = 100},
    {.name = "Around", .policy = WritePolicy::kAround, .capacity = 100},
    {.name = "Behind", .policy = WritePolicy::kBehind},
    {.name = "BehindWithRoom", .policy = WritePolicy::kBehind, .capacity = 100},
    {.name = "BehindEveryVersion", .policy = WritePolicy::kBehind, .coalescing = Coalescing::kNone},
    {.name = "BehindFullBlocks", .policy = WritePolicy::kBehind, .max_entries = 2},
    {.name = "BehindFullWritesThrough",
     .policy = WritePolicy::kBehind,
     .when_full = WhenFull::kWriteThrough,
     .max_entries = 1,
     .fails = false},
};

constexpr int kThreads = 4;
constexpr uint64_t kKeys = 3;
constexpr int kOperationsPerThread = 200;

// A store that is never asked to write a key twice at a time, and says so if it is.
class FlakyStore : public Store<uint64_t, uint64_t> {
 public:
  FlakyStore(bool fails, uint64_t seed) : fails_(fails), random_(seed) {}

  absl::StatusOr<uint64_t> Load(const uint64_t& key) override {
    Dawdle();
    std::optional<uint64_t> row = Row(key);
    Dawdle();
    if (!row.has_value()) return absl::NotFoundError("no such key");
    return *row;
  }
  absl::Status Write(const uint64_t& key, const uint64_t& value, const WriteId& id) override {
    return Change(key, value, id);
  }
  absl::Status Erase(const uint64_t& key, const WriteId& id) override {
    return Change(key, std::nullopt, id);
  }

  std::optional<uint64_t> Row(uint64_t key) const {
    internal::MutexLock lock(&mutex_);
    const auto found = rows_.find(key);
    return found == rows_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  absl::Status Change(uint64_t key, std::optional<uint64_t> value, const WriteId& id) {
    EXPECT_FALSE(writing_[key].exchange(true));
    Dawdle();
    absl::Status status;
    {
      internal::MutexLock lock(&mutex_);
      if (fails_ && random_() % 4 == 0) {
        status = absl::UnavailableError("flaky");
      } else {
        EXPECT_LT(last_[key], id.sequence);
        last_[key] = id.sequence;
        if (value.has_value()) {
          rows_[key] = *value;
        } else {
          rows_.erase(key);
        }
      }
    }
    Dawdle();
    EXPECT_TRUE(writing_[key].exchange(false));
    return status;
  }

  void Dawdle() {
    uint64_t turns;
    {
      internal::MutexLock lock(&mutex_);
      turns = random_() % 4;
    }
    for (uint64_t i = 0; i < turns; ++i) std::this_thread::yield();
  }

  const bool fails_;
  std::atomic<bool> writing_[kKeys] = {};
  mutable internal::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, uint64_t> rows_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, uint64_t> last_ ABSL_GUARDED_BY(mutex_);
};

void Work(Tiered& cache, int thread, uint64_t seed, ThreadLog& log) {
  std::mt19937_64 random(seed * kThreads + static_cast<uint64_t>(thread));
  for (int i = 0; i < kOperationsPerThread; ++i) {
    if (random() % 4 == 0) std::this_thread::yield();
    const uint64_t key = random() % kKeys;
    const uint64_t choice = random() % 100;
    const uint64_t invoked = log.Now();
    if (choice < 50) {
      const absl::StatusOr<uint64_t> value = cache.Get(key);
      EXPECT_TRUE(value.ok() || absl::IsNotFound(value.status())) << value.status();
      log.Get(key, invoked, value.ok() ? std::optional(*value) : std::nullopt);
    } else if (choice < 80) {
      const uint64_t value = (static_cast<uint64_t>(thread) + 1) * 1'000'000 + i;
      // What the store failed to write didn't happen.
      if (cache.Put(key, value).ok()) log.Put(key, invoked, value);
    } else if (choice < 90) {
      if (cache.Erase(key).ok()) log.Clear(key, invoked, log.Now());
    } else if (choice < 96) {
      cache.memory().Erase(key);
    } else if (choice < 98) {
      cache.RunMaintenance(16);
    } else {
      EXPECT_TRUE(cache.Flush(absl::InfiniteDuration()).ok());
    }
  }
}

void RunOnce(const Workload& workload, uint64_t seed, History* history) {
  FlakyStore store(workload.fails, seed);
  Tiered::Options options;
  options.cache.capacity = workload.capacity;
  options.cache.stripes = 1;
  options.store = &store;
  options.write_policy = workload.policy;
  options.write_behind.coalescing = workload.coalescing;
  options.write_behind.when_full = workload.when_full;
  options.write_behind.max_entries = workload.max_entries;
  options.write_behind.full_timeout = absl::InfiniteDuration();
  options.write_behind.batch_size = 2;
  options.write_behind.batch_delay = absl::ZeroDuration();
  options.write_behind.first_backoff = absl::Microseconds(1);
  options.write_behind.max_backoff = absl::Microseconds(10);
  auto cache = Tiered::Create(options).value();
  HistoryRecorder recorder(kThreads, kOperationsPerThread);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] { Work(*cache, t, seed, recorder.log(t)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache->Flush(absl::InfiniteDuration()), absl::OkStatus());
  for (uint64_t key = 0; key < kKeys; ++key) {
    ThreadLog& log = recorder.log(0);
    const uint64_t invoked = log.Now();
    const absl::StatusOr<uint64_t> value = cache->Get(key);
    const std::optional<uint64_t> seen = value.ok() ? std::optional(*value) : std::nullopt;
    log.Get(key, invoked, seen);
    EXPECT_EQ(seen, store.Row(key)) << "cache and store differ";
  }
  const WriteBehindStats stats = cache->Stats().write_behind;
  EXPECT_EQ(stats.queued, 0u);
  EXPECT_EQ(cache->Close(absl::InfiniteDuration()), absl::OkStatus());
  *history = recorder.Collect();
}

class TieredLinearizability : public ::testing::TestWithParam<Workload> {};

TEST_P(TieredLinearizability, NoReadMissesAWriteThatWasAcknowledged) {
  for (int round = 0; round < Rounds(6); ++round) {
    const uint64_t seed = SeedOfRound(round);
    History history;
    RunOnce(GetParam(), seed, &history);
    const LinearizabilityResult result = CheckLinearizable(history);
    ASSERT_TRUE(result.ok) << "seed " << seed << " (the threads' timing differs in each run)\n"
                           << result.explanation;
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Workloads, TieredLinearizability, ::testing::ValuesIn(kWorkloads),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace larder::test
