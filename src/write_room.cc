// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/write_room.h"

namespace larder::internal {
namespace {

// Whether one more fits where `used` may be over the limit.
bool Fits(uint64_t needed, uint64_t used, uint64_t limit) {
  return needed == 0 || (used <= limit && needed <= limit - used);
}

}  // namespace

bool WriteRoom::Fits(const WriteAmount& needs, const WriteAmount& queued) const {
  return internal::Fits(needs.entries, queued.entries + taken_.entries, limits_.entries) &&
         internal::Fits(needs.bytes, queued.bytes + taken_.bytes, limits_.bytes);
}

void WriteRoom::Take(const WriteAmount& needs) {
  taken_.entries += needs.entries;
  taken_.bytes += needs.bytes;
}

bool WriteRoom::TryTake(const WriteAmount& needs, const WriteAmount& queued) {
  if (needs.entries == 0 && needs.bytes == 0) return true;
  if (has_waiters() || !Fits(needs, queued)) return false;
  Take(needs);
  return true;
}

void WriteRoom::GiveBack(const WriteAmount& taken) {
  taken_.entries -= taken.entries;
  taken_.bytes -= taken.bytes;
}

void WriteRoom::Enter(Waiter* waiter) {
  waiter->is_listed = true;
  waiter->before = last_;
  waiter->after = nullptr;
  (last_ != nullptr ? last_->after : first_) = waiter;
  last_ = waiter;
}

void WriteRoom::Leave(Waiter* waiter) {
  (waiter->before != nullptr ? waiter->before->after : first_) = waiter->after;
  (waiter->after != nullptr ? waiter->after->before : last_) = waiter->before;
  waiter->is_listed = false;
}

WriteRoom::Waiter* WriteRoom::Grant(const WriteAmount& queued) {
  Waiter* granted = nullptr;
  Waiter** link = &granted;
  while (first_ != nullptr && Fits(first_->needs, queued)) {
    Waiter* const waiter = first_;
    Leave(waiter);
    Take(waiter->needs);
    *link = waiter;
    link = &waiter->after;
  }
  *link = nullptr;
  return granted;
}

WriteRoom::Waiter* WriteRoom::Refuse(const absl::Status& status) {
  Waiter* const all = first_;
  for (Waiter* waiter = all; waiter != nullptr; waiter = waiter->after) {
    waiter->status = status;
    waiter->is_listed = false;
  }
  first_ = last_ = nullptr;
  return all;
}

}  // namespace larder::internal
