// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_PROGRESS_H_
#define LARDER_BENCH_SUPPORT_PROGRESS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

namespace larder::bench {

// One stage of a long run, told on standard error while it lasts: what it does and how far it got.
// A terminal is shown a bar that fills; anything else one line when the stage begins and its time
// when it ends.
//
//   Stage stage("redis", "60,000 GETs over loopback", 60'000);
//   ... stage.Advance() by any thread ...
//   stage.Fail("the server went away");   // only if so
//
// One stage at a time. Advance() is thread-safe, all else is for the thread that made the stage.
class Stage {
 public:
  Stage(std::string_view name, std::string_view doing, uint64_t steps);
  ~Stage();

  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  void Advance(uint64_t steps = 1) { done_.fetch_add(steps, std::memory_order_relaxed); }

  void Fail(std::string_view why) { failure_ = why; }

  // From now on nothing is told: the process is about to end, and what fails because of that is no
  // news. Thread-safe.
  static void Mute();

  // The name of the stage under way, "" between stages. Thread-safe.
  static std::string Current();

 private:
  void Redraw();
  void RedrawUntilEnd();
  double Seconds() const;

  const std::string name_;
  const std::string doing_;
  const uint64_t steps_;
  const std::chrono::steady_clock::time_point start_;
  std::string failure_;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> ended_{false};
  std::thread painter_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_PROGRESS_H_
