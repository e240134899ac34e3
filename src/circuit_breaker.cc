// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/circuit_breaker.h"

#include <algorithm>

#include "larder/internal/nanos.h"
#include "larder/internal/node.h"

namespace larder::internal {

void CircuitBreaker::Window::Add(bool failed) {
  failures_ += static_cast<int>(failed) - static_cast<int>(failed_[next_]);
  failed_[next_] = failed;
  next_ = (next_ + 1) % failed_.size();
}

void CircuitBreaker::Window::Clear() {
  std::fill(failed_.begin(), failed_.end(), false);
  failures_ = 0;
}

namespace {

// How many loads to remember; the options' window doesn't matter, and isn't checked, without a
// breaker.
int WindowSize(const CircuitBreakerOptions& options) {
  return options.failures == 0 || options.window == 0 ? options.failures : options.window;
}

}  // namespace

CircuitBreaker::CircuitBreaker(const CircuitBreakerOptions& options)
    : failures_(options.failures),
      half_open_loads_(options.half_open_loads),
      successes_(options.successes),
      open_for_(ToNanos(options.open_for)),
      most_open_for_(ToNanos(options.most_open_for.value_or(options.open_for))),
      window_(WindowSize(options)),
      next_open_for_(open_for_) {}

std::optional<CircuitBreaker::Admission> CircuitBreaker::Admit(int64_t now) {
  const uint64_t seen = word();
  switch (StateOf(seen)) {
    case CircuitState::kClosed:
      return Admission{PeriodOf(seen)};
    case CircuitState::kOpen:
      if (now < open_until_.load(std::memory_order_relaxed)) return std::nullopt;
      break;
    case CircuitState::kHalfOpen:
      break;
  }
  return AdmitUnderLock(now);
}

std::optional<CircuitBreaker::Admission> CircuitBreaker::AdmitUnderLock(int64_t now) {
  MutexLock lock(&mutex_);
  if (StateOf(word()) == CircuitState::kOpen) {
    if (now < open_until_.load(std::memory_order_relaxed)) return std::nullopt;
    probes_running_ = 0;
    probes_succeeded_ = 0;
    StoreWord(PeriodOf(word()) + 1, CircuitState::kHalfOpen);
  }
  if (StateOf(word()) == CircuitState::kHalfOpen) {
    if (probes_running_ == half_open_loads_) return std::nullopt;
    ++probes_running_;
  }
  return Admission{PeriodOf(word())};
}

void CircuitBreaker::Report(Admission admission, bool ok, int64_t now) {
  // Without a breaker, or a failure that a success might push out of the window.
  if (failures_ == 0 || (ok && Healthy(word()))) return;
  if (admission.period != PeriodOf(word())) return;
  MutexLock lock(&mutex_);
  if (admission.period != PeriodOf(word())) return;
  if (StateOf(word()) == CircuitState::kClosed) {
    ReportClosed(ok, now);
  } else {
    ReportProbe(ok, now);
  }
}

void CircuitBreaker::Abandon(Admission admission) {
  const uint64_t seen = word();
  if (StateOf(seen) != CircuitState::kHalfOpen || admission.period != PeriodOf(seen)) return;
  MutexLock lock(&mutex_);
  if (admission.period == PeriodOf(word())) --probes_running_;
}

CircuitState CircuitBreaker::state(int64_t now) const {
  const CircuitState state = StateOf(word());
  const bool over = now >= open_until_.load(std::memory_order_relaxed);
  return state == CircuitState::kOpen && over ? CircuitState::kHalfOpen : state;
}

int64_t CircuitBreaker::next_probe() const {
  if (StateOf(word()) != CircuitState::kOpen) return kNever;
  return open_until_.load(std::memory_order_relaxed);
}

void CircuitBreaker::ReportClosed(bool ok, int64_t now) {
  window_.Add(!ok);
  if (window_.failures() >= failures_) {
    Open(now);
  } else {
    StoreWord(PeriodOf(word()), CircuitState::kClosed);
  }
}

void CircuitBreaker::ReportProbe(bool ok, int64_t now) {
  --probes_running_;
  if (!ok) {
    const bool doubles = next_open_for_ <= most_open_for_ / 2;
    next_open_for_ = doubles ? next_open_for_ * 2 : most_open_for_;
    Open(now);
  } else if (++probes_succeeded_ == successes_) {
    next_open_for_ = open_for_;
    StoreWord(PeriodOf(word()) + 1, CircuitState::kClosed);
  }
}

void CircuitBreaker::Open(int64_t now) {
  window_.Clear();
  open_until_.store(SaturatingAdd(now, next_open_for_), std::memory_order_relaxed);
  opens_.fetch_add(1, std::memory_order_relaxed);
  StoreWord(PeriodOf(word()) + 1, CircuitState::kOpen);
}

void CircuitBreaker::StoreWord(uint64_t period, CircuitState state) {
  const uint64_t failures = window_.failures() == 0 ? 0 : kFailures;
  const uint64_t word = period << kPeriodShift | failures | static_cast<uint64_t>(state);
  word_.store(word, std::memory_order_release);
}

}  // namespace larder::internal
