// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_LINEARIZABILITY_H_
#define LARDER_TESTS_SUPPORT_LINEARIZABILITY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "tests/support/history.h"

namespace larder::test {

// Decides whether a recorded concurrent history of a cache is linearizable: whether each operation
// can be given one instant between its invocation and its response, such that, run one by one in
// the order of these instants, all of them answer as they did.
//
// Source: the search of J. M. Wing and C. Gong, "Testing and verifying concurrent objects", J.
// Parallel Distrib. Comput. 17 (1993), with the memoisation of G. Lowe, "Testing for
// linearizability", Concurrency Comput. Pract. Exper. 29(4) (2017): a pair of (set of operations
// already linearised, state) is explored once only. It is made small by three further things:
//  - keys are checked one by one, which is P-compositionality (A. Horn and D. Kroening, "Faster
//    linearizability checking via P-compositionality", FORTE 2015);
//  - a key's history is cut where no operation is in progress; each part starts from every state
//    that the part before may end in;
//  - a thread's own operations are in order, so the set of linearised operations is kept as one
//    number a thread;
//  - a read that answers right where it may come next comes there, with no alternative tried.
// Worst case, with t threads overlapping all the time: operations * 2^t * t configurations (each
// thread is at most one operation ahead of the slowest one, and the value is one of those last
// written); in practice a few per operation.

// The sequential object: one key of a cache, holding a value or none, and possibly one load in
// progress, that any write, erase or clear of the key makes void (see OpKind).
struct RegisterModel {
  // The entry may go at any time, as by eviction or expiry.
  bool may_vanish = false;
  std::optional<uint64_t> initial = std::nullopt;
  // Gives up, and says so, after this many configurations; one takes about 200 bytes.
  size_t max_configurations = 4'000'000;
};

struct LinearizabilityResult {
  bool ok = true;
  // If not ok: the key, the operations that cannot be ordered (those that do not matter are left
  // out as far as this is cheap to find), the longest order found and what stops it.
  std::string explanation;
  size_t configurations = 0;  // visited, over all keys

  explicit operator bool() const { return ok; }
};

// Checks each key of `history`. Of one thread, operations on one key must stand in program order
// and not overlap; otherwise the answer is "not ok: malformed".
LinearizabilityResult CheckLinearizable(const History& history, const RegisterModel& model = {});

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_LINEARIZABILITY_H_
