// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_DELAY_RELAY_H_
#define LARDER_BENCH_SUPPORT_DELAY_RELAY_H_

#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder::bench {

// A network between a client and a server on this machine: accepts TCP connections on a loopback
// port of its own and relays each to `target_port` on loopback, every chunk of bytes, in either
// direction, `one_way` after it came in. Bandwidth is not limited, nothing is lost, and chunks keep
// their order. Round trips through it therefore take 2 * one_way longer, plus what the relay itself
// costs (two passes through the kernel's loopback and the timer's lateness).
//
// One thread does all relaying. A connection that either side closes is closed on both sides at
// once; bytes under way on it are lost, as on a network that breaks.
class DelayRelay {
 public:
  // Unavailable, naming the failing system call, if there are no descriptors or ports left.
  // Connections to the target are made when clients come: the target may be started later.
  static absl::StatusOr<std::unique_ptr<DelayRelay>> Start(int target_port, absl::Duration one_way);

  // Closes every connection.
  ~DelayRelay();

  DelayRelay(const DelayRelay&) = delete;
  DelayRelay& operator=(const DelayRelay&) = delete;

  // The loopback port to connect to.
  int port() const { return port_; }

 private:
  class Loop;

  DelayRelay(std::unique_ptr<Loop> loop, int port);

  const std::unique_ptr<Loop> loop_;
  const int port_;
  std::thread thread_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_DELAY_RELAY_H_
