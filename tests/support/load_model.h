// SPDX-License-Identifier: Apache-2.0
//
// LoadModel: what a cache must make of its calls and loads, one after the other, on one thread.
#ifndef LARDER_TESTS_SUPPORT_LOAD_MODEL_H_
#define LARDER_TESTS_SUPPORT_LOAD_MODEL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/internal/circuit_breaker.h"
#include "larder/internal/load_settings.h"
#include "larder/load_result.h"
#include "larder/manual_clock.h"
#include "larder/options.h"

namespace larder::test {

// What a loader comes back with.
struct LoadEnd {
  enum class Kind { kValue, kNotFound, kNotModified, kFailed };
  Kind kind = Kind::kFailed;
  uint64_t value = 0;
  std::optional<absl::Duration> ttl = std::nullopt;
  std::vector<std::string> tags = {};
};

// What a call is answered with. Of an error, its code is all.
struct CallAnswer {
  absl::StatusCode code = absl::StatusCode::kOk;
  uint64_t value = 0;
  LoadSource source = LoadSource::kMemory;
  absl::Duration age = absl::ZeroDuration();

  friend bool operator==(const CallAnswer&, const CallAnswer&) = default;
  std::string ToString() const;
};

// A cache from string keys to numbers that holds everything, written from docs/semantics.md with
// plain containers: no locks, no memory to reclaim, nothing that happens by itself. Calls are
// numbered by who makes them; a load bears the number of the call whose loader runs.
//
// Where early_refresh is set it is taken to be so large that every hit refreshes whose load took a
// microsecond or more. idle_ttl, ttl_jitter and weights aren't modelled.
class LoadModel {
 public:
  LoadModel(const CacheOptions& options, const ManualClock& clock);

  // The executor accepts tasks, or refuses them.
  void set_refusing(bool refusing) { refusing_ = refusing; }

  // --- Calls.
  void Ask(int call, const std::string& key, const LoadOptions& options);
  // Once it has one.
  const std::optional<CallAnswer>& AnswerOf(int call) const { return calls_.at(call).answer; }

  // --- Loads.
  // The loader of `call` runs, `nested` on a caller's stack. False: it mustn't.
  bool Begin(int call, bool nested);
  const std::string& KeyOf(int call) const { return calls_.at(call).key; }
  // Of a load that has begun.
  std::optional<uint64_t> OldValueOf(int call) const;
  bool IsToldToStop(int call) const { return loads_.at(call).stop; }
  // It has come back. `found`: whether the entry of a load that wasn't modified is still there,
  // asked only where the entry's time is over, so that it may have been reclaimed.
  void End(int call, const LoadEnd& end, const std::function<bool()>& found);
  // A task of the executor has ended without calling the call's loader.
  void TaskGone(int call);
  // Whether a load that was given to the executor should have begun, or a call have an answer, once
  // that has run all of its tasks.
  bool SomeTaskMustRun() const;
  bool AnyInFlight() const { return !in_flight_.empty(); }

  // --- Changes.
  std::optional<uint64_t> Get(const std::string& key) const;
  void Put(const std::string& key, uint64_t value, const PutOptions& options);
  bool PutIfAbsent(const std::string& key, uint64_t value, const PutOptions& options);
  bool Erase(const std::string& key);
  bool Expire(const std::string& key);
  void EraseIf(const std::function<bool(const std::string& key, uint64_t value)>& pred);
  void Clear();
  void InvalidateTag(const std::string& tag);
  void InvalidatePrefix(const std::string& prefix);
  void InvalidateAfter(const std::string& key, absl::Duration delay);

  // What is due at this time happens.
  void RunAlarms();
  // The cache is destroyed; no loader is running, unless it is abandoned.
  void Close();

  // As in CacheStats.
  struct Counts {
    uint64_t joined = 0, stale = 0, timeouts = 0, negative_hits = 0;
    uint64_t refreshes = 0, refresh_failures = 0, not_modified = 0, loads = 0;
    friend bool operator==(const Counts&, const Counts&) = default;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Entry {
    uint64_t id = 0;
    bool negative = false;
    uint64_t value = 0;
    bool has_terms = true;
    int64_t written_at = 0;
    int64_t fresh_until = 0;
    int64_t kept_for = 0;
    int64_t refresh_at = internal::kNever;
    bool failed = false;
    int64_t load_nanos = 0;
    bool refreshes_early = false;
    std::set<std::string> tags{};
    uint64_t stamp = 0;
  };
  // A value to fall back to.
  struct Kept {
    uint64_t value = 0;
    int64_t written_at = 0;
  };
  struct Load {
    std::string key;
    LoadOptions options;
    internal::LoadSettings settings;
    uint64_t stamp = 0;
    bool background = false;
    std::optional<Entry> old{};
    std::optional<uint64_t> admission{};
    bool outdated = false;
    bool void_tags = false;  // its value's tags were invalidated
    int waiters = 0;
    std::vector<int> waiting{};
    bool has_slot = false;
    bool submitted = false;
    bool begun = false;
    bool nested = false;  // its loader runs on a caller's stack
    bool finished = false;
    bool stop = false;
    int64_t begun_at = 0;
    uint64_t alarm = 0;
    absl::StatusCode code = absl::StatusCode::kOk;
    uint64_t value = 0;
  };
  struct Call {
    std::string key;
    LoadOptions options;
    internal::LoadSettings settings;
    int64_t start = 0;
    std::optional<Kept> fallback{};
    int load = -1;
    bool joined = false;
    bool outdated = false;
    bool nested = false;    // made by a loader
    uint64_t asked_at = 0;  // generation
    uint64_t alarm = 0;
    std::optional<CallAnswer> answer{};
  };
  struct Alarm {
    int call = -1;      // gives up
    int load = -1;      // is abandoned
    std::string key{};  // is erased
  };

  int64_t Now() const { return clock_.NowNanos(); }
  bool IsValid(const std::set<std::string>& tags, uint64_t stamp) const;
  bool IsLive(const Entry& entry) const;
  static int64_t LeavesAt(const Entry& entry);
  std::set<std::string> TagsOf(const std::string& key, const std::vector<std::string>& tags) const;
  int64_t EndOf(const std::optional<absl::Duration>& ttl) const;
  int64_t RefreshTime(const RefreshAfter& after, int64_t fresh_until) const;
  bool IsRefreshDue(const Entry& entry) const;
  // To be asked when an entry is stored, confirmed, or its load begins or fails: an end that is set
  // afterwards (InvalidateAfter) makes no entry refresh early.
  static bool RefreshesEarly(const Entry& entry) {
    return entry.fresh_until != internal::kNever && entry.load_nanos >= 1000;
  }
  void Outdate(const std::string& key);
  void OutdateAll();

  void Proceed(int call);
  void StartLoad(int call, Entry* replaced, bool background);
  void Await(int call, int load, bool joined);
  void Launch(int load);
  void Submit(int load);
  void ReleaseSlot(int load);
  void Fail(Load& load, absl::StatusCode code);
  void Report(Load& load, bool ok);
  void Store(Load& load, const LoadEnd& end, int64_t load_nanos);
  void StoreNotFound(Load& load);
  void Renew(Load& load, const LoadEnd& end, int64_t load_nanos,
             const std::function<bool()>& found);
  void RetryAfter(const Load& load, int64_t nanos, bool failed);
  void Land(Load& load);
  void Landed(int call);
  void GiveUp(int call);
  void Answer(int call, absl::StatusCode code);
  void AnswerStale(int call);
  uint64_t SetAlarm(int64_t deadline, Alarm alarm);
  void CancelAlarm(uint64_t number);

  const CacheOptions options_;
  const internal::LoadSettings defaults_;
  const ManualClock& clock_;
  internal::CircuitBreaker breaker_;
  bool refusing_ = false;
  bool closing_ = false;
  int nested_ = 0;
  uint64_t next_id_ = 1;
  uint64_t generation_ = 1;
  std::map<std::string, uint64_t> invalidated_at_;  // of tags, and of "prefix " + prefix
  std::map<std::string, Entry> entries_;
  std::map<std::string, int> in_flight_;
  std::map<int, Load> loads_;
  std::map<int, Call> calls_;
  int running_ = 0;
  std::deque<int> queue_;
  std::map<std::pair<int64_t, uint64_t>, Alarm> alarms_;
  uint64_t next_alarm_ = 1;
  Counts counts_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_LOAD_MODEL_H_
