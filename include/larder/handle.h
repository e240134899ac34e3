// SPDX-License-Identifier: Apache-2.0
//
// Handle: a pinned, zero-copy reference to an entry.

#ifndef LARDER_HANDLE_H_
#define LARDER_HANDLE_H_

#include <utility>

#include "larder/internal/node.h"
#include "larder/internal/node_owner.h"

namespace larder {

namespace internal {
template <class K, class V, class Policy, class Hash, class Eq>
class Core;
}

// Keeps one value alive, where it is, for as long as the handle is held: past its replacement,
// eviction or expiry, and past the cache's own end. A handle sees the value it was made for; it
// doesn't follow later writes of the key. Holding one doesn't keep the key in the cache.
//
// Obtained from Cache::Pin; empty where the key wasn't found. A pinned value's memory isn't counted
// in the cache's weight once it has left the cache. About 16.7 million handles of one entry can be
// held at a time; Pin finds nothing past that.
//
// Thread safety: as for any value; a handle may be moved to, and dropped in, another thread. The
// value's destructor runs wherever the last handle of a removed entry is dropped. Handles must be
// dropped before the thread-local and static objects of larder are destroyed at the process's end.
template <class K, class V>
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)), node_(other.node_), index_(other.index_) {}
  Handle& operator=(Handle&& other) noexcept {
    // What this handle held goes now, not when `other` does.
    Handle taken(std::move(other));
    std::swap(owner_, taken.owner_);
    std::swap(node_, taken.node_);
    std::swap(index_, taken.index_);
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (owner_ != nullptr) owner_->Unpin(index_, *node_);
  }

  // Whether there is a value.
  explicit operator bool() const { return owner_ != nullptr; }

  // Require: there is a value.
  const V& operator*() const { return node_->value; }
  const V* operator->() const { return &node_->value; }
  const K& key() const { return node_->key; }

 private:
  template <class, class, class, class, class>
  friend class internal::Core;
  using Node = internal::Node<K, V>;

  // Takes over a pin of `node` that is already counted.
  Handle(internal::NodeOwner* owner, Node* node, internal::NodeIndex index)
      : owner_(owner), node_(node), index_(index) {}

  internal::NodeOwner* owner_ = nullptr;
  Node* node_ = nullptr;
  internal::NodeIndex index_ = internal::kNoNode;
};

}  // namespace larder

#endif  // LARDER_HANDLE_H_
