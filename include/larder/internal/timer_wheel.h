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
// A list of level l holds the nodes of 64^l ticks, its range. Ranges of a level are numbered from
// the start of time; 64 of them make a range of the level above. Of each level there are lists for
// those in the current range of the level above and in the one after: a ring of 128. A node is in
// the lowest level that reaches its deadline; past the highest one's reach (2 years at least), in a
// list of its own.
//
// So nodes in the range after the current one belong to a lower level. As soon as a range is the
// next, its list takes no more nodes, and budget that is left over goes into splitting it into the
// lists of lower levels, which are there already. There is as much time for this as the current
// range lasts. What wasn't split by then, because there were too few calls, shares the budget
// equally with what is due for certain, so that neither has to wait for all of the other: there is
// no moment at which the nodes of a whole list must be moved before one can be handed out.
//
// Each look at a node hands it out or moves it down by a level at least: 6 looks at most from
// Schedule to the end, of which the last hands it out. A deadline found moved starts anew, and a
// node past the highest level's reach is looked at once more for each 2 years (2^36 ticks). A list
// whose range is over, as after a leap of time, is handed out directly, from any level. The wheel
// jumps over what is empty, so a leap costs no more than the nodes it passes.
//
// What a look costs is a cache miss, on a node that only its neighbour in the list leads to. So
// lists are taken from both ends in turn, which makes two chains of misses that overlap. For that
// they are circular, but that the last node names its list instead of the first node.
//
// A node's deadline is read when its list comes up, not before: moving it to a later time needs no
// call. Deadlines are rounded up to ticks of 2^20 ns (1.05 ms): nothing is due early, and nothing
// waits longer than a tick plus the time until Advance is called with enough budget.
class TimerWheel {
 public:
  // Starts at time `now` (ns). Throws std::bad_alloc where memory is out. Takes about 3 KiB.
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
  // nodes; then splits lists ahead of time. Work left over is taken up by the next call where this
  // one stopped. Where time has gone back, nothing is due until it has caught up.
  Due Advance(int64_t now, size_t budget);

  // No node is due, and Advance has nothing to do, before this time (ns); kNever where it is empty.
  // It may come before any node is due, for lists to be split.
  int64_t next_event() const { return next_event_; }

  // Nodes scheduled.
  size_t size() const { return size_; }

  // Forgets all nodes, without touching them.
  void Clear();

  // Whether every list is linked well and marked, all nodes are in one that comes up in time for
  // them, and the next event is no later than that. For tests; slow.
  bool Consistent() const;

 private:
  static constexpr int kTickLog2 = 20;  // of ns
  static constexpr int kLevels = 6;
  static constexpr int kDigitLog2 = 6;
  static constexpr uint32_t kHalf = 1u << kDigitLog2;     // lists of one range of the level above
  static constexpr uint32_t kRing = 2 * kHalf;            // lists of a level
  static constexpr int kSpanLog2 = kLevels * kDigitLog2;  // of ticks
  // Lists beyond the levels': nodes past their reach, and those of them that are looked at again.
  static constexpr uint32_t kFar = kLevels * kRing;
  static constexpr uint32_t kFarDue = kFar + 1;
  static constexpr uint32_t kAllLists = kFar + 2;

  // Ticks count from the smallest int64_t, so that any time of any clock has one.
  static uint64_t FloorTick(int64_t nanos);
  static uint64_t CeilTick(int64_t nanos);
  static int64_t TickStart(uint64_t tick);

  // The list of range `number` of a level.
  static constexpr uint32_t ListOf(int level, uint64_t number) {
    return static_cast<uint32_t>(level) * kRing + static_cast<uint32_t>(number & (kRing - 1));
  }
  // The current range of a level.
  uint64_t Current(int level) const { return tick_ >> (level * kDigitLog2); }
  bool Empty(uint32_t list) const { return heads_[list] == kNoNode; }
  // Requires: the list isn't empty.
  NodeIndex Last(uint32_t list) const { return slab_.At(heads_[list])->timer_prev; }
  // The bits of the lists in range `parent` of the level above `level`.
  uint64_t OccupiedIn(int level, uint64_t parent) const {
    return occupied_[ListOf(level, parent << kDigitLog2) / kHalf];
  }

  // The list for a node due at `tick`, and the tick from which on Advance works on that list.
  struct Place {
    uint32_t list;
    uint64_t comes_up;
  };
  Place PlaceFor(uint64_t tick) const;
  // The range whose nodes are in `list`, of a level, now.
  uint64_t NumberOf(uint32_t list) const;
  uint64_t ComesUp(int level, uint64_t number) const;
  void Link(uint32_t list, NodeIndex node);
  void Unlink(NodeIndex node);

  // Moves the current tick to `target`, or before it to the last one at which all that is left
  // behind has its list still.
  void Step(uint64_t target);
  // Two lists to work on in turn at the current tick, the same twice where there is one, kAllLists
  // where there is none.
  struct Work {
    uint32_t list;
    uint32_t other;
  };
  Work FindWork() const;
  // Takes a node out, or moves it to where it belongs.
  void Visit(NodeIndex node, int64_t now, Due& due);
  // Requires: there is nothing to do at the current tick.
  void UpdateNextEvent();
  bool ListConsistent(uint32_t list, size_t& nodes) const;

  const Slab& slab_;
  uint64_t tick_;
  int64_t next_event_ = kNever;
  size_t size_ = 0;
  bool others_turn_ = false;  // which of two lists, or ends of one, was visited last
  uint64_t occupied_[kLevels * kRing / kHalf] = {};  // a bit for each list that isn't empty
  std::unique_ptr<NodeIndex[]> heads_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_TIMER_WHEEL_H_
