// SPDX-License-Identifier: Apache-2.0
// Runs a real cache with several threads over few keys, all operations mixed, records what each
// thread saw, and checks that it is linearizable key by key.
#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/history.h"
#include "tests/support/linearizability.h"
#include "tests/support/rounds.h"
#include "tests/support/throwing.h"
#include "tests/support/yielding.h"

namespace larder::test {
namespace {

struct Workload {
  const char* name;
  int threads = 4;
  uint64_t keys = 3;  // recorded: 0 to keys - 1
  int stripes = 0;
  uint64_t capacity = 1 << 20;
  // Other keys, put and erased beside the recorded ones: they make the table grow, or evict.
  uint64_t filler_keys = 16;
  bool shrinks = false;  // SetCapacity between half and all of the capacity
  bool loads = true;
  absl::Duration ttl = absl::InfiniteDuration();
  absl::Duration idle_ttl = absl::InfiniteDuration();
  absl::Duration time_step = absl::Milliseconds(10);  // the most that time advances at once
  // A Clear of many entries is done in turns, between which others write: it may remove a key, and
  // what is put there while it runs.
  bool clears_in_turns = false;

  // Whether an entry may go without being asked to. With room for all, none may.
  bool may_vanish() const {
    return capacity < keys + filler_keys || shrinks || ttl != absl::InfiniteDuration() ||
           idle_ttl != absl::InfiniteDuration();
  }

  friend void PrintTo(const Workload& w, std::ostream* out) { *out << w.name; }
};

constexpr Workload kWorkloads[] = {
    {.name = "TwoThreadsOneKey", .threads = 2, .keys = 1},
    {.name = "EightThreadsOneKey", .threads = 8, .keys = 1},
    {.name = "FourThreads"},
    {.name = "OneStripe", .stripes = 1},
    {.name = "ManyStripes", .threads = 8, .keys = 8, .stripes = 64},
    {.name = "WithoutLoads", .threads = 4, .keys = 2, .loads = false},
    {.name = "GrowingTable", .stripes = 1, .filler_keys = 1 << 16, .clears_in_turns = true},
    {.name = "CapacityOne", .stripes = 1, .capacity = 1, .filler_keys = 2},
    {.name = "TinyCapacity", .stripes = 1, .capacity = 4, .filler_keys = 8},
    {.name = "TinyCapacityStriped", .threads = 8, .stripes = 4, .capacity = 8, .filler_keys = 64},
    {.name = "ShrinkingCapacity", .capacity = 64, .filler_keys = 48, .shrinks = true},
    {.name = "Ttl", .ttl = absl::Milliseconds(40)},
    {.name = "IdleTtl", .idle_ttl = absl::Milliseconds(30)},
    // Less than a tick of the timer wheel: entries stay in the table long after they expired.
    {.name = "ShortTtl", .ttl = absl::Microseconds(40), .time_step = absl::Microseconds(10)},
    {.name = "ShortIdleTtl",
     .idle_ttl = absl::Microseconds(30),
     .time_step = absl::Microseconds(10)},
    {.name = "BothTtlsAndEviction",
     .stripes = 2,
     .capacity = 6,
     .ttl = absl::Milliseconds(60),
     .idle_ttl = absl::Milliseconds(30)},
};

using PlainCache = Cache<uint64_t, uint64_t>;
using YieldingCache = Cache<uint64_t, YieldingValue, Lru, YieldingHash, YieldingEqual>;

uint64_t Number(uint64_t value) { return value; }
uint64_t Number(const Counted& value) { return value.number(); }

constexpr int kOperationsPerThread = 400;
constexpr uint64_t kFirstFiller = 1'000'000;

// What one thread does. Values are never written twice: thread and a count make them.
template <typename V, typename CacheT>
class Worker {
 public:
  using HandleT = typename CacheT::Handle;

  Worker(const Workload& workload, int thread, uint64_t seed, CacheT* cache, YieldingClock* clock,
         ThreadLog* log)
      : workload_(workload),
        thread_(static_cast<uint64_t>(thread)),
        random_(seed * 64 + thread_),
        cache_(*cache),
        clock_(*clock),
        log_(*log) {}

  void Run() {
    for (int i = 0; i < kOperationsPerThread; ++i) {
      YieldSometimes();
      if (random_() % 8 == 0) clock_.Advance(workload_.time_step * Tenths());
      Step(random_() % workload_.keys);
    }
  }

  // Handles may be dropped after the cache: the values must still be what they were.
  void DropHandles() {
    for (const auto& [handle, number] : handles_) EXPECT_EQ(Number(*handle), number);
    handles_.clear();
  }

 private:
  void Step(uint64_t key) {
    const uint64_t choice = random_() % 100;
    if (choice < 10) return Get(key);
    if (choice < 18) return Visit(key);
    if (choice < 26) return Pin(key);
    if (choice < 29) return Contains(key);
    if (choice < 44) return Put(key);
    if (choice < 52) return PutIfAbsent(key);
    if (choice < 60) return Erase(key);
    if (choice < 63) return EraseIf(key);
    if (choice < 73) return Compute(key);
    if (choice < 74) return Clear();
    if (choice < 76) return ForEach();
    if (choice < 78) return Maintain();
    if (choice < 86) return Fill();
    if (workload_.loads) return GetOrLoad(key);
    Get(key);
  }

  void YieldSometimes() {
    if (random_() % 8 == 0) std::this_thread::yield();
  }

  double Tenths() { return static_cast<double>(random_() % 11) / 10; }

  uint64_t NewNumber() { return (thread_ + 1) * 1'000'000'000 + ++last_number_; }

  void Get(uint64_t key) {
    const uint64_t invoked = log_.Now();
    const std::optional<V> value = cache_.Get(key);
    log_.Get(key, invoked, value.has_value() ? std::optional(Number(*value)) : std::nullopt);
  }

  void Visit(uint64_t key) {
    std::optional<uint64_t> seen;
    const uint64_t invoked = log_.Now();
    const bool found = cache_.Visit(key, [this, &seen](const V& value) {
      seen = Number(value);
      YieldSometimes();
      EXPECT_EQ(Number(value), seen);
    });
    log_.Get(key, invoked, seen);
    EXPECT_EQ(found, seen.has_value());
  }

  void Pin(uint64_t key) {
    const uint64_t invoked = log_.Now();
    HandleT handle = cache_.Pin(key);
    const bool found = static_cast<bool>(handle);
    log_.Get(key, invoked, found ? std::optional(Number(*handle)) : std::nullopt);
    if (!found) return;
    EXPECT_EQ(handle.key(), key);
    const uint64_t number = Number(*handle);
    handles_.emplace_back(std::move(handle), number);
    if (handles_.size() > 4) DropHandles();
  }

  void Contains(uint64_t key) {
    const uint64_t invoked = log_.Now();
    log_.Contains(key, invoked, cache_.Contains(key));
  }

  void Put(uint64_t key) {
    const uint64_t number = NewNumber();
    const uint64_t invoked = log_.Now();
    const absl::Status status = cache_.Put(key, V(number));
    log_.Put(key, invoked, number);
    EXPECT_TRUE(status.ok()) << status;
  }

  void PutIfAbsent(uint64_t key) {
    const uint64_t number = NewNumber();
    const uint64_t invoked = log_.Now();
    log_.PutIfAbsent(key, invoked, number, cache_.PutIfAbsent(key, V(number)));
  }

  void Erase(uint64_t key) {
    const uint64_t invoked = log_.Now();
    log_.Erase(key, invoked, cache_.Erase(key));
  }

  void EraseIf(uint64_t key) {
    const uint64_t invoked = log_.Now();
    const size_t erased = cache_.EraseIf([key](uint64_t k, const V&) { return k == key; });
    const uint64_t responded = log_.Now();
    for (uint64_t k = 0; k < workload_.keys; ++k) {
      log_.EraseIf(k, invoked, responded, k == key && erased != 0);
    }
    EXPECT_LE(erased, 1u);
  }

  void Compute(uint64_t key) {
    const bool erases = random_() % 4 == 0;
    const uint64_t number = NewNumber();
    std::optional<uint64_t> before;
    std::optional<uint64_t> after;
    const uint64_t invoked = log_.Now();
    const absl::Status status = cache_.Compute(key, [&](std::optional<V> old) -> std::optional<V> {
      before = old.has_value() ? std::optional(Number(*old)) : std::nullopt;
      after = erases ? std::nullopt : std::optional(number);
      for (int i = 0; i < 4; ++i) YieldSometimes();
      return erases ? std::nullopt : std::optional<V>(V(number));
    });
    log_.Compute(key, invoked, before, after);
    EXPECT_TRUE(status.ok()) << status;
  }

  void GetOrLoad(uint64_t key) {
    const bool fails = random_() % 8 == 0;
    const uint64_t number = NewNumber();
    int runs = 0;
    uint64_t began = 0;
    uint64_t ended = 0;
    const uint64_t invoked = log_.Now();
    const absl::StatusOr<V> value =
        cache_.GetOrLoad(key, [&](const uint64_t& asked) -> absl::StatusOr<V> {
          began = log_.Now();
          ++runs;
          EXPECT_EQ(asked, key);
          for (int i = 0; i < 8; ++i) YieldSometimes();
          ended = log_.Now();
          if (fails) return absl::UnavailableError("no such luck");
          return V(number);
        });
    if (runs == 0) {
      if (value.ok()) log_.GetOrLoad(key, invoked, Number(*value));
      EXPECT_TRUE(value.ok() || absl::IsUnavailable(value.status())) << value.status();
      return;
    }
    log_.Load(key, invoked, began, ended, number, !fails);
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(value.ok(), !fails) << value.status();
    if (value.ok()) {
      EXPECT_EQ(Number(*value), number);
    }
  }

  void Clear() {
    if (random_() % 4 != 0) return;
    const uint64_t invoked = log_.Now();
    cache_.Clear();
    const uint64_t responded = log_.Now();
    for (uint64_t key = 0; key < workload_.keys; ++key) {
      for (int turn = 0; turn < (workload_.clears_in_turns ? 4 : 1); ++turn) {
        log_.Clear(key, invoked, responded);
      }
    }
  }

  // Weakly consistent: it may miss what changes meanwhile, but what it sees must have been there.
  void ForEach() {
    if (random_() % 4 != 0) return;
    std::vector<std::pair<uint64_t, uint64_t>> seen;
    const uint64_t invoked = log_.Now();
    cache_.ForEach([&seen, this](uint64_t key, const V& value) {
      if (key < workload_.keys) seen.emplace_back(key, Number(value));
    });
    std::sort(seen.begin(), seen.end());
    for (size_t i = 0; i < seen.size(); ++i) {
      // A key that is replaced during the walk may be met twice; the log takes one a walk.
      if (i == 0 || seen[i].first != seen[i - 1].first) {
        log_.Get(seen[i].first, invoked, seen[i].second);
      }
    }
  }

  void Maintain() {
    cache_.RunMaintenance(random_() % 8);
    if (workload_.shrinks) {
      const uint64_t capacity = workload_.capacity / 2 + random_() % (workload_.capacity / 2);
      EXPECT_TRUE(cache_.SetCapacity(capacity).ok());
    }
    const CacheStats stats = cache_.Stats();
    EXPECT_LE(stats.hit_ratio(), 1.0);
  }

  // With many filler keys, a few at a time: the table shall grow while others use it.
  void Fill() {
    for (int i = 0; i < (workload_.filler_keys > 1000 ? 64 : 1); ++i) {
      const uint64_t key = kFirstFiller + random_() % workload_.filler_keys;
      if (random_() % 8 == 0) {
        cache_.Erase(key);
      } else {
        EXPECT_TRUE(cache_.Put(key, V(key)).ok());
      }
    }
  }

  const Workload& workload_;
  const uint64_t thread_;
  std::mt19937_64 random_;
  CacheT& cache_;
  YieldingClock& clock_;
  ThreadLog& log_;
  uint64_t last_number_ = 0;
  std::vector<std::pair<HandleT, uint64_t>> handles_;
};

// One cache, from Create to its end, and what its threads saw.
template <typename V, typename CacheT>
void RunOnce(const Workload& workload, uint64_t seed, History* history) {
  YieldingClock clock;
  typename CacheT::Options options;
  options.capacity = workload.capacity;
  options.stripes = workload.stripes;
  options.ttl = workload.ttl;
  options.idle_ttl = workload.idle_ttl;
  options.clock = &clock;
  absl::StatusOr<std::unique_ptr<CacheT>> created = CacheT::Create(options);
  ASSERT_TRUE(created.ok()) << created.status();
  CacheT& cache = **created;

  // One more log for what is there at the end.
  HistoryRecorder recorder(workload.threads + 1, kOperationsPerThread * 4);
  using WorkerT = Worker<V, CacheT>;
  std::vector<std::unique_ptr<WorkerT>> workers;
  for (int t = 0; t < workload.threads; ++t) {
    workers.push_back(
        std::make_unique<WorkerT>(workload, t, seed, &cache, &clock, &recorder.log(t)));
  }
  std::atomic<int> waiting{workload.threads};
  std::vector<std::thread> threads;
  for (const auto& worker : workers) {
    threads.emplace_back([&waiting, &worker] {
      waiting.fetch_sub(1);
      while (waiting.load() > 0) std::this_thread::yield();
      worker->Run();
    });
  }
  for (std::thread& thread : threads) thread.join();

  ThreadLog& last = recorder.log(workload.threads);
  for (uint64_t key = 0; key < workload.keys; ++key) {
    const uint64_t invoked = last.Now();
    const std::optional<V> value = cache.Get(key);
    last.Get(key, invoked, value.has_value() ? std::optional(Number(*value)) : std::nullopt);
  }
  EXPECT_LE(cache.weight(), cache.capacity());
  const absl::Status invariants = cache.CheckInvariants();
  EXPECT_TRUE(invariants.ok()) << invariants;
  created->reset();
  for (const auto& worker : workers) worker->DropHandles();
  *history = recorder.Collect();
}

template <typename V, typename CacheT>
void RunRounds(const Workload& workload, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    const uint64_t seed = SeedOfRound(round);
    History history;
    RunOnce<V, CacheT>(workload, seed, &history);
    const LinearizabilityResult result =
        CheckLinearizable(history, {.may_vanish = workload.may_vanish()});
    ASSERT_TRUE(result.ok) << "seed " << seed << " (the threads' timing differs in each run)\n"
                           << result.explanation;
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
}

class CacheLinearizability : public ::testing::TestWithParam<Workload> {};

TEST_P(CacheLinearizability, HoldsForNumbers) {
  RunRounds<uint64_t, PlainCache>(GetParam(), Rounds(5));
}

TEST_P(CacheLinearizability, HoldsInEveryCallback) {
  RunRounds<YieldingValue, YieldingCache>(GetParam(), Rounds(5));
  EXPECT_EQ(Counted::Live(), 0);
  EXPECT_EQ(Counted::Violations(), 0);
  Counted::ForgetViolations();  // each workload answers for its own
}

INSTANTIATE_TEST_SUITE_P(Workloads, CacheLinearizability, ::testing::ValuesIn(kWorkloads),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace larder::test
