// SPDX-License-Identifier: Apache-2.0

#include "bench/support/pinning.h"

#include <sched.h>

#include <cstddef>
#include <vector>

namespace larder::bench {
namespace {

std::vector<int> AllowedProcessors() {
  std::vector<int> allowed;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return allowed;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &set)) allowed.push_back(processor);
  }
  return allowed;
}

// Looked up before main(): later the asking thread may itself be pinned.
const std::vector<int>& AllowedAtStart() {
  static const std::vector<int> allowed = AllowedProcessors();
  return allowed;
}

[[maybe_unused]] const std::vector<int>& looked_up_early = AllowedAtStart();

}  // namespace

void PinToProcessor(int index) {
  const std::vector<int>& allowed = AllowedAtStart();
  if (allowed.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(allowed[static_cast<size_t>(index) % allowed.size()], &set);
  sched_setaffinity(0, sizeof(set), &set);
}

}  // namespace larder::bench
