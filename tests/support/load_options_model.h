// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_LOAD_OPTIONS_MODEL_H_
#define LARDER_TESTS_SUPPORT_LOAD_OPTIONS_MODEL_H_

#include <algorithm>
#include <limits>
#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "larder/load_result.h"
#include "larder/stats.h"

namespace larder::test {

// The tables of docs/semantics.md, as a function: what one call of GetOrLoad gives, leaves and
// counts, for each state of the entry, each set of options, and each outcome of the load.

enum class EntryState {
  kNone,
  kLive,           // 10 s old, of a ttl of 100 s
  kRefreshDue,     // 60 s old, with a refresh_after of 50 s
  kRefreshFailed,  // the same, and the refresh has just failed
  kStale5,         // 5 s past its expiry; kept for 60 s
  kStale15,
  kStale30,
  kStale5Failed,  // a load to replace it has just failed
  kStale30Failed,
  kNegative,
  kInvalidatedLive,
  kInvalidatedStale,
};
inline constexpr int kEntryStates = 12;

enum class Outcome {
  kValue,
  kNotModified,
  kNotFound,
  kError,
  kThrows,
  kPutMeanwhile,       // returns a value, after the key was put
  kTagMeanwhile,       // returns a value with a tag that was invalidated meanwhile
  kTooHeavy,           // returns a value heavier than the cache
  kBadTtl,             // returns a ttl of zero
  kRefusedByBreaker,   //
  kRefusedByLimiter,   //
  kRefusedByExecutor,  // only where it is asked
};
inline constexpr int kOutcomes = 12;

enum class Path { kValue, kResult, kAsync, kAsyncLoader, kJoin };
inline constexpr int kPaths = 5;

inline constexpr int kNeverSeconds = std::numeric_limits<int>::max();

struct LoadCase {
  bool revalidate = false;  // stale_while_revalidate: 10 s, or none
  bool if_error = false;    // stale_if_error: 20 s, or none
  bool negative = false;    // negative_ttl: 30 s, or none
  int soft = kNeverSeconds;
  int hard = kNeverSeconds;
  bool abandon = false;
  int slow = 0;  // how long the load waits for the executor, in s
  EntryState state = EntryState::kNone;
  Outcome outcome = Outcome::kValue;
  Path path = Path::kValue;

  std::string Name() const {
    return absl::StrCat("state ", static_cast<int>(state), ", outcome ", static_cast<int>(outcome),
                        ", path ", static_cast<int>(path), revalidate ? ", revalidate" : "",
                        if_error ? ", if_error" : "", negative ? ", negative" : "", ", soft ", soft,
                        ", hard ", hard, abandon ? ", abandon" : "", ", slow ", slow);
  }
};

enum class What { kOld, kNew, kPut, kStatus, kThrown };
enum class Left { kNothing, kOldLive, kOldStale, kNew, kPut, kNegative };

struct Answer {
  What what = What::kStatus;
  absl::StatusCode code = absl::StatusCode::kOk;
  LoadSource source = LoadSource::kMemory;
  int age = 0;  // s
  friend bool operator==(const Answer&, const Answer&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Answer& answer) {
    return out << "what " << static_cast<int>(answer.what) << " code "
               << absl::StatusCodeToString(answer.code) << " source "
               << static_cast<int>(answer.source) << " age " << answer.age;
  }
};

struct Expectation {
  Answer answer;
  std::optional<Answer> joiner;  // on Path::kJoin
  Left left = Left::kNothing;
  CacheStats counted;  // what the call adds
};

class LoadModel {
 public:
  explicit LoadModel(const LoadCase& given) : c_(given) {}

  bool live() const {
    return c_.state == EntryState::kLive || c_.state == EntryState::kRefreshDue ||
           c_.state == EntryState::kRefreshFailed;
  }
  bool stale() const {
    return c_.state >= EntryState::kStale5 && c_.state <= EntryState::kStale30Failed;
  }
  // How old the entry is when the call begins, in s.
  int age() const {
    switch (c_.state) {
      case EntryState::kLive:
      case EntryState::kInvalidatedLive:
        return 10;
      case EntryState::kRefreshDue:
      case EntryState::kRefreshFailed:
        return 60;
      case EntryState::kStale15:
        return 115;
      case EntryState::kStale30:
      case EntryState::kStale30Failed:
        return 130;
      default:
        return 105;
    }
  }
  bool waits_for_retry() const {
    return c_.state == EntryState::kRefreshFailed || c_.state == EntryState::kStale5Failed ||
           c_.state == EntryState::kStale30Failed;
  }
  bool within_revalidate() const { return stale() && c_.revalidate && age() < 110; }
  bool within_if_error() const { return stale() && c_.if_error && age() < 120; }
  bool at_once() const {
    const bool stale_at_once = within_revalidate() || (within_if_error() && waits_for_retry());
    return live() || stale_at_once || c_.state == EntryState::kNegative;
  }
  bool background() const {
    return c_.state == EntryState::kRefreshDue || (within_revalidate() && !waits_for_retry());
  }
  bool waits() const { return !at_once(); }
  bool has_fallback() const { return waits() && within_if_error(); }
  bool has_old() const { return live() || stale(); }
  int gives_up_after() const { return has_fallback() ? std::min(c_.soft, c_.hard) : c_.hard; }
  bool async() const { return c_.path >= Path::kAsync; }
  bool on_own_thread() const { return !async() && waits() && gives_up_after() == kNeverSeconds; }
  bool refused() const {
    return c_.outcome == Outcome::kRefusedByBreaker || c_.outcome == Outcome::kRefusedByLimiter ||
           (c_.outcome == Outcome::kRefusedByExecutor && !on_own_thread());
  }
  bool gives_up() const { return waits() && !refused() && c_.slow >= gives_up_after(); }
  bool abandoned() const {
    const bool at_hard = !has_fallback() || c_.hard <= c_.soft;
    return gives_up() && at_hard && c_.abandon;
  }

  // What the load comes to, if it is not refused or given up: a failure's code.
  std::optional<absl::StatusCode> Failure() const {
    switch (c_.outcome) {
      case Outcome::kNotModified:
        if (has_old()) return std::nullopt;
        return absl::StatusCode::kFailedPrecondition;
      case Outcome::kError:
        return absl::StatusCode::kAborted;
      case Outcome::kThrows:
        return c_.path == Path::kAsyncLoader ? absl::StatusCode::kCancelled
                                             : absl::StatusCode::kInternal;
      case Outcome::kBadTtl:
        return absl::StatusCode::kInvalidArgument;
      case Outcome::kRefusedByBreaker:
        return absl::StatusCode::kUnavailable;
      case Outcome::kRefusedByLimiter:
        return absl::StatusCode::kResourceExhausted;
      case Outcome::kRefusedByExecutor:
        if (on_own_thread()) return std::nullopt;
        return absl::StatusCode::kResourceExhausted;
      default:
        return std::nullopt;
    }
  }

  Expectation Expect() const {
    Expectation e;
    e.left = Before();
    ++(live() ? e.counted.hits : e.counted.misses);
    if (at_once()) {
      e.answer = AtOnce(e.counted);
    } else {
      e.answer = Waited(e.counted);
    }
    if (background() || waits()) CountLoad(e);
    if (c_.path == Path::kJoin) {
      ++(live() ? e.counted.hits : e.counted.misses);
      e.joiner = at_once() ? AtOnce(e.counted) : Waited(e.counted);
      if (waits() && !gives_up()) {
        ++e.counted.joined;
        const bool shared =
            e.joiner->what != What::kStatus && e.joiner->source != LoadSource::kStale;
        if (shared) e.joiner->source = LoadSource::kJoined;
      }
    }
    return e;
  }

 private:
  Left Before() const {
    if (live()) return Left::kOldLive;
    if (stale()) return Left::kOldStale;
    return c_.state == EntryState::kNegative ? Left::kNegative : Left::kNothing;
  }

  Answer AtOnce(CacheStats& counted) const {
    if (live()) return {.what = What::kOld, .source = LoadSource::kMemory, .age = age()};
    if (stale()) return Stale(counted, age());
    ++counted.negative_hits;
    return {.code = absl::StatusCode::kNotFound};
  }

  Answer Stale(CacheStats& counted, int at_age) const {
    ++counted.stale;
    return {.what = What::kOld, .source = LoadSource::kStale, .age = at_age};
  }

  Answer Waited(CacheStats& counted) const {
    if (gives_up()) {
      ++counted.timeouts;
      if (has_fallback()) return Stale(counted, age() + c_.slow);
      return {.code = absl::StatusCode::kDeadlineExceeded};
    }
    if (const auto failure = Failure()) {
      if (c_.outcome == Outcome::kThrows && on_own_thread()) return {.what = What::kThrown};
      const int slow = refused() || on_own_thread() ? 0 : c_.slow;
      if (has_fallback()) return Stale(counted, age() + slow);
      return {.code = *failure};
    }
    if (c_.outcome == Outcome::kNotFound) return {.code = absl::StatusCode::kNotFound};
    return {.what = c_.outcome == Outcome::kNotModified ? What::kOld : What::kNew,
            .source = has_old() ? LoadSource::kRefreshed : LoadSource::kLoaded};
  }

  // What the load does, once.
  void CountLoad(Expectation& e) const {
    CacheStats& counted = e.counted;
    const auto failure = Failure();
    if (refused()) {
      if (c_.outcome == Outcome::kRefusedByLimiter) ++counted.refused_loads;
      if (background()) ++counted.refresh_failures;
      return;
    }
    if (abandoned()) return;
    ++counted.loads;
    const bool loader_failed = failure.has_value() && c_.outcome != Outcome::kBadTtl;
    if (loader_failed) ++counted.load_failures;
    if (background()) ++(failure.has_value() ? counted.refresh_failures : counted.refreshes);
    if (failure.has_value()) return;
    switch (c_.outcome) {
      case Outcome::kNotModified:
        ++counted.not_modified;
        e.left = Left::kOldLive;
        return;
      case Outcome::kNotFound:
        if (c_.negative) ++counted.puts;
        e.left = c_.negative ? Left::kNegative : Left::kNothing;
        return;
      case Outcome::kPutMeanwhile:
        ++counted.puts;
        e.left = Left::kPut;
        return;
      case Outcome::kTagMeanwhile:
        return;
      case Outcome::kTooHeavy:
        ++counted.rejected_puts;
        return;
      default:
        ++counted.puts;
        e.left = Left::kNew;
    }
  }

  const LoadCase c_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_LOAD_OPTIONS_MODEL_H_
