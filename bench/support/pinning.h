// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_PINNING_H_
#define LARDER_BENCH_SUPPORT_PINNING_H_

namespace larder::bench {

// Keeps the calling thread on one of the processors that this process was allowed at its start: the
// `index`-th of them, counted round and round. Does nothing where the kernel refuses. Thread-safe.
void PinToProcessor(int index);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_PINNING_H_
