// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/own_changes.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace larder::internal {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

size_t HashOf(std::string_view key) { return absl::Hash<absl::string_view>{}(View(key)); }

}  // namespace

// --- OwnChanges

OwnChanges::OwnChanges(const Options& options)
    : max_in_part_((options.max_finished + kParts - 1) / kParts),
      keep_nanos_(absl::ToInt64Nanoseconds(options.keep_finished)) {}

OwnChanges::~OwnChanges() = default;

OwnChanges::Part& OwnChanges::PartOf(std::string_view key) { return parts_[HashOf(key) % kParts]; }

const OwnChanges::Part& OwnChanges::PartOf(std::string_view key) const {
  return parts_[HashOf(key) % kParts];
}

OwnChanges::Operation OwnChanges::Begin(std::string_view key, Stamp stamp) {
  Operation operation(this, key, stamp);
  Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  part.ops[View(key)].push_back({stamp});
  ++part.under_way;
  return operation;
}

void OwnChanges::MarkSent(const std::string& key, Stamp stamp) {
  Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  for (Op& op : part.ops[key]) {
    if (op.stamp == stamp) op.state = State::kSent;
  }
}

OwnChanges::Answer OwnChanges::Told(std::string_view key) {
  Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  const auto found = part.ops.find(View(key));
  if (found == part.ops.end()) return Answer::kForeign;
  bool all_pending = true;
  for (Op& op : found->second) {
    if (op.state == State::kPending) {
      op.noted = true;
    } else {
      all_pending = false;
    }
  }
  // The value of one that isn't pending may be in memory: it can't wait for those that are.
  return all_pending ? Answer::kNoted : Answer::kCheck;
}

bool OwnChanges::IsOwn(std::string_view key, Stamp stamp) const {
  const Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  const auto found = part.ops.find(View(key));
  return found != part.ops.end() &&
         std::any_of(found->second.begin(), found->second.end(),
                     [stamp](const Op& op) { return op.stamp == stamp; });
}

bool OwnChanges::End(const std::string& key, Stamp stamp, bool success, int64_t now_nanos) {
  Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  --part.under_way;
  std::vector<Op>& ops = part.ops[key];
  const auto op =
      std::find_if(ops.begin(), ops.end(), [stamp](const Op& op) { return op.stamp == stamp; });
  const bool noted = op->noted;
  if (!success) {
    Drop(part, key, stamp);
    return noted;
  }
  // To the end: finished ones are in the order in which they finished.
  op->state = State::kFinished;
  std::rotate(op, op + 1, ops.end());
  const auto is_finished = [](const Op& op) { return op.state == State::kFinished; };
  if (std::count_if(ops.begin(), ops.end(), is_finished) > ptrdiff_t{kFinishedOfKey}) {
    ops.erase(std::find_if(ops.begin(), ops.end(), is_finished));
  }
  part.finished.push_back({now_nanos, key, stamp});
  ForgetOld(part, now_nanos);
  return false;
}

void OwnChanges::ForgetOld(Part& part, int64_t now_nanos) {
  while (!part.finished.empty()) {
    const Finished& oldest = part.finished.front();
    if (part.finished.size() <= max_in_part_ && now_nanos - oldest.at < keep_nanos_) return;
    Drop(part, oldest.key, oldest.stamp);
    part.finished.pop_front();
  }
}

void OwnChanges::Drop(Part& part, std::string_view key, Stamp stamp) {
  const auto found = part.ops.find(View(key));
  if (found == part.ops.end()) return;
  std::erase_if(found->second, [stamp](const Op& op) { return op.stamp == stamp; });
  if (found->second.empty()) part.ops.erase(found);
}

size_t OwnChanges::under_way() const {
  size_t sum = 0;
  for (const Part& part : parts_) {
    MutexLock lock(&part.mutex);
    sum += part.under_way;
  }
  return sum;
}

size_t OwnChanges::finished() const {
  size_t sum = 0;
  for (const Part& part : parts_) {
    MutexLock lock(&part.mutex);
    sum += part.finished.size();
  }
  return sum;
}

// --- OwnChanges::Operation

OwnChanges::Operation::Operation(Operation&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      key_(std::move(other.key_)),
      stamp_(other.stamp_) {}

OwnChanges::Operation& OwnChanges::Operation::operator=(Operation&& other) noexcept {
  if (this == &other) return *this;
  if (owner_ != nullptr) owner_->End(key_, stamp_, /*success=*/false, 0);
  owner_ = std::exchange(other.owner_, nullptr);
  key_ = std::move(other.key_);
  stamp_ = other.stamp_;
  return *this;
}

OwnChanges::Operation::~Operation() {
  if (owner_ != nullptr) owner_->End(key_, stamp_, /*success=*/false, 0);
}

void OwnChanges::Operation::MarkSent() { owner_->MarkSent(key_, stamp_); }

bool OwnChanges::Operation::Finish(bool success, int64_t now_nanos) {
  return std::exchange(owner_, nullptr)->End(key_, stamp_, success, now_nanos);
}

// --- ForeignMarks

size_t ForeignMarks::IndexOf(std::string_view key) { return HashOf(key) % kMarks; }

void ForeignMarks::AddAll() {
  for (std::atomic<uint64_t>& mark : marks_) mark.fetch_add(1, std::memory_order_acq_rel);
}

}  // namespace larder::internal
