// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_CHILD_H_
#define LARDER_TESTS_SUPPORT_CHILD_H_

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "gtest/gtest.h"

namespace larder::test {

// For the child, whose failures gtest wouldn't see: says what isn't so, and ends it.
#define CHILD_CHECK(condition)                                                           \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "in the child, line %d: not so: %s\n", __LINE__, #condition); \
      _exit(1);                                                                          \
    }                                                                                    \
  } while (false)

// Runs f() in a child process. Returns whether it came to its end.
template <class F>
[[nodiscard]] bool Child(F&& f) {
  const pid_t child = fork();
  if (child == 0) {
    f();
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

template <class F>
void RunInChild(F&& f) {
  const bool came_to_its_end = Child(f);
  EXPECT_TRUE(came_to_its_end);
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_CHILD_H_
