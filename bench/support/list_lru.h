// SPDX-License-Identifier: Apache-2.0
//
// The textbook LRU, without a lock: a hash map into a list, most recently used first.

#ifndef LARDER_BENCH_SUPPORT_LIST_LRU_H_
#define LARDER_BENCH_SUPPORT_LIST_LRU_H_

#include <cstddef>
#include <iterator>
#include <list>
#include <utility>

namespace larder::bench {

// Exact: evicts what was used least recently. Index<K, Mapped> is a hash map's type. O(1). Not
// thread-safe.
template <class K, class V, template <class, class> class Index>
class ListLru {
 public:
  // capacity: the most entries kept, > 0.
  explicit ListLru(size_t capacity) : capacity_(capacity) { index_.reserve(capacity); }

  // The value, which becomes the most recently used, or nullptr. It is valid until the next Put.
  template <class Q>
  V* Find(const Q& key) {
    const auto it = index_.find(key);
    if (it == index_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return &it->second->second;
  }

  // Inserts or replaces; evicts where that would exceed the capacity.
  void Put(const K& key, V value) {
    if (V* const found = Find(key)) {
      *found = std::move(value);
      return;
    }
    if (index_.size() < capacity_) {
      entries_.emplace_front(key, std::move(value));
    } else {
      // The victim's node serves the new entry: no allocation.
      index_.erase(entries_.back().first);
      entries_.splice(entries_.begin(), entries_, std::prev(entries_.end()));
      entries_.front() = Entry(key, std::move(value));
    }
    index_.emplace(key, entries_.begin());
  }

  size_t size() const { return index_.size(); }

 private:
  using Entry = std::pair<K, V>;
  using Entries = std::list<Entry>;

  const size_t capacity_;
  Entries entries_;
  Index<K, typename Entries::iterator> index_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_LIST_LRU_H_
