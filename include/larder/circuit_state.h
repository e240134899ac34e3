// SPDX-License-Identifier: Apache-2.0
//
// CircuitState: what a circuit breaker does with loads.

#ifndef LARDER_CIRCUIT_STATE_H_
#define LARDER_CIRCUIT_STATE_H_

#include <cstdint>
#include <string_view>

namespace larder {

enum class CircuitState : uint8_t {
  kClosed,    // every load runs
  kOpen,      // too many loads failed: none runs
  kHalfOpen,  // the wait is over: a few loads run as probes
};

// A lower-case word for logs and metrics: "closed", "open", "half_open".
constexpr std::string_view CircuitStateName(CircuitState state) {
  constexpr std::string_view kNames[] = {"closed", "open", "half_open"};
  return kNames[static_cast<int>(state)];
}

}  // namespace larder

#endif  // LARDER_CIRCUIT_STATE_H_
