// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_POLICY_MODELS_H_
#define LARDER_TESTS_SUPPORT_POLICY_MODELS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <map>
#include <utility>
#include <vector>

namespace larder::test {

// What caches of one stripe and entries of weight 1 must do under each policy, written from the
// papers that the policies' headers name, to be seen to be right. For one thread.
class PolicyModel {
 public:
  explicit PolicyModel(size_t capacity) : capacity_(capacity) {}
  virtual ~PolicyModel() = default;

  virtual bool Contains(uint64_t key) const = 0;
  virtual size_t size() const = 0;

  // A lookup that found the key, or a write that replaced its value. Requires: it is there.
  virtual void Access(uint64_t key) = 0;
  // It leaves, other than by eviction. Requires: it is there.
  virtual void Remove(uint64_t key) = 0;

  void Put(uint64_t key) {
    if (Contains(key)) {
      Access(key);
    } else {
      Insert(key);
    }
  }

  // Since the last call, in order.
  std::vector<uint64_t> TakeEvicted() { return std::exchange(evicted_, {}); }

 protected:
  size_t capacity() const { return capacity_; }

  // Requires: the key isn't there.
  virtual void Insert(uint64_t key) = 0;
  virtual void Evict() = 0;

  void MakeRoom() {
    while (size() >= capacity_) Evict();
  }
  void Evicted(uint64_t key) { evicted_.push_back(key); }

 private:
  const size_t capacity_;
  std::vector<uint64_t> evicted_;
};

// A list of keys, the newest first, each with a count of accesses.
class KeyQueue {
 public:
  struct Entry {
    uint64_t key;
    int accesses;
  };
  using Position = std::list<Entry>::iterator;

  bool Contains(uint64_t key) const { return places_.count(key) != 0; }
  size_t size() const { return places_.size(); }
  bool empty() const { return places_.empty(); }
  int& Accesses(uint64_t key) { return places_.at(key)->accesses; }

  void PushFront(uint64_t key, int accesses = 0) {
    entries_.push_front({key, accesses});
    places_[key] = entries_.begin();
  }
  Entry PopBack() {
    const Entry last = entries_.back();
    Remove(last.key);
    return last;
  }
  void Remove(uint64_t key) {
    entries_.erase(places_.at(key));
    places_.erase(key);
  }
  void MoveToFront(uint64_t key) { entries_.splice(entries_.begin(), entries_, places_.at(key)); }

  Position PlaceOf(uint64_t key) { return places_.at(key); }
  Position Back() { return std::prev(entries_.end()); }
  // The neighbour on the way to the front; the back, of the front.
  Position Newer(Position at) { return at == entries_.begin() ? Back() : std::prev(at); }
  bool IsFront(Position at) { return at == entries_.begin(); }

 private:
  std::list<Entry> entries_;
  std::map<uint64_t, Position> places_;
};

class LruPolicyModel final : public PolicyModel {
 public:
  using PolicyModel::PolicyModel;

  bool Contains(uint64_t key) const override { return queue_.Contains(key); }
  size_t size() const override { return queue_.size(); }
  void Access(uint64_t key) override { queue_.MoveToFront(key); }
  void Remove(uint64_t key) override { queue_.Remove(key); }

 protected:
  void Insert(uint64_t key) override {
    MakeRoom();
    queue_.PushFront(key);
  }
  void Evict() override { Evicted(queue_.PopBack().key); }

 private:
  KeyQueue queue_;
};

class SievePolicyModel final : public PolicyModel {
 public:
  using PolicyModel::PolicyModel;

  bool Contains(uint64_t key) const override { return queue_.Contains(key); }
  size_t size() const override { return queue_.size(); }
  void Access(uint64_t key) override { queue_.Accesses(key) = 1; }
  void Remove(uint64_t key) override {
    if (has_hand_ && hand_->key == key) MoveHandOff();
    queue_.Remove(key);
  }

 protected:
  void Insert(uint64_t key) override {
    MakeRoom();
    queue_.PushFront(key);
  }

  void Evict() override {
    if (!has_hand_) hand_ = queue_.Back();
    has_hand_ = true;
    while (hand_->accesses == 1) {
      hand_->accesses = 0;
      hand_ = queue_.Newer(hand_);
    }
    const uint64_t key = hand_->key;
    Remove(key);
    Evicted(key);
  }

 private:
  // What it points to goes. Past the front it waits for whatever will be the back by then.
  void MoveHandOff() {
    has_hand_ = !queue_.IsFront(hand_);
    if (has_hand_) hand_ = queue_.Newer(hand_);
  }

  KeyQueue queue_;
  bool has_hand_ = false;
  KeyQueue::Position hand_;
};

class S3FifoPolicyModel final : public PolicyModel {
 public:
  using PolicyModel::PolicyModel;

  bool Contains(uint64_t key) const override { return small_.Contains(key) || main_.Contains(key); }
  size_t size() const override { return small_.size() + main_.size(); }
  void Access(uint64_t key) override {
    int& accesses = QueueOf(key).Accesses(key);
    accesses = std::min(accesses + 1, 3);
  }
  void Remove(uint64_t key) override { QueueOf(key).Remove(key); }

 protected:
  void Insert(uint64_t key) override {
    const bool was_ghost = ghosts_.Contains(key);
    if (was_ghost) ghosts_.Remove(key);
    MakeRoom();
    (was_ghost ? main_ : small_).PushFront(key);
  }

  void Evict() override {
    const size_t trial = std::max<size_t>(1, capacity() / 10);
    if (small_.size() < trial || !EvictFromSmall()) EvictFromMain();
  }

 private:
  KeyQueue& QueueOf(uint64_t key) { return small_.Contains(key) ? small_ : main_; }

  // False where all went on to the main queue.
  bool EvictFromSmall() {
    while (!small_.empty()) {
      const KeyQueue::Entry oldest = small_.PopBack();
      if (oldest.accesses < 2) {
        AddGhost(oldest.key);
        Evicted(oldest.key);
        return true;
      }
      main_.PushFront(oldest.key);
    }
    return false;
  }

  void EvictFromMain() {
    for (;;) {
      const KeyQueue::Entry oldest = main_.PopBack();
      if (oldest.accesses == 0) return Evicted(oldest.key);
      main_.PushFront(oldest.key, oldest.accesses - 1);
    }
  }

  void AddGhost(uint64_t key) {
    const size_t most = capacity() * 9 / 10;
    if (most == 0) return;
    while (ghosts_.size() >= most) ghosts_.PopBack();
    ghosts_.PushFront(key);
  }

  KeyQueue small_;
  KeyQueue main_;
  KeyQueue ghosts_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_POLICY_MODELS_H_
