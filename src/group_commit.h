// SPDX-License-Identifier: Apache-2.0
//
// GroupCommit: threads that append to one file take turns, and one of them does it for many.

#ifndef LARDER_SRC_GROUP_COMMIT_H_
#define LARDER_SRC_GROUP_COMMIT_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "larder/internal/event.h"
#include "larder/internal/mutex.h"

namespace larder::internal {

// One thread at a time has the turn. Whoever wants to append something joins the group that
// gathers, and waits; if it comes to the turn that way it is the group's leader: it takes the
// group, itself among it, appends and syncs for all, and tells them how that went. Meanwhile the
// next group gathers. (D. DeWitt et al.: "Implementation Techniques for Main Memory Database
// Systems", SIGMOD 1984; leaders as in LevelDB's DBImpl::Write.)
//
// A leader isn't kept for the next group: that is led by its own first member.
//
// Thread safety: all methods may be called from any thread.
class GroupCommit {
 public:
  // One append, on the stack of the thread that waits for it.
  class Member {
   public:
    explicit Member(std::string_view payload) : payload_(payload) {}

    std::string_view payload() const { return payload_; }
    uint64_t number() const { return number_; }               // once joined
    const absl::Status& outcome() const { return outcome_; }  // once the group is finished
    // Whether it leads after it had to wait for its turn.
    bool has_waited() const { return leads_; }

   private:
    friend class GroupCommit;

    const std::string_view payload_;
    uint64_t number_ = 0;
    absl::Status outcome_;
    bool leads_ = false;
    Event woken_;
  };

  enum class Joined {
    kFinished,  // the group was finished by its leader
    kLeads,     // the caller has the turn and leads the group: Take, Finish, Leave
    kClosed,    // not joined
  };

  // Members are numbered from `first_number` on, in the order in which they join, which is also
  // that in which they are taken.
  explicit GroupCommit(uint64_t first_number) : next_number_(first_number) {}
  GroupCommit(const GroupCommit&) = delete;
  GroupCommit& operator=(const GroupCommit&) = delete;

  // Joins the group that gathers, and waits until it is finished or has to be led by the caller.
  Joined Join(Member* member);

  // How many have joined and weren't taken yet.
  size_t gathering() const;

  // The first of those that have joined: as many as have `max_bytes` together, and one at least, if
  // there is one. The caller has the turn.
  std::vector<Member*> Take(size_t max_bytes);

  // The same for the caller's own member, which leads and is the first of those, where Take has
  // thrown std::bad_alloc: takes nobody else and finishes it.
  void Refuse(Member* own, absl::Status outcome);

  // Gives all of `group` its outcome and lets them go: they may be gone when this returns.
  // `own` is the caller's, if it is one of them, else nullptr.
  void Finish(absl::Span<Member* const> group, const absl::Status& outcome, const Member* own);

  // Takes the turn for something else; waits for it, before groups that are still gathering.
  void Enter();
  // The same if nobody has it.
  bool TryEnter();

  // Gives the turn to the next, if there is one.
  void Leave();

  // From now on nobody joins. Those who have are served.
  void Close();

 private:
  mutable Mutex mutex_;
  bool taken_ ABSL_GUARDED_BY(mutex_) = false;  // somebody has the turn
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_);
  std::deque<Member*> gathering_ ABSL_GUARDED_BY(mutex_);
  std::deque<Event*> entering_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::internal

#endif  // LARDER_SRC_GROUP_COMMIT_H_
