// SPDX-License-Identifier: Apache-2.0
// Lru with one stripe and one thread is exact LRU: random operations on a cache and on the
// reference model must have equal results, remove the same entries in the same order, and leave the
// same.
#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "tests/support/lru_model.h"
#include "tests/support/rounds.h"

namespace larder::test {
namespace {

using Removal = LruModel::Removal;

struct Case {
  const char* name;
  uint64_t capacity;
  bool weighed = false;
  bool entry_ttls = false;  // some entries have their own
  absl::Duration ttl = absl::InfiniteDuration();
  absl::Duration idle_ttl = absl::InfiniteDuration();
  // Maintenance runs whenever time has passed, so what is due is gone; otherwise whenever the cache
  // gets to it.
  bool maintained = true;
  int steps = 3000;

  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

// Time moves in whole seconds and entries live for half ones: no deadline is hit to the nanosecond,
// and the wheel's tick does not matter.
constexpr absl::Duration kHalf = absl::Milliseconds(500);

const Case kCases[] = {
    {.name = "One", .capacity = 1},
    {.name = "Seven", .capacity = 7},
    {.name = "Hundred", .capacity = 100},
    // Past the size up to which the policy sorts a stripe as a whole.
    {.name = "Thousand", .capacity = 1000, .steps = 20'000},
    {.name = "Weighed", .capacity = 50, .weighed = true},
    {.name = "WeighedThousand", .capacity = 3000, .weighed = true, .steps = 10'000},
    {.name = "Ttl", .capacity = 30, .ttl = absl::Seconds(20) + kHalf},
    {.name = "IdleTtl", .capacity = 30, .idle_ttl = absl::Seconds(5) + kHalf},
    {.name = "EntryTtls", .capacity = 30, .entry_ttls = true},
    {.name = "WeighedTtls",
     .capacity = 100,
     .weighed = true,
     .entry_ttls = true,
     .ttl = absl::Hours(2) + kHalf,
     .idle_ttl = absl::Seconds(9) + kHalf},
    {.name = "TtlUnmaintained",
     .capacity = 30,
     .ttl = absl::Seconds(20) + kHalf,
     .maintained = false},
    {.name = "EntryTtlsUnmaintained", .capacity = 30, .entry_ttls = true, .maintained = false},
    {.name = "BothTtlsUnmaintained",
     .capacity = 300,
     .entry_ttls = true,
     .ttl = absl::Minutes(3) + kHalf,
     .idle_ttl = absl::Seconds(30) + kHalf,
     .maintained = false},
};

class LruComparison {
 public:
  using CacheT = Cache<uint64_t, uint64_t, Lru>;

  LruComparison(const Case& c, uint64_t seed)
      : case_(c), random_(seed), model_(c.capacity, &clock_) {
    CacheT::Options options;
    options.capacity = c.capacity;
    options.stripes = 1;
    options.ttl = c.ttl;
    options.idle_ttl = c.idle_ttl;
    options.clock = &clock_;
    if (c.weighed) options.weigher = WeightOf;
    options.on_removal = [this](uint64_t key, uint64_t value, RemovalCause cause) {
      told_.push_back({key, value, cause});
    };
    cache_ = CacheT::Create(options).value();
  }

  void Run() {
    for (int step = 0; step < case_.steps; ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      Step();
      if (step % 64 == 0) CompareContents();
      if (::testing::Test::HasFailure()) return;
    }
    EvictAll();
    const absl::Status invariants = cache_->CheckInvariants();
    EXPECT_TRUE(invariants.ok()) << invariants;
  }

 private:
  static uint64_t WeightOf(uint64_t, uint64_t value) { return value % 6; }

  void Step() {
    // The smaller of two: some keys are asked for more often.
    const uint64_t keys = 3 * case_.capacity;
    const uint64_t key = std::min(random_() % keys, random_() % keys);
    const uint64_t choice = random_() % 200;
    if (choice < 60) return Look(key);
    if (choice < 75) return Contains(key);
    if (choice < 120) return Put(key);
    if (choice < 135) return PutIfAbsent(key);
    if (choice < 150) return Erase(key);
    if (choice < 165) return Compute(key);
    if (choice < 180) return GetOrLoad(key);
    if (choice < 194) return PassTime();
    if (choice < 196) return EraseIf();
    if (choice < 197 && random_() % 4 == 0) return Clear();
    if (choice < 198) return SetCapacity();
    Look(key);
  }

  void Look(uint64_t key) {
    const char* const how[] = {"Get", "Visit", "Pin"};
    const size_t which = random_() % 3;
    SCOPED_TRACE(absl::StrCat(how[which], "(", key, ")"));
    std::optional<uint64_t> found;
    if (which == 0) found = cache_->Get(key);
    if (which == 1) cache_->Visit(key, [&found](uint64_t value) { found = value; });
    if (which == 2) {
      if (auto handle = cache_->Pin(key)) found = *handle;
    }
    TakeOverExpired();
    EXPECT_EQ(found, model_.Get(key));
    CompareRemovals();
  }

  void Contains(uint64_t key) {
    SCOPED_TRACE(absl::StrCat("Contains(", key, ")"));
    const bool found = cache_->Contains(key);
    TakeOverExpired();
    EXPECT_EQ(found, model_.Contains(key));
    CompareRemovals();
  }

  // A new entry for both sides, and what to tell the cache about it.
  LruModel::Entry NewEntry(uint64_t key, PutOptions* options) {
    LruModel::Entry entry{.key = key, .value = ++last_value_};
    if (case_.weighed) {
      if (random_() % 4 == 0) options->weight = random_() % (case_.capacity / 4);
      if (random_() % 50 == 0) options->weight = case_.capacity + 1;
      entry.weight = options->weight.value_or(WeightOf(key, entry.value));
    }
    if (case_.entry_ttls && random_() % 2 == 0) {
      // Up to days: all levels of a wheel that are within reach.
      options->ttl = absl::Seconds(random_() % (uint64_t{1} << (random_() % 18))) + kHalf;
    }
    if (case_.entry_ttls && random_() % 4 == 0) {
      options->idle_ttl = absl::Seconds(random_() % 60) + kHalf;
    }
    entry.ttl = Nanos(options->ttl.value_or(case_.ttl));
    entry.idle_ttl = Nanos(options->idle_ttl.value_or(case_.idle_ttl));
    return entry;
  }
  static int64_t Nanos(absl::Duration duration) {
    return duration == absl::InfiniteDuration() ? LruModel::kForever
                                                : absl::ToInt64Nanoseconds(duration);
  }

  void Put(uint64_t key) {
    PutOptions options;
    const LruModel::Entry entry = NewEntry(key, &options);
    SCOPED_TRACE(absl::StrCat("Put(", key, ", ", entry.value, ") of weight ", entry.weight));
    const absl::Status status = cache_->Put(key, entry.value, options);
    TakeOverExpired();
    EXPECT_EQ(status.ok(), model_.Put(entry)) << status;
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
    CompareRemovals();
  }

  void PutIfAbsent(uint64_t key) {
    PutOptions options;
    const LruModel::Entry entry = NewEntry(key, &options);
    SCOPED_TRACE(
        absl::StrCat("PutIfAbsent(", key, ", ", entry.value, ") of weight ", entry.weight));
    const bool stored = cache_->PutIfAbsent(key, entry.value, options);
    TakeOverExpired();
    EXPECT_EQ(stored, model_.PutIfAbsent(entry));
    CompareRemovals();
  }

  void Erase(uint64_t key) {
    SCOPED_TRACE(absl::StrCat("Erase(", key, ")"));
    const bool erased = cache_->Erase(key);
    TakeOverExpired();
    EXPECT_EQ(erased, model_.Erase(key));
    CompareRemovals();
  }

  void EraseIf() {
    const uint64_t remainder = random_() % 5;
    SCOPED_TRACE(absl::StrCat("EraseIf(key % 5 == ", remainder, ")"));
    const auto chosen = [remainder](uint64_t key, uint64_t) { return key % 5 == remainder; };
    const size_t erased = cache_->EraseIf(chosen);
    TakeOverExpired();
    EXPECT_EQ(erased, model_.EraseIf(chosen));
    CompareRemovals(/*in_order=*/false);
  }

  void Compute(uint64_t key) {
    LruModel::Entry entry{.key = key, .value = ++last_value_};
    if (case_.weighed) entry.weight = WeightOf(key, entry.value);
    entry.ttl = Nanos(case_.ttl);
    entry.idle_ttl = Nanos(case_.idle_ttl);
    const bool erases = random_() % 4 == 0;
    SCOPED_TRACE(absl::StrCat("Compute(", key, ") to ", erases ? 0 : entry.value));
    std::optional<uint64_t> before;
    const absl::Status status =
        cache_->Compute(key, [&](std::optional<uint64_t> old) -> std::optional<uint64_t> {
          before = old;
          return erases ? std::nullopt : std::optional(entry.value);
        });
    TakeOverExpired();
    EXPECT_EQ(before, model_.Peek(key));
    EXPECT_EQ(status.ok(), model_.Compute(key, erases ? std::nullopt : std::optional(entry)));
    CompareRemovals();
  }

  void GetOrLoad(uint64_t key) {
    PutOptions options;
    const LruModel::Entry entry = NewEntry(key, &options);
    SCOPED_TRACE(absl::StrCat("GetOrLoad(", key, ") of ", entry.value, ", ", entry.weight));
    const absl::StatusOr<uint64_t> value =
        cache_->GetOrLoad(key, [&](const uint64_t&) -> absl::StatusOr<Loaded<uint64_t>> {
          return Loaded<uint64_t>{entry.value, options.ttl, options.idle_ttl, options.weight};
        });
    TakeOverExpired();
    const std::optional<uint64_t> hit = model_.Get(key);
    if (!hit.has_value()) model_.Put(entry);
    ASSERT_TRUE(value.ok()) << value.status();
    EXPECT_EQ(*value, hit.value_or(entry.value));
    CompareRemovals();
  }

  void Clear() {
    SCOPED_TRACE("Clear");
    cache_->Clear();
    TakeOverExpired();
    model_.Clear();
    CompareRemovals(/*in_order=*/false);
  }

  void SetCapacity() {
    const uint64_t capacity = case_.capacity - random_() % (case_.capacity / 2 + 1);
    SCOPED_TRACE(absl::StrCat("SetCapacity(", capacity, ")"));
    EXPECT_TRUE(cache_->SetCapacity(capacity).ok());
    TakeOverExpired();
    model_.SetCapacity(capacity);
    CompareRemovals();
  }

  void PassTime() {
    const uint64_t seconds = random_() % (uint64_t{1} << (random_() % 8));
    SCOPED_TRACE(absl::StrCat(seconds, " s pass"));
    clock_.Advance(absl::Seconds(seconds));
    if (!case_.maintained) return;
    while (cache_->RunMaintenance(1 + random_() % 100) > 0) {
    }
    TakeOverExpired();
    model_.DropExpired();
    CompareRemovals();
  }

  // Expired entries may be removed at any time: what the cache has dropped, the model drops now.
  void TakeOverExpired() {
    for (const Removal& removal : told_) {
      if (removal.cause == RemovalCause::kExpired && owed_.count(removal) == 0) {
        EXPECT_TRUE(model_.DropExpired(removal.key)) << removal << ", which is not due";
      }
    }
  }

  // What was removed since the last call, in equal order but for expired entries. Those that the
  // model has dropped to make room the cache may still owe, if it didn't have to drop them all.
  void CompareRemovals(bool in_order = true) {
    std::vector<Removal> expected;
    for (const Removal& removal : model_.TakeRemoved()) {
      if (removal.cause == RemovalCause::kExpired) {
        owed_.insert(removal);
      } else {
        expected.push_back(removal);
      }
    }
    std::vector<Removal> actual;
    for (const Removal& removal : std::exchange(told_, {})) {
      if (removal.cause != RemovalCause::kExpired) {
        actual.push_back(removal);
      } else {
        EXPECT_EQ(owed_.erase(removal), 1u) << removal << ", which the model doesn't have";
      }
    }
    if (!in_order) {
      std::sort(expected.begin(), expected.end());
      std::sort(actual.begin(), actual.end());
    }
    EXPECT_EQ(actual, expected);
    if (case_.maintained) {
      EXPECT_TRUE(owed_.empty()) << owed_.size() << " expired entries left";
    }
    EXPECT_LE(cache_->weight(), cache_->capacity());
    EXPECT_EQ(cache_->size(), model_.size() + owed_.size());
  }

  void CompareContents() {
    std::vector<std::pair<uint64_t, uint64_t>> actual;
    cache_->ForEach([&actual](uint64_t key, uint64_t value) { actual.emplace_back(key, value); });
    std::sort(actual.begin(), actual.end());
    std::vector<std::pair<uint64_t, uint64_t>> expected = model_.LiveInEvictionOrder();
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(actual, expected);
    if (owed_.empty()) {
      EXPECT_EQ(cache_->weight(), model_.weight());
    }
  }

  // Pushes everything out, so that the order of all that is left is compared.
  void EvictAll() {
    const uint64_t first_new_key = 3 * case_.capacity;
    for (uint64_t i = 0; i < case_.capacity; ++i) {
      Put(first_new_key + i);
      if (::testing::Test::HasFailure()) return;
    }
    CompareContents();
  }

  const Case& case_;
  std::mt19937_64 random_;
  ManualClock clock_;
  LruModel model_;
  std::unique_ptr<CacheT> cache_;
  std::vector<Removal> told_;  // by on_removal, since the last comparison
  std::set<Removal> owed_;     // expired entries that the model has dropped and the cache has not
  uint64_t last_value_ = 0;
};

class LruExactness : public ::testing::TestWithParam<Case> {};

TEST_P(LruExactness, EqualsTheModel) {
  for (int round = 0; round < Rounds(4); ++round) {
    SCOPED_TRACE(absl::StrCat("LARDER_TEST_SEED=", SeedOfRound(round)));
    LruComparison(GetParam(), SeedOfRound(round)).Run();
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Spec, LruExactness, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace larder::test
