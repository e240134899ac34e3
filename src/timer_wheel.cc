// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

namespace larder::internal {
namespace {

constexpr uint64_t kSignBit = uint64_t{1} << 63;

}  // namespace

TimerWheel::TimerWheel(const Slab* slab, int64_t now)
    : slab_(*slab), tick_(FloorTick(now)), heads_(new NodeIndex[kAllLists]) {
  Clear();
}

uint64_t TimerWheel::FloorTick(int64_t nanos) {
  return (static_cast<uint64_t>(nanos) ^ kSignBit) >> kTickLog2;
}

uint64_t TimerWheel::CeilTick(int64_t nanos) {
  constexpr uint64_t kPartMask = (uint64_t{1} << kTickLog2) - 1;
  return FloorTick(nanos) + ((static_cast<uint64_t>(nanos) & kPartMask) != 0 ? 1 : 0);
}

int64_t TimerWheel::TickStart(uint64_t tick) {
  // A tick past the end of time is one that doesn't come.
  if (tick >> (64 - kTickLog2) != 0) return kNever;
  return static_cast<int64_t>((tick << kTickLog2) ^ kSignBit);
}

void TimerWheel::Clear() {
  std::fill_n(heads_.get(), kAllLists, kNoNode);
  std::fill(std::begin(occupied_), std::end(occupied_), 0);
  size_ = 0;
  next_event_ = kNever;
}

TimerWheel::Place TimerWheel::PlaceFor(uint64_t tick) const {
  if (tick <= tick_) return {ListOf(0, tick_), tick_};
  // Less than 64^(l+1) ticks reach into the next range of level l + 1 at most; so may twice that.
  int level = (63 - std::countl_zero(tick - tick_)) / kDigitLog2;
  if (level > 0 && (tick >> (level * kDigitLog2)) - Current(level) <= 1) --level;
  if (level >= kLevels) return {kFar, (Current(kLevels) + 1) << kSpanLog2};
  const uint64_t number = tick >> (level * kDigitLog2);
  return {ListOf(level, number), ComesUp(level, number)};
}

uint64_t TimerWheel::ComesUp(int level, uint64_t number) const {
  // One range early, to be split; level 0 has nothing to be split into.
  const uint64_t start = (level == 0 ? number : number - 1) << (level * kDigitLog2);
  return std::max(start, tick_);
}

uint64_t TimerWheel::NumberOf(uint32_t list) const {
  const uint64_t half = Current(static_cast<int>(list / kRing)) & ~uint64_t{kHalf - 1};
  // The ring holds the ranges from the current half on.
  return half + ((list - half) & (kRing - 1));
}

void TimerWheel::Link(uint32_t list, NodeIndex node) {
  NodeHeader* header = slab_.At(node);
  const NodeIndex first = heads_[list];
  heads_[list] = node;
  if (first == kNoNode) {
    header->timer_prev = node;
    header->timer_next = NodeHeader::kTimerEnd | list;
    if (list < kFar) occupied_[list / kHalf] |= uint64_t{1} << (list % kHalf);
  } else {
    header->timer_prev = std::exchange(slab_.At(first)->timer_prev, node);
    header->timer_next = first;
  }
}

void TimerWheel::Unlink(NodeIndex node) {
  NodeHeader* header = slab_.At(node);
  const NodeIndex prev = std::exchange(header->timer_prev, NodeHeader::kNoTimer);
  const uint32_t next = header->timer_next;
  NodeHeader* before = slab_.At(prev);
  const bool is_last = (next & NodeHeader::kTimerEnd) != 0;
  if (before->timer_next == node) {
    before->timer_next = next;
    const NodeIndex after = is_last ? heads_[next & ~NodeHeader::kTimerEnd] : next;
    slab_.At(after)->timer_prev = prev;
    return;
  }
  // The first of the list that the last one names.
  const uint32_t list = before->timer_next & ~NodeHeader::kTimerEnd;
  if (!is_last) {
    heads_[list] = next;
    slab_.At(next)->timer_prev = prev;
  } else {
    heads_[list] = kNoNode;
    if (list < kFar) occupied_[list / kHalf] &= ~(uint64_t{1} << (list % kHalf));
  }
}

void TimerWheel::Schedule(NodeIndex node) {
  const int64_t deadline = slab_.LeavesAt(node);
  const Place place = PlaceFor(CeilTick(deadline));
  Link(place.list, node);
  ++size_;
  next_event_ = std::min(next_event_, TickStart(place.comes_up));
}

void TimerWheel::Cancel(NodeIndex node) {
  Unlink(node);
  if (--size_ == 0) next_event_ = kNever;
}

void TimerWheel::Step(uint64_t target) {
  // The ring's lists of one range of the level above serve the next but one, too: they must be
  // empty before that becomes the next.
  uint64_t last = target;
  for (int level = 0; level < kLevels; ++level) {
    const int shift = (level + 1) * kDigitLog2;
    const uint64_t parent = Current(level + 1);
    if (OccupiedIn(level, parent) != 0) {
      last = std::min(last, ((parent + 1) << shift) - 1);
    } else if (OccupiedIn(level, parent + 1) != 0) {
      last = std::min(last, ((parent + 2) << shift) - 1);
    }
  }
  const uint64_t span = Current(kLevels);
  if (!Empty(kFarDue)) last = std::min(last, ((span + 1) << kSpanLog2) - 1);
  tick_ = last;
  if (Current(kLevels) == span || Empty(kFar)) return;
  // Far nodes go back to being far or into a level, each of them once: take the list aside.
  std::swap(heads_[kFar], heads_[kFarDue]);
  slab_.At(Last(kFarDue))->timer_next = NodeHeader::kTimerEnd | kFarDue;
}

TimerWheel::Work TimerWheel::FindWork() const {
  uint32_t certain = kAllLists;                          // its range is over: all of it is due
  uint32_t late = Empty(kFarDue) ? kAllLists : kFarDue;  // should have been split by now
  uint32_t ahead = kAllLists;                            // to be split
  // The lowest level comes up first.
  for (int level = kLevels - 1; level >= 0; --level) {
    const uint64_t number = Current(level);
    const uint64_t here = uint64_t{1} << (number % kHalf);
    const uint64_t occupied = OccupiedIn(level, number / kHalf);
    // In level 0, what has begun is due.
    const uint64_t over = occupied & (level == 0 ? here | (here - 1) : here - 1);
    if (over != 0) {
      const auto digit = static_cast<uint32_t>(std::countr_zero(over));
      certain = ListOf(level, number / kHalf * kHalf + digit);
    }
    if (level == 0) break;
    if ((occupied & here) != 0) late = ListOf(level, number);
    if (!Empty(ListOf(level, number + 1))) ahead = ListOf(level, number + 1);
  }
  if (certain == kAllLists && late == kAllLists) return {ahead, ahead};
  return {certain == kAllLists ? late : certain, late == kAllLists ? certain : late};
}

void TimerWheel::Visit(NodeIndex node, int64_t now, Due& due) {
  ++due.visited;
  NodeHeader* header = slab_.At(node);
  Unlink(node);
  const int64_t deadline = slab_.LeavesAt(node);
  if (deadline > now) {
    Link(PlaceFor(CeilTick(deadline)).list, node);
  } else {
    --size_;
    header->timer_next = due.first;
    due.first = node;
    ++due.count;
  }
}

TimerWheel::Due TimerWheel::Advance(int64_t now, size_t budget) {
  Due due;
  const uint64_t target = FloorTick(now);
  // Where time has gone back, it stands still until it has caught up.
  if (target < tick_) return due;
  for (;;) {
    // Where the wheel must stop before `target`, there is a list in its way: to be emptied next.
    if (tick_ != target) Step(target);
    const Work work = FindWork();
    if (work.list == kAllLists) break;
    // What is moved goes to later ranges, so there is nothing new to do until a list is empty.
    do {
      if (due.visited == budget) {
        due.more = true;
        next_event_ = TickStart(tick_);
        return due;
      }
      others_turn_ = !others_turn_;
      Visit(others_turn_ ? Last(work.other) : heads_[work.list], now, due);
    } while (!Empty(work.list) && !Empty(work.other));
  }
  UpdateNextEvent();
  return due;
}

void TimerWheel::UpdateNextEvent() {
  next_event_ = kNever;
  if (size_ == 0) return;
  uint64_t next = Empty(kFar) ? UINT64_MAX : (Current(kLevels) + 1) << kSpanLog2;
  for (int level = 0; level < kLevels; ++level) {
    // All lists that aren't empty have ranges after the current one.
    uint64_t parent = Current(level + 1);
    if (OccupiedIn(level, parent) == 0) ++parent;
    const uint64_t occupied = OccupiedIn(level, parent);
    if (occupied == 0) continue;
    const auto digit = static_cast<uint64_t>(std::countr_zero(occupied));
    next = std::min(next, ComesUp(level, (parent << kDigitLog2) + digit));
  }
  next_event_ = TickStart(next);
}

bool TimerWheel::ListConsistent(uint32_t list, size_t& nodes) const {
  uint64_t start = 0;         // no node of this list may be due before this tick,
  uint64_t comes_up = tick_;  // and from this one on it is looked at
  if (list < kFar) {
    const bool marked = (occupied_[list / kHalf] >> (list % kHalf) & 1) != 0;
    if (marked == Empty(list)) return false;
    const int level = static_cast<int>(list / kRing);
    const uint64_t number = NumberOf(list);
    if (number > Current(level)) start = number << (level * kDigitLog2);
    comes_up = ComesUp(level, number);
  } else if (list == kFar) {
    comes_up = (Current(kLevels) + 1) << kSpanLog2;
    start = comes_up + (uint64_t{1} << kSpanLog2);
  }
  if (Empty(list)) return true;
  if (next_event_ > TickStart(comes_up)) return false;
  NodeIndex prev = Last(list);
  for (uint32_t node = heads_[list]; (node & NodeHeader::kTimerEnd) == 0;) {
    const NodeHeader* header = slab_.At(node);
    if (header->timer_prev != prev) return false;
    const int64_t deadline = slab_.LeavesAt(node);
    if (deadline != kOver && CeilTick(deadline) < start) return false;
    prev = node;
    node = header->timer_next;
    ++nodes;
  }
  return prev == Last(list) && slab_.At(prev)->timer_next == (NodeHeader::kTimerEnd | list);
}

bool TimerWheel::Consistent() const {
  size_t nodes = 0;
  for (uint32_t list = 0; list < kAllLists; ++list) {
    if (!ListConsistent(list, nodes)) return false;
  }
  return nodes == size_;
}

}  // namespace larder::internal
