// SPDX-License-Identifier: Apache-2.0
//
// WriteQueue: which write goes to the store next, and what becomes of it.

#ifndef LARDER_INTERNAL_WRITE_QUEUE_H_
#define LARDER_INTERNAL_WRITE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "larder/internal/pending_write.h"
#include "larder/internal/write_chain.h"
#include "larder/internal/write_chain_heap.h"
#include "larder/internal/write_chain_table.h"
#include "larder/internal/write_room.h"

namespace larder::internal {

// The state of write-behind, and all of its rules; no lock, no clock, no I/O, no waiting: `now` is
// an argument, in ns.
//
// Writes of a key form a chain. Chains wait for their oldest write's turn in one of three places:
//   the line      chains that came with a write of a new key, first come first served
//   successors    chains whose oldest write waited for another one of its key
//   timed         chains to be tried again, and those that are due at once
// A chain of the first two is due batch_delay after its oldest write was queued, or once batch_size
// chains wait there; of the last, at its time. A batch is made as soon as one chain is due, and
// then takes others along, the longest waiting first, but no timed ones that aren't due.
//
// With Coalescing::kLatest a chain has at most one write that isn't in flight nor written through,
// save for those between which others are written through.
//
// Not thread-safe. All methods but those that say so are O(1), or O(log n) in the number of chains
// in the places they change.
class WriteQueue {
 public:
  using WritePtr = std::shared_ptr<const PendingWrite>;

  struct Options {
    size_t batch_size;
    int64_t batch_delay;
    int64_t first_backoff;
    int64_t max_backoff;
    int max_attempts;  // 0: without end
    bool keeps_all;    // Coalescing::kNone
    uint64_t seed;     // of the backoffs' jitter
  };

  // How an attempt ended.
  enum class Outcome { kStored, kFailed, kFailedForGood };

  struct Counts {
    uint64_t queued = 0;
    uint64_t queued_bytes = 0;
    uint64_t in_flight = 0;
    uint64_t stored = 0;
    uint64_t failures = 0;
    uint64_t coalesced = 0;
    uint64_t given_up = 0;
    uint64_t write_through = 0;
    uint64_t through_failures = 0;
  };

  // Those queued when it was made, of which so many are left. The maker's, until it has ended.
  struct FlushMark {
    uint64_t position = 0;
    uint64_t entries = 0;
    uint64_t bytes = 0;
    bool is_cut_off = false;  // nothing of what is left will be written any more
    FlushMark* next = nullptr;
  };

  // What calls have resolved: linked lists that take no memory. To be looked at, and freed, when
  // the lock is released. Empty it, or add to it by further calls.
  struct Resolved {
    QueuedWrite* writes = nullptr;  // by `newer`, in the order of their ends; owned by the list
    QueuedWrite* last = nullptr;    // of these
    FlushMark* flushes = nullptr;   // by `next`; of which nothing is left. They are off the queue

    bool empty() const { return writes == nullptr && flushes == nullptr; }
    void Push(QueuedWrite* write) {
      write->newer = nullptr;
      (last != nullptr ? last->newer : writes) = write;
      last = write;
    }
  };

  explicit WriteQueue(const Options& options);
  // Frees what is left, whose callers must have been told.
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  // What `write` takes of the limits, less what it replaces.
  WriteAmount NeedsOf(const PendingWrite& write) const;

  // Queues `write`, as the newest of its key. `*write` is taken; where it throws (std::bad_alloc,
  // or what SameKey throws) nothing has changed.
  void Add(std::unique_ptr<QueuedWrite>& write, int64_t now, Resolved* resolved);

  // The newest write of a key that nobody waits for.
  template <class SameKey>
  WritePtr Find(uint64_t hash, const SameKey& same_key) const {
    const WriteChain* chain = chains_.Find(
        hash, [&same_key](const WriteChain& other) { return same_key(*other.oldest->write); });
    return chain == nullptr || chain->visible == nullptr ? nullptr : chain->visible->write;
  }

  // Appends to `batch` the chains of up to `most` writes, as far as batch_size allows. Nothing
  // where the batch is empty and no chain is due. Returns how many. Their oldest writes are in
  // flight from now until Complete or CompleteGiveUp is called for them. Where it throws
  // std::bad_alloc, those that it has taken are in the batch.
  size_t Take(int64_t now, size_t most, std::vector<WriteChain*>* batch);

  // The time at which Take has something to take; in the past: now. kNever: not before other calls.
  int64_t NextDue() const;

  // The write of a chain that is in flight: to be given up if it has failed_for_good, else to be
  // written. Who has taken it may read it under no lock, but for its links: other calls neither
  // change nor move it.
  static const QueuedWrite& InFlight(const WriteChain* chain) { return *chain->oldest; }

  // The attempt to write a chain's oldest write has ended so. Returns whether the write is now to
  // be given up; then it stays in flight until CompleteGiveUp.
  bool Complete(WriteChain* chain, Outcome outcome, const absl::Status& status, int64_t now,
                Resolved* resolved);

  // OK: it is given up. Else that will be tried again after a backoff.
  void CompleteGiveUp(WriteChain* chain, const absl::Status& status, int64_t now,
                      Resolved* resolved);

  // All writes queued now are due at once. Where there are any, `mark` is entered: it is handed
  // back in a Resolved once they are resolved, unless EndFlush takes it back before. O(n) in the
  // number of chains that are timed and successors, some 10 ns each.
  void BeginFlush(FlushMark* mark, int64_t now);
  // Returns whether it was still entered.
  bool EndFlush(FlushMark* mark);
  // The same for all that haven't ended.
  void CutOffFlushes(Resolved* resolved);

  // Whether those in the line and successors are due at once: somebody waits for room.
  void set_hurries(bool hurries) { hurries_ = hurries; }

  // --- For when nothing is in flight any more, and nobody adds writes.

  // The write whose place was taken first, or next after `write`; nullptr: none.
  QueuedWrite* FirstQueued() const { return first_taken_; }
  static QueuedWrite* NextQueued(const QueuedWrite* write) { return write->taken_after; }
  // Resolves one of these as given up; or, where somebody waits for it, with `error`. O(n) in the
  // number of its key's writes.
  void Remove(QueuedWrite* write, const absl::Status& error, Resolved* resolved);

  const Counts& counts() const { return counts_; }
  const absl::Status& last_error() const { return last_error_; }
  // The time at which the oldest place in the queue was taken. Requires: it isn't empty.
  int64_t oldest_queued_at() const { return first_taken_->queued_at; }

 private:
  using Turn = WriteChain::Turn;

  WriteChain* FindChain(const PendingWrite& write) const;
  QueuedWrite* Replaceable(const WriteChain* chain) const;
  WriteChain* NewChain(uint64_t hash);
  void FreeChain(WriteChain* chain);
  void Append(WriteChain* chain, QueuedWrite* write);

  bool IsNextInLine() const;
  void AppendToLine(WriteChain* chain);
  void Wait(WriteChain* chain, Turn turn, int64_t due);
  void StopWaiting(WriteChain* chain);
  bool FailForGood(WriteChain* chain, int64_t now, Resolved* resolved);
  void TryAgain(WriteChain* chain, const absl::Status& status, int64_t now, Resolved* resolved);
  void GoOn(WriteChain* chain, int64_t now);
  void ResolveOldest(WriteChain* chain, Resolved* resolved);
  void ResolveAfter(WriteChain* chain, QueuedWrite* before, Resolved* resolved);
  void Resolve(QueuedWrite* write, Resolved* resolved);
  void DropThroughsOf(WriteChain* chain, const absl::Status& error, Resolved* resolved);
  void KeepLatest(WriteChain* chain, Resolved* resolved);
  void SwapWrites(QueuedWrite& place, QueuedWrite& other);
  void CountBytes(const QueuedWrite& place, uint64_t added, uint64_t removed);
  uint64_t Random();

  const Options options_;
  WriteChainTable chains_;
  WriteChain* line_first_ = nullptr;
  WriteChain* line_last_ = nullptr;
  size_t line_size_ = 0;
  WriteChainHeap successors_;
  WriteChainHeap timed_;
  WriteChain* spare_ = nullptr;  // chains to be used again, by next_in_bucket
  size_t spares_ = 0;

  QueuedWrite* first_taken_ = nullptr;
  QueuedWrite* last_taken_ = nullptr;
  uint64_t last_position_ = 0;
  uint64_t flushed_position_ = 0;  // places up to this one are due at once
  FlushMark* flushes_ = nullptr;
  bool hurries_ = false;
  uint64_t random_state_;
  Counts counts_;
  absl::Status last_error_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_QUEUE_H_
