// SPDX-License-Identifier: Apache-2.0
//
// RefreshAfter: when an entry is old enough to be loaded anew.

#ifndef LARDER_REFRESH_AFTER_H_
#define LARDER_REFRESH_AFTER_H_

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// A time since the write of an entry, or a share of its ttl.
//
//   options.refresh_after = absl::Seconds(30);
//   options.refresh_after = larder::RefreshAfter::Share(0.8);
class RefreshAfter {
 public:
  // > 0. At the entry's expiry or later: it isn't refreshed ahead.
  constexpr RefreshAfter(absl::Duration duration) : duration_(duration) {}  // NOLINT: implicit

  // 0 < share < 1, of the entry's ttl as it was shortened by ttl_jitter. An entry that doesn't
  // expire isn't refreshed.
  static constexpr RefreshAfter Share(double share) { return RefreshAfter(share); }
  static constexpr RefreshAfter Never() { return RefreshAfter(absl::InfiniteDuration()); }

  bool is_share() const { return is_share_; }
  double share() const { return share_; }                // where is_share()
  absl::Duration duration() const { return duration_; }  // where not
  bool never() const { return !is_share() && duration_ == absl::InfiniteDuration(); }

  // OK, or InvalidArgument that names `field` and the value.
  absl::Status Validate(const char* field) const;

 private:
  explicit constexpr RefreshAfter(double share) : share_(share), is_share_(true) {}

  absl::Duration duration_ = absl::InfiniteDuration();
  double share_ = 0;
  bool is_share_ = false;
};

}  // namespace larder

#endif  // LARDER_REFRESH_AFTER_H_
