// SPDX-License-Identifier: Apache-2.0

#include "bench/support/outage_timeline.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "bench/support/slow_database.h"

namespace larder::bench {

OutageTimeline::OutageTimeline(std::vector<OutagePhase> phases, absl::Duration client_timeout)
    : phases_(std::move(phases)), client_timeout_(client_timeout) {
  absl::Duration end = absl::ZeroDuration();
  for (const OutagePhase& phase : phases_) ends_.push_back(end += phase.length);
}

OutageTimeline OutageTimeline::DeadForFiveSeconds(double scale) {
  const OutagePhase healthy = {.name = "healthy",
                               .length = scale * absl::Seconds(3),
                               .fastest = scale * SlowDatabase::kFastest,
                               .slowest = scale * SlowDatabase::kSlowest};
  OutagePhase start = healthy;
  start.name = "start";
  start.measured = false;
  OutagePhase after = healthy;
  after.name = "after";
  const OutagePhase dead = {.name = "dead", .length = scale * absl::Seconds(5), .answers = false};
  const OutagePhase slow = {.name = "slow",
                            .length = scale * absl::Seconds(3),
                            .fastest = scale * absl::Milliseconds(200),
                            .slowest = scale * absl::Milliseconds(800)};
  return OutageTimeline({start, healthy, dead, slow, after}, scale * absl::Seconds(1));
}

size_t OutageTimeline::PhaseAt(absl::Duration at) const {
  const auto next = std::upper_bound(ends_.begin(), ends_.end(), at);
  return std::min(static_cast<size_t>(next - ends_.begin()), ends_.size() - 1);
}

QueryFate OutageTimeline::FateOf(absl::Duration asked, double share) const {
  const absl::Duration given_up_at = asked + client_timeout_;
  const size_t first = PhaseAt(asked);
  const OutagePhase& phase = phases_[first];
  const absl::Duration answer_at = asked + phase.fastest + share * (phase.slowest - phase.fastest);
  const size_t last = PhaseAt(answer_at);
  for (size_t i = first; i <= last; ++i) {
    if (!phases_[i].answers) return {given_up_at, false};
  }
  return answer_at < given_up_at ? QueryFate{answer_at, true} : QueryFate{given_up_at, false};
}

}  // namespace larder::bench
