// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/s3fifo.h"

#include <algorithm>

namespace larder::internal {

void S3FifoPolicy::OnInsert(NodeIndex node, uint64_t fingerprint, ThreadRecord& /*thread*/) {
  const bool came_back = ghosts_.Remove(fingerprint);
  ghosts_.Trim();
  if (came_back) {
    EnterMain(node);
  } else {
    small_.PushFront(node);
  }
}

void S3FifoPolicy::OnReplace(NodeIndex old, NodeIndex node, ThreadRecord& /*thread*/) {
  const NodeHeader* before = slab_.At(old);
  NodeHeader* after = slab_.At(node);
  QueueOf(old).Replace(old, node);
  if (before->policy_flag()) after->set_policy_flag();
  after->set_accesses(std::min(before->accesses() + 1, kMostAccesses));
}

void S3FifoPolicy::OnEvict(NodeIndex node, uint64_t fingerprint) {
  if (!slab_.At(node)->policy_flag()) ghosts_.Add(fingerprint);
  OnRemove(node);
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
  SizeGhosts(live);
  size_t may_move = kMostMoved;
  if (small_.size() >= std::max<size_t>(1, live / 10) || main_.empty()) {
    const NodeIndex victim = VictimOfSmall(may_move);
    if (victim != kNoNode) return victim;
  }
  return VictimOfMain(may_move);
}

NodeIndex S3FifoPolicy::VictimOfSmall(size_t& may_move) {
  for (; !small_.empty(); --may_move) {
    const NodeIndex node = small_.back();
    NodeHeader* header = slab_.At(node);
    if (header->accesses() < kPromoted || may_move == 0) return node;
    small_.Unlink(node);
    header->set_accesses(0);
    EnterMain(node);
  }
  return kNoNode;
}

NodeIndex S3FifoPolicy::VictimOfMain(size_t& may_move) {
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

}  // namespace larder::internal
