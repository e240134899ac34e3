// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_LRU_STRIPE_H_
#define LARDER_TESTS_SUPPORT_LRU_STRIPE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>

#include "gtest/gtest.h"
#include "larder/internal/lru.h"
#include "larder/internal/node.h"
#include "larder/internal/slab.h"
#include "larder/internal/thread_record.h"
#include "larder/removal_cause.h"
#include "tests/support/allocations.h"

namespace larder::internal {

// A stripe of bare nodes under the policy, as the cache's writers use it.
class LruStripe {
 public:
  NodeIndex Insert(ThreadRecord& thread = ThreadRecord::Current()) {
    const NodeIndex node = NewNode();
    Enter(node, thread);
    return node;
  }
  // An insertion that has to make room, after it has taken its slot.
  NodeIndex InsertEvicting(NodeIndex* victim) {
    const NodeIndex node = NewNode();
    *victim = Evict();
    Enter(node, ThreadRecord::Current());
    return node;
  }
  NodeIndex Replace(NodeIndex old) {
    const NodeIndex node = NewNode();
    slab_.At(old)->SetRemoved(RemovalCause::kReplaced);
    policy_.OnReplace(old, node, ThreadRecord::Current());
    slab_.At(node)->timer_prev = NodeHeader::kNoTimer;
    slots_.Free(old);
    return node;
  }

  void Remove(NodeIndex node) {
    policy_.OnRemove(node);
    Leave(node, RemovalCause::kErased);
  }

  void Hit(NodeIndex node, ThreadRecord& thread = ThreadRecord::Current()) {
    if (LruPolicy::OnHit(*slab_.At(node), thread, shared_)) return;
    policy_.Renew(thread);
    EXPECT_TRUE(LruPolicy::OnHit(*slab_.At(node), thread, shared_));
  }

  NodeIndex Victim() {
    if (fail_after_ >= 0) test::Allocations::FailAfter(fail_after_);
    const NodeIndex victim = policy_.Victim(live_);
    test::Allocations::Disarm();
    return victim;
  }
  NodeIndex Evict() {
    const NodeIndex victim = Victim();
    if (victim == kNoNode) return victim;
    policy_.OnEvict(victim, victim);
    Leave(victim, RemovalCause::kEvicted);
    return victim;
  }

  // From now on, in each call of the policy, one allocation after `count` others fails.
  void FailAllocationsAfter(int64_t count) { fail_after_ = count; }

  // What a thread does that was stopped within a hit.
  void StampLate(NodeIndex node, uint32_t stamp) { slab_.At(node)->policy.store(stamp); }
  uint32_t StampOf(NodeIndex node) const { return slab_.At(node)->policy.load(); }

  bool Holds(NodeIndex node) const { return slab_.At(node)->InCache(); }
  size_t live() const { return live_; }
  size_t slots() const { return slots_.slots_used(); }
  uint64_t slots_walked() const { return policy_.slots_walked(); }

 private:
  NodeIndex NewNode() {
    const NodeIndex node = slots_.Allocate();
    slab_.At(node)->policy.store(0);
    return node;
  }
  void Enter(NodeIndex node, ThreadRecord& thread) {
    if (fail_after_ >= 0) test::Allocations::FailAfter(fail_after_);
    policy_.OnInsert(node, node, thread);
    test::Allocations::Disarm();
    slab_.At(node)->timer_prev = NodeHeader::kNoTimer;
    ++live_;
  }
  void Leave(NodeIndex node, RemovalCause cause) {
    slab_.At(node)->SetRemoved(cause);
    slots_.Free(node);
    --live_;
  }

  Slab slab_{sizeof(NodeHeader), 6};
  SlotAllocator slots_{&slab_, 0};
  LruPolicy::Shared shared_;
  LruPolicy policy_{&slab_, &slots_, &shared_};
  size_t live_ = 0;
  int64_t fail_after_ = -1;  // negative: none fails
};

// What an exact LRU would do.
class LruList {
 public:
  void Insert(NodeIndex node) { places_[node] = order_.insert(order_.begin(), node); }
  void Hit(NodeIndex node) { order_.splice(order_.begin(), order_, places_.at(node)); }
  void Remove(NodeIndex node) {
    order_.erase(places_.at(node));
    places_.erase(node);
  }
  NodeIndex Oldest() const { return order_.back(); }
  size_t size() const { return order_.size(); }

 private:
  std::list<NodeIndex> order_;  // the most recently used first
  std::unordered_map<NodeIndex, std::list<NodeIndex>::iterator> places_;
};

}  // namespace larder::internal

#endif  // LARDER_TESTS_SUPPORT_LRU_STRIPE_H_
