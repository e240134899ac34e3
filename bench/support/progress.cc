// SPDX-License-Identifier: Apache-2.0

#include "bench/support/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "larder/internal/mutex.h"

namespace larder::bench {
namespace {

constexpr int kBarWidth = 20;
constexpr std::chrono::milliseconds kRepaintEvery{100};

struct CurrentStage {
  internal::Mutex mutex;
  std::string name ABSL_GUARDED_BY(mutex);
};

CurrentStage& TheCurrentStage() {
  static CurrentStage current;
  return current;
}

void SetCurrent(std::string_view name) {
  CurrentStage& current = TheCurrentStage();
  const internal::MutexLock lock(&current.mutex);
  current.name = name;
}

std::atomic<bool> muted{false};

bool OnTerminal() {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  return terminal;
}

size_t TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

Stage::Stage(std::string_view name, std::string_view doing, uint64_t steps)
    : name_(name),
      doing_(doing),
      steps_(std::max<uint64_t>(steps, 1)),
      start_(std::chrono::steady_clock::now()) {
  SetCurrent(name);
  if (OnTerminal()) {
    painter_ = std::thread([this] { RedrawUntilEnd(); });
  } else if (!muted.load(std::memory_order_acquire)) {
    absl::FPrintF(stderr, "  %-25s %s ... ", name_, doing_);
    std::fflush(stderr);
  }
}

Stage::~Stage() {
  ended_.store(true, std::memory_order_release);
  if (painter_.joinable()) painter_.join();
  if (muted.load(std::memory_order_acquire)) return;
  if (OnTerminal()) absl::FPrintF(stderr, "\r\033[K  %-25s %s ... ", name_, doing_);
  if (failure_.empty()) {
    absl::FPrintF(stderr, "%.1f s\n", Seconds());
  } else {
    absl::FPrintF(stderr, "not measured:\n      %s\n", failure_);
  }
  SetCurrent("");
}

void Stage::Mute() { muted.store(true, std::memory_order_release); }

std::string Stage::Current() {
  CurrentStage& current = TheCurrentStage();
  const internal::MutexLock lock(&current.mutex);
  return current.name;
}

double Stage::Seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Stage::Redraw() {
  const double share = std::min(1.0, static_cast<double>(done_.load(std::memory_order_relaxed)) /
                                         static_cast<double>(steps_));
  const int filled = static_cast<int>(share * kBarWidth);
  std::string line =
      absl::StrFormat("  %-25s [%s%s] %3.0f%% %4.1f s  %s", name_, std::string(filled, '#'),
                      std::string(kBarWidth - filled, '.'), 100 * share, Seconds(), doing_);
  // A line that wraps could not be painted over.
  line.resize(std::min(line.size(), TerminalColumns() - 1));
  absl::FPrintF(stderr, "\r\033[K%s", line);
}

void Stage::RedrawUntilEnd() {
  while (!ended_.load(std::memory_order_acquire)) {
    if (!muted.load(std::memory_order_acquire)) Redraw();
    std::this_thread::sleep_for(kRepaintEvery);
  }
}

}  // namespace larder::bench
