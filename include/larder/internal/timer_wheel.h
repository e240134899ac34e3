// SPDX-License-Identifier: Apache-2.0
//
// TimerWheel: which entries expire next?

#ifndef LARDER_INTERNAL_TIMER_WHEEL_H_
#define LARDER_INTERNAL_TIMER_WHEEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "larder/internal/node.h"
#include "larder/internal/slab.h"

namespace larder::internal {

// A hierarchical timing wheel (G. Varghese and A. Lauck, "Hashed and hierarchical timing wheels",
// SOSP 1987) over the nodes of a slab, linked through their headers. It has no lock and reads no
// clock: it belongs to the lock of its stripe, and time and budget are arguments.
//
// Level l has 64 lists; a list of level l holds nodes whose deadline differs from the wheel's
// current tick first in the l-th base-64 digit, which is the list's number. So entries of level 0
// share all digits but the last with the current tick; entries past the last level's span (about 2
// years) wait in a list of their own. When the current tick enters the range of a list of a level
// above 0, its nodes move down. The wheel jumps from one occupied list to the next, so that a leap
// of time costs no more than the nodes it passes.
//
// A node's deadline is read when its list comes up, not before: moving it to a later time needs no
// call. Deadlines are rounded up to ticks of 2^20 ns (1.05 ms): nothing is due early, and nothing
// waits longer than a tick plus the time until Advance is called with enough budget.
class TimerWheel {
 public:
  // Starts at time `now` (ns). Throws std::bad_alloc where memory is out.
  TimerWheel(const Slab* slab, int64_t now);

  // Adds a node, to be due at its deadline. O(1). Requires: it isn't in a wheel.
  void Schedule(NodeIndex node);

  // Takes a node out. O(1). Requires: it is in this wheel. It has no timer afterwards.
  void Cancel(NodeIndex node);

  struct Due {
    NodeIndex first = kNoNode;  // linked through timer_next, in state kNoTimer
    size_t count = 0;
    size_t visited = 0;  // nodes moved or taken out: what the budget was spent on
    bool more = false;   // the budget ran out first: call again
  };

  // Moves the wheel towards `now` (ns) and takes out nodes that are due, visiting at most `budget`
  // nodes. Work left over is taken up by the next call where this one stopped. Where time has
  // gone back, nothing is due until it has caught up.
  Due Advance(int64_t now, size_t budget);

  // No node is due, and Advance has nothing to do, before this time (ns); kNever where it is empty.
  int64_t next_event() const { return next_event_; }

  // Nodes scheduled.
  size_t size() const { return size_; }

  // Forgets all nodes, without touching them.
  void Clear();

  // Whether every list is linked well and marked, and all nodes are in one. For tests; slow.
  bool Consistent() const;

 private:
  static constexpr int kTickLog2 = 20;  // of ns
  static constexpr int kLevels = 6;
  static constexpr int kDigitLog2 = 6;
  static constexpr uint32_t kLists = 1u << kDigitLog2;    // per level
  static constexpr int kSpanLog2 = kLevels * kDigitLog2;  // of ticks
  // Lists beyond the levels': nodes past the span, and those of them that are looked at again.
  static constexpr uint32_t kFar = kLevels * kLists;
  static constexpr uint32_t kFarDue = kFar + 1;
  static constexpr uint32_t kAllLists = kFar + 2;

  // Ticks count from the smallest int64_t, so that any time of any clock has one.
  static uint64_t FloorTick(int64_t nanos);
  static uint64_t CeilTick(int64_t nanos);
  static int64_t TickStart(uint64_t tick);
  static uint32_t Digit(uint64_t tick, int level) {
    return static_cast<uint32_t>(tick >> (level * kDigitLog2)) & (kLists - 1);
  }

  // The list for a node due at `tick`, and the tick at which that list comes up.
  struct Place {
    uint32_t list;
    uint64_t comes_up;
  };
  Place PlaceFor(uint64_t tick) const;
  void Link(uint32_t list, NodeIndex node);
  void Unlink(NodeIndex node);
  // Looks again at the nodes of `list`, whose time has come. False where the budget ran out first.
  bool Drain(uint32_t list, int64_t now, size_t budget, Due& due);
  // Drains what the current tick has come to, the highest level first.
  bool DrainCurrent(int64_t now, size_t budget, Due& due);
  // The first tick after the current one at which an occupied list comes up, <= limit + 1.
  uint64_t NextOccupied(uint64_t limit) const;
  void UpdateNextEvent();

  const Slab& slab_;
  uint64_t tick_;
  int64_t next_event_ = kNever;
  size_t size_ = 0;
  uint64_t occupied_[kLevels] = {};  // a bit for each list that isn't empty
  std::unique_ptr<NodeIndex[]> heads_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_TIMER_WHEEL_H_
