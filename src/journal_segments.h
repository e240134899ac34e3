// SPDX-License-Identifier: Apache-2.0
//
// JournalSegments: which writes need replay, and which segments they are in.

#ifndef LARDER_SRC_JOURNAL_SEGMENTS_H_
#define LARDER_SRC_JOURNAL_SEGMENTS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace larder::internal {

// The bookkeeping of a journal: no I/O. Not thread-safe.
class JournalSegments {
 public:
  struct Segment {
    uint64_t number = 0;
    uint64_t bytes = 0;  // of its file
    uint64_t live = 0;   // writes that need replay, and that aren't in a newer segment too
  };

  // A new segment, the newest one. Requires: a higher number than all others.
  void Add(uint64_t number, uint64_t bytes);

  // Its file is that long now.
  void SetNewestBytes(uint64_t bytes);

  // A write is in this segment, or (also) in this one. `bytes`: about what it takes there.
  void AddWrite(uint64_t sequence, uint64_t segment, uint64_t bytes);
  // Makes room for as many, so that AddWrite can't fail.
  void Reserve(size_t writes) { writes_.reserve(writes_.size() + writes); }

  // The write needs no replay. Returns whether it did.
  bool Acknowledge(uint64_t sequence);

  bool IsLive(uint64_t sequence) const { return writes_.contains(sequence); }
  size_t live() const { return writes_.size(); }
  uint64_t live_bytes() const { return live_bytes_; }
  // Ascending.
  std::vector<uint64_t> LiveSequences() const;
  // Whether it is live, and in the oldest segment and no newer one.
  bool IsInOldest(uint64_t sequence) const;

  // By ascending number.
  const std::deque<Segment>& segments() const { return segments_; }
  uint64_t bytes() const { return bytes_; }  // of all
  void RemoveOldest();

 private:
  struct Write {
    Segment* segment;  // a deque's elements stay where they are
    uint64_t bytes;
  };

  std::deque<Segment> segments_;
  absl::flat_hash_map<uint64_t, Write> writes_;
  uint64_t bytes_ = 0;
  uint64_t live_bytes_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_JOURNAL_SEGMENTS_H_
