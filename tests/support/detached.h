// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_DETACHED_H_
#define LARDER_TESTS_SUPPORT_DETACHED_H_

#include <coroutine>
#include <exception>

namespace larder::test {

// A coroutine that nobody waits for: destroyed at its end, by the thread that comes there.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_DETACHED_H_
