// SPDX-License-Identifier: Apache-2.0
//
// Core: the entries of a Cache, one class in several files: its state here, what it does in
// core_lifecycle.h, core_read.h (lookups), core_write.h, core_invalidate.h, core_removal.h (how
// entries leave), core_terms.h, core_walk.h, core_clear.h, core_growth.h, core_prefetch.h.

#ifndef LARDER_INTERNAL_CORE_H_
#define LARDER_INTERNAL_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/clock.h"
#include "larder/handle.h"
#include "larder/internal/clock_ticker.h"
#include "larder/internal/core_traits.h"
#include "larder/internal/epoch.h"
#include "larder/internal/first_exception.h"
#include "larder/internal/flight.h"
#include "larder/internal/hash.h"
#include "larder/internal/limbo.h"
#include "larder/internal/load_flight.h"
#include "larder/internal/load_settings.h"
#include "larder/internal/maintenance_thread.h"
#include "larder/internal/nanos.h"
#include "larder/internal/new_entry.h"
#include "larder/internal/node.h"
#include "larder/internal/node_owner.h"
#include "larder/internal/process_clock.h"
#include "larder/internal/sizing.h"
#include "larder/internal/slab.h"
#include "larder/internal/stats_counters.h"
#include "larder/internal/stripe.h"
#include "larder/internal/tags.h"
#include "larder/internal/thread_record.h"
#include "larder/options.h"
#include "larder/removal_cause.h"
#include "larder/stats.h"

namespace larder::internal {

// What a cache holds, and all that can be done with it but to load; see LoadingCore for that. Lives
// until the cache is closed and the last handle to an entry of it is dropped.
//
// A lookup is lock-free: an EpochGuard, the stripe's table, one bucket, one node. A change locks
// the stripe, builds the new node, publishes it with one store, and hands removed nodes out of the
// lock: there the removal listener sees them, then they go to the stripe's limbo until no reader
// can hold them, and are destroyed. No user code runs under a lock but the comparison and the move
// of keys and the move of values.
template <class K, class V, class Policy, class Hash, class Eq>
class Core : public NodeOwner {
 public:
  using Weigher = std::function<uint64_t(const K&, const V&)>;
  using RemovalListener = std::function<void(const K&, const V&, RemovalCause)>;

  // --- core_read.h. See Cache for what these mean.
  template <class Q>
  std::optional<V> Get(const Q& key);
  template <class Q>
  Handle<K, V> Pin(const Q& key);
  template <class Q, class F>
  bool Visit(const Q& key, F&& f);
  template <class Q>
  bool Contains(const Q& key);

  // --- core_write.h
  absl::Status Put(K&& key, V&& value, const PutOptions& options);
  bool PutIfAbsent(K&& key, V&& value, const PutOptions& options);
  template <class F>
  absl::Status Compute(K&& key, F&& f, const PutOptions& options);
  template <class Q>
  bool Erase(const Q& key);

  // --- core_removal.h
  absl::Status SetCapacity(uint64_t capacity);

  // --- core_invalidate.h
  template <class Q>
  bool Expire(const Q& key);
  void InvalidateTag(std::string_view tag);
  void InvalidatePrefix(std::string_view prefix);

  // --- core_clear.h
  void Clear();

  // --- core_walk.h
  template <class F>
  void ForEach(F&& f);
  template <class Pred>
  size_t EraseIf(Pred&& pred);
  size_t RunMaintenance(size_t budget);
  absl::Status CheckInvariants();

  size_t size() const;
  uint64_t weight() const { return weight_.load(std::memory_order_relaxed); }
  uint64_t capacity() const { return capacity_.load(std::memory_order_relaxed); }
  CacheStats Stats() const;

 protected:
  using NodeT = Node<K, V>;
  using PolicyT = typename Policy::Implementation;
  using FlightT = Flight<K, V>;
  using Front = StripeFront<PolicyT>;
  using StripeT = Stripe<PolicyT, FlightT>;
  using Traits = CoreTraits<K, V, PolicyT, Hash, Eq>;
  static constexpr bool kCheapHash = Traits::kCheapHash;
  static constexpr size_t kPrefix = Traits::kPrefix;
  static constexpr bool kPlainKey = Traits::kPlainKey;
  static constexpr bool kNothingToDestroy = Traits::kNothingToDestroy;
  using Access = typename Traits::Access;
  template <bool kRuns>
  using UserCode = typename Traits::template UserCode<kRuns>;
  template <class Q>
  using KeyParameter = typename Traits::template KeyParameter<Q>;

  // The nodes that one operation removes from one stripe. Made before the lock is taken, so that it
  // goes after the lock was released, whatever is thrown in between.
  class Removals;

  // Keeps an entry that hasn't expired from doing so, until it is replaced or this goes.
  class DeadlineHold;

  Core(const CacheOptions& options, const Sizing& sizing, Weigher weigher,
       RemovalListener on_removal);
  ~Core() override;
  // Takes the memory that a core can't be without. False where there is none.
  bool SetUp();
  // The cache's end: frees all entries but those pinned. No other call may run or follow.
  void Close();

  size_t StripeNumber(HashBits hash) const { return hash.High() & stripe_mask_; }
  StripeT& StripeOf(HashBits hash) { return stripes_[StripeNumber(hash)]; }
  const Front& FrontOf(HashBits hash) const { return fronts_[StripeNumber(hash)]; }
  size_t stripe_count() const { return sizing_.stripe_count(); }
  std::span<StripeT> stripes() const { return {stripes_, stripe_count()}; }

  // The calling thread; in debug builds, checks that it isn't inside this cache's Visit.
  ThreadRecord& EnterCall() const;

  int64_t Now() const { return clock_ == nullptr ? ProcessClock::NowNanos() : clock_->NowNanos(); }
  bool HasPassed(int64_t deadline) const {
    return clock_ == nullptr ? ProcessClock::HasPassed(deadline) : deadline <= clock_->NowNanos();
  }

  // --- core_read.h: inside a guard, or under the stripe's lock.
  template <class Q>
  NodeT* FindNode(const Front& front, const Q& key, HashBits hash, NodeIndex* index) const;
  // A lookup's outcome in the common case.
  struct Glance;
  template <class Q>
  Glance LookUp(const Q& key, HashBits hash, ThreadRecord& thread);
  // Calls f(Node&, NodeIndex) for a hit, inside a guard.
  template <class Q, class F>
  bool LookUpSlowly(const Q& key, HashBits hash, F&& f);
  template <class Q>
  std::optional<V> GetSlowly(KeyParameter<Q> key, HashBits hash);
  template <class Q>
  Handle<K, V> PinSlowly(KeyParameter<Q> key, HashBits hash);
  class VisitMark;
  Handle<K, V> PinNode(NodeT& node, NodeIndex index);
  static NodeIndex IndexOf(const Handle<K, V>& handle) { return handle.index_; }
  // Like Pin, but is no hit or miss.
  template <class Q>
  Handle<K, V> PinQuietly(const Q& key, HashBits hash);
  // Whether the entry's time is over. Once it was seen to be, it stays so.
  bool Expired(NodeHeader& node, NodeIndex index) const {
    const int64_t deadline = node.deadline.load(std::memory_order_relaxed);
    return !IsFar(deadline) && ExpiredNow(node, index);
  }
  bool ExpiredNow(NodeHeader& node, NodeIndex index) const;
  // When it expires; the node's deadline may say only when to look at this.
  std::atomic<int64_t>& ExpiryOf(NodeHeader& node, NodeIndex index) const {
    return node.Has(NodeHeader::kTerms) ? slab_.Terms(index)->expires_at : node.deadline;
  }
  // Whether there is an entry with a value, for whoever asks now.
  bool IsLive(NodeHeader& node, NodeIndex index) const {
    return !Expired(node, index) &&
           (!node.Has(NodeHeader::kTagged | NodeHeader::kNegative) || HasValidValue(node, index));
  }
  bool HasValidValue(const NodeHeader& node, NodeIndex index) const;
  // For a node with a rare flag in its state: whether there is no more to it than tags none of
  // which can have been invalidated.
  bool IsPlainlyValid(uint32_t state, NodeIndex index) const {
    return (state & NodeHeader::kAsks) == 0 &&
           slab_.Validated(index).load(std::memory_order_relaxed) == tags_.generation();
  }
  // Whether a deadline can't have passed, as far as is known without looking at a clock.
  bool IsFar(int64_t deadline) const {
    return deadline == kNever ||
           (clock_ == nullptr && deadline > ClockTicker::Horizon().load(std::memory_order_relaxed));
  }
  // Whether a hit on `node` counts, that is, it hasn't expired; if so, its idle_ttl starts anew.
  bool Touch(NodeHeader& node, NodeIndex index);
  static int64_t MoveForward(std::atomic<int64_t>& deadline, int64_t to);

  // --- core_write.h
  Lifetime LifetimeOf(const std::optional<absl::Duration>& ttl,
                      const std::optional<absl::Duration>& idle_ttl, ThreadRecord& thread) const;
  uint64_t WeightFor(const K& key, const V& value, std::optional<uint64_t> given) const;
  // Whether an entry weighs more than the cache may; counts it, if so.
  bool Rejects(uint64_t weight, ThreadRecord& thread);
  // The error for that.
  absl::Status TooHeavy(uint64_t weight) const;
  absl::Status OutOfMemory() const;
  // kNeedsOthersRoom is no result of Store.
  enum class StoreResult { kStored, kDeclined, kNeedsOthersRoom, kOutOfMemory };
  // Stores an entry where may_store(what is there now, or kNoNode) says so; if it doesn't store it,
  // key and value (a V, or NoValue for a key that wasn't found) are as they were. Pins the entry in
  // `stored` where that is given. Throws what a listener threw.
  template <class Value, class Condition>
  StoreResult Store(K&& key, Value&& value, const NewEntry& entry, Condition&& may_store,
                    ThreadRecord& thread, Handle<K, V>* stored = nullptr);
  // What few stores have left to do when the lock is released. Adds to `thrown` what was thrown
  // first.
  void FinishStore(StripeT& stripe, Removals& removals, uint64_t weight, StoreResult result,
                   bool retired_table, std::exception_ptr& thrown);
  template <class Value, class Condition>
  StoreResult StoreLocked(StripeT& stripe, K&& key, Value&& value, const NewEntry& entry,
                          Condition&& may_store, bool others_made_room, Removals& removals,
                          Handle<K, V>* stored) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Erases the entry where may_erase(what is there now, or kNoNode) says so; returns what it said.
  // Tells in `was_live` whether there was an entry that hadn't expired.
  template <class Q, class Condition>
  bool EraseWhere(const Q& key, HashBits hash, Condition&& may_erase, bool* was_live = nullptr);
  template <class Q>
  Table::Position Locate(StripeT& stripe, const Q& key, HashBits hash)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  bool PrepareStripe(StripeT& stripe, const NewEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  NodeIndex TakeSlot(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  template <class Value>
  NodeIndex NewNode(StripeT& stripe, K&& key, Value&& value, const NewEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Gives the entry at `index`, of the same key, the value and the lifetime of `entry` where it is.
  // False, and nothing has changed, where that can't be done: it is pinned, or has expired, or is
  // to expire earlier than before, or anybody wants to know of its former value.
  bool Overwrite(StripeT& stripe, NodeIndex index, const V& value, const NewEntry& entry,
                 ThreadRecord& thread) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Makes room for the entry and tells the policy of it, whose old node has been detached, if it
  // had one.
  void Admit(StripeT& stripe, NodeIndex old_node, NodeIndex index, const NewEntry& entry,
             Removals& removals) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // A handle to an entry that isn't in the cache, and lives until that is dropped; empty where
  // memory is out.
  Handle<K, V> MakeUnstored(HashBits hash, K key, V&& value);
  void Publish(StripeT& stripe, Table::Position replaced, NodeIndex index, const NewEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);

  // --- core_terms.h
  // Whether a Put with these options has to say more of its entry than a NodeHeader holds.
  bool NeedsTerms(const PutOptions& options) const {
    return always_terms_ || options.refresh_after.has_value() || !options.tags.empty();
  }
  // Gives the entry terms, and moves its deadline to when they have to be looked at.
  void GiveTerms(const TermsRequest& request, EntryTerms& terms, NewEntry& entry) const;
  // The same for what a Put stores. `stamp`: a generation of the tags since the call began.
  void GiveTerms(const K& key, const PutOptions& options, uint64_t stamp,
                 std::optional<EntryTerms>& terms, NewEntry& entry);
  TagSetHold AcquireTags(const K& key, std::span<const std::string> tags);
  static int64_t RefreshTime(const RefreshAfter& after, int64_t now, const Lifetime& lifetime);
  // When an entry's terms have to be looked at.
  static int64_t FirstLook(int64_t expires_at, int64_t refresh_at, int64_t load_nanos,
                           double early_refresh);
  // Returns the flags for the node's state. Takes the tags.
  uint32_t WriteTerms(NodeIndex index, EntryTerms& terms);
  // Whether no tag of an entry was invalidated.
  bool Valid(NodeIndex index) const;
  bool Invalidated(const NodeHeader& node, NodeIndex index) const {
    return node.Has(NodeHeader::kTagged) && !Valid(index);
  }
  bool IsKept(const NodeHeader& node, NodeIndex index) const;
  // Destroys what is in a node, and lets go of its tags.
  void DestroyNode(NodeIndex index);

  // --- core_prefetch.h
  // Starts to fetch what a change of the key will read and write.
  void Prefetch(HashBits hash);
  // The same for what evicting `victim` will write, if it comes to that.
  void PrefetchEviction(StripeT& stripe, NodeIndex victim)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // The same for what taking `node` out of its lists will write.
  void PrefetchNeighbours(const NodeHeader& node);
  // The same for the next change of this stripe, a while before it: the slot that it will use, the
  // next eviction, and the victim after that, so that what it leads to is known by then.
  void PrefetchNext(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // The same for what removing the nodes from `first` on will write.
  void PrefetchRemovals(StripeT& stripe, NodeIndex first)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);

  // --- core_growth.h
  // Provides the larger table, or a part of it, that a stripe wants.
  void ProvideLarger(StripeT& stripe);
  // Moves a growing table on; returns how many entries it copied.
  size_t StepTable(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Moves a growing table on, and makes room in it. False where memory is out.
  bool PrepareTable(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Moves a growing table on by about `budget` entries; returns by how many.
  size_t GrowStripe(StripeT& stripe, size_t budget);

  // --- core_removal.h
  uint64_t WeightOf(const NodeHeader& node, NodeIndex index) const;
  NodeT* NodeAt(NodeIndex index) const { return slab_.At<NodeT, kPrefix>(index); }
  uint32_t HomeOf(const NodeT& node) const;
  // What stands for a key where a policy remembers it. Collisions only blur what it remembers.
  static uint64_t Fingerprint(HashBits hash) { return kCheapHash ? hash.all() : hash.Home(); }
  uint64_t FingerprintOf(const NodeT& node) const;
  // Takes a node out of everything but the table, and but for the policy where it is replaced.
  // Returns the cause announced: kExpired, if it was, whatever was given.
  RemovalCause Detach(StripeT& stripe, NodeIndex index, RemovalCause cause, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // The same, and out of the table. A node that isn't in the table was cleared
  // (ClearInTurns).
  RemovalCause Remove(StripeT& stripe, NodeIndex index, RemovalCause cause, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  TimerWheel::Due RemoveExpired(StripeT& stripe, size_t budget, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  TimerWheel::Due RemoveDue(StripeT& stripe, size_t budget, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Whether `weight` more fits into the cache, without what was removed so far.
  bool Fits(uint64_t weight, const Removals& removals) const;
  // Evicts from this stripe until `weight` more fits into the cache, or `most` are evicted, or
  // nothing is left here. Returns how many entries went.
  size_t MakeRoom(StripeT& stripe, uint64_t weight, size_t most, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Evicts until the whole cache weighs `target`, from all stripes but `spared` first. Returns what
  // a listener threw.
  std::exception_ptr ShrinkTo(uint64_t target, const StripeT* spared);
  // Whether `stripe` couldn't make room for `weight` by itself.
  bool NeedsOthersRoom(const StripeT& stripe, uint64_t weight, const Removals& removals) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  void AddWeight(uint64_t added, uint64_t removed);

  bool LimboIsFull(const StripeT& stripe) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Destroys `most` of what is known to be free; returns how many nodes it took for that.
  size_t TakeFree(StripeT& stripe, size_t most = SIZE_MAX);
  // The same, after a look at the readers.
  size_t Reclaim(StripeT& stripe, size_t most = SIZE_MAX);
  // Takes `most` free nodes out of the limbo, for FreeNodes, without the lock. Where there is
  // nothing to destroy, gives all of them back to the slots.
  NodeChain TakeFreeNodes(StripeT& stripe, uint64_t free_before, size_t most)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  void FreeNodes(StripeT& stripe, const NodeChain& chain);
  void FreeOrphan(NodeIndex index) override;

  // --- core_invalidate.h
  bool MayBeStale(const NodeHeader& node, NodeIndex index) const;
  void ExpireNow(StripeT& stripe, NodeIndex index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  void EndBy(StripeT& stripe, NodeIndex index, int64_t end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  bool IsUnswept(const StripeT& stripe) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex) {
    return tags_.InUse() && stripe.swept < tags_.generation();
  }
  size_t Sweep(StripeT& stripe, size_t most, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);

  // --- core_clear.h
  // Clears all at once, and leaves the nodes to CollectCleared. False where memory is out; then
  // nothing has changed, but that loads are outdated.
  bool ClearAtOnce(StripeT& stripe, ThreadRecord& thread);
  // Clears, removes all nodes, and announces them. Returns what the listener threw.
  std::exception_ptr ClearInTurns(StripeT& stripe, ThreadRecord& thread);
  // Removes those nodes of the next `most` buckets that are still in the cache, whether the
  // stripe's table still has them or not.
  void ClearBuckets(StripeT& stripe, const TableView& table, size_t& next, size_t most,
                    Removals& removals) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Whether an entry is in the cache, or has left it only as far as its table goes.
  bool InCache(const StripeT& stripe, NodeIndex index) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex) {
    return slab_.At(index)->InCache() && !stripe.slots.IsCleared(index);
  }
  // Removes what ClearAtOnce left in the next `most` slots, to stripe.cleared; returns how many
  // slots it looked at.
  size_t CollectCleared(StripeT& stripe, size_t most) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // The same for the chunk of a slot that is about to be used.
  void CollectChunk(StripeT& stripe, NodeIndex index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // What was removed, for the limbo.
  NodeChain TakeCleared(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // A write's share in that.
  void RemoveCleared(StripeT& stripe, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);

  // --- core_walk.h
  // Erases what pred(key, value) is true for, and of keys that weren't found, negative_pred(key).
  template <class Pred, class KeyPred>
  size_t EraseEach(Pred&& pred, KeyPred&& negative_pred);
  // Calls f(NodeIndex, Node&) for what is in the stripe's table, once for each entry; inside a
  // guard.
  template <class F>
  void ForEachNode(const StripeT& stripe, F&& f);
  template <class F>
  void ForEachNode(const Bucket& bucket, const TableView* older, F&& f);
  struct Maintenance;  // a call of RunMaintenance
  // Destroys and removes some of what there is to. Whether there may be more.
  bool MaintainStripe(StripeT& stripe, Maintenance& work);
  void LookAtReaders();
  // The same, where maintenance has removed enough since it last did so.
  void LookIfDue(Maintenance& work);
  // Looks at the readers, and destroys what they leave.
  void ReclaimAll(Maintenance& work);
  // Whether removed nodes or tables wait for a look at the readers, fresh ones included.
  bool SealLimbo(StripeT& stripe);
  absl::Status CheckStripe(StripeT& stripe, uint64_t* weight);

  const Clock* const clock_;  // nullptr: ProcessClock, which is then called without indirection
  ClockTicker ticker_;        // where clock_ is ProcessClock
  const int64_t ttl_;         // ns; kNever: infinite
  const int64_t idle_ttl_;    // ns; kNever: infinite
  const double ttl_jitter_;
  const LoadSettings load_settings_;  // what a call says nothing of
  const bool always_terms_;           // every entry has NodeTerms
  const Sizing sizing_;
  const Weigher weigher_;
  const RemovalListener on_removal_;
  [[no_unique_address]] const Hash hash_{};
  [[no_unique_address]] const Eq eq_{};

  StatsCounters counters_;
  Tags tags_;
  Slab slab_;
  const size_t stripe_mask_;
  const std::unique_ptr<Front[]> fronts_;
  StripeT* const stripes_;  // made and destroyed with the core

  // Written by every change that isn't balanced by an eviction.
  alignas(64) std::atomic<uint64_t> weight_{0};
  std::atomic<uint64_t> max_overshoot_{0};
  alignas(64) std::atomic<uint64_t> capacity_;

  // Maintenance's: where the next call starts, and what was removed since the last look at readers.
  alignas(64) std::atomic<size_t> maintenance_cursor_{0};
  std::atomic<size_t> unlooked_nodes_{0};
  std::atomic<uint64_t> unlooked_weight_{0};

  std::unique_ptr<MaintenanceThread> maintenance_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_CORE_H_
