// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/timer_wheel.h"

#include <algorithm>
#include <bit>

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
  std::fill_n(occupied_, kLevels, 0);
  size_ = 0;
  next_event_ = kNever;
}

TimerWheel::Place TimerWheel::PlaceFor(uint64_t tick) const {
  if (tick <= tick_) return {Digit(tick_, 0), tick_};
  const int level = (63 - std::countl_zero(tick ^ tick_)) / kDigitLog2;
  if (level >= kLevels) return {kFar, ((tick_ >> kSpanLog2) + 1) << kSpanLog2};
  const int shift = level * kDigitLog2;
  return {static_cast<uint32_t>(level) * kLists + Digit(tick, level), tick >> shift << shift};
}

void TimerWheel::Link(uint32_t list, NodeIndex node) {
  NodeHeader* header = slab_.At(node);
  header->timer_prev = NodeHeader::kTimerHead | list;
  header->timer_next = heads_[list];
  if (header->timer_next != kNoNode) slab_.At(header->timer_next)->timer_prev = node;
  heads_[list] = node;
  if (list < kFar) occupied_[list / kLists] |= uint64_t{1} << (list % kLists);
}

void TimerWheel::Unlink(NodeIndex node) {
  NodeHeader* header = slab_.At(node);
  const uint32_t prev = header->timer_prev;
  const NodeIndex next = header->timer_next;
  if (next != kNoNode) slab_.At(next)->timer_prev = prev;
  if ((prev & NodeHeader::kTimerHead) == 0) {
    slab_.At(prev)->timer_next = next;
  } else {
    const uint32_t list = prev & ~NodeHeader::kTimerHead;
    heads_[list] = next;
    if (next == kNoNode && list < kFar) {
      occupied_[list / kLists] &= ~(uint64_t{1} << (list % kLists));
    }
  }
  header->timer_prev = NodeHeader::kNoTimer;
}

void TimerWheel::Schedule(NodeIndex node) {
  const int64_t deadline = slab_.At(node)->deadline.load(std::memory_order_relaxed);
  const Place place = PlaceFor(CeilTick(deadline));
  Link(place.list, node);
  ++size_;
  next_event_ = std::min(next_event_, TickStart(place.comes_up));
}

void TimerWheel::Cancel(NodeIndex node) {
  Unlink(node);
  if (--size_ == 0) next_event_ = kNever;
}

bool TimerWheel::Drain(uint32_t list, int64_t now, size_t budget, Due& due) {
  while (heads_[list] != kNoNode) {
    if (due.visited == budget) return false;
    ++due.visited;
    const NodeIndex node = heads_[list];
    NodeHeader* header = slab_.At(node);
    Unlink(node);
    const int64_t deadline = header->deadline.load(std::memory_order_relaxed);
    if (deadline > now) {
      Link(PlaceFor(CeilTick(deadline)).list, node);
    } else {
      --size_;
      header->timer_next = due.first;
      due.first = node;
      ++due.count;
    }
  }
  return true;
}

bool TimerWheel::DrainCurrent(int64_t now, size_t budget, Due& due) {
  if (!Drain(kFarDue, now, budget, due)) return false;
  for (int level = kLevels - 1; level >= 0; --level) {
    const uint32_t digit = Digit(tick_, level);
    if ((occupied_[level] >> digit & 1) == 0) continue;
    if (!Drain(static_cast<uint32_t>(level) * kLists + digit, now, budget, due)) return false;
  }
  return true;
}

uint64_t TimerWheel::NextOccupied(uint64_t limit) const {
  for (int level = 0; level < kLevels; ++level) {
    const uint32_t digit = Digit(tick_, level);
    // Two shifts: by 64 in one is undefined.
    const uint64_t later = occupied_[level] & (~uint64_t{0} << digit << 1);
    if (later == 0) continue;
    const int shift = level * kDigitLog2;
    const uint64_t upper = tick_ >> shift >> kDigitLog2 << kDigitLog2;
    return (upper | static_cast<uint64_t>(std::countr_zero(later))) << shift;
  }
  if (heads_[kFar] == kNoNode) return UINT64_MAX;
  // Nothing but far nodes: no need to stop at each span on the way.
  const uint64_t next_span = (tick_ >> kSpanLog2) + 1;
  return std::max(next_span, limit >> kSpanLog2) << kSpanLog2;
}

TimerWheel::Due TimerWheel::Advance(int64_t now, size_t budget) {
  Due due;
  const uint64_t target = FloorTick(now);
  // Where time has gone back, it stands still until it has caught up.
  if (target < tick_) return due;
  while (DrainCurrent(now, budget, due)) {
    const uint64_t next = NextOccupied(target);
    if (next > target) {
      // No list comes up on the way there, so each node is still in the right one.
      tick_ = target;
      UpdateNextEvent();
      return due;
    }
    const bool new_span = next >> kSpanLog2 != tick_ >> kSpanLog2;
    tick_ = next;
    if (new_span) {
      // Far nodes go back to being far or into a level, each of them once: take the list aside.
      std::swap(heads_[kFar], heads_[kFarDue]);
      if (heads_[kFarDue] != kNoNode) {
        slab_.At(heads_[kFarDue])->timer_prev = NodeHeader::kTimerHead | kFarDue;
      }
    }
  }
  due.more = true;
  next_event_ = TickStart(tick_);
  return due;
}

void TimerWheel::UpdateNextEvent() {
  const uint64_t next = size_ == 0 ? UINT64_MAX : NextOccupied(0);
  next_event_ = next == UINT64_MAX ? kNever : TickStart(next);
}

bool TimerWheel::Consistent() const {
  size_t nodes = 0;
  for (uint32_t list = 0; list < kAllLists; ++list) {
    if (list < kFar) {
      const bool marked = (occupied_[list / kLists] >> (list % kLists) & 1) != 0;
      if (marked != (heads_[list] != kNoNode)) return false;
    }
    uint32_t prev = NodeHeader::kTimerHead | list;
    for (NodeIndex node = heads_[list]; node != kNoNode; node = slab_.At(node)->timer_next) {
      if (slab_.At(node)->timer_prev != prev) return false;
      prev = node;
      ++nodes;
    }
  }
  return nodes == size_;
}

}  // namespace larder::internal
