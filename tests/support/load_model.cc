// SPDX-License-Identifier: Apache-2.0
#include "tests/support/load_model.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "larder/internal/nanos.h"

namespace larder::test {
namespace {

using absl::StatusCode;
using internal::kNever;
using internal::SaturatingAdd;

std::string PrefixMark(const std::string& prefix) { return absl::StrCat("prefix ", prefix); }

}  // namespace

std::string CallAnswer::ToString() const {
  if (code != StatusCode::kOk) return absl::StatusCodeToString(code);
  return absl::StrCat(value, " (", std::string(LoadSourceName(source)), ", ",
                      absl::FormatDuration(age), " old)");
}

LoadModel::LoadModel(const CacheOptions& options, const ManualClock& clock)
    : options_(options), defaults_(options), clock_(clock), breaker_(options.circuit_breaker) {}

// --- Entries.

bool LoadModel::IsValid(const std::set<std::string>& tags, uint64_t stamp) const {
  return std::none_of(tags.begin(), tags.end(), [&](const std::string& tag) {
    const auto found = invalidated_at_.find(tag);
    return found != invalidated_at_.end() && found->second > stamp;
  });
}

bool LoadModel::IsLive(const Entry& entry) const {
  return !entry.negative && Now() < entry.fresh_until && IsValid(entry.tags, entry.stamp);
}

int64_t LoadModel::LeavesAt(const Entry& entry) {
  return entry.fresh_until == kNever ? kNever : SaturatingAdd(entry.fresh_until, entry.kept_for);
}

std::set<std::string> LoadModel::TagsOf(const std::string& key,
                                        const std::vector<std::string>& tags) const {
  std::set<std::string> all(tags.begin(), tags.end());
  for (const std::string& prefix : options_.prefixes) {
    if (absl::StartsWith(key, prefix)) all.insert(PrefixMark(prefix));
  }
  return all;
}

int64_t LoadModel::EndOf(const std::optional<absl::Duration>& ttl) const {
  return SaturatingAdd(Now(), absl::ToInt64Nanoseconds(ttl.value_or(options_.ttl)));
}

int64_t LoadModel::RefreshTime(const RefreshAfter& after, int64_t fresh_until) const {
  int64_t time = kNever;
  if (!after.is_share()) {
    time = SaturatingAdd(Now(), absl::ToInt64Nanoseconds(after.duration()));
  } else if (fresh_until != kNever) {
    time = Now() + static_cast<int64_t>(static_cast<double>(fresh_until - Now()) * after.share());
  }
  return time < fresh_until ? time : kNever;
}

bool LoadModel::IsRefreshDue(const Entry& entry) const {
  if (!entry.has_terms) return false;
  if (entry.refresh_at <= Now()) return true;
  return defaults_.early_refresh > 0 && !entry.failed && entry.refreshes_early;
}

std::optional<uint64_t> LoadModel::Get(const std::string& key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end() || !IsLive(found->second)) return std::nullopt;
  return found->second.value;
}

void LoadModel::Put(const std::string& key, uint64_t value, const PutOptions& options) {
  Outdate(key);
  Entry entry{.id = next_id_++, .value = value, .fresh_until = EndOf(options.ttl)};
  entry.has_terms = defaults_.needs_terms() || !options_.prefixes.empty() ||
                    options.refresh_after.has_value() || !options.tags.empty();
  entry.written_at = entry.has_terms ? Now() : kNever;
  if (entry.has_terms) {
    entry.kept_for = defaults_.stale_window();
    entry.refresh_at =
        RefreshTime(options.refresh_after.value_or(defaults_.refresh_after), entry.fresh_until);
    entry.tags = TagsOf(key, options.tags);
    entry.stamp = generation_;
  }
  entries_[key] = std::move(entry);
}

bool LoadModel::PutIfAbsent(const std::string& key, uint64_t value, const PutOptions& options) {
  if (Get(key).has_value()) return false;
  Put(key, value, options);
  return true;
}

bool LoadModel::Erase(const std::string& key) {
  const bool was_live = Get(key).has_value();
  Outdate(key);
  entries_.erase(key);
  return was_live;
}

bool LoadModel::Expire(const std::string& key) {
  Outdate(key);
  const auto found = entries_.find(key);
  if (found != entries_.end() && found->second.negative) entries_.erase(found);
  if (!Get(key).has_value()) return false;
  Entry& entry = entries_.at(key);
  if (entry.kept_for == 0) {
    entries_.erase(key);
  } else {
    entry.fresh_until = Now();
    entry.failed = false;
  }
  return true;
}

void LoadModel::EraseIf(const std::function<bool(const std::string&, uint64_t)>& pred) {
  OutdateAll();
  std::erase_if(entries_, [&](const auto& item) {
    const Entry& entry = item.second;
    return !entry.negative && pred(item.first, entry.value);
  });
}

void LoadModel::Clear() {
  OutdateAll();
  entries_.clear();
}

void LoadModel::InvalidateTag(const std::string& tag) { invalidated_at_[tag] = ++generation_; }

void LoadModel::InvalidatePrefix(const std::string& prefix) {
  const auto& registered = options_.prefixes;
  if (std::find(registered.begin(), registered.end(), prefix) != registered.end()) {
    return InvalidateTag(PrefixMark(prefix));
  }
  OutdateAll();
  std::erase_if(entries_, [&](const auto& item) { return absl::StartsWith(item.first, prefix); });
}

void LoadModel::InvalidateAfter(const std::string& key, absl::Duration delay) {
  if (delay == absl::ZeroDuration()) return static_cast<void>(Erase(key));
  const int64_t end = Now() + absl::ToInt64Nanoseconds(delay);
  SetAlarm(end, {.key = key});
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  if (entry.negative || !IsValid(entry.tags, entry.stamp) || Now() >= LeavesAt(entry)) return;
  entry.fresh_until = std::min(entry.fresh_until, end);
  entry.kept_for = std::min(entry.kept_for, end - entry.fresh_until);
}

void LoadModel::Outdate(const std::string& key) {
  const auto found = in_flight_.find(key);
  if (found != in_flight_.end()) loads_.at(found->second).outdated = true;
}

void LoadModel::OutdateAll() {
  for (const auto& [key, load] : in_flight_) loads_.at(load).outdated = true;
}

// --- Calls.

void LoadModel::Ask(int call, const std::string& key, const LoadOptions& options) {
  calls_.emplace(call, Call{.key = key,
                            .options = options,
                            .settings = defaults_.With(options),
                            .start = Now(),
                            .nested = nested_ > 0});
  Proceed(call);
}

// Answers at once, or joins a load, or starts one.
void LoadModel::Proceed(int number) {
  Call& call = calls_.at(number);
  call.fallback.reset();
  const auto flying = in_flight_.find(call.key);
  const auto found = entries_.find(call.key);
  Entry* entry = found == entries_.end() ? nullptr : &found->second;
  if (entry != nullptr && IsLive(*entry)) {
    const absl::Duration age = entry->written_at == kNever
                                   ? absl::InfiniteDuration()
                                   : absl::Nanoseconds(Now() - entry->written_at);
    call.answer = {.value = entry->value, .source = LoadSource::kMemory, .age = age};
    if (IsRefreshDue(*entry) && flying == in_flight_.end() && !closing_) {
      StartLoad(number, entry, /*background=*/true);
    }
    return;
  }
  if (entry != nullptr && !IsValid(entry->tags, entry->stamp)) entry = nullptr;
  if (entry != nullptr && entry->negative) {
    if (Now() < entry->fresh_until) {
      ++counts_.negative_hits;
      return Answer(number, StatusCode::kNotFound);
    }
    entry = nullptr;
  }
  if (entry != nullptr && Now() >= LeavesAt(*entry)) entry = nullptr;
  if (entry != nullptr) {
    const int64_t stale_for = Now() - entry->fresh_until;
    const bool revalidates = stale_for < call.settings.stale_while_revalidate;
    if (revalidates || stale_for < call.settings.stale_if_error) {
      call.fallback = Kept{entry->value, entry->written_at};
      const bool must_wait =
          entry->failed && entry->refresh_at != kNever && entry->refresh_at > Now();
      if (revalidates || must_wait) {
        AnswerStale(number);
        if (!must_wait && flying == in_flight_.end() && !closing_) {
          StartLoad(number, entry, /*background=*/true);
        }
        return;
      }
    }
  }
  if (flying != in_flight_.end()) {
    ++loads_.at(flying->second).waiters;
    return Await(number, flying->second, /*joined=*/true);
  }
  if (closing_) return Answer(number, StatusCode::kCancelled);
  StartLoad(number, entry, /*background=*/false);
}

void LoadModel::StartLoad(int number, Entry* replaced, bool background) {
  const Call& call = calls_.at(number);
  Load load{.key = call.key,
            .options = call.options,
            .settings = call.settings,
            .stamp = generation_,
            .background = background};
  if (replaced != nullptr) {
    load.old = *replaced;
    replaced->refresh_at = kNever;
    replaced->refreshes_early = RefreshesEarly(*replaced);
  }
  load.waiters = background ? 0 : 1;
  loads_.emplace(number, std::move(load));
  in_flight_[call.key] = number;
  if (!background) Await(number, number, /*joined=*/false);
  Launch(number);
}

void LoadModel::Await(int number, int load_number, bool joined) {
  Call& call = calls_.at(number);
  Load& load = loads_.at(load_number);
  call.load = load_number;
  call.joined = joined;
  call.outdated = joined && load.outdated;
  call.asked_at = generation_;
  const int64_t timeout = call.fallback.has_value()
                              ? std::min(call.settings.soft_timeout, call.settings.hard_timeout)
                              : call.settings.hard_timeout;
  if (timeout != kNever && !closing_) {
    call.alarm = SetAlarm(SaturatingAdd(call.start, timeout), {.call = number});
  }
  load.waiting.push_back(number);
}

void LoadModel::Landed(int number) {
  Call& call = calls_.at(number);
  CancelAlarm(call.alarm);
  if (call.answer.has_value()) return;
  if (call.joined) ++counts_.joined;
  const Load& load = loads_.at(call.load);
  const bool too_old = call.outdated || (load.void_tags && call.asked_at > load.stamp);
  if (call.joined && too_old) return Proceed(number);
  if (load.code == StatusCode::kOk) {
    const LoadSource own = load.old.has_value() ? LoadSource::kRefreshed : LoadSource::kLoaded;
    call.answer = {.value = load.value, .source = call.joined ? LoadSource::kJoined : own};
    return;
  }
  if (call.fallback.has_value() && load.code != StatusCode::kNotFound) return AnswerStale(number);
  Answer(number, load.code);
}

void LoadModel::GiveUp(int number) {
  Call& call = calls_.at(number);
  if (call.answer.has_value()) return;
  ++counts_.timeouts;
  if (call.fallback.has_value()) {
    AnswerStale(number);
  } else {
    Answer(number, StatusCode::kDeadlineExceeded);
  }
  // Past a soft_timeout alone the load is wanted still.
  if (call.fallback.has_value() && call.settings.hard_timeout > call.settings.soft_timeout) return;
  Load& load = loads_.at(call.load);
  const bool last = --load.waiters == 0 && !load.background;
  if (!last || call.settings.after_timeout == AfterTimeout::kGoOn) return;
  load.stop = true;
  Fail(load, StatusCode::kDeadlineExceeded);
}

void LoadModel::Answer(int number, StatusCode code) { calls_.at(number).answer = {.code = code}; }

void LoadModel::AnswerStale(int number) {
  ++counts_.stale;
  Call& call = calls_.at(number);
  const absl::Duration age = call.fallback->written_at == kNever
                                 ? absl::InfiniteDuration()
                                 : absl::Nanoseconds(Now() - call.fallback->written_at);
  call.answer = {.value = call.fallback->value, .source = LoadSource::kStale, .age = age};
}

// --- Time.

uint64_t LoadModel::SetAlarm(int64_t deadline, Alarm alarm) {
  alarms_.emplace(std::pair(deadline, next_alarm_), std::move(alarm));
  return next_alarm_++;
}

void LoadModel::CancelAlarm(uint64_t number) {
  std::erase_if(alarms_, [number](const auto& alarm) { return alarm.first.second == number; });
}

void LoadModel::RunAlarms() {
  while (!alarms_.empty() && alarms_.begin()->first.first <= Now()) {
    const Alarm alarm = alarms_.extract(alarms_.begin()).mapped();
    if (alarm.call >= 0) {
      GiveUp(alarm.call);
    } else if (alarm.load >= 0) {
      loads_.at(alarm.load).stop = true;
      Fail(loads_.at(alarm.load), StatusCode::kDeadlineExceeded);
    } else {
      Erase(alarm.key);
    }
  }
}

}  // namespace larder::test
