// SPDX-License-Identifier: Apache-2.0
//
// StopWhenAll: one stop token for something that several others are still interested in.

#ifndef LARDER_INTERNAL_STOP_WHEN_ALL_H_
#define LARDER_INTERNAL_STOP_WHEN_ALL_H_

#include <atomic>
#include <cstddef>
#include <deque>
#include <stop_token>
#include <utility>

namespace larder::internal {

// Requests a stop of its own token once one has been requested of each of `number` others.
//
// Thread safety: stops may be requested of the others in any thread, and the token may be used in
// any; all else belongs to one thread.
class StopWhenAll {
 public:
  // Requires: number > 0.
  explicit StopWhenAll(size_t number) : left_(number) {}
  StopWhenAll(const StopWhenAll&) = delete;
  StopWhenAll& operator=(const StopWhenAll&) = delete;

  // To be called for each of the others. They needn't outlive this.
  void Watch(std::stop_token other) { callbacks_.emplace_back(std::move(other), Count{this}); }

  std::stop_token token() const { return source_.get_token(); }

 private:
  struct Count {
    void operator()() const {
      if (all->left_.fetch_sub(1, std::memory_order_acq_rel) == 1) all->source_.request_stop();
    }
    StopWhenAll* all;
  };

  std::atomic<size_t> left_;
  std::stop_source source_;
  // Last: their end waits for one that is running.
  std::deque<std::stop_callback<Count>> callbacks_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_STOP_WHEN_ALL_H_
