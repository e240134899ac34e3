// SPDX-License-Identifier: Apache-2.0
//
// Core: the engine behind Cache, one class in several files: its state here, its beginning and end
// in core_lifecycle.h, lookups in core_read.h, changes in core_write.h, how entries leave in
// core_removal.h, loads in core_load.h, walks over all entries in core_walk.h, the growth of tables
// in core_growth.h, prefetches in core_prefetch.h.

#ifndef LARDER_INTERNAL_CORE_H_
#define LARDER_INTERNAL_CORE_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/clock.h"
#include "larder/handle.h"
#include "larder/internal/clock_ticker.h"
#include "larder/internal/epoch.h"
#include "larder/internal/first_exception.h"
#include "larder/internal/flight.h"
#include "larder/internal/hash.h"
#include "larder/internal/limbo.h"
#include "larder/internal/maintenance_thread.h"
#include "larder/internal/nanos.h"
#include "larder/internal/node.h"
#include "larder/internal/node_owner.h"
#include "larder/internal/process_clock.h"
#include "larder/internal/sizing.h"
#include "larder/internal/slab.h"
#include "larder/internal/stats_counters.h"
#include "larder/internal/stripe.h"
#include "larder/internal/thread_record.h"
#include "larder/internal/value_access.h"
#include "larder/loader.h"
#include "larder/options.h"
#include "larder/removal_cause.h"
#include "larder/stats.h"

namespace larder::internal {

// Everything of a cache but its public face. Lives until the cache is closed and the last handle to
// an entry of it is dropped.
//
// A lookup is lock-free: an EpochGuard, the stripe's table, one bucket, one node. A change locks
// the stripe, builds the new node, publishes it with one store, and hands removed nodes out of the
// lock: there the removal listener sees them, then they go to the stripe's limbo until no reader
// can hold them, and are destroyed. No user code runs under a lock but the comparison and the move
// of keys and the move of values.
template <class K, class V, class Policy, class Hash, class Eq>
class Core final : public NodeOwner {
 public:
  using Weigher = std::function<uint64_t(const K&, const V&)>;
  using RemovalListener = std::function<void(const K&, const V&, RemovalCause)>;

  // --- core_lifecycle.h

  // The cache's end: frees all entries but those pinned. No other call may run or follow.
  void Close();
  struct Closer {
    void operator()(Core* core) const { core->Close(); }
  };
  using Pointer = std::unique_ptr<Core, Closer>;

  // Options must be valid. ResourceExhausted where memory or threads are out.
  static absl::StatusOr<Pointer> Create(const CacheOptions& options, Weigher weigher,
                                        RemovalListener on_removal);

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

  // --- core_load.h
  template <class Q, class Loader>
  absl::StatusOr<V> GetOrLoad(const Q& key, Loader&& loader, const LoadOptions& options);

  // --- core_walk.h
  template <class F>
  void ForEach(F&& f);
  template <class Pred>
  size_t EraseIf(Pred&& pred);
  void Clear();
  size_t RunMaintenance(size_t budget);
  absl::Status CheckInvariants();

  size_t size() const;
  uint64_t weight() const { return weight_.load(std::memory_order_relaxed); }
  uint64_t capacity() const { return capacity_.load(std::memory_order_relaxed); }
  CacheStats Stats() const;

 private:
  using NodeT = Node<K, V>;
  using PolicyT = typename Policy::Implementation;
  struct Flight;
  using Front = StripeFront<PolicyT>;
  using StripeT = Stripe<PolicyT, Flight>;
  // Whether a key's hash is our own code and quicker made than kept: no user's hash runs under a
  // stripe's lock.
  static constexpr bool kCheapHash = std::is_integral_v<K> && std::is_same_v<Hash, DefaultHash<K>>;
  // Bytes before each node: nothing, where nothing that is kept there is needed.
  static constexpr size_t kPrefix =
      kCheapHash && !PolicyT::kLinked ? 0 : std::max(sizeof(NodePrefix), alignof(NodeT));
  // Whether finding a key runs no code but ours and the standard library's.
  static constexpr bool kPlainKey =
      (std::is_arithmetic_v<K> || std::is_same_v<K, std::string> ||
       std::is_same_v<K, std::string_view>)&&std::is_same_v<Hash, DefaultHash<K>> &&
      std::is_same_v<Eq, DefaultEq<K>>;
  // Entries that need no destructor aren't looked at when they are reclaimed, but when their slot
  // is used again. AddressSanitizer wants to be told of each node's end.
#if defined(ABSL_HAVE_ADDRESS_SANITIZER)
  static constexpr bool kNothingToDestroy = false;
#else
  static constexpr bool kNothingToDestroy =
      std::is_trivially_destructible_v<K> && std::is_trivially_destructible_v<V>;
#endif
  // Whether of keys that compare equal one is as good as the other, for whatever a user does.
  static constexpr bool kEqualKeysAreTheSame =
      (std::is_integral_v<K> || std::is_same_v<K, std::string>)&&std::is_same_v<Eq, DefaultEq<K>>;
  using Access = ValueAccess<V, kEqualKeysAreTheSame>;
  struct Nothing {};
  template <bool kRuns>
  using UserCode = std::conditional_t<kRuns, NotQuick, Nothing>;
  // A number by value: a key whose address is taken has to be in memory.
  template <class Q>
  using KeyParameter = std::conditional_t<std::is_arithmetic_v<Q>, const Q, const Q&>;
  static_assert(alignof(NodeT) <= 64,
                "keys and values aligned to more than a line aren't supported");

  // When an entry ends, in ns on the cache's clock; see NodeExtra.
  struct Lifetime {
    int64_t deadline = kNever;
    int64_t hard_deadline = kNever;
    int64_t idle_ttl = kNever;
  };

  // What is known of an entry before it is stored.
  struct NewEntry {
    HashBits hash;
    uint64_t weight;
    Lifetime lifetime;
    bool outdates_flight = true;  // a load in progress for the key must not be stored over it
    bool needs_live_old = false;  // what it replaces, if anything, must not have expired by then
  };

  // The nodes that one operation removes from one stripe. Made before the lock is taken, so that it
  // goes after the lock was released, whatever is thrown in between.
  class Removals;

  // Keeps an entry that hasn't expired from doing so, until it is replaced or this goes.
  class DeadlineHold;

  Core(const CacheOptions& options, const Sizing& sizing, Weigher weigher,
       RemovalListener on_removal);
  ~Core() override;
  void StartMaintenance(absl::Duration interval);

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
  template <class Q, class F>
  bool LookUpSlowly(const Q& key, HashBits hash,
                    F&& f);  // f(Node&, NodeIndex) for a hit, inside a guard
  template <class Q>
  std::optional<V> GetSlowly(KeyParameter<Q> key, HashBits hash);
  template <class Q>
  Handle<K, V> PinSlowly(KeyParameter<Q> key, HashBits hash);
  class VisitMark;
  Handle<K, V> PinNode(NodeT& node, NodeIndex index);
  // Like Pin, but is no hit or miss.
  template <class Q>
  Handle<K, V> PinQuietly(const Q& key, HashBits hash);
  // Whether the entry's time is over. Once it was seen to be, it stays so.
  bool Expired(NodeHeader& node) const {
    const int64_t deadline = node.deadline.load(std::memory_order_relaxed);
    return !IsFar(deadline) && ExpiredNow(node);
  }
  bool ExpiredNow(NodeHeader& node) const;
  // Whether a deadline can't have passed, as far as is known without looking at a clock.
  bool IsFar(int64_t deadline) const {
    return deadline == kNever ||
           (clock_ == nullptr && deadline > ClockTicker::Horizon().load(std::memory_order_relaxed));
  }
  // Whether a hit on `node` counts, that is, it hasn't expired; if so, its idle_ttl starts anew.
  bool Touch(NodeHeader& node, NodeIndex index);

  // --- core_write.h
  Lifetime LifetimeOf(const PutOptions& options, ThreadRecord& thread) const;
  uint64_t WeightFor(const K& key, const V& value, std::optional<uint64_t> given) const;
  // Whether an entry weighs more than the cache may; counts it, if so.
  bool Rejects(uint64_t weight, ThreadRecord& thread);
  // The error for that.
  absl::Status TooHeavy(uint64_t weight) const;
  absl::Status OutOfMemory() const;
  // kNeedsOthersRoom is no result of Store.
  enum class StoreResult { kStored, kDeclined, kNeedsOthersRoom, kOutOfMemory };
  // Stores an entry where may_store(what is there now, or kNoNode) says so; if it doesn't store it,
  // key and value are as they were. Pins the entry in `stored` where that is given. Throws what a
  // listener threw.
  template <class Condition>
  StoreResult Store(K&& key, V&& value, const NewEntry& entry, Condition&& may_store,
                    ThreadRecord& thread, Handle<K, V>* stored = nullptr);
  // What few stores have left to do when the lock is released. Adds to `thrown` what was thrown
  // first.
  void FinishStore(StripeT& stripe, Removals& removals, uint64_t weight, StoreResult result,
                   bool retired_table, std::exception_ptr& thrown);
  template <class Condition>
  StoreResult StoreLocked(StripeT& stripe, K&& key, V&& value, const NewEntry& entry,
                          Condition&& may_store, bool others_made_room, Removals& removals,
                          Handle<K, V>* stored) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // Erases the entry where may_erase(what is there now, or kNoNode) says so; returns what it said.
  // Tells in `was_live` whether there was an entry that hadn't expired.
  template <class Q, class Condition>
  bool EraseWhere(const Q& key, HashBits hash, Condition&& may_erase, bool* was_live = nullptr);
  template <class Q>
  Table::Position Locate(StripeT& stripe, const Q& key, HashBits hash)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  bool PrepareStripe(StripeT& stripe, const Lifetime& lifetime)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  NodeIndex TakeSlot(StripeT& stripe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  NodeIndex NewNode(StripeT& stripe, K&& key, V&& value, const NewEntry& entry)
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
  void Publish(StripeT& stripe, Table::Position replaced, NodeIndex index, const NewEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);

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
  uint32_t HomeOf(const NodeT& node) const {
    if constexpr (kCheapHash) return HashBits(hash_(node.key)).Home();
    return node.prefix().home;
  }
  // What stands for a key where a policy remembers it. Collisions only blur what it remembers.
  static uint64_t Fingerprint(HashBits hash) { return kCheapHash ? hash.all() : hash.Home(); }
  uint64_t FingerprintOf(const NodeT& node) const {
    if constexpr (kCheapHash) return HashBits(hash_(node.key)).all();
    return HomeOf(node);
  }
  // Takes a node out of everything but the table, and but for the policy where it is replaced.
  // Returns the cause announced: kExpired, if it was, whatever was given.
  RemovalCause Detach(StripeT& stripe, NodeIndex index, RemovalCause cause, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  // The same, and out of the table. A node that isn't in the table was cleared (ClearStripe).
  RemovalCause Remove(StripeT& stripe, NodeIndex index, RemovalCause cause, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  TimerWheel::Due RemoveExpired(StripeT& stripe, size_t budget, Removals& removals)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex) {
    const bool may_be_due = stripe.wheel.has_value() && !IsFar(stripe.wheel->next_event());
    return may_be_due ? RemoveDue(stripe, budget, removals) : TimerWheel::Due();
  }
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

  // --- core_load.h
  struct Joined;
  template <class Q>
  Joined JoinOrLead(const Q& key, HashBits hash, ThreadRecord& thread);
  template <class Loader>
  void Lead(Flight& flight, Loader& loader, const LoadOptions& options, ThreadRecord& thread);
  template <class Loader>
  absl::StatusOr<Loaded<V>> RunLoader(const Flight& flight, Loader& loader, ThreadRecord& thread);
  absl::Status StoreLoaded(Flight& flight, Loaded<V>&& loaded, const LoadOptions& options,
                           ThreadRecord& thread);
  // Keeps a value that isn't to be stored for as long as someone waits for it.
  absl::Status KeepUnstored(Flight& flight, V&& value);
  void Land(Flight& flight);

  // --- core_walk.h
  // Calls f(NodeIndex, Node&) for what is in the stripe's table, once for each entry; inside a
  // guard.
  template <class F>
  void ForEachNode(const StripeT& stripe, F&& f);
  template <class F>
  void ForEachNode(const Bucket& bucket, const TableView* older, F&& f);
  std::exception_ptr ClearStripe(StripeT& stripe, ThreadRecord& thread);
  // Removes those nodes of the next `most` buckets that are still in the cache, whether the
  // stripe's table still has them or not.
  void ClearBuckets(StripeT& stripe, const TableView& table, size_t& next, size_t most,
                    Removals& removals) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
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
  const Sizing sizing_;
  const Weigher weigher_;
  const RemovalListener on_removal_;
  [[no_unique_address]] const Hash hash_{};
  [[no_unique_address]] const Eq eq_{};

  StatsCounters counters_;
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
