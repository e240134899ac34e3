// SPDX-License-Identifier: Apache-2.0
//
// The circuit breaker against a model written from its contract, and from many threads.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/circuit_breaker_options.h"
#include "larder/circuit_state.h"
#include "larder/internal/circuit_breaker.h"
#include "larder/internal/node.h"
#include "tests/support/rounds.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::RunThreads;
using ::larder::test::SeedOfRound;
using Admission = CircuitBreaker::Admission;

// The contract in the plainest words: all outcomes since it closed, all probes by name.
class Model {
 public:
  explicit Model(const CircuitBreakerOptions& options) : options_(options) {}

  std::optional<int> Admit(int64_t now) {
    if (state(now) == CircuitState::kOpen) return std::nullopt;
    if (state(now) == CircuitState::kHalfOpen) {
      if (state_ == CircuitState::kOpen) Enter(CircuitState::kHalfOpen);
      if (static_cast<int>(running_.size()) == options_.half_open_loads) return std::nullopt;
    }
    running_.push_back(++loads_);
    return loads_;
  }

  void Report(int load, bool ok, int64_t now) {
    if (!Abandon(load)) return;
    outcomes_.push_back(ok);
    if (state_ == CircuitState::kHalfOpen) {
      if (!ok) {
        OpenAt(now);
      } else if (static_cast<int>(outcomes_.size()) == options_.successes) {
        failed_probes_ = 0;
        Enter(CircuitState::kClosed);
      }
      return;
    }
    const size_t window = options_.window == 0 ? options_.failures : options_.window;
    if (outcomes_.size() > window) outcomes_.pop_front();
    if (std::count(outcomes_.begin(), outcomes_.end(), false) >= options_.failures) OpenAt(now);
  }

  // Whether the load was admitted in the present state.
  bool Abandon(int load) { return std::erase(running_, load) == 1; }

  CircuitState state(int64_t now) const {
    return state_ == CircuitState::kOpen && now >= until_ ? CircuitState::kHalfOpen : state_;
  }
  int64_t next_probe() const { return state_ == CircuitState::kOpen ? until_ : kNever; }
  uint64_t opens() const { return opens_; }

 private:
  void Enter(CircuitState state) {
    state_ = state;
    outcomes_.clear();
    running_.clear();
  }

  void OpenAt(int64_t now) {
    if (state_ == CircuitState::kHalfOpen) ++failed_probes_;
    absl::Duration wait = options_.open_for;
    const absl::Duration most = options_.most_open_for.value_or(options_.open_for);
    for (int i = 0; i < failed_probes_; ++i) wait = std::min(2 * wait, most);
    until_ = now + absl::ToInt64Nanoseconds(wait);
    ++opens_;
    Enter(CircuitState::kOpen);
  }

  const CircuitBreakerOptions options_;
  CircuitState state_ = CircuitState::kClosed;
  std::deque<bool> outcomes_;  // in this state
  std::vector<int> running_;   // admitted in this state
  int loads_ = 0;
  int64_t until_ = 0;
  int failed_probes_ = 0;  // since it was closed
  uint64_t opens_ = 0;
};

CircuitBreakerOptions RandomOptions(std::mt19937_64& random) {
  CircuitBreakerOptions options;
  options.failures = 1 + static_cast<int>(random() % 6);
  if (random() % 2 == 0) options.window = options.failures + static_cast<int>(random() % 10);
  options.open_for = absl::Nanoseconds(1 + random() % 50);
  if (random() % 2 == 0) options.most_open_for = options.open_for * (1 + random() % 10);
  options.half_open_loads = 1 + static_cast<int>(random() % 3);
  options.successes = 1 + static_cast<int>(random() % 4);
  return options;
}

struct Running {
  Admission admission;
  int load;
};

// Ends one of `running`, in the breaker and in the model.
void EndOne(std::mt19937_64& random, uint64_t ok_percent, int64_t now,
            std::vector<Running>& running, CircuitBreaker& breaker, Model& model) {
  std::swap(running[random() % running.size()], running.back());
  const auto [admission, load] = running.back();
  running.pop_back();
  if (random() % 10 == 0) {
    breaker.Abandon(admission);
    model.Abandon(load);
  } else {
    const bool ok = random() % 100 < ok_percent;
    breaker.Report(admission, ok, now);
    model.Report(load, ok, now);
  }
}

TEST(CircuitBreakerModelTest, DoesAsTheModel) {
  std::array<int, 3> seen{};
  for (int round = 0; round < Rounds(300); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const CircuitBreakerOptions options = RandomOptions(random);
    ASSERT_TRUE(options.Validate().ok());
    CircuitBreaker breaker(options);
    Model model(options);
    std::vector<Running> running;
    int64_t now = static_cast<int64_t>(random() % 1'000) - 500;
    uint64_t ok_percent = 50;
    for (int step = 0; step < 1'000; ++step) {
      if (random() % 100 == 0) ok_percent = random() % 101;
      if (random() % 4 == 0) now += static_cast<int64_t>(random() % 20);
      if (running.empty() || random() % 2 == 0) {
        const std::optional<Admission> admission = breaker.Admit(now);
        const std::optional<int> load = model.Admit(now);
        ASSERT_EQ(admission.has_value(), load.has_value()) << "step " << step;
        if (load.has_value()) running.push_back({*admission, *load});
      } else {
        EndOne(random, ok_percent, now, running, breaker, model);
      }
      ASSERT_EQ(breaker.state(now), model.state(now)) << "step " << step;
      ASSERT_EQ(breaker.next_probe(), model.next_probe()) << "step " << step;
      ASSERT_EQ(breaker.opens(), model.opens()) << "step " << step;
      ++seen[static_cast<size_t>(model.state(now))];
    }
  }
  for (const int steps : seen) EXPECT_GT(steps, 10'000) << "the test doesn't reach all states";
}

constexpr int kThreads = 4;

// Loads that all fail, so that those of all periods but 0 are probes.
class Failing {
 public:
  void Run(int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (int i = 0; i < kLoads; ++i) {
      const int64_t time = now_.fetch_add(1) + 1;
      const std::optional<Admission> admission = breaker_.Admit(time);
      if (!admission.has_value()) continue;
      Period& period = periods_.at(admission->period);
      if (period.running.fetch_add(1) >= kProbes && admission->period != 0) too_many_.store(true);
      if (random() % 8 == 0) std::this_thread::yield();
      period.running.fetch_sub(1);
      if (random() % 4 == 0) {
        breaker_.Abandon(*admission);
      } else {
        period.failed.store(true);
        breaker_.Report(*admission, false, time);
      }
    }
  }

  void Check() const {
    EXPECT_FALSE(too_many_.load());
    uint64_t failed = 0;
    for (const Period& period : periods_) failed += period.failed.load() ? 1 : 0;
    EXPECT_EQ(breaker_.opens(), failed) << "each period that has failures ends by one";
    EXPECT_GT(failed, 10u);
  }

 private:
  static constexpr int kLoads = 5'000;
  static constexpr int kProbes = 2;
  struct Period {
    std::atomic<int> running{0};
    std::atomic<bool> failed{false};
  };

  CircuitBreaker breaker_{
      {.failures = 10, .open_for = absl::Nanoseconds(3), .half_open_loads = kProbes}};
  std::atomic<int64_t> now_{0};
  // A load ends one period by its admission and another by its failure, at most.
  std::vector<Period> periods_{2 * kLoads * kThreads + 1};
  std::atomic<bool> too_many_{false};
};

TEST(CircuitBreakerThreadsTest, NeverMoreProbesThanAskedForAndEachPeriodEndsOnce) {
  for (int round = 0; round < Rounds(4); ++round) {
    Failing loads;
    RunThreads(kThreads, [&](int thread) { loads.Run(round * kThreads + thread); });
    loads.Check();
  }
}

// A database that dies and comes back, again and again: once it is well, so is the breaker.
TEST(CircuitBreakerThreadsTest, ClosesOnceLoadsSucceedAgain) {
  CircuitBreaker breaker({.failures = 3,
                          .window = 6,
                          .open_for = absl::Nanoseconds(5),
                          .most_open_for = absl::Nanoseconds(20),
                          .half_open_loads = 3,
                          .successes = 5});
  std::atomic<int64_t> now{0};
  for (int round = 0; round < Rounds(20); ++round) {
    RunThreads(kThreads, [&](int thread) {
      std::mt19937_64 random(static_cast<uint64_t>(round * kThreads + thread));
      for (int i = 0; i < 500; ++i) {
        const int64_t time = now.fetch_add(1) + 1;
        const std::optional<Admission> admission = breaker.Admit(time);
        if (!admission.has_value()) continue;
        if (random() % 8 == 0) {
          breaker.Abandon(*admission);
        } else {
          breaker.Report(*admission, random() % 3 == 0, time);
        }
      }
    });
    EXPECT_GT(breaker.opens(), static_cast<uint64_t>(round));
    now.fetch_add(100);
    // No probe was lost: five that succeed, one after the other, are enough.
    for (int i = 0; i < 5; ++i) {
      const std::optional<Admission> admission = breaker.Admit(now.load());
      ASSERT_TRUE(admission.has_value());
      breaker.Report(*admission, true, now.load());
    }
    ASSERT_EQ(breaker.state(now.load()), CircuitState::kClosed);
  }
}

}  // namespace
}  // namespace larder::internal
