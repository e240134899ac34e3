// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_POLICY_STRIPE_H_
#define LARDER_TESTS_SUPPORT_POLICY_STRIPE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"
#include "larder/removal_cause.h"

namespace larder::test {

// A stripe of bare nodes under a policy, which it calls as a cache's writers do.
template <class Policy>
class PolicyStripe {
 public:
  using NodeIndex = internal::NodeIndex;

  NodeIndex Insert(uint64_t fingerprint) {
    const NodeIndex node = NewNode();
    policy_.OnInsert(node, fingerprint, internal::ThreadRecord::Current());
    ++live_;
    return node;
  }
  // Nodes with fingerprints that nothing else has.
  std::vector<NodeIndex> InsertMany(size_t count) {
    std::vector<NodeIndex> nodes;
    for (size_t i = 0; i < count; ++i) nodes.push_back(Insert(next_fingerprint_++));
    return nodes;
  }

  NodeIndex Replace(NodeIndex old) {
    const NodeIndex node = NewNode();
    policy_.OnReplace(old, node, internal::ThreadRecord::Current());
    Free(old);
    return node;
  }

  void Remove(NodeIndex node) {
    policy_.OnRemove(node);
    Free(node);
    --live_;
  }

  void Hit(NodeIndex node) {
    Policy::OnHit(*slab_.At(node), internal::ThreadRecord::Current(), shared_);
  }

  NodeIndex Victim() { return policy_.Victim(live_); }
  NodeIndex Evict(uint64_t fingerprint = kForgettable) {
    const NodeIndex victim = Victim();
    if (victim == internal::kNoNode) return victim;
    policy_.OnEvict(victim, fingerprint);
    Free(victim);
    --live_;
    return victim;
  }

  internal::NodeHeader& At(NodeIndex node) { return *slab_.At(node); }
  size_t live() const { return live_; }

 private:
  static constexpr uint64_t kForgettable = UINT64_MAX;

  NodeIndex NewNode() {
    const NodeIndex node = slots_.Allocate();
    internal::NodeHeader* header = slab_.At(node);
    header->state.store(0, std::memory_order_relaxed);
    header->timer_prev = internal::NodeHeader::kNoTimer;
    return node;
  }

  void Free(NodeIndex node) {
    slab_.At(node)->SetRemoved(RemovalCause::kErased);
    slots_.Free(node);
  }

  internal::Slab slab_{sizeof(internal::NodeHeader), 6};
  internal::SlotAllocator slots_{&slab_, 0};
  typename Policy::Shared shared_;
  Policy policy_{&slab_, &slots_, &shared_};
  size_t live_ = 0;
  uint64_t next_fingerprint_ = uint64_t{1} << 32;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_POLICY_STRIPE_H_
