// SPDX-License-Identifier: Apache-2.0
//
// LoadingCore: the whole engine behind Cache: the entries, and their loads. One class in several
// files: calls as their callers see them in loading_call.h and, without a thread that waits, in
// loading_async.h, those for many keys in loading_bulk.h; how one load runs, and what is stored of
// it, in loading_flight.h; loads away from their callers in loading_task.h; the beginning and the
// end in loading_lifecycle.h.

#ifndef LARDER_INTERNAL_LOADING_CORE_H_
#define LARDER_INTERNAL_LOADING_CORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/async_load.h"
#include "larder/handle.h"
#include "larder/internal/core.h"
#include "larder/internal/load_control.h"
#include "larder/internal/load_flight.h"
#include "larder/internal/load_limiter.h"
#include "larder/internal/load_settings.h"
#include "larder/load_context.h"
#include "larder/load_result.h"
#include "larder/loader.h"
#include "larder/options.h"
#include "larder/stats.h"

namespace larder::internal {

// Each load is a Flight, which is in its stripe's table from when it is asked for until it ends.
// What a caller finds of a key, and whether it is to return that, to lead a flight or to join one,
// is decided under the stripe's lock (Consider), for all kinds of calls alike. No loader and no
// callback runs under a lock.
template <class K, class V, class Policy, class Hash, class Eq>
class LoadingCore final : public Core<K, V, Policy, Hash, Eq> {
 public:
  using Base = Core<K, V, Policy, Hash, Eq>;
  using typename Base::RemovalListener;
  using typename Base::Weigher;

  // --- loading_lifecycle.h

  // The cache's end, and that of its loads. No other call may run or follow.
  void Close();
  struct Closer {
    void operator()(LoadingCore* core) const { core->Close(); }
  };
  using Pointer = std::unique_ptr<LoadingCore, Closer>;

  // Options must be valid. ResourceExhausted where memory or threads are out.
  static absl::StatusOr<Pointer> Create(const CacheOptions& options, Weigher weigher,
                                        RemovalListener on_removal);

  size_t RunMaintenance(size_t budget);
  CacheStats Stats() const;

  // --- loading_call.h, loading_async.h
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

  // --- loading_bulk.h
  template <class Q, class Loader>
  std::vector<absl::StatusOr<V>> LoadAll(std::span<const Q> keys, Loader& loader,
                                         const LoadOptions& options);

  // --- loading_lifecycle.h
  template <class Q>
  absl::Status InvalidateAfter(const Q& key, absl::Duration delay);

 private:
  template <class Core>
  friend class Snapshots;
  using typename Base::Access;
  using typename Base::Glance;
  using typename Base::NodeT;
  using typename Base::PolicyT;
  using typename Base::StoreResult;
  using typename Base::StripeT;
  using Flight = typename Base::FlightT;
  template <bool kRuns>
  using UserCode = typename Base::template UserCode<kRuns>;
  using Base::AcquireTags;
  using Base::always_terms_;
  using Base::clock_;
  using Base::counters_;
  using Base::EnterCall;
  using Base::eq_;
  using Base::EraseWhere;
  using Base::Expired;
  using Base::FirstLook;
  using Base::GiveTerms;
  using Base::hash_;
  using Base::InCache;
  using Base::IndexOf;
  using Base::Invalidated;
  using Base::IsKept;
  using Base::IsLive;
  using Base::kPlainKey;
  using Base::LifetimeOf;
  using Base::load_settings_;
  using Base::Locate;
  using Base::LookUp;
  using Base::LookUpSlowly;
  using Base::maintenance_;
  using Base::NodeAt;
  using Base::Now;
  using Base::OutOfMemory;
  using Base::PinNode;
  using Base::PrepareStripe;
  using Base::Rejects;
  using Base::slab_;
  using Base::Store;
  using Base::StripeOf;
  using Base::stripes;
  using Base::tags_;
  using Base::Touch;
  using Base::WeightFor;

  LoadingCore(const CacheOptions& options, const Sizing& sizing, Weigher weigher,
              RemovalListener on_removal);
  void StartMaintenance(absl::Duration interval);

  // --- loading_call.h
  struct LoadRequest;
  struct Finding;
  bool IsRefreshDue(const NodeTerms& terms, double early_refresh, ThreadRecord& thread) const;
  std::optional<Finding> Inspect(NodeT& node, NodeIndex index, const LoadRequest& request,
                                 bool& wants_load);
  template <class Q>
  Finding Consider(const Q& key, HashBits hash, const LoadRequest& request);
  static void Join(Finding& finding, std::shared_ptr<Flight> flight);
  static void LookAgain(NodeHeader& node, const NodeTerms& terms, const LoadSettings& settings);
  absl::Duration AgeSince(int64_t written_at) const;
  LoadResult<V> ResultOf(const Finding& finding, LoadSource source, ThreadRecord& thread);
  static LoadSource SourceOf(const Flight& flight, bool leads);
  absl::StatusOr<LoadResult<V>> OutcomeOf(const Finding& finding, ThreadRecord& thread);
  bool IsTooOld(const Finding& finding) const;
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

  // --- loading_flight.h
  struct LoadTimer;
  // What time it is for a load that runs; 0 once the cache has ended.
  int64_t TimeOfLoad();
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
  // The same for one that can't begin; it goes on if somebody has begun it.
  void Refuse(Flight& flight, absl::Status status);
  // Ends it with an error, and tells its loader to stop.
  void Abandon(Flight& flight, absl::Status status);
  // Asks the circuit breaker; where it says no, the flight fails.
  bool Admit(Flight& flight);
  static absl::Status CircuitOpen() {
    return absl::UnavailableError("too many loads have failed: the circuit breaker is open");
  }
  void Report(Flight& flight, bool begun, bool ok);
  void LeaveQueue(Flight& flight);
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

  // --- loading_task.h
  class Reference;
  class SlotHold;
  template <class Loader>
  class LoadTask;
  class AsyncTarget;
  template <class Loader>
  void Launch(const std::shared_ptr<Flight>& flight, Loader&& loader);
  template <class Task, class Refusal>
  uint64_t Enqueue(Task task, bool in_loader, Refusal&& refuse);
  template <class Task>
  static void Submit(Task task);
  // A load that another's loader waits for must not wait for that one's slot.
  LoadLimiter* LimiterFor(bool in_loader) const { return in_loader ? nullptr : loads_.limiter(); }
  absl::Status WaitForSlot(const ThreadRecord& thread, SlotHold& slot);
  static absl::Status CannotRunLater() {
    return absl::FailedPreconditionError("a loader that can't be copied can't run later");
  }
  void SetAlarm(const std::shared_ptr<Flight>& flight);
  void CloseLoads();

  // --- loading_async.h
  struct AsyncCall;
  struct PendingAnswer;
  void Proceed(std::shared_ptr<AsyncCall> call, bool at_once);
  void ProceedQuietly(const std::shared_ptr<AsyncCall>& call) noexcept;
  void Await(const std::shared_ptr<AsyncCall>& call, std::shared_ptr<const Finding> finding);
  void Answer(AsyncCall& call, absl::StatusOr<LoadResult<V>> result, bool at_once);
  template <class Result>
  void Deliver(AsyncCall& call, Result&& result);

  // --- loading_bulk.h
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
               ThreadRecord& thread, bool& batched);
  template <class Loader>
  void LeadBatchHere(Batch& batch, Loader& loader, ThreadRecord& thread);
  template <class Loader>
  void LaunchBatch(std::shared_ptr<Batch> batch, Loader& loader);
  void AnswerAll(std::vector<Asked>& asked, const LoadRequest& request,
                 std::vector<absl::StatusOr<V>>& results, ThreadRecord& thread);

  // The alarm of InvalidateAfter.
  void EraseQuietly(const K& key);

  LoadControl loads_;
  const bool abandons_loads_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOADING_CORE_H_
