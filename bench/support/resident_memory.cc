// SPDX-License-Identifier: Apache-2.0

#include "bench/support/resident_memory.h"

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace larder::bench {
namespace {

// Never returns: the parent's benchmarks are not the child's to go on with.
[[noreturn]] void MeasureAndExit(const std::function<std::function<int64_t()>()>& fill, int out) {
  MemoryUse use;
  bool written = false;
  try {
    // What the parent freed would be used first, and not be seen.
    malloc_trim(0);
    const int64_t before = ResidentBytes();
    const std::function<int64_t()> count = fill();
    use.bytes = ResidentBytes() - before;
    use.entries = count();
    written = write(out, &use, sizeof(use)) == sizeof(use);
  } catch (const std::exception&) {
    written = false;
  }
  _exit(written ? 0 : 1);
}

// Whether all of it came.
bool ReadFrom(int in, MemoryUse* use) {
  ssize_t got;
  do {
    got = read(in, use, sizeof(*use));
  } while (got < 0 && errno == EINTR);
  return got == sizeof(*use);
}

int WaitFor(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0, resident = 0, shared = 0;
  if (!(statm >> total >> resident >> shared)) return 0;
  return (resident - shared) * sysconf(_SC_PAGESIZE);
}

absl::StatusOr<MemoryUse> MeasureMemory(const std::function<std::function<int64_t()>()>& fill) {
  int ends[2];
  if (pipe(ends) != 0) return absl::UnavailableError(absl::StrCat("pipe: ", strerror(errno)));
  const pid_t child = fork();
  if (child == 0) MeasureAndExit(fill, ends[1]);
  const int fork_error = errno;
  close(ends[1]);
  MemoryUse use;
  const bool complete = child > 0 && ReadFrom(ends[0], &use);
  close(ends[0]);
  if (child < 0) return absl::UnavailableError(absl::StrCat("fork: ", strerror(fork_error)));
  const int status = WaitFor(child);
  if (!complete) {
    return absl::UnavailableError(
        WIFSIGNALED(status) ? absl::StrCat("the process died of signal ", WTERMSIG(status))
                            : "the process could not be filled");
  }
  return use;
}

}  // namespace larder::bench
