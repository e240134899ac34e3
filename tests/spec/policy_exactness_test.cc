// SPDX-License-Identifier: Apache-2.0
// With one stripe and one thread each policy is exact: over generated traces a cache has the hits
// of the policy's reference model, and evicts the same keys in the same order.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "larder/policy.h"
#include "tests/support/policy_models.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using Random = std::mt19937_64;
using Trace = std::vector<uint64_t>;

// Keys 0..keys-1, of which the k-th is asked for in proportion to 1/k^exponent.
class ZipfKeys {
 public:
  ZipfKeys(size_t keys, double exponent) {
    double total = 0;
    for (size_t k = 1; k <= keys; ++k) {
      total += std::pow(static_cast<double>(k), -exponent);
      cumulative_.push_back(total);
    }
  }

  uint64_t operator()(Random& random) const {
    const double point = static_cast<double>(random() >> 11) * 0x1p-53 * cumulative_.back();
    const auto at = std::upper_bound(cumulative_.begin(), cumulative_.end(), point);
    return static_cast<uint64_t>(at - cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

size_t Requests(size_t capacity) { return 1'500 + 5 * capacity; }

Trace ZipfTrace(size_t capacity, Random& random) {
  const ZipfKeys keys(capacity * 5 + 3, 0.8);
  Trace trace;
  for (size_t i = 0; i < Requests(capacity); ++i) trace.push_back(keys(random));
  return trace;
}

// A loop that is a little larger than the cache, at times a little smaller.
Trace LoopTrace(size_t capacity, Random& random) {
  Trace trace;
  while (trace.size() < Requests(capacity)) {
    const size_t length = 1 + capacity * (80 + random() % 80) / 100;
    for (size_t round = 0; round < 5; ++round) {
      for (uint64_t key = 0; key < length; ++key) trace.push_back(key);
    }
  }
  return trace;
}

// Popular keys, with scans between them over keys that come only once.
Trace ScanTrace(size_t capacity, Random& random) {
  const ZipfKeys keys(capacity * 2 + 1, 1.0);
  Trace trace;
  uint64_t next_new = capacity * 2 + 1;
  while (trace.size() < Requests(capacity)) {
    for (size_t i = random() % (4 * capacity + 1); i > 0; --i) trace.push_back(keys(random));
    for (size_t i = random() % (2 * capacity + 1); i > 0; --i) trace.push_back(next_new++);
  }
  return trace;
}

// All of these, and what is popular changes.
Trace MixedTrace(size_t capacity, Random& random) {
  const ZipfKeys keys(capacity * 3 + 3, 0.9);
  Trace trace;
  uint64_t offset = 0;
  while (trace.size() < Requests(capacity)) {
    const size_t length = 1 + random() % (3 * capacity);
    switch (random() % 4) {
      case 0:  // a loop
        for (size_t i = 0; i < 3 * length; ++i) trace.push_back(offset + i % length);
        break;
      case 1:  // each of some keys a few times in a row
        for (size_t i = 0; i < length; ++i) trace.push_back(offset + i / (1 + length % 4));
        break;
      case 2:
        offset += random() % (capacity + 1);
        break;
      default:
        for (size_t i = 0; i < length; ++i) trace.push_back(offset + keys(random));
    }
  }
  return trace;
}

struct TraceKind {
  const char* name;
  Trace (*make)(size_t capacity, Random& random);
};

constexpr TraceKind kTraces[] = {
    {"Zipf", ZipfTrace}, {"Loop", LoopTrace}, {"Scan", ScanTrace}, {"Mixed", MixedTrace}};

// A cache and its model, which are to agree. Time moves in whole seconds and entries live for half
// ones, so that no deadline is hit to the nanosecond, and the wheel's tick does not matter.
template <class Policy, class Model>
class Comparison {
 public:
  using CacheT = Cache<uint64_t, uint64_t, Policy>;

  explicit Comparison(size_t capacity, absl::Duration ttl = absl::InfiniteDuration())
      : model_(capacity) {
    typename CacheT::Options options;
    options.capacity = capacity;
    options.stripes = 1;
    options.clock = &clock_;
    options.ttl = ttl;
    options.on_removal = [this](uint64_t key, uint64_t, RemovalCause cause) {
      if (cause == RemovalCause::kEvicted) evicted_.push_back(key);
      if (cause == RemovalCause::kExpired) expired_.push_back(key);
    };
    cache_ = CacheT::Create(options).value();
  }

  // Cache-aside: a miss puts the key.
  void Request(uint64_t key) {
    const bool hit = model_.Contains(key);
    ASSERT_EQ(cache_->Get(key).has_value(), hit) << "key " << key;
    hits_ += hit ? 1 : 0;
    if (hit) {
      model_.Access(key);
    } else {
      Put(key);
    }
  }

  void Put(uint64_t key) {
    ASSERT_TRUE(cache_->Put(key, key).ok());
    model_.Put(key);
    CompareEvicted();
  }

  void Erase(uint64_t key) {
    const bool there = model_.Contains(key);
    ASSERT_EQ(cache_->Erase(key), there);
    if (there) model_.Remove(key);
  }

  void PassTime(absl::Duration time) {
    clock_.Advance(time);
    while (cache_->RunMaintenance(100) != 0) {
    }
    for (const uint64_t key : std::exchange(expired_, {})) {
      ASSERT_TRUE(model_.Contains(key));
      model_.Remove(key);
    }
  }

  // Pushes everything out, so that the order of all that is left is compared.
  void EvictAll() {
    const size_t size = model_.size();
    for (uint64_t i = 0; i < 2 * size; ++i) ASSERT_NO_FATAL_FAILURE(Put(kNewKeys + i));
    EXPECT_TRUE(cache_->CheckInvariants().ok());
  }

  size_t hits() const { return hits_; }

 private:
  static constexpr uint64_t kNewKeys = uint64_t{1} << 40;

  void CompareEvicted() {
    ASSERT_EQ(std::exchange(evicted_, {}), model_.TakeEvicted());
    ASSERT_EQ(cache_->size(), model_.size());
  }

  ManualClock clock_;
  Model model_;
  std::vector<uint64_t> evicted_;
  std::vector<uint64_t> expired_;
  std::unique_ptr<CacheT> cache_;
  size_t hits_ = 0;
};

// Policies as values.
struct Exact {
  std::string_view name;
  void (*replay)(size_t capacity, const Trace& trace);
  void (*replay_with_changes)(size_t capacity, const Trace& trace, Random& random);
};

template <class Policy, class Model>
void Replay(size_t capacity, const Trace& trace) {
  Comparison<Policy, Model> comparison(capacity);
  for (size_t i = 0; i < trace.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("request ", i));
    ASSERT_NO_FATAL_FAILURE(comparison.Request(trace[i]));
  }
  EXPECT_TRUE(capacity < 10 || comparison.hits() > 0) << "or there was nothing to compare";
  comparison.EvictAll();
}

// Erasures, replacements and expiry in between.
template <class Policy, class Model>
void ReplayWithChanges(size_t capacity, const Trace& trace, Random& random) {
  Comparison<Policy, Model> comparison(capacity, absl::Seconds(50) + absl::Milliseconds(500));
  for (size_t i = 0; i < trace.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("request ", i));
    const uint64_t dice = random() % 1000;
    const uint64_t key = trace[random() % trace.size()];
    if (dice < 100) {
      ASSERT_NO_FATAL_FAILURE(comparison.Erase(key));
    } else if (dice < 200) {
      ASSERT_NO_FATAL_FAILURE(comparison.Put(key));
    } else if (dice < 210) {
      ASSERT_NO_FATAL_FAILURE(comparison.PassTime(absl::Seconds(random() % 20)));
    }
    ASSERT_NO_FATAL_FAILURE(comparison.Request(trace[i]));
  }
  comparison.EvictAll();
}

template <class Policy, class Model>
constexpr Exact ExactPolicy() {
  return {Policy::kName, &Replay<Policy, Model>, &ReplayWithChanges<Policy, Model>};
}

using Param = std::tuple<Exact, TraceKind, size_t>;

class PolicyExactness : public ::testing::TestWithParam<Param> {
 protected:
  static const Exact& policy() { return std::get<0>(GetParam()); }
  static size_t capacity() { return std::get<2>(GetParam()); }
  static Trace MakeTrace(Random& random) {
    return std::get<1>(GetParam()).make(capacity(), random);
  }
};

TEST_P(PolicyExactness, HitsAndEvictionsEqualTheModels) {
  for (int round = 0; round < Rounds(1); ++round) {
    SCOPED_TRACE(absl::StrCat("LARDER_TEST_SEED=", SeedOfRound(round)));
    Random random(SeedOfRound(round));
    policy().replay(capacity(), MakeTrace(random));
    if (HasFailure()) return;
  }
}

TEST_P(PolicyExactness, AlsoWhereEntriesAreErasedReplacedAndExpire) {
  for (int round = 0; round < Rounds(1); ++round) {
    SCOPED_TRACE(absl::StrCat("LARDER_TEST_SEED=", SeedOfRound(round)));
    Random random(SeedOfRound(round));
    policy().replay_with_changes(capacity(), MakeTrace(random), random);
    if (HasFailure()) return;
  }
}

std::string ExactNameOf(const ::testing::TestParamInfo<Param>& info) {
  const auto& [policy, trace, capacity] = info.param;
  return absl::StrCat(std::string(policy.name), "_", trace.name, "_", capacity);
}

const auto kExactPolicies = ::testing::Values(  // one line for each
    ExactPolicy<Lru, LruPolicyModel>(), ExactPolicy<Sieve, SievePolicyModel>(),
    ExactPolicy<S3Fifo, S3FifoPolicyModel>());

INSTANTIATE_TEST_SUITE_P(Spec, PolicyExactness,
                         ::testing::Combine(kExactPolicies, ::testing::ValuesIn(kTraces),
                                            ::testing::Values(1, 3, 10, 57, 999)),
                         ExactNameOf);

}  // namespace
}  // namespace larder::test
