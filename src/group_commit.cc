// SPDX-License-Identifier: Apache-2.0
#include "src/group_commit.h"

#include <utility>

namespace larder::internal {

GroupCommit::Joined GroupCommit::Join(Member* member) {
  {
    MutexLock lock(&mutex_);
    if (closed_) return Joined::kClosed;
    gathering_.push_back(member);
    member->number_ = next_number_++;
    if (!taken_) {
      taken_ = true;
      return Joined::kLeads;
    }
  }
  member->woken_.Wait();
  return member->leads_ ? Joined::kLeads : Joined::kFinished;
}

size_t GroupCommit::gathering() const {
  MutexLock lock(&mutex_);
  return gathering_.size();
}

std::vector<GroupCommit::Member*> GroupCommit::Take(size_t max_bytes) {
  std::vector<Member*> group;
  MutexLock lock(&mutex_);
  group.reserve(gathering_.size());
  size_t bytes = 0;
  while (!gathering_.empty()) {
    Member* member = gathering_.front();
    bytes += member->payload_.size();
    if (!group.empty() && bytes > max_bytes) break;
    group.push_back(member);
    gathering_.pop_front();
  }
  return group;
}

void GroupCommit::Refuse(Member* own, absl::Status outcome) {
  MutexLock lock(&mutex_);
  gathering_.pop_front();
  own->outcome_ = std::move(outcome);
}

void GroupCommit::Finish(absl::Span<Member* const> group, const absl::Status& outcome,
                         const Member* own) {
  for (Member* member : group) {
    member->outcome_ = outcome;
    if (member != own) member->woken_.Set();
  }
}

void GroupCommit::Enter() {
  Event woken;
  {
    MutexLock lock(&mutex_);
    if (!taken_) {
      taken_ = true;
      return;
    }
    entering_.push_back(&woken);
  }
  woken.Wait();
}

bool GroupCommit::TryEnter() {
  MutexLock lock(&mutex_);
  if (taken_) return false;
  taken_ = true;
  return true;
}

void GroupCommit::Leave() {
  Event* next = nullptr;
  {
    MutexLock lock(&mutex_);
    if (!entering_.empty()) {
      next = entering_.front();
      entering_.pop_front();
    } else if (!gathering_.empty()) {
      Member* leader = gathering_.front();
      leader->leads_ = true;
      next = &leader->woken_;
    } else {
      taken_ = false;
    }
  }
  if (next != nullptr) next->Set();
}

void GroupCommit::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace larder::internal
