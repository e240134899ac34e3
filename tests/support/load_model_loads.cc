// SPDX-License-Identifier: Apache-2.0
//
// LoadModel's loads: when they run, and what is made of what they bring.
#include <algorithm>

#include "larder/internal/nanos.h"
#include "tests/support/load_model.h"

namespace larder::test {

using absl::StatusCode;
using internal::kNever;
using internal::SaturatingAdd;

// --- On its way.

void LoadModel::Launch(int number) {
  Load& load = loads_.at(number);
  const auto admission = breaker_.Admit(Now());
  if (!admission.has_value()) return Fail(load, StatusCode::kUnavailable);
  load.admission = admission->period;
  if (load.background && load.settings.background_timeout != kNever) {
    load.alarm = SetAlarm(SaturatingAdd(Now(), load.settings.background_timeout), {.load = number});
  }
  if (calls_.at(number).nested || options_.max_concurrent_loads == 0) return Submit(number);
  if (running_ < options_.max_concurrent_loads) {
    ++running_;
    load.has_slot = true;
    return Submit(number);
  }
  if (queue_.size() < static_cast<size_t>(options_.max_queued_loads)) {
    return queue_.push_back(number);
  }
  Fail(load, StatusCode::kResourceExhausted);
}

void LoadModel::Submit(int number) {
  Load& load = loads_.at(number);
  if (!refusing_) {
    load.submitted = true;
    return;
  }
  Fail(load, StatusCode::kResourceExhausted);
  ReleaseSlot(number);
}

void LoadModel::ReleaseSlot(int number) {
  Load& load = loads_.at(number);
  if (!std::exchange(load.has_slot, false)) return;
  if (queue_.empty()) {
    --running_;
    return;
  }
  const int next = queue_.front();
  queue_.pop_front();
  loads_.at(next).has_slot = true;
  Submit(next);
}

bool LoadModel::Begin(int number, bool nested) {
  const auto found = loads_.find(number);
  if (found == loads_.end()) return false;
  Load& load = found->second;
  if (!load.submitted || load.begun || load.finished) return false;
  load.begun = true;
  load.begun_at = Now();
  load.nested = nested;
  if (nested) ++nested_;
  return true;
}

std::optional<uint64_t> LoadModel::OldValueOf(int number) const {
  const Load& load = loads_.at(number);
  return load.old.has_value() ? std::optional(load.old->value) : std::nullopt;
}

void LoadModel::TaskGone(int number) {
  const auto found = loads_.find(number);
  if (found == loads_.end() || found->second.begun || !found->second.finished) return;
  if (!found->second.submitted) return;
  ReleaseSlot(number);
}

bool LoadModel::SomeTaskMustRun() const {
  return std::any_of(loads_.begin(), loads_.end(), [](const auto& item) {
    return item.second.submitted && !item.second.begun && !item.second.finished;
  });
}

// --- Its end.

void LoadModel::End(int number, const LoadEnd& end, const std::function<bool()>& found) {
  Load& load = loads_.at(number);
  if (load.nested) --nested_;
  ++counts_.loads;
  const int64_t nanos = Now() - load.begun_at;
  const bool answers = end.kind != LoadEnd::Kind::kFailed &&
                       (end.kind != LoadEnd::Kind::kNotModified || load.old.has_value());
  if (!answers) {
    Fail(load, end.kind == LoadEnd::Kind::kNotModified ? StatusCode::kFailedPrecondition
                                                       : StatusCode::kUnavailable);
  } else if (!std::exchange(load.finished, true)) {
    Report(load, /*ok=*/true);
    if (load.background) ++counts_.refreshes;
    switch (end.kind) {
      case LoadEnd::Kind::kValue:
        Store(load, end, nanos);
        break;
      case LoadEnd::Kind::kNotModified:
        Renew(load, end, nanos, found);
        break;
      default:
        StoreNotFound(load);
        break;
    }
    Land(load);
  }
  ReleaseSlot(number);
}

void LoadModel::Fail(Load& load, StatusCode code) {
  if (std::exchange(load.finished, true)) return;
  std::erase_if(queue_, [&](int number) { return &loads_.at(number) == &load; });
  Report(load, /*ok=*/false);
  if (load.old.has_value()) RetryAfter(load, load.settings.retry_after, /*failed=*/true);
  if (load.background) ++counts_.refresh_failures;
  load.code = code;
  Land(load);
}

void LoadModel::Report(Load& load, bool ok) {
  if (load.admission.has_value()) {
    if (load.begun) {
      breaker_.Report({*load.admission}, ok, Now());
    } else {
      breaker_.Abandon({*load.admission});
    }
  }
  CancelAlarm(load.alarm);
}

void LoadModel::RetryAfter(const Load& load, int64_t nanos, bool failed) {
  const auto found = entries_.find(load.key);
  if (found == entries_.end() || found->second.id != load.old->id) return;
  found->second.refresh_at = std::min(SaturatingAdd(Now(), nanos), kNever - 1);
  found->second.failed = failed;
  found->second.refreshes_early = RefreshesEarly(found->second);
}

void LoadModel::Store(Load& load, const LoadEnd& end, int64_t load_nanos) {
  load.value = end.value;
  std::vector<std::string> tags = end.tags;
  tags.insert(tags.end(), load.options.tags.begin(), load.options.tags.end());
  Entry entry{.id = next_id_++,
              .value = end.value,
              .written_at = Now(),
              .fresh_until = EndOf(end.ttl.has_value() ? end.ttl : load.options.ttl),
              .kept_for = load.settings.stale_window(),
              .load_nanos = load_nanos,
              .tags = TagsOf(load.key, tags),
              .stamp = load.stamp};
  entry.refresh_at = RefreshTime(load.settings.refresh_after, entry.fresh_until);
  entry.refreshes_early = RefreshesEarly(entry);
  load.void_tags = !IsValid(entry.tags, load.stamp);
  if (!load.void_tags && !load.outdated) {
    entries_[load.key] = std::move(entry);
  } else if (load.old.has_value()) {
    RetryAfter(load, 0, /*failed=*/false);
  }
}

void LoadModel::StoreNotFound(Load& load) {
  load.code = StatusCode::kNotFound;
  const std::set<std::string> tags = TagsOf(load.key, load.options.tags);
  load.void_tags = !IsValid(tags, load.stamp);
  const int64_t ttl = load.settings.negative_ttl;
  if (ttl == 0) {
    const auto found = entries_.find(load.key);
    if (!load.old.has_value() || found == entries_.end()) return;
    if (found->second.id != load.old->id) return;
    if (load.outdated) return RetryAfter(load, 0, /*failed=*/false);
    entries_.erase(found);
    load.outdated = true;
    return;
  }
  if (load.void_tags || load.outdated) {
    if (load.old.has_value()) RetryAfter(load, 0, /*failed=*/false);
    return;
  }
  entries_[load.key] = {.id = next_id_++,
                        .negative = true,
                        .written_at = Now(),
                        .fresh_until = SaturatingAdd(Now(), ttl),
                        .tags = tags,
                        .stamp = load.stamp};
}

void LoadModel::Renew(Load& load, const LoadEnd& end, int64_t load_nanos,
                      const std::function<bool()>& found) {
  load.value = load.old->value;
  load.void_tags = !IsValid(load.old->tags, load.old->stamp);
  const auto place = entries_.find(load.key);
  if (place == entries_.end() || place->second.id != load.old->id) return;
  if (load.outdated) return RetryAfter(load, 0, /*failed=*/false);
  Entry& entry = place->second;
  if (load.void_tags) return;
  if (Now() >= LeavesAt(entry) && !found()) {
    entries_.erase(place);
    return;
  }
  entry.fresh_until = EndOf(end.ttl.has_value() ? end.ttl : load.options.ttl);
  entry.kept_for = load.settings.stale_window();
  entry.refresh_at = RefreshTime(load.settings.refresh_after, entry.fresh_until);
  entry.written_at = Now();
  entry.load_nanos = load_nanos;
  entry.refreshes_early = RefreshesEarly(entry);
  entry.failed = false;
  ++counts_.not_modified;
}

void LoadModel::Land(Load& load) {
  const auto found = in_flight_.find(load.key);
  if (found != in_flight_.end() && &loads_.at(found->second) == &load) in_flight_.erase(found);
  const std::vector<int> waiting = std::move(load.waiting);
  for (const int call : waiting) Landed(call);
}

void LoadModel::Close() {
  closing_ = true;
  while (!in_flight_.empty()) {
    Load& load = loads_.at(in_flight_.begin()->second);
    load.stop = true;
    Fail(load, StatusCode::kCancelled);
  }
}

}  // namespace larder::test
