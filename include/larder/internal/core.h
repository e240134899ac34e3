// SPDX-License-Identifier: Apache-2.0
//
// Core: the engine behind Cache, one class in several files: its state here, its beginning and end
// in core_lifecycle.h, lookups in core_read.h, changes in core_write.h, how entries leave in
// core_removal.h and core_clear.h, what refreshed, stale and tagged entries have in core_terms.h,
// loads in core_load.h, core_bulk.h and others, walks over all entries in core_walk.h, the growth
// of tables in core_growth.h, prefetches in core_prefetch.h.

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
#include <vector>

#include "absl/base/config.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/clock.h"
#include "larder/handle.h"
#include "larder/internal/clock_ticker.h"
#include "larder/internal/epoch.h"
#include "larder/internal/first_exception.h"
#include "larder/internal/flight.h"
#include "larder/internal/flight_alarm.h"
#include "larder/internal/hash.h"
#include "larder/internal/limbo.h"
#include "larder/internal/load_control.h"
#include "larder/internal/load_settings.h"
#include "larder/internal/maintenance_thread.h"
#include "larder/internal/nanos.h"
#include "larder/internal/node.h"
#include "larder/internal/node_owner.h"
#include "larder/internal/process_clock.h"
#include "larder/internal/sizing.h"
#include "larder/internal/slab.h"
#include "larder/internal/stats_counters.h"
#include "larder/internal/stripe.h"
#include "larder/internal/tags.h"
#include "larder/internal/thread_record.h"
#include "larder/internal/value_access.h"
#include "larder/load_context.h"
#include "larder/load_result.h"
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

  // --- core_load.h, core_async.h
  template <class Q, class Loader>
  absl::StatusOr<V> GetOrLoad(const Q& key, Loader&& loader, const LoadOptions& options);
  template <class Q, class Loader>
  absl::StatusOr<LoadResult<V>> GetOrLoadResult(const Q& key, Loader&& loader,
                                                const LoadOptions& options) {
    return LoadSlowly<Q>(key, HashBits(hash_(key)), std::forward<Loader>(loader), options,
                         /*wants_age=*/true, /*missed=*/false);
  }
  using ResultCallback = absl::AnyInvocable<void(absl::StatusOr<LoadResult<V>>) &&>;
  template <class Q, class Loader>
  void LoadAsync(const Q& key, Loader&& loader, ResultCallback callback, const LoadOptions& options,
                 bool wants_age);

  // --- core_bulk.h
  template <class Q, class Loader>
  std::vector<absl::StatusOr<V>> LoadAll(std::span<const Q> keys, Loader& loader,
                                         const LoadOptions& options);

  // --- core_invalidate.h
  template <class Q>
  bool Expire(const Q& key);
  template <class Q>
  absl::Status InvalidateAfter(const Q& key, absl::Duration delay);
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

  // In place of the value of a key that wasn't found.
  struct NoValue {};

  // What the node's NodeTerms start with.
  struct EntryTerms;

  // What is known of an entry before it is stored.
  struct NewEntry {
    HashBits hash;
    uint64_t weight;
    Lifetime lifetime;
    bool outdates_flight = true;  // a load in progress for the key must not be stored over it
    bool needs_live_old = false;  // what it replaces, if anything, must not have expired by then
    EntryTerms* terms = nullptr;  // most have none
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
           slab_.Terms(index)->validated.load(std::memory_order_relaxed) == tags_.generation();
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
  void Publish(StripeT& stripe, Table::Position replaced, NodeIndex index, const NewEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);

  // --- core_terms.h
  // Whether a Put with these options has to say more of its entry than a NodeHeader holds.
  bool NeedsTerms(const PutOptions& options) const {
    return always_terms_ || options.refresh_after.has_value() || !options.tags.empty();
  }
  struct TermsRequest;
  // Gives the entry terms, and moves its deadline to when they have to be looked at.
  void GiveTerms(const TermsRequest& request, EntryTerms& terms, NewEntry& entry) const;
  // The same for what a Put stores. `stamp`: the tags' generation when it began.
  void GiveTerms(const K& key, const PutOptions& options, uint64_t stamp,
                 std::optional<EntryTerms>& terms, NewEntry& entry);
  const TagSet* AcquireTags(const K& key, std::span<const std::string> tags);
  static int64_t RefreshTime(const RefreshAfter& after, int64_t now, const Lifetime& lifetime);
  // When an entry's terms have to be looked at.
  static int64_t FirstLook(int64_t expires_at, int64_t refresh_at, int64_t load_nanos,
                           double early_refresh);
  // Returns the flags for the node's state. Takes the tags.
  uint32_t WriteTerms(NodeIndex index, EntryTerms& terms);
  // Whether no tag of an entry was invalidated.
  bool Valid(NodeTerms& terms) const;
  bool Invalidated(const NodeHeader& node, NodeIndex index) const {
    return node.Has(NodeHeader::kTagged) && !Valid(*slab_.Terms(index));
  }
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
  // The same, and out of the table. A node that isn't in the table was cleared
  // (ClearInTurns).
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
  struct LoadRequest;
  struct Finding;
  bool IsRefreshDue(const NodeTerms& terms, double early_refresh, ThreadRecord& thread) const;
  std::optional<Finding> Inspect(NodeT& node, NodeIndex index, const LoadRequest& request,
                                 bool& wants_load);
  bool IsKept(const NodeHeader& node, NodeIndex index) const;
  template <class Q>
  Finding Consider(const Q& key, HashBits hash, const LoadRequest& request);
  static void Join(Finding& finding, std::shared_ptr<Flight> flight);
  static void LookAgain(NodeHeader& node, const NodeTerms& terms, const LoadSettings& settings);
  absl::Duration AgeSince(int64_t written_at) const;
  LoadResult<V> ResultOf(const Finding& finding, LoadSource source, ThreadRecord& thread);
  absl::StatusOr<LoadResult<V>> OutcomeOf(const Finding& finding, ThreadRecord& thread);
  absl::StatusOr<LoadResult<V>> GiveUp(const Finding& finding, const LoadRequest& request,
                                       ThreadRecord& thread);
  void LeaveFlight(Flight& flight, AfterTimeout after_timeout);
  template <class Q>
  std::optional<LoadResult<V>> HitFor(const Q& key, HashBits hash, LoadRequest& request,
                                      ThreadRecord& thread);
  template <class Q, class Loader>
  absl::StatusOr<LoadResult<V>> LoadSlowly(const Q& key, HashBits hash, Loader&& loader,
                                           const LoadOptions& options, bool wants_age, bool missed);
  std::optional<absl::StatusOr<LoadResult<V>>> AnswerFor(const Finding& finding,
                                                         const LoadRequest& request,
                                                         ThreadRecord& thread);
  template <class Loader>
  void LeadHere(Flight& flight, Loader& loader, ThreadRecord& thread);
  static absl::Status KnownNotFound() {
    return absl::NotFoundError("the key wasn't found when it was last loaded");
  }
  static absl::Status Closing() { return absl::CancelledError("the cache is being destroyed"); }

  // --- core_flight.h
  struct LoadTimer;
  // Whether a loader has answered, rather than failed.
  static bool IsAnswer(const absl::Status& status, const LoadContext<V>& context) {
    return status.ok() || absl::IsNotFound(status) ||
           (context.not_modified() && absl::IsCancelled(status));
  }
  template <class Loader>
  absl::StatusOr<Loaded<V>> RunLoader(Flight& flight, Loader& loader, LoadContext<V>& context,
                                      LoadTimer& timer);
  // Runs the loader of a flight that this thread has begun, and finishes it.
  template <class Loader>
  void RunFlight(Flight& flight, Loader& loader, ThreadRecord& thread);
  // Ends a flight with what its loader has answered, unless it has been ended already.
  void Finish(Flight& flight, absl::StatusOr<Loaded<V>>&& loaded, const LoadContext<V>& context,
              int64_t load_nanos);
  // The same with an error.
  void Fail(Flight& flight, absl::Status status);
  // The same, and tells its loader to stop.
  void Abandon(Flight& flight, absl::Status status);
  // Asks the circuit breaker; where it says no, the flight fails.
  bool Admit(Flight& flight);
  static absl::Status CircuitOpen() {
    return absl::UnavailableError("too many loads have failed: the circuit breaker is open");
  }
  void Report(Flight& flight, bool begun, bool ok);
  void RetryAfter(Flight& flight, int64_t nanos, bool failed);
  absl::Status StoreLoaded(Flight& flight, Loaded<V>&& loaded, int64_t load_nanos,
                           ThreadRecord& thread);
  bool NeedsTerms(const Flight& flight, const PutOptions& put) const;
  // Keeps a value that isn't to be stored for as long as someone waits for it. What it was to
  // replace may be loaded again after `retry_after` ns.
  absl::Status KeepUnstored(Flight& flight, V&& value, int64_t retry_after);
  void StoreNotFound(Flight& flight, ThreadRecord& thread);
  absl::Status KeepOld(Flight& flight, const std::optional<absl::Duration>& ttl, int64_t load_nanos,
                       ThreadRecord& thread);
  void Renew(StripeT& stripe, NodeIndex index, const EntryTerms& given, const Lifetime& lifetime)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  void Land(Flight& flight);

  // --- core_task.h
  class Reference;
  class SlotHold;
  template <class Loader>
  class LoadTask;
  class AsyncTarget;
  template <class Loader>
  void Launch(const std::shared_ptr<Flight>& flight, Loader&& loader);
  template <class Task, class Refuse>
  void Enqueue(Task task, Refuse&& refuse);
  template <class Task>
  static void Submit(Task task);
  // A load that another's loader waits for must not wait for that one's slot.
  LoadLimiter* LimiterFor(const ThreadRecord& thread) const {
    return thread.loads_led == 0 ? loads_.limiter() : nullptr;
  }
  absl::Status WaitForSlot(const ThreadRecord& thread, SlotHold& slot);
  static absl::Status CannotRunLater() {
    return absl::FailedPreconditionError("a loader that can't be copied can't run later");
  }
  void SetAlarm(const std::shared_ptr<Flight>& flight);
  void CloseLoads();

  // --- core_async.h
  struct AsyncCall;
  struct PendingAnswer;
  void Proceed(std::shared_ptr<AsyncCall> call, bool at_once);
  void ProceedQuietly(const std::shared_ptr<AsyncCall>& call) noexcept;
  void Await(const std::shared_ptr<AsyncCall>& call, std::shared_ptr<const Finding> finding);
  void Answer(AsyncCall& call, absl::StatusOr<LoadResult<V>> result, bool at_once);
  template <class Result>
  void Deliver(AsyncCall& call, Result&& result);

  // --- core_bulk.h
  using Flights = std::vector<std::shared_ptr<Flight>>;
  struct Asked;
  class Batch;
  template <class Loader>
  class BulkTask;
  template <class Q, class Loader>
  void StartLoads(std::span<const Q> keys, std::vector<Asked>& asked, LoadRequest& request,
                  Loader& loader, ThreadRecord& thread);
  template <class Loader>
  void LeadAll(std::vector<Asked>& asked, const LoadRequest& request, Loader& loader,
               ThreadRecord& thread);
  template <class Loader>
  void LeadBatchHere(Flights flights, Loader& loader, ThreadRecord& thread);
  template <class Loader>
  void LaunchBatch(Flights flights, Loader& loader);
  void AnswerAll(std::vector<Asked>& asked, const LoadRequest& request,
                 std::vector<absl::StatusOr<V>>& results, ThreadRecord& thread);

  // --- core_invalidate.h
  bool MayBeStale(const NodeHeader& node, NodeIndex index) const;
  void ExpireNow(StripeT& stripe, NodeIndex index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  void EndBy(StripeT& stripe, NodeIndex index, int64_t end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mutex);
  void EraseQuietly(const K& key);
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
  LoadControl loads_;
  const bool abandons_loads_;
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
