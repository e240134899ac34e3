// SPDX-License-Identifier: Apache-2.0
//
// CircuitBreakerOptions: when a cache stops calling its loaders, and when it tries them again.

#ifndef LARDER_CIRCUIT_BREAKER_OPTIONS_H_
#define LARDER_CIRCUIT_BREAKER_OPTIONS_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// A circuit breaker is closed, and lets every load run, until at least `failures` of the last
// `window` loads have failed. It then opens: no load runs. After `open_for` it is half-open: up to
// `half_open_loads` loads at once run as probes, the others are refused still. `successes` probes
// that succeed close it, with all earlier failures forgotten; the first that fails opens it again.
//
// "5 in a row":            {.failures = 5}
// "half of the last 20":   {.failures = 10, .window = 20}
//
// Loads count in the order in which they end. A load that was started in one state and ends in
// another (most of those that are running when the breaker opens) doesn't count.
struct CircuitBreakerOptions {
  // >= 0. 0: there is no breaker, and the other fields don't matter.
  int failures = 0;

  // How many of the latest loads are looked at: `failures` to 10,000, or 0 for as many as
  // `failures`, which then have to be in a row.
  int window = 0;

  // How long it stays open. > 0; infinite: for good.
  absl::Duration open_for = absl::Seconds(5);

  // >= open_for. Where set, each time that a probe fails doubles the time it then stays open, up
  // to this, until it closes. Not set: always open_for.
  std::optional<absl::Duration> most_open_for = std::nullopt;

  // Probes that may run at once, >= 1.
  int half_open_loads = 1;

  // Probes that have to succeed for it to close, >= 1.
  int successes = 1;

  // OK, or InvalidArgument that names the field and its value.
  absl::Status Validate() const;
};

}  // namespace larder

#endif  // LARDER_CIRCUIT_BREAKER_OPTIONS_H_
