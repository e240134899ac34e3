// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_MACHINE_H_
#define LARDER_BENCH_SUPPORT_MACHINE_H_

namespace larder::bench {

// Adds to the "context" of Google Benchmark's JSON what figures depend on: the processor, the
// kernel, the compiler, and the timer with its own cost.
void AddMachineContext();

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_MACHINE_H_
