// SPDX-License-Identifier: Apache-2.0
#include "src/journal_segments.h"

#include <algorithm>
#include <cassert>

namespace larder::internal {

void JournalSegments::Add(uint64_t number, uint64_t bytes) {
  assert(segments_.empty() || segments_.back().number < number);
  segments_.push_back({.number = number, .bytes = bytes});
  bytes_ += bytes;
}

void JournalSegments::SetNewestBytes(uint64_t bytes) {
  bytes_ += bytes - segments_.back().bytes;
  segments_.back().bytes = bytes;
}

void JournalSegments::AddWrite(uint64_t sequence, uint64_t segment, uint64_t bytes) {
  const auto found = std::lower_bound(
      segments_.begin(), segments_.end(), segment,
      [](const Segment& candidate, uint64_t number) { return candidate.number < number; });
  assert(found != segments_.end() && found->number == segment);
  Acknowledge(sequence);
  writes_[sequence] = {&*found, bytes};
  ++found->live;
  live_bytes_ += bytes;
}

bool JournalSegments::Acknowledge(uint64_t sequence) {
  const auto found = writes_.find(sequence);
  if (found == writes_.end()) return false;
  --found->second.segment->live;
  live_bytes_ -= found->second.bytes;
  writes_.erase(found);
  return true;
}

std::vector<uint64_t> JournalSegments::LiveSequences() const {
  std::vector<uint64_t> sequences;
  sequences.reserve(writes_.size());
  for (const auto& [sequence, write] : writes_) sequences.push_back(sequence);
  std::sort(sequences.begin(), sequences.end());
  return sequences;
}

bool JournalSegments::IsInOldest(uint64_t sequence) const {
  const auto found = writes_.find(sequence);
  return found != writes_.end() && found->second.segment == &segments_.front();
}

void JournalSegments::RemoveOldest() {
  assert(segments_.front().live == 0);
  bytes_ -= segments_.front().bytes;
  segments_.pop_front();
}

}  // namespace larder::internal
