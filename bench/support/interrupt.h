// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_INTERRUPT_H_
#define LARDER_BENCH_SUPPORT_INTERRUPT_H_

#include <functional>

namespace larder::bench {

// On the first SIGINT, SIGTERM or (unless it is ignored) SIGHUP, calls clean_up(signal) on a thread
// of its own, while all others go on, and then ends the process with status 128 + signal, running
// no destructors. Call it once, before other threads exist. clean_up may do what any thread may,
// unlike a signal handler.
void OnInterrupt(std::function<void(int signal)> clean_up);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_INTERRUPT_H_
