// SPDX-License-Identifier: Apache-2.0
//
// Perturb(): marks a point between two steps that other threads may come in between.

#ifndef LARDER_INTERNAL_PERTURBATION_H_
#define LARDER_INTERNAL_PERTURBATION_H_

#ifdef LARDER_PERTURBED
#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <thread>
#endif

namespace larder::internal {

// Nothing, but where the code is compiled with LARDER_PERTURBED: there a thread sleeps at such
// points now and then, for up to two milliseconds, so that the orders of steps that are rare
// otherwise come about in tests. Seldom once it has passed many, so that those end.
#ifdef LARDER_PERTURBED
inline void Perturb() {
  static std::atomic<uint32_t> threads{std::random_device{}()};
  thread_local std::minstd_rand random(threads.fetch_add(1));
  thread_local uint32_t points = 0;
  ++points;
  const uint32_t one_in = points < 200 ? 8 : points < 4'000 ? 100 : 5'000;
  if (random() % one_in != 0) return;
  std::this_thread::sleep_for(std::chrono::microseconds(random() % 2'000));
}
#else
inline void Perturb() {}
#endif

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_PERTURBATION_H_
