// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/sieve.h"

namespace larder::internal {

void SievePolicy::OnReplace(NodeIndex old, NodeIndex node, ThreadRecord& /*thread*/) {
  queue_.Replace(old, node);
  slab_.At(node)->set_accesses(1);
  if (hand_ == old) hand_ = node;
}

void SievePolicy::OnRemove(NodeIndex node) {
  if (hand_ == node) hand_ = queue_.Before(node);
  queue_.Unlink(node);
}

NodeIndex SievePolicy::Victim(size_t /*live*/) {
  if (queue_.empty()) return kNoNode;
  if (hand_ == kNoNode) hand_ = queue_.back();
  for (size_t passed = 0; passed < kMostPassed; ++passed) {
    NodeHeader* node = slab_.At(hand_);
    if (node->accesses() == 0) break;
    node->set_accesses(0);
    hand_ = queue_.Before(hand_);
    if (hand_ == kNoNode) hand_ = queue_.back();
  }
  return hand_;
}

void SievePolicy::Restore(NodeIndex node, uint32_t standing) {
  slab_.At(node)->set_accesses(standing != 0 ? 1 : 0);
}

}  // namespace larder::internal
