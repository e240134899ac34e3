// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_OUTAGE_TIMELINE_H_
#define LARDER_BENCH_SUPPORT_OUTAGE_TIMELINE_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace larder::bench {

// What a database is like for a while.
struct OutagePhase {
  std::string_view name;
  absl::Duration length;
  bool answers = true;
  // Where it answers, after a time drawn uniformly from here.
  absl::Duration fastest = absl::ZeroDuration();
  absl::Duration slowest = absl::ZeroDuration();
  // Requests of other phases are sent, but their results aren't shown.
  bool measured = true;
};

// What becomes of one query.
struct QueryFate {
  absl::Duration ends_at;  // since the beginning of the timeline
  bool answered;           // else its client has given up
};

// How a database fares while a benchmark runs. Times are counted from the beginning. Immutable.
class OutageTimeline {
 public:
  // Clients wait `client_timeout` for the answer to a query. `phases` must not be empty.
  OutageTimeline(std::vector<OutagePhase> phases, absl::Duration client_timeout);

  // The benchmark's own: a start with empty caches that isn't measured, healthy, dead for 5 s, back
  // but slow, healthy again; all times multiplied by `scale`.
  static OutageTimeline DeadForFiveSeconds(double scale);

  const std::vector<OutagePhase>& phases() const { return phases_; }
  absl::Duration client_timeout() const { return client_timeout_; }
  absl::Duration length() const { return ends_.back(); }

  absl::Duration Begin(size_t phase) const {
    return phase == 0 ? absl::ZeroDuration() : ends_[phase - 1];
  }
  absl::Duration End(size_t phase) const { return ends_[phase]; }

  // The phase that `at` is in; the last one from its begin on, the first one before 0. O(phases).
  size_t PhaseAt(absl::Duration at) const;

  // Of a query asked at `asked`. `share`, 0..1, says where in the range of its phase's times the
  // database's own lies. While the database is dead nothing is answered, neither what is asked then
  // nor what it was working on when it died: the client waits until its timeout. O(phases).
  QueryFate FateOf(absl::Duration asked, double share) const;

 private:
  std::vector<OutagePhase> phases_;
  std::vector<absl::Duration> ends_;
  absl::Duration client_timeout_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_OUTAGE_TIMELINE_H_
