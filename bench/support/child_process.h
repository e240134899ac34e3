// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_CHILD_PROCESS_H_
#define LARDER_BENCH_SUPPORT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder::bench {

// Another program, whose standard input and output are ours. Not thread-safe.
class ChildProcess {
 public:
  // Starts `words`, the program, found on PATH unless it has a slash, and its arguments. NotFound
  // where there is none, else what the system says.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const std::vector<std::string>& words);

  // Kills it, unless it has ended.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Unavailable where it doesn't listen any more.
  absl::Status WriteLine(std::string_view line);

  // Its next line of output, without the end of the line; OutOfRange at the end of all.
  absl::StatusOr<std::string> ReadLine();

  // All of its output that wasn't read yet.
  std::string ReadAll();

  // Waits for its end. Internal unless its exit status is 0.
  absl::Status Wait();

 private:
  ChildProcess(std::string program, pid_t pid, int input, int output);

  // Reads more of the output; false at its end.
  bool Fill();

  const std::string program_;
  const int input_;
  const int output_;
  pid_t pid_;  // -1 once it was waited for
  std::string unread_;
};

// The whole output of a program. Errors of Start and Wait.
absl::StatusOr<std::string> OutputOf(const std::vector<std::string>& words);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_CHILD_PROCESS_H_
