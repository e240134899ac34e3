// SPDX-License-Identifier: Apache-2.0
//
// GrowingTable: a stripe's table, which grows while it is in use, a little with every write.

#ifndef LARDER_INTERNAL_GROWING_TABLE_H_
#define LARDER_INTERNAL_GROWING_TABLE_H_

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "larder/internal/node.h"
#include "larder/internal/table.h"

namespace larder::internal {

// A Table and, while it grows, the smaller one that it takes the place of: the older table. New
// entries go to the table; those in the older one are copied there bucket by bucket, by Step, and
// stay in the older one, too, until they leave the cache or the whole older table goes. (Growing in
// steps with two tables is known from Redis's dict.c, which has no readers beside the writer.)
//
// What readers see. A reader loads the published view once, searches the table, and what it doesn't
// find there in the older one. Nothing moves inside a table, and what is copied isn't taken away,
// so a reader finds all that is there throughout. Once all is copied, a view without an older table
// is published. A reader with a view from before may still search the older table, in which nothing
// is changed any more: it sees an entry there as it was when that view was replaced, which was
// after this reader began.
//
// Changes of an entry that is in both tables. It is erased from the table first: a reader that
// doesn't find it in the older one either knows that it is gone from both. It is replaced in the
// table first: the older one is only searched by readers that didn't find it in the table, so that
// they began before it was copied there; whoever began later sees the new one, as do all after him.
//
// Pace. The table starts to grow with more than capacity() entries, of nine a bucket, and copies
// kBucketsPerStep buckets with each write: that is over before a quarter more than there were
// buckets has been added, however small the larger table may be. Neither is the memory of the
// larger table taken from the system under the stripe's lock (Claim).
//
// Belongs to its stripe's lock, but for the view. Whatever is retired waits for its readers
// (epoch.h).
class GrowingTable {
 public:
  using Position = Table::Position;

  // Each has up to a dozen entries, each of which costs a look at its node: a few microseconds, for
  // about one write in a hundred.
  static constexpr size_t kBucketsPerStep = 16;

  // `published`: where readers find the view. There is no table until StartAnew.
  explicit GrowingTable(std::atomic<const TableView*>* published) : published_(*published) {}
  GrowingTable(const GrowingTable&) = delete;
  GrowingTable& operator=(const GrowingTable&) = delete;

  bool exists() const { return table_ != nullptr; }
  size_t size() const { return size_; }
  size_t capacity() const { return table_->capacity(); }
  const TableView& view() const { return *published_.load(std::memory_order_relaxed); }

  // --- Entries. `home`: HashBits::Home() of the entry's key.

  // The entry for which matches(index) returns true.
  template <class Matches>
  Position Locate(uint32_t home, uint8_t tag, Matches&& matches) {
    const Position found = table_->Locate(home, tag, matches);
    if (found.bucket != nullptr || older_ == nullptr) [[likely]]
      return found;
    return older_->Locate(home, tag, matches);
  }

  Position LocateNode(uint32_t home, NodeIndex node) {
    const Position found = table_->LocateNode(home, node);
    if (found.bucket != nullptr || older_ == nullptr) [[likely]]
      return found;
    return older_->LocateNode(home, node);
  }

  // Requires: RoomForOneMore.
  void Insert(uint32_t home, uint8_t tag, NodeIndex node) {
    table_->Insert(home, tag, node);
    ++size_;
  }

  // The following require a position found since the last Step, HandIn or RoomForOneMore.
  void Erase(uint32_t home, Position position) {
    --size_;
    if (older_ != nullptr) [[unlikely]]
      return EraseGrowing(home, position);
    table_->Erase(home, position);
  }
  // Puts `node`, of the same key, in the place of what is there. For readers that is one step.
  void Replace(uint32_t home, Position position, NodeIndex node) {
    const Position copy = CopyOf(home, position);
    Table::Replace(position, node);
    if (copy) Table::Replace(copy, node);
  }

  // Starts to fetch where a change begins.
  void Prefetch(uint32_t home) const {
    __builtin_prefetch(&table_->view().HomeBucket(home), 1);
    if (older_ != nullptr) [[unlikely]]
      older_->view().Prefetch(home);
  }

  // --- Growing.

  // Whether a write has any of the following to do: where not, that is all it has to look at.
  bool NeedsWork() const { return size_ >= at_ease_below_; }

  // Whether entries are still to be copied.
  bool growing() const { return older_ != nullptr; }

  // Copies entries of at most kBucketsPerStep buckets; returns how many. fetch(NodeIndex) starts
  // to fetch what home_of(NodeIndex) will read, which returns HashBits::Home() of the node's key.
  template <class Fetch, class HomeOf>
  size_t Step(Fetch&& fetch, HomeOf&& home_of);

  // Makes sure that there is room for one more entry. There usually is: only where nobody has
  // handed in a larger table for long, one for `entries` is made here and now. False where memory
  // is out.
  template <class HomeOf>
  bool RoomForOneMore(size_t entries, HomeOf&& home_of);

  // Whether it should grow, and no thread is about to provide the table for that. One that finds it
  // so after a write provides it, or a part of it, like this:
  //   lock; claim what there is of it; unlock; create it if there is none; populate the next part;
  //   lock; hand it in; unlock; destroy what HandIn returned.
  bool WantsLarger() const { return size_ > capacity() && older_ == nullptr && !claimed_; }
  // The table as far as it was provided, or nullptr. Requires: WantsLarger. To be followed by
  // HandIn.
  std::unique_ptr<Table> Claim();
  // Takes a claimed table back, nullptr where it couldn't be had, and starts to grow if it is
  // `ready`. Returns it if it isn't needed any more.
  std::unique_ptr<Table> HandIn(std::unique_ptr<Table> larger, bool ready);

  // Replaces all by an empty table for `entries`. False where memory is out; then nothing has
  // changed.
  bool StartAnew(size_t entries);

  // --- Former tables.

  // How many there were.
  uint64_t retirements() const { return retirements_; }
  bool HasRetired() const { return retired_ != nullptr; }
  // Those from before the epoch `free_before`, linked to each other; to be destroyed after the lock
  // was released.
  std::unique_ptr<Table> TakeRetired(uint64_t free_before);

  // --- Walks.

  // Calls f(NodeIndex) for each entry, once.
  template <class F>
  void ForEach(F&& f) const;

  // Whether the tables agree with each other and are sound within. For tests; slow.
  template <class HomeOf>
  bool Consistent(HomeOf&& home_of) const;

 private:
  template <class F>
  static void ForEachIn(const Bucket& bucket, F&& f) {  // f(NodeIndex, tag)
    for (uint32_t used = bucket.Used(); used != 0; used &= used - 1) {
      const int slot = std::countr_zero(used);
      f(bucket.nodes[slot].load(std::memory_order_relaxed), bucket.TagAt(slot));
    }
  }

  // Where an entry of table_ is in older_, too.
  Position CopyOf(uint32_t home, Position position) const {
    if (older_ == nullptr || older_->Holds(position)) [[likely]]
      return {};
    return older_->LocateNode(home, Table::NodeAt(position));
  }
  void EraseGrowing(uint32_t home, Position position);
  bool IsFull() const { return size_ >= table_->limit(); }
  void Publish(const TableView& view) { published_.store(&view, std::memory_order_release); }
  void StartGrowing(std::unique_ptr<Table> larger);
  void EndGrowing();
  // Requires: readers that start from now on don't find it.
  void Retire(std::unique_ptr<Table> table);

  // All that writes look at while nothing grows.
  std::atomic<const TableView*>& published_;
  std::unique_ptr<Table> table_;
  std::unique_ptr<Table> older_;  // where table_ is growing
  size_t size_ = 0;
  size_t at_ease_below_ = 0;  // entries; 0 while growing
  uint64_t retirements_ = 0;

  size_t copied_ = 0;  // buckets of older_: what is in them is in table_, too
  bool claimed_ = false;
  std::unique_ptr<Table> larger_;   // handed in, not ready yet
  std::unique_ptr<Table> retired_;  // the latest
};

template <class Fetch, class HomeOf>
size_t GrowingTable::Step(Fetch&& fetch, HomeOf&& home_of) {
  if (older_ == nullptr) return 0;
  const size_t stop = std::min(copied_ + kBucketsPerStep, older_->bucket_count());
  size_t entries = 0;
  for (size_t i = copied_; i < stop; ++i) {
    ForEachIn(older_->bucket(i), [&](NodeIndex node, uint8_t) {
      fetch(node);
      ++entries;
    });
  }
  for (; copied_ < stop; ++copied_) {
    ForEachIn(older_->bucket(copied_),
              [&](NodeIndex node, uint8_t tag) { table_->Insert(home_of(node), tag, node); });
  }
  if (copied_ == older_->bucket_count()) EndGrowing();
  return entries;
}

template <class HomeOf>
bool GrowingTable::RoomForOneMore(size_t entries, HomeOf&& home_of) {
  if (!IsFull()) return true;
  while (growing()) Step([](NodeIndex) {}, home_of);
  std::unique_ptr<Table> larger = larger_ != nullptr ? std::move(larger_) : Table::Create(entries);
  if (larger == nullptr) return false;
  StartGrowing(std::move(larger));
  return true;
}

template <class F>
void GrowingTable::ForEach(F&& f) const {
  for (size_t i = 0; i < table_->bucket_count(); ++i) {
    ForEachIn(table_->bucket(i), [&f](NodeIndex node, uint8_t) { f(node); });
  }
  for (size_t i = copied_; older_ != nullptr && i < older_->bucket_count(); ++i) {
    ForEachIn(older_->bucket(i), [&f](NodeIndex node, uint8_t) { f(node); });
  }
}

template <class HomeOf>
bool GrowingTable::Consistent(HomeOf&& home_of) const {
  size_t copies = 0;
  bool right = true;
  for (size_t i = 0; older_ != nullptr && i < older_->bucket_count(); ++i) {
    ForEachIn(older_->bucket(i), [&](NodeIndex node, uint8_t) {
      const bool in_table = static_cast<bool>(table_->LocateNode(home_of(node), node));
      right = right && in_table == (i < copied_);
      copies += in_table ? 1 : 0;
    });
  }
  const size_t in_older = older_ != nullptr ? older_->Count() : 0;
  return right && table_->Consistent(size_ + copies - in_older, home_of) &&
         (older_ == nullptr || older_->Consistent(in_older, home_of)) &&
         view().buckets == table_->view().buckets &&
         view().older == (older_ == nullptr ? nullptr : &older_->view());
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_GROWING_TABLE_H_
