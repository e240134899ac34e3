// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/epoch.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace larder::internal {
namespace {

bool Membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

}  // namespace

// Usable before any dynamic initialisation: until the barrier is registered, readers fence.
constinit Epoch::State Epoch::state_;

bool Epoch::RegisterBarrier() {
  const bool registered = Membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
                          Membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  if (registered) {
    state_.readers_fence = false;
    ThreadRecord::AllowQuick();
  }
  return registered;
}

const bool Epoch::barrier_registered_ = Epoch::RegisterBarrier();

uint64_t Epoch::OldestReader() {
  ThreadRecord& self = ThreadRecord::Current();
  // A thread alone needs no fence of others; one that registers from now on finds nothing that
  // was unlinked before.
  if (ThreadRecord::InUse() > 1 && !state_.readers_fence &&
      !Membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && !RegisterBarrier()) {
    // The kernel took the barrier away; without it nothing is known of any reader.
    return 0;
  }
  uint64_t oldest = self.epoch.load(std::memory_order_relaxed);
  if (oldest == 0) oldest = UINT64_MAX;
  for (ThreadRecord* record = ThreadRecord::First(); record != nullptr; record = record->next) {
    const uint64_t epoch = record->epoch.load(std::memory_order_acquire);
    if (epoch != 0) oldest = std::min(oldest, epoch);
  }
  return oldest;
}

uint64_t Epoch::LookAtReaders() {
  // Whoever unlinked something in an earlier epoch did so before this, and so before the barrier.
  const uint64_t tag = Advance();
  const uint64_t free_before = std::min(OldestReader(), tag);
  uint64_t known = state_.free_before.load(std::memory_order_relaxed);
  while (known < free_before &&
         !state_.free_before.compare_exchange_weak(known, free_before, std::memory_order_acq_rel)) {
  }
  return FreeBefore();
}

}  // namespace larder::internal
