// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/sleepers.h"

#include <utility>

namespace larder::internal {

int64_t Sleepers::Enter(Sleeper* sleeper, int64_t due) {
  sleeper->is_listed = true;
  sleeper->before = nullptr;
  sleeper->after = first_;
  if (first_ != nullptr) first_->before = sleeper;
  first_ = sleeper;
  if (due >= watches_until_) return kNever;
  // Should there be a watch, it goes on as one, and wakes in vain.
  watch_ = sleeper;
  watches_until_ = due;
  return due;
}

void Sleepers::Leave(Sleeper* sleeper) {
  (sleeper->before != nullptr ? sleeper->before->after : first_) = sleeper->after;
  if (sleeper->after != nullptr) sleeper->after->before = sleeper->before;
  sleeper->is_listed = false;
  if (sleeper != watch_) return;
  watch_ = nullptr;
  watches_until_ = kNever;
}

Sleepers::Sleeper* Sleepers::Wake(int64_t due) {
  if (is_waking_ || due >= watches_until_ || first_ == nullptr) return nullptr;
  Sleeper* const sleeper = watch_ != nullptr ? watch_ : first_;
  Leave(sleeper);
  sleeper->after = nullptr;
  is_waking_ = true;
  return sleeper;
}

Sleepers::Sleeper* Sleepers::WakeAll() {
  for (Sleeper* sleeper = first_; sleeper != nullptr; sleeper = sleeper->after) {
    sleeper->is_listed = false;
  }
  watch_ = nullptr;
  watches_until_ = kNever;
  return std::exchange(first_, nullptr);
}

}  // namespace larder::internal
