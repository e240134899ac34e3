// SPDX-License-Identifier: Apache-2.0
//
// Every state of an entry x every outcome of its load x the options x the ways to ask, compared
// with a model written from the tables of docs/semantics.md.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "tests/support/load_options_model.h"
#include "tests/support/manual_executor.h"

namespace larder::test {
namespace {

using StringCache = Cache<int, std::string>;
using Result = absl::StatusOr<LoadResult<std::string>>;
using LoadedResult = absl::StatusOr<Loaded<std::string>>;

// A queue, unless a case wants tasks to run at once, or time to pass while they wait.
class CaseExecutor final : public Executor {
 public:
  bool Execute(absl::AnyInvocable<void() &&> task) override {
    if (on_execute) std::exchange(on_execute, nullptr)();
    if (!inline_) return queue.Execute(std::move(task));
    std::move(task)();
    return true;
  }

  ManualExecutor queue;
  bool inline_ = false;
  std::function<void()> on_execute;
};

// One cache for all cases of one kind of refusal; each case has a key of its own.
class Laboratory {
 public:
  explicit Laboratory(Outcome refusal) {
    StringCache::Options options;
    options.capacity = 1'000;
    options.stripes = 1;
    options.clock = &clock_;
    options.executor = &executor_;
    options.ttl = absl::Seconds(100);
    options.stale_if_error = absl::Seconds(60);
    options.retry_after = absl::Seconds(30);
    if (refusal == Outcome::kRefusedByBreaker) {
      options.circuit_breaker = {.failures = 1, .open_for = absl::InfiniteDuration()};
    }
    if (refusal == Outcome::kRefusedByLimiter) {
      options.max_concurrent_loads = 1;
      options.max_queued_loads = 0;
    }
    cache_ = StringCache::Create(options).value();
    if (refusal == Outcome::kRefusedByBreaker) {
      EXPECT_FALSE(cache_->GetOrLoad(-1, Failing).ok());
    }
    if (refusal == Outcome::kRefusedByLimiter) {
      cache_->GetOrLoadAsync(
          -1, [this](int, AsyncLoad<std::string> load) { held_.emplace(std::move(load)); },
          [](Result) {});
      executor_.queue.RunAll();
    }
  }

  ~Laboratory() {
    held_.reset();
    executor_.queue.RunAll();
    EXPECT_TRUE(cache_->CheckInvariants().ok()) << cache_->CheckInvariants();
  }

  void Run(const LoadCase& given) {
    const LoadModel model(given);
    const Expectation expected = model.Expect();
    ++key_;
    SetUp(given.state);
    if (::testing::Test::HasFailure()) return;
    const CacheStats before = cache_->Stats();
    const Observed observed = Observe(given, model);
    const CacheStats after = cache_->Stats();
    Compare(given.path, expected, observed);
    CompareStats(expected.counted, before, after);
    EXPECT_EQ(static_cast<int>(Probe()), static_cast<int>(expected.left)) << "what is left";
    executor_.queue.Refuse(false);
    executor_.queue.RunAll();
    cache_->Erase(key_);
  }

 private:
  struct Observed {
    Answer answer;
    int answers = 0;
    Answer joiner;
    int joiners = 0;
  };

  static absl::StatusOr<std::string> Failing(int) { return absl::AbortedError("no luck"); }

  void Advance(int seconds) { clock_.Advance(absl::Seconds(seconds)); }

  // Makes a load of the key fail, that nobody waits for in the end.
  void FailToReplace() {
    executor_.inline_ = true;
    (void)cache_->GetOrLoad(key_, Failing, {.stale_if_error = absl::Seconds(60)});
    executor_.inline_ = false;
  }

  void SetUp(EntryState state) {
    const auto put = [&](bool refresh) {
      PutOptions options{.tags = {"tag"}};
      if (refresh) options.refresh_after = absl::Seconds(50);
      ASSERT_TRUE(cache_->Put(key_, "old", options).ok());
    };
    switch (state) {
      case EntryState::kNone:
        return;
      case EntryState::kNegative:
        (void)cache_->GetOrLoad(key_, [](int) { return absl::NotFoundError("none"); },
                                {.negative_ttl = absl::Seconds(30)});
        return Advance(5);
      case EntryState::kLive:
      case EntryState::kInvalidatedLive:
        put(false);
        Advance(10);
        break;
      case EntryState::kRefreshDue:
        put(true);
        return Advance(60);
      case EntryState::kRefreshFailed:
        put(true);
        Advance(60);
        return FailToReplace();
      case EntryState::kStale15:
        put(false);
        return Advance(115);
      case EntryState::kStale30:
        put(false);
        return Advance(130);
      case EntryState::kStale30Failed:
        put(false);
        Advance(130);
        return FailToReplace();
      case EntryState::kStale5Failed:
        put(false);
        Advance(105);
        return FailToReplace();
      default:
        put(false);
        Advance(105);
    }
    if (state == EntryState::kInvalidatedLive || state == EntryState::kInvalidatedStale) {
      cache_->InvalidateTag("tag");
    }
  }

  // What the loader of the case does.
  LoadedResult Load(const LoadCase& given, LoadContext<std::string>* context,
                    const std::string* old) {
    EXPECT_EQ(old != nullptr, LoadModel(given).has_old());
    switch (given.outcome) {
      case Outcome::kNotModified:
        return context->NotModified();
      case Outcome::kNotFound:
        return absl::NotFoundError("none");
      case Outcome::kError:
        return absl::AbortedError("no luck");
      case Outcome::kThrows:
        throw std::runtime_error("no luck");
      case Outcome::kPutMeanwhile:
        EXPECT_TRUE(cache_->Put(key_, "put").ok());
        return Loaded<std::string>{.value = "new"};
      case Outcome::kTagMeanwhile:
        cache_->InvalidateTag("other");
        return Loaded<std::string>{.value = "new", .tags = {"other"}};
      case Outcome::kTooHeavy:
        return Loaded<std::string>{.value = "new", .weight = 1'000'000};
      case Outcome::kBadTtl:
        return Loaded<std::string>{.value = "new", .ttl = absl::ZeroDuration()};
      default:
        return Loaded<std::string>{.value = "new"};
    }
  }

  auto AsyncLoaderOf(const LoadCase& given) {
    return [this, given](int, AsyncLoad<std::string> load) {
      const std::string* old = load.old_value();
      if (given.outcome == Outcome::kNotModified) {
        EXPECT_EQ(old != nullptr, LoadModel(given).has_old());
        return load.FinishNotModified();
      }
      load.Finish(Load(given, nullptr, old));
    };
  }

  Answer AnswerOf(const Result& result) const {
    if (!result.ok()) return {.code = result.status().code()};
    return {.what = result->value == "old"   ? What::kOld
                    : result->value == "new" ? What::kNew
                                             : What::kPut,
            .source = result->source,
            .age = result->age == absl::InfiniteDuration()
                       ? -1
                       : static_cast<int>(absl::ToInt64Seconds(result->age))};
  }

  Observed Observe(const LoadCase& given, const LoadModel& model) {
    LoadOptions options{.stale_while_revalidate = absl::Seconds(given.revalidate ? 10 : 0),
                        .stale_if_error = absl::Seconds(given.if_error ? 20 : 0),
                        .negative_ttl = absl::Seconds(given.negative ? 30 : 0)};
    if (given.soft != kNeverSeconds) options.soft_timeout = absl::Seconds(given.soft);
    if (given.hard != kNeverSeconds) options.hard_timeout = absl::Seconds(given.hard);
    options.after_timeout = given.abandon ? AfterTimeout::kAbandon : AfterTimeout::kGoOn;
    executor_.queue.Refuse(given.outcome == Outcome::kRefusedByExecutor);
    const auto loader = [this, given](int, LoadContext<std::string>& context) {
      return Load(given, &context, context.old_value());
    };
    Observed observed;
    if (!model.async()) {
      CallAndWait(given, model, loader, options, observed);
    } else {
      const auto callback = [&](Result result) {
        observed.answer = AnswerOf(result);
        ++observed.answers;
      };
      if (given.path == Path::kAsyncLoader) {
        cache_->GetOrLoadAsync(key_, AsyncLoaderOf(given), callback, options);
      } else {
        cache_->GetOrLoadAsync(key_, loader, callback, options);
      }
    }
    if (given.path == Path::kJoin) {
      cache_->GetOrLoadAsync(
          key_, loader,
          [&](Result result) {
            observed.joiner = AnswerOf(result);
            ++observed.joiners;
          },
          options);
    }
    if (model.async() || model.background()) {
      // The wait for the executor; alarms that are due ring in it.
      Advance(given.slow);
      cache_->RunMaintenance(100);
    }
    executor_.queue.RunAll();
    return observed;
  }

  template <class Loader>
  void CallAndWait(const LoadCase& given, const LoadModel& model, const Loader& loader,
                   const LoadOptions& options, Observed& observed) {
    if (model.waits()) {
      executor_.inline_ = !model.gives_up() && !model.refused();
      executor_.on_execute = [this, &given] {
        if (given.outcome != Outcome::kRefusedByExecutor) Advance(given.slow);
      };
    }
    try {
      if (given.path == Path::kResult) {
        observed.answer = AnswerOf(cache_->GetOrLoadResult(key_, loader, options));
      } else {
        const absl::StatusOr<std::string> value = cache_->GetOrLoad(key_, loader, options);
        observed.answer = AnswerOf(value.ok() ? Result(LoadResult<std::string>{.value = *value})
                                              : Result(value.status()));
      }
    } catch (const std::runtime_error&) {
      observed.answer = {.what = What::kThrown};
    }
    ++observed.answers;
    executor_.inline_ = false;
    executor_.on_execute = nullptr;
  }

  static void Compare(Path path, const Expectation& expected, const Observed& observed) {
    Answer want = expected.answer;
    // Not told.
    if (path == Path::kValue) want.source = LoadSource::kMemory, want.age = 0;
    EXPECT_EQ(observed.answer, want);
    EXPECT_EQ(observed.answers, 1);
    if (!expected.joiner.has_value()) return;
    EXPECT_EQ(observed.joiner, *expected.joiner) << "who joined";
    EXPECT_EQ(observed.joiners, 1);
  }

  static void CompareStats(const CacheStats& want, const CacheStats& before,
                           const CacheStats& after) {
#define COMPARE(field) EXPECT_EQ(after.field - before.field, want.field) << #field
    COMPARE(hits);
    COMPARE(misses);
    COMPARE(puts);
    COMPARE(rejected_puts);
    COMPARE(loads);
    COMPARE(load_failures);
    COMPARE(joined);
    COMPARE(refreshes);
    COMPARE(refresh_failures);
    COMPARE(not_modified);
    COMPARE(stale);
    COMPARE(negative_hits);
    COMPARE(timeouts);
    COMPARE(refused_loads);
#undef COMPARE
  }

  // What the key has, as all methods agree.
  Left Probe() {
    executor_.queue.Refuse(true);
    const std::optional<std::string> value = cache_->Get(key_);
    EXPECT_EQ(cache_->Contains(key_), value.has_value());
    if (value.has_value()) {
      return *value == "old" ? Left::kOldLive : *value == "new" ? Left::kNew : Left::kPut;
    }
    const Result kept =
        cache_->GetOrLoadResult(key_, Failing, {.stale_if_error = absl::Seconds(60)});
    if (kept.ok()) {
      EXPECT_EQ(kept->value, "old");
      EXPECT_EQ(kept->source, LoadSource::kStale);
      return Left::kOldStale;
    }
    return absl::IsNotFound(kept.status()) ? Left::kNegative : Left::kNothing;
  }

  ManualClock clock_;
  CaseExecutor executor_;
  std::unique_ptr<StringCache> cache_;
  std::optional<AsyncLoad<std::string>> held_;
  int key_ = 0;
};

// Whether a case says nothing that another doesn't, or can't be set up.
bool Skip(const LoadCase& given) {
  const bool refused = given.outcome >= Outcome::kRefusedByBreaker;
  const bool timed = given.soft != kNeverSeconds || given.hard != kNeverSeconds;
  if (given.abandon && given.hard == kNeverSeconds) return true;
  if (given.slow > 0 && (refused || !timed)) return true;
  if (given.negative && given.outcome != Outcome::kNotFound) return true;
  // The negative entry is made by a load; and of two that are refused, none joins the other.
  return refused && (given.state == EntryState::kNegative || given.path == Path::kJoin);
}

// One thread runs all; under ThreadSanitizer, which is slow, some will do.
#if defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr int kEvery = 11;
#else
constexpr int kEvery = 1;
#endif

class LoadOptionsTest : public ::testing::TestWithParam<int> {};

TEST_P(LoadOptionsTest, EveryCaseIsAsTheTablesSay) {
  const auto outcome = static_cast<Outcome>(GetParam());
  Laboratory laboratory(outcome);
  int cases = 0;
  constexpr int kTimes[][2] = {
      {kNeverSeconds, kNeverSeconds}, {3, kNeverSeconds}, {kNeverSeconds, 4}, {3, 4}, {4, 3}};
  for (int state = 0; state < kEntryStates; ++state) {
    for (int path = 0; path < kPaths; ++path) {
      for (const auto& [soft, hard] : kTimes) {
        for (int rest = 0; rest < 48; ++rest) {
          const LoadCase given{.revalidate = (rest & 1) != 0,
                               .if_error = (rest & 2) != 0,
                               .negative = (rest & 4) != 0,
                               .soft = soft,
                               .hard = hard,
                               .abandon = (rest & 8) != 0,
                               .slow = rest < 16   ? 0
                                       : rest < 32 ? 3
                                                   : 5,
                               .state = static_cast<EntryState>(state),
                               .outcome = outcome,
                               .path = static_cast<Path>(path)};
          if (Skip(given) || ++cases % kEvery != 0) continue;
          SCOPED_TRACE(given.Name());
          laboratory.Run(given);
          if (HasFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Outcomes, LoadOptionsTest, ::testing::Range(0, kOutcomes));

}  // namespace
}  // namespace larder::test
