// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/shared_control.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "larder/internal/random_bits.h"
#include "src/deadline.h"

namespace larder::internal {
namespace {

constexpr int kTimeouts = 4;  // for which a change is tried again

// Lets those with whom a change collided not all come back together.
void Pause(int collisions) {
  const uint64_t most_micros = uint64_t{50} << std::min(collisions, 6);
  std::this_thread::sleep_for(std::chrono::microseconds(RandomBits() % most_micros));
}

}  // namespace

SharedControl::SharedControl(SharedTier* tier, absl::Duration timeout, StampSource* stamps,
                             Report report)
    : tier_(*tier), timeout_(timeout), stamps_(*stamps), report_(std::move(report)) {}

void SharedControl::SetIncarnation(std::string_view incarnation) {
  const MutexLock lock(&mutex_);
  incarnation_ = incarnation;
}

std::string SharedControl::incarnation() const {
  const MutexLock lock(&mutex_);
  return incarnation_;
}

SharedControl::Pointer SharedControl::known() const {
  const MutexLock lock(&mutex_);
  return known_;
}

absl::StatusOr<SharedControl::Pointer> SharedControl::Read() { return Run({}); }

absl::StatusOr<SharedControl::Pointer> SharedControl::Tick(std::optional<std::string_view> prefix) {
  Change change{.tick = true};
  if (prefix) change.prefixes.emplace_back(*prefix);
  return Run(std::move(change));
}

absl::StatusOr<SharedControl::Pointer> SharedControl::Renew() { return Run({.renew = true}); }

SharedControl::Effects SharedControl::TakeEffects() {
  const MutexLock lock(&mutex_);
  return std::exchange(effects_, {});
}

bool SharedControl::HasEffects() const {
  const MutexLock lock(&mutex_);
  return effects_.forget || !effects_.prefixes.empty();
}

absl::StatusOr<SharedControl::Pointer> SharedControl::Run(Change change) {
  Call call{.change = std::move(change)};
  std::vector<Call*> calls;
  {
    const MutexLock lock(&mutex_);
    waiting_.push_back(&call);
    while (turn_taken_ && !call.result) turn_over_.Wait(&mutex_);
    if (call.result) return *std::move(call.result);
    turn_taken_ = true;
    calls = std::exchange(waiting_, {});
  }
  const absl::StatusOr<Pointer> result = Make(Merge(calls));
  {
    const MutexLock lock(&mutex_);
    for (Call* served : calls) served->result = result;
    turn_taken_ = false;
    // Under the lock: the others' calls may end as soon as they see their results.
    turn_over_.NotifyAll();
  }
  return result;
}

SharedControl::Change SharedControl::Merge(const std::vector<Call*>& calls) {
  Change all;
  for (Call* call : calls) {
    all.tick = all.tick || call->change.tick;
    all.renew = all.renew || call->change.renew;
    for (std::string& prefix : call->change.prefixes) all.prefixes.push_back(std::move(prefix));
  }
  return all;
}

absl::StatusOr<SharedControl::Pointer> SharedControl::Make(const Change& change) {
  const Deadline give_up = Deadline::After(kTimeouts * timeout_);
  for (int collisions = 0;; ++collisions) {
    if (collisions > 0) Pause(collisions);
    absl::StatusOr<Draft> draft = ReadAndDraft(change);
    if (!draft.ok()) return draft.status();
    if (!draft->block) return known();
    const absl::StatusOr<bool> written = Write(*draft);
    if (!written.ok()) return written.status();
    if (*written) return LearnOwn(*draft);
    if (give_up.Passed()) {
      return absl::DeadlineExceededError("other servers keep changing the tier's control block");
    }
  }
}

absl::StatusOr<SharedControl::Draft> SharedControl::ReadAndDraft(const Change& change) {
  const absl::StatusOr<std::optional<std::string>> bytes = tier_.Get(kControlKey, timeout_);
  report_(bytes.status());
  if (!bytes.ok()) return bytes.status();
  if (!*bytes) return DraftOfNew(std::nullopt);
  const std::string head = (*bytes)->substr(0, kHeadBytes);
  const absl::StatusOr<ControlBlock> block = ControlBlock::Decode(**bytes);
  if (absl::IsUnimplemented(block.status())) return block.status();
  if (!block.ok()) return DraftOfNew(head);

  LearnForeign(*block);
  std::string incarnation = this->incarnation();
  if (incarnation.empty()) incarnation = block->incarnation();
  const bool of_this_run = block->incarnation() == incarnation;
  if (!of_this_run) LearnOfLoss();
  if (change.renew || !of_this_run) {
    return Draft{.head = head,
                 .block = block->Renewed(stamps_.Next(), RandomBits(), incarnation),
                 .begins_generation = true,
                 .replaces = !of_this_run};
  }
  if (!change.tick) return Draft{};
  ControlBlock changed = Changed(*block, change);
  const bool begins_generation = changed.generation() != block->generation();
  return Draft{.head = head, .block = std::move(changed), .begins_generation = begins_generation};
}

SharedControl::Draft SharedControl::DraftOfNew(std::optional<std::string> head) {
  LearnOfLoss();
  return Draft{.head = std::move(head),
               .block = ControlBlock::New(stamps_.Next(), RandomBits(), incarnation()),
               .begins_generation = true,
               .replaces = true};
}

ControlBlock SharedControl::Changed(const ControlBlock& block, const Change& change) {
  if (change.prefixes.empty()) return block.WithTick(stamps_.Next());
  ControlBlock changed = block;
  for (const std::string& prefix : change.prefixes) {
    changed = changed.WithPrefix(stamps_.Next(), prefix, RandomBits());
  }
  return changed;
}

absl::StatusOr<bool> SharedControl::Write(const Draft& draft) {
  const std::string bytes = draft.block->Encode();
  absl::StatusOr<bool> written =
      draft.head
          ? tier_.SetIfHead(kControlKey, *draft.head, bytes, absl::InfiniteDuration(), timeout_)
          : tier_.SetIfAbsent(kControlKey, bytes, absl::InfiniteDuration(), timeout_);
  report_(written.status());
  return written;
}

void SharedControl::LearnForeign(const ControlBlock& block) {
  const MutexLock lock(&mutex_);
  if (known_ != nullptr) {
    if (block.stamp() == known_->stamp()) return;
    // A clock that went back is a backup's.
    if (block.generation() != known_->generation() || block.clock() < known_->clock()) {
      effects_.forget = true;
    } else {
      for (std::string& prefix : block.PrefixesSince(known_->clock())) {
        effects_.prefixes.push_back(std::move(prefix));
      }
    }
  }
  known_ = std::make_shared<const ControlBlock>(block);
}

void SharedControl::LearnOfLoss() {
  const MutexLock lock(&mutex_);
  if (known_ != nullptr) effects_.forget = true;
}

SharedControl::Pointer SharedControl::LearnOwn(const Draft& draft) {
  if (draft.begins_generation) generations_.fetch_add(1, std::memory_order_relaxed);
  if (draft.replaces) replacements_.fetch_add(1, std::memory_order_relaxed);
  auto block = std::make_shared<const ControlBlock>(*draft.block);
  const MutexLock lock(&mutex_);
  known_ = block;
  return block;
}

}  // namespace larder::internal
