// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/s3fifo.h"

#include <algorithm>
#include <utility>

namespace larder::internal {

void S3FifoPolicy::OnInsert(NodeIndex node, uint64_t fingerprint, ThreadRecord& /*thread*/) {
  Settle();
  entering_ = node;
  ghosts_.Expect(fingerprint);
}

void S3FifoPolicy::LetIn() {
  const NodeIndex node = std::exchange(entering_, kNoNode);
  const bool came_back = ghosts_.RemoveExpected();
  ghosts_.Trim();
  if (came_back) {
    EnterMain(node);
  } else {
    small_.PushFront(node);
  }
}

void S3FifoPolicy::OnReplace(NodeIndex old, NodeIndex node, ThreadRecord& /*thread*/) {
  Settle();
  const NodeHeader* before = slab_.At(old);
  NodeHeader* after = slab_.At(node);
  QueueOf(old).Replace(old, node);
  if (before->policy_flag()) after->set_policy_flag();
  after->set_accesses(std::min(before->accesses() + 1, kMostAccesses));
}

void S3FifoPolicy::OnEvict(NodeIndex node, uint64_t fingerprint) {
  Settle();
  if (slab_.At(node)->policy_flag()) {
    main_.PopBack();
  } else {
    small_.PopBack();
    ghosts_.Add(fingerprint);
  }
}

void S3FifoPolicy::OnRemove(NodeIndex node) {
  Settle();
  QueueOf(node).Unlink(node);
}

void S3FifoPolicy::Clear() {
  Settle();
  small_.Clear();
  main_.Clear();
}

void S3FifoPolicy::EnterMain(NodeIndex node) {
  slab_.At(node)->set_policy_flag();
  main_.PushFront(node);
}

void S3FifoPolicy::SizeGhosts(size_t live) {
  // A stripe that lost many nodes at once will have as many again: its ghosts go as slowly as it
  // evicts. Where the capacity was lowered, `live` falls no faster than that.
  full_ = std::max(live, full_ - std::min<size_t>(full_, 1));
  ghosts_.SetCapacity(full_ * 9 / 10);
}

NodeIndex S3FifoPolicy::Victim(size_t live) {
  Settle();
  if (live != full_) SizeGhosts(live);
  size_t may_move = kMostMoved;
  if (small_.size() >= std::max<size_t>(1, live / 10) || main_.empty()) {
    while (!small_.empty()) {
      const NodeIndex node = small_.back();
      if (slab_.At(node)->accesses() < kPromoted || may_move == 0) return node;
      Promote(node);
      --may_move;
    }
  }
  return VictimOfMain(may_move);
}

void S3FifoPolicy::Promote(NodeIndex node) {
  small_.PopBack();
  slab_.At(node)->set_accesses(0);
  EnterMain(node);
}

NodeIndex S3FifoPolicy::VictimOfMain(size_t may_move) {
  for (; !main_.empty(); --may_move) {
    const NodeIndex node = main_.back();
    NodeHeader* header = slab_.At(node);
    const uint32_t accesses = header->accesses();
    if (accesses == 0 || may_move == 0) return node;
    header->set_accesses(accesses - 1);
    main_.MoveToFront(node);
  }
  return kNoNode;
}

void S3FifoPolicy::Restore(NodeIndex node, uint32_t standing) {
  Settle();
  NodeHeader* header = slab_.At(node);
  if ((standing & kInMain) != 0 && !header->policy_flag()) {
    small_.Unlink(node);
    EnterMain(node);
  }
  header->set_accesses(standing & kMostAccesses);
}

}  // namespace larder::internal
