// SPDX-License-Identifier: Apache-2.0

#include "bench/support/interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <utility>

namespace larder::bench {
namespace {

// Handlers may do next to nothing, so they only pass the signal's number on. (Blocking the signals
// and waiting for them would do without handlers, but programs started by this one would inherit
// the blocked mask and could not be stopped.)
int pipe_ends[2] = {-1, -1};

extern "C" void PassOn(int signal) {
  const int saved_errno = errno;
  const char number = static_cast<char>(signal);
  [[maybe_unused]] const ssize_t written = write(pipe_ends[1], &number, 1);
  errno = saved_errno;
}

}  // namespace

void OnInterrupt(std::function<void(int signal)> clean_up) {
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
    std::perror("larder: pipe");
    std::exit(1);
  }
  std::thread([clean_up = std::move(clean_up)] {
    char number = 0;
    while (read(pipe_ends[0], &number, 1) != 1) {
    }
    clean_up(number);
    _exit(128 + number);
  }).detach();
  struct sigaction action = {};
  action.sa_handler = &PassOn;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  // Whoever has it ignored, as nohup does, wants the program to outlive its terminal.
  struct sigaction hang_up = {};
  sigaction(SIGHUP, nullptr, &hang_up);
  if (hang_up.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
}

}  // namespace larder::bench
