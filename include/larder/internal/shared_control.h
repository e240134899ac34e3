// SPDX-License-Identifier: Apache-2.0
//
// SharedControl: reads and changes the control block of a shared tier.

#ifndef LARDER_INTERNAL_SHARED_CONTROL_H_
#define LARDER_INTERNAL_SHARED_CONTROL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"
#include "larder/internal/remote_control.h"
#include "larder/internal/remote_head.h"
#include "larder/shared_tier.h"

namespace larder::internal {

// Remembers the block that was read or made last, and what is in it that this server doesn't know
// of.
//
// A change is a read, and a write that depends on nobody else's having come in between; if somebody
// has, it is tried again. One thread of a process does that at a time, for all that wait for it:
// so blocks become known in the order in which they were in the tier, and however many want to
// change the block, a call waits for two changes at most, each of which ends after its first call
// of the tier that fails, or where others came in between for more than 4 timeouts.
//
// A block that isn't there, that is damaged, or that was made in another run of the server, is
// replaced by one of a new generation. Unimplemented for one of another version of larder's, which
// is left alone.
//
// Thread-safe; no lock is held in calls of the tier.
class SharedControl {
 public:
  using Pointer = std::shared_ptr<const ControlBlock>;
  // Called with the outcome of each call of the tier, under no lock.
  using Report = std::function<void(const absl::Status&)>;

  // What others' changes mean for what is in this server's memory.
  struct Effects {
    bool forget = false;                // anything may have changed
    std::vector<std::string> prefixes;  // or what begins with these
  };

  // `tier` and `stamps` must outlive this.
  SharedControl(SharedTier* tier, absl::Duration timeout, StampSource* stamps, Report report);
  SharedControl(const SharedControl&) = delete;
  SharedControl& operator=(const SharedControl&) = delete;

  // Which run of the server the block has to be of; empty: not known, any will do.
  void SetIncarnation(std::string_view incarnation);

  // nullptr before one was read.
  Pointer known() const;

  // The block as it is in the tier, made if need be.
  absl::StatusOr<Pointer> Read();
  // Moves the clock on; and invalidates a prefix.
  absl::StatusOr<Pointer> Tick(std::optional<std::string_view> prefix);
  // Begins a generation.
  absl::StatusOr<Pointer> Renew();

  // What the blocks that became known meant since the last call, but for the changes that were
  // asked for here.
  Effects TakeEffects();
  bool HasEffects() const;

  // Generations begun here.
  uint64_t generations() const { return generations_.load(std::memory_order_relaxed); }
  // Of these, those for a block that wasn't there, or couldn't be used.
  uint64_t replacements() const { return replacements_.load(std::memory_order_relaxed); }

 private:
  // What one or more calls want.
  struct Change {
    bool tick = false;
    bool renew = false;
    std::vector<std::string> prefixes = {};
  };

  // A call that waits; on its own stack.
  struct Call {
    Change change;
    std::optional<absl::StatusOr<Pointer>> result = {};
  };

  // What is to be written in place of what was read.
  struct Draft {
    std::optional<std::string> head;    // that it must have; nullopt: it must not be there
    std::optional<ControlBlock> block;  // nullopt: nothing
    bool begins_generation = false;
    bool replaces = false;  // one that can't be used, or none
  };

  absl::StatusOr<Pointer> Run(Change change) ABSL_LOCKS_EXCLUDED(mutex_);
  static Change Merge(const std::vector<Call*>& calls);
  absl::StatusOr<Pointer> Make(const Change& change) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Draft> ReadAndDraft(const Change& change) ABSL_LOCKS_EXCLUDED(mutex_);
  Draft DraftOfNew(std::optional<std::string> head) ABSL_LOCKS_EXCLUDED(mutex_);
  ControlBlock Changed(const ControlBlock& block, const Change& change);
  absl::StatusOr<bool> Write(const Draft& draft);
  // For who has the turn: what was read, that there is none which can be read, what was written.
  void LearnForeign(const ControlBlock& block) ABSL_LOCKS_EXCLUDED(mutex_);
  void LearnOfLoss() ABSL_LOCKS_EXCLUDED(mutex_);
  Pointer LearnOwn(const Draft& draft) ABSL_LOCKS_EXCLUDED(mutex_);
  std::string incarnation() const ABSL_LOCKS_EXCLUDED(mutex_);

  SharedTier& tier_;
  const absl::Duration timeout_;
  StampSource& stamps_;
  const Report report_;
  std::atomic<uint64_t> generations_{0};
  std::atomic<uint64_t> replacements_{0};

  mutable Mutex mutex_;
  CondVar turn_over_;
  bool turn_taken_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Call*> waiting_ ABSL_GUARDED_BY(mutex_);
  std::string incarnation_ ABSL_GUARDED_BY(mutex_);
  Pointer known_ ABSL_GUARDED_BY(mutex_);
  Effects effects_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SHARED_CONTROL_H_
