// SPDX-License-Identifier: Apache-2.0
//
// WriteRoom: the limits of write-behind, and those who wait for room.

#ifndef LARDER_INTERNAL_WRITE_ROOM_H_
#define LARDER_INTERNAL_WRITE_ROOM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "larder/internal/event.h"

namespace larder::internal {

// So many writes, and of so many bytes.
struct WriteAmount {
  uint64_t entries = 0;
  uint64_t bytes = 0;
};

// Counts what is reserved beside what is queued, and lets those who find too little wait in order:
// who comes later gets nothing before them, not even what is too small for the first.
//
// Not thread-safe: belongs to its user's lock. All methods are O(1), or O(1) for each waiter that
// they return.
class WriteRoom {
 public:
  // On the stack of who waits. Who finds itself no longer listed must wait for `done`.
  struct Waiter {
    WriteAmount needs;
    absl::Status status;  // OK: it has the room
    Event done;           // set by who takes it off the list, as the last
    bool is_listed = false;
    Waiter* before = nullptr;
    Waiter* after = nullptr;  // or the next of a list that was returned
  };

  explicit WriteRoom(const WriteAmount& limits) : limits_(limits) {}
  WriteRoom(const WriteRoom&) = delete;
  WriteRoom& operator=(const WriteRoom&) = delete;

  // Whether that much would fit if there were nothing else.
  bool CanEverFit(const WriteAmount& needs) const { return needs.bytes <= limits_.bytes; }

  // Takes the room that is needed, if there is as much beside what is queued. Who needs none never
  // has to wait.
  bool TryTake(const WriteAmount& needs, const WriteAmount& queued);

  // Requires: it was taken.
  void GiveBack(const WriteAmount& taken);

  // `waiter` is the last to wait.
  void Enter(Waiter* waiter);
  // Requires: it is listed.
  void Leave(Waiter* waiter);
  bool has_waiters() const { return first_ != nullptr; }

  // Takes room for the first waiters, as far as there is, and takes them off the list. Returns
  // them.
  Waiter* Grant(const WriteAmount& queued);
  // Takes all off the list, with that status. Returns them.
  Waiter* Refuse(const absl::Status& status);

 private:
  bool Fits(const WriteAmount& needs, const WriteAmount& queued) const;
  void Take(const WriteAmount& needs);

  const WriteAmount limits_;
  WriteAmount taken_;
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_ROOM_H_
