// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/write_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "larder/internal/backoff.h"
#include "larder/internal/nanos.h"

namespace larder::internal {
namespace {

// A few, so that a queue that is never long allocates no chains.
constexpr size_t kMostSpares = 1024;
constexpr int64_t kAtOnce = std::numeric_limits<int64_t>::min();

}  // namespace

WriteQueue::WriteQueue(const Options& options) : options_(options), random_state_(options.seed) {}

WriteQueue::~WriteQueue() {
  chains_.Clear([](WriteChain* chain) { delete chain; });
  while (first_taken_ != nullptr) {
    delete std::exchange(first_taken_, first_taken_->taken_after);
  }
  while (spare_ != nullptr) delete std::exchange(spare_, spare_->next_in_bucket);
}

WriteChain* WriteQueue::FindChain(const PendingWrite& write) const {
  return chains_.Find(write.hash(), [&write](const WriteChain& chain) {
    return chain.oldest->write->SameKey(write);
  });
}

// The write whose place a new one of the chain takes; nullptr: none.
QueuedWrite* WriteQueue::Replaceable(const WriteChain* chain) const {
  if (options_.keeps_all || chain == nullptr) return nullptr;
  QueuedWrite* const newest = chain->newest;
  if (newest->through != nullptr) return nullptr;
  return newest == chain->oldest && chain->turn == Turn::kInFlight ? nullptr : newest;
}

WriteAmount WriteQueue::NeedsOf(const PendingWrite& write) const {
  const QueuedWrite* const replaced = Replaceable(FindChain(write));
  if (replaced == nullptr) return {.entries = 1, .bytes = write.bytes()};
  const uint64_t freed = replaced->write->bytes();
  return {.entries = 0, .bytes = write.bytes() - std::min(write.bytes(), freed)};
}

void WriteQueue::Add(std::unique_ptr<QueuedWrite>& write, int64_t now, Resolved* resolved) {
  WriteChain* chain = FindChain(*write->write);
  const bool is_through = write->through != nullptr;
  if (QueuedWrite* const place = is_through ? nullptr : Replaceable(chain)) {
    CountBytes(*place, write->write->bytes(), place->write->bytes());
    SwapWrites(*place, *write);
    ++counts_.coalesced;
    resolved->Push(write.release());
    return;
  }
  const bool is_new = chain == nullptr;
  if (is_new) chain = NewChain(write->write->hash());
  write->queued_at = now;
  Append(chain, write.release());
  if (is_through) {
    ++counts_.write_through;
    ++chain->throughs;
    if (chain->turn == Turn::kInFlight) return;
    if (!is_new) StopWaiting(chain);
    Wait(chain, Turn::kTimed, now);
  } else if (is_new) {
    chain->due = SaturatingAdd(now, options_.batch_delay);
    AppendToLine(chain);
  }
}

// Allocates all that the chain will need until it is freed.
WriteChain* WriteQueue::NewChain(uint64_t hash) {
  chains_.Reserve();
  successors_.Reserve(chains_.size() + 1);
  timed_.Reserve(chains_.size() + 1);
  WriteChain* chain = spare_;
  if (chain != nullptr) {
    spare_ = chain->next_in_bucket;
    --spares_;
    *chain = {};
  } else {
    chain = new WriteChain;
  }
  chain->hash = hash;
  chains_.Insert(chain);
  return chain;
}

void WriteQueue::FreeChain(WriteChain* chain) {
  chains_.Remove(chain);
  if (spares_ == kMostSpares) {
    delete chain;
    return;
  }
  chain->next_in_bucket = spare_;
  spare_ = chain;
  ++spares_;
}

void WriteQueue::Append(WriteChain* chain, QueuedWrite* write) {
  (chain->newest != nullptr ? chain->newest->newer : chain->oldest) = write;
  chain->newest = write;
  if (write->through == nullptr) chain->visible = write;
  write->chain = chain;
  write->position = ++last_position_;
  write->taken_before = last_taken_;
  (last_taken_ != nullptr ? last_taken_->taken_after : first_taken_) = write;
  last_taken_ = write;
  ++counts_.queued;
  counts_.queued_bytes += write->write->bytes();
}

int64_t WriteQueue::NextDue() const {
  const size_t waiting = line_size_ + successors_.size();
  if (waiting >= options_.batch_size || (hurries_ && waiting > 0)) return kAtOnce;
  int64_t due = kNever;
  if (line_first_ != nullptr) {
    if (line_first_->oldest->position <= flushed_position_) return kAtOnce;
    due = line_first_->due;
  }
  if (!successors_.empty()) due = std::min(due, successors_.next_due());
  if (!timed_.empty()) due = std::min(due, timed_.next_due());
  return due;
}

size_t WriteQueue::Take(int64_t now, size_t most, std::vector<WriteChain*>* batch) {
  if (batch->empty() && NextDue() > now) return 0;
  size_t taken = 0;
  for (; taken < most && batch->size() < options_.batch_size; ++taken) {
    WriteChain* next;
    if (!timed_.empty() && timed_.next_due() <= now) {
      next = timed_.top();
    } else if (IsNextInLine()) {
      next = line_first_;
    } else if (!successors_.empty()) {
      next = successors_.top();
    } else {
      break;
    }
    batch->push_back(next);
    StopWaiting(next);
    next->turn = Turn::kInFlight;
    ++counts_.in_flight;
  }
  return taken;
}

// Whether the line has a chain, and no successor waits for longer.
bool WriteQueue::IsNextInLine() const {
  if (line_first_ == nullptr) return false;
  return successors_.empty() || line_first_->due <= successors_.next_due();
}

void WriteQueue::AppendToLine(WriteChain* chain) {
  chain->turn = Turn::kInLine;
  chain->line_before = line_last_;
  chain->line_after = nullptr;
  (line_last_ != nullptr ? line_last_->line_after : line_first_) = chain;
  line_last_ = chain;
  ++line_size_;
}

// Requires: kSuccessor or kTimed.
void WriteQueue::Wait(WriteChain* chain, Turn turn, int64_t due) {
  chain->turn = turn;
  chain->due = due;
  (turn == Turn::kTimed ? timed_ : successors_).Push(chain);
}

void WriteQueue::StopWaiting(WriteChain* chain) {
  if (chain->turn == Turn::kInLine) {
    WriteChain* const before = chain->line_before;
    WriteChain* const after = chain->line_after;
    (before != nullptr ? before->line_after : line_first_) = after;
    (after != nullptr ? after->line_before : line_last_) = before;
    --line_size_;
  } else {
    (chain->turn == Turn::kTimed ? timed_ : successors_).Remove(chain);
  }
}

bool WriteQueue::Complete(WriteChain* chain, Outcome outcome, const absl::Status& status,
                          int64_t now, Resolved* resolved) {
  QueuedWrite& write = *chain->oldest;
  ++write.attempts;
  if (outcome != Outcome::kStored) {
    ++counts_.failures;
    last_error_ = status;
    write.error = status;
  }
  if (outcome == Outcome::kStored || write.through != nullptr) {
    write.error = status;
    ++(outcome == Outcome::kStored ? counts_.stored : counts_.through_failures);
    ResolveOldest(chain, resolved);
    GoOn(chain, now);
    return false;
  }
  const bool was_last = options_.max_attempts != 0 && write.attempts >= options_.max_attempts;
  if (outcome == Outcome::kFailedForGood || was_last) return FailForGood(chain, now, resolved);
  TryAgain(chain, status, now, resolved);
  return false;
}

// Returns whether the oldest write is to be given up. Not if a later one can take its place, in
// which a flush may wait for it.
bool WriteQueue::FailForGood(WriteChain* chain, int64_t now, Resolved* resolved) {
  chain->oldest->failed_for_good = true;
  if (options_.keeps_all || chain->throughs > 0 || chain->oldest == chain->newest) return true;
  KeepLatest(chain, resolved);
  GoOn(chain, now);
  return false;
}

void WriteQueue::CompleteGiveUp(WriteChain* chain, const absl::Status& status, int64_t now,
                                Resolved* resolved) {
  if (status.ok()) {
    ++counts_.given_up;
    ResolveOldest(chain, resolved);
    GoOn(chain, now);
    return;
  }
  last_error_ = status;
  if (FailForGood(chain, now, resolved)) TryAgain(chain, status, now, resolved);
}

// The oldest write of `chain`, in flight, failed: it, or a later one, waits for its next attempt.
void WriteQueue::TryAgain(WriteChain* chain, const absl::Status& status, int64_t now,
                          Resolved* resolved) {
  --counts_.in_flight;
  DropThroughsOf(chain, status, resolved);
  if (!options_.keeps_all) KeepLatest(chain, resolved);
  ++chain->failures;
  const int64_t backoff =
      BackoffNanos(options_.first_backoff, options_.max_backoff, chain->failures, Random());
  Wait(chain, Turn::kTimed, SaturatingAdd(now, backoff));
}

// The oldest write of `chain`, in flight, was resolved: it's the turn of the next one.
void WriteQueue::GoOn(WriteChain* chain, int64_t now) {
  --counts_.in_flight;
  const QueuedWrite* const next = chain->oldest;
  if (next == nullptr) {
    FreeChain(chain);
    return;
  }
  chain->failures = 0;
  if (chain->throughs > 0 || next->position <= flushed_position_) {
    Wait(chain, Turn::kTimed, now);
  } else {
    Wait(chain, Turn::kSuccessor, SaturatingAdd(next->queued_at, options_.batch_delay));
  }
}

void WriteQueue::ResolveOldest(WriteChain* chain, Resolved* resolved) {
  ResolveAfter(chain, nullptr, resolved);
}

// Resolves the write that comes after `before` in its chain; nullptr: the oldest. Where that one is
// visible, so must be one before it, or none.
void WriteQueue::ResolveAfter(WriteChain* chain, QueuedWrite* before, Resolved* resolved) {
  QueuedWrite*& link = before != nullptr ? before->newer : chain->oldest;
  QueuedWrite* const write = link;
  link = write->newer;
  if (chain->newest == write) chain->newest = before;
  if (chain->visible == write) chain->visible = nullptr;
  if (write->through != nullptr) --chain->throughs;
  Resolve(write, resolved);
}

// Takes the place of `write` out of the queue.
void WriteQueue::Resolve(QueuedWrite* write, Resolved* resolved) {
  QueuedWrite* const before = write->taken_before;
  QueuedWrite* const after = write->taken_after;
  (before != nullptr ? before->taken_after : first_taken_) = after;
  (after != nullptr ? after->taken_before : last_taken_) = before;
  CountBytes(*write, 0, write->write->bytes());
  --counts_.queued;
  for (FlushMark** link = &flushes_; *link != nullptr;) {
    FlushMark* const mark = *link;
    if (write->position <= mark->position && --mark->entries == 0) {
      *link = mark->next;
      mark->next = resolved->flushes;
      resolved->flushes = mark;
    } else {
      link = &mark->next;
    }
  }
  resolved->Push(write);
}

void WriteQueue::DropThroughsOf(WriteChain* chain, const absl::Status& error, Resolved* resolved) {
  if (chain->throughs == 0) return;
  QueuedWrite* before = nullptr;
  for (QueuedWrite* write = chain->oldest; write != nullptr;) {
    QueuedWrite* const next = write->newer;
    if (write->through != nullptr) {
      write->error = error;
      ++counts_.through_failures;
      ResolveAfter(chain, before, resolved);
    } else {
      before = write;
    }
    write = next;
  }
}

// Leaves the latest write of a chain, in the place of the oldest. Requires: none is written
// through, and none is in flight.
void WriteQueue::KeepLatest(WriteChain* chain, Resolved* resolved) {
  if (chain->oldest == chain->newest) return;
  CountBytes(*chain->oldest, chain->newest->write->bytes(), chain->oldest->write->bytes());
  CountBytes(*chain->newest, chain->oldest->write->bytes(), chain->newest->write->bytes());
  SwapWrites(*chain->oldest, *chain->newest);
  while (chain->oldest->newer != nullptr) {
    ++counts_.coalesced;
    ResolveAfter(chain, chain->oldest, resolved);
  }
  chain->visible = chain->oldest;
}

// Exchanges all that isn't the place's own.
void WriteQueue::SwapWrites(QueuedWrite& place, QueuedWrite& other) {
  place.write.swap(other.write);
  std::swap(place.error, other.error);
  std::swap(place.attempts, other.attempts);
  std::swap(place.failed_for_good, other.failed_for_good);
}

void WriteQueue::CountBytes(const QueuedWrite& place, uint64_t added, uint64_t removed) {
  counts_.queued_bytes += added - removed;
  for (FlushMark* mark = flushes_; mark != nullptr; mark = mark->next) {
    if (place.position <= mark->position) mark->bytes += added - removed;
  }
}

void WriteQueue::BeginFlush(FlushMark* mark, int64_t now) {
  if (counts_.queued == 0) return;
  *mark = {.position = last_position_,
           .entries = counts_.queued,
           .bytes = counts_.queued_bytes,
           .next = flushes_};
  flushes_ = mark;
  flushed_position_ = last_position_;
  successors_.Hasten(now);
  timed_.Hasten(now);
}

bool WriteQueue::EndFlush(FlushMark* mark) {
  FlushMark** link = &flushes_;
  while (*link != nullptr && *link != mark) link = &(*link)->next;
  if (*link == nullptr) return false;
  *link = mark->next;
  return true;
}

void WriteQueue::CutOffFlushes(Resolved* resolved) {
  while (flushes_ != nullptr) {
    FlushMark* const mark = flushes_;
    flushes_ = mark->next;
    mark->is_cut_off = true;
    mark->next = resolved->flushes;
    resolved->flushes = mark;
  }
}

void WriteQueue::Remove(QueuedWrite* write, const absl::Status& error, Resolved* resolved) {
  WriteChain* const chain = write->chain;
  if (write->through != nullptr) {
    write->error = error;
    ++counts_.through_failures;
  } else {
    ++counts_.given_up;
  }
  QueuedWrite* before = nullptr;
  QueuedWrite* visible = nullptr;
  for (QueuedWrite* other = chain->oldest; other != nullptr; other = other->newer) {
    if (other->newer == write) before = other;
    if (other != write && other->through == nullptr) visible = other;
  }
  ResolveAfter(chain, before, resolved);
  chain->visible = visible;
  if (chain->oldest != nullptr) return;
  StopWaiting(chain);
  FreeChain(chain);
}

// SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
uint64_t WriteQueue::Random() {
  uint64_t z = random_state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace larder::internal
