// SPDX-License-Identifier: Apache-2.0
//
// IndexList: a doubly linked list of nodes, for policies.

#ifndef LARDER_INTERNAL_INDEX_LIST_H_
#define LARDER_INTERNAL_INDEX_LIST_H_

#include <cstddef>

#include "larder/internal/node.h"
#include "larder/internal/slab.h"

namespace larder::internal {

// Links nodes through their policy links, so it needs no memory of its own; a node is on one such
// list at most. All operations are O(1) and belong to the lock of the nodes' stripe.
class IndexList {
 public:
  explicit IndexList(const Slab* slab) : slab_(*slab) {}
  IndexList(const IndexList&) = delete;
  IndexList& operator=(const IndexList&) = delete;

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  // kNoNode where the list is empty.
  NodeIndex front() const { return front_; }
  NodeIndex back() const { return back_; }

  // The neighbour on the way to the front; kNoNode: `node` is the front. Requires: it is listed.
  NodeIndex Before(NodeIndex node) const { return slab_.At(node)->policy_prev(); }

  // Requires: `node` is on no list.
  void PushFront(NodeIndex node) {
    NodeHeader* header = slab_.At(node);
    header->set_policy_prev(kNoNode);
    header->set_policy_next(front_);
    SetPrevOf(front_, node);
    front_ = node;
    ++size_;
  }

  // Requires: `node` is on this list.
  void Unlink(NodeIndex node) {
    const NodeHeader* header = slab_.At(node);
    const NodeIndex prev = header->policy_prev();
    const NodeIndex next = header->policy_next();
    SetNextOf(prev, next);
    SetPrevOf(next, prev);
    --size_;
  }

  // Unlinks the back. Requires: there is one.
  void PopBack() {
    back_ = slab_.At(back_)->policy_prev();
    SetNextOf(back_, kNoNode);
    --size_;
  }

  // Requires: `node` is on this list.
  void MoveToFront(NodeIndex node) {
    if (node == front_) return;
    Unlink(node);
    PushFront(node);
  }

  // Forgets all nodes, without touching them.
  void Clear() {
    front_ = back_ = kNoNode;
    size_ = 0;
  }

  // Puts `node` where `old` is, which leaves. Requires: `old` is on this list, `node` on none.
  void Replace(NodeIndex old, NodeIndex node) {
    const NodeHeader* header = slab_.At(old);
    const NodeIndex prev = header->policy_prev();
    const NodeIndex next = header->policy_next();
    slab_.At(node)->set_policy_prev(prev);
    slab_.At(node)->set_policy_next(next);
    SetNextOf(prev, node);
    SetPrevOf(next, node);
  }

 private:
  // What precedes the front is the list itself, as is what follows the back.
  void SetNextOf(NodeIndex prev, NodeIndex node) {
    if (prev == kNoNode) {
      front_ = node;
    } else {
      slab_.At(prev)->set_policy_next(node);
    }
  }
  void SetPrevOf(NodeIndex next, NodeIndex node) {
    if (next == kNoNode) {
      back_ = node;
    } else {
      slab_.At(next)->set_policy_prev(node);
    }
  }

  const Slab& slab_;
  NodeIndex front_ = kNoNode;
  NodeIndex back_ = kNoNode;
  size_t size_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_INDEX_LIST_H_
