// SPDX-License-Identifier: Apache-2.0
//
// LoadingCore's loads of many keys in one call. Each key has a flight of its own, as if it had been
// asked for alone; the flights of one call share a call of the bulk loader. See loading_core.h and
// loading_call.h.

#ifndef LARDER_INTERNAL_LOADING_BULK_H_
#define LARDER_INTERNAL_LOADING_BULK_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "larder/internal/circuit_breaker.h"
#include "larder/internal/first_exception.h"
#include "larder/internal/loading_call.h"
#include "larder/internal/loading_core.h"
#include "larder/internal/loading_task.h"
#include "larder/internal/stop_when_all.h"
#include "larder/loaded.h"
#include "larder/loader.h"

namespace larder::internal {

// A key of a call that wasn't answered by a lookup.
template <class K, class V, class P, class H, class E>
struct LoadingCore<K, V, P, H, E>::Asked {
  size_t position;  // among the call's keys
  HashBits hash;
  bool refresh_drawn = false;  // as in LoadRequest
  Finding finding{};
};

// The flights that one call of a bulk loader is to land. Whatever happens, they land: those that
// the call didn't, when the batch goes. For the circuit breaker and the limiter it is one load.
template <class K, class V, class P, class H, class E>
class LoadingCore<K, V, P, H, E>::Batch {
 public:
  explicit Batch(LoadingCore& core) : core_(core) {}
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch() {
    Refuse(absl::ResourceExhaustedError("the executor refused a load, or it was dropped"));
    if (const auto admission = admission_.Take()) core_.loads_.breaker().Abandon(*admission);
  }

  void Take(Flights flights) noexcept { flights_ = std::move(flights); }
  bool empty() const { return flights_.empty(); }

  // Asks the circuit breaker; where it says no, the flights fail.
  bool Admit() {
    const std::optional<CircuitBreaker::Admission> admission =
        core_.loads_.breaker().Admit(core_.Now());
    if (admission.has_value()) {
      admission_.Hold(*admission);
    } else {
      Refuse(CircuitOpen());
    }
    return admission.has_value();
  }

  void SetAlarms() {
    for (const std::shared_ptr<Flight>& flight : flights_) {
      if (flight->background) core_.SetAlarm(flight);
    }
  }

  // Ends what nobody has begun with an error.
  void Refuse(const absl::Status& status) {
    for (const std::shared_ptr<Flight>& flight : flights_) core_.Refuse(*flight, status);
    flights_.clear();
  }

  // Whether there is nothing left to load.
  bool ended() const {
    return std::all_of(flights_.begin(), flights_.end(),
                       [](const auto& flight) { return flight->finished(); });
  }

  // Calls the loader for those flights that nobody else has begun or ended, and lands them. Once.
  template <class Loader>
  void Run(Loader& loader, ThreadRecord& thread) {
    std::erase_if(flights_, [&thread](const auto& flight) { return !flight->TryBegin(&thread); });
    if (flights_.empty()) return;
    const LeaderScope scope(thread);
    try {
      int64_t nanos = 0;
      auto loaded = Call(loader, &nanos);
      Report(IsAnswered(loaded.status()));
      Land(loaded, nanos);
    } catch (const std::exception& e) {
      Report(false);
      Fail(absl::InternalError(absl::StrCat("the load threw an exception: ", e.what())));
      throw;
    } catch (...) {
      Report(false);
      Fail(absl::InternalError("the load threw an exception"));
      throw;
    }
  }

 private:
  // Ends what this batch has begun with an error.
  void Fail(const absl::Status& status) {
    for (const std::shared_ptr<Flight>& flight : flights_) core_.Fail(*flight, status);
    flights_.clear();
  }

  // As of a single key: that there is nothing is an answer.
  static bool IsAnswered(const absl::Status& status) {
    return status.ok() || absl::IsNotFound(status);
  }

  void Report(bool ok) {
    if (const auto admission = admission_.Take()) {
      core_.loads_.breaker().Report(*admission, ok, core_.TimeOfLoad());
    }
  }

  template <class Loader>
  auto Call(Loader& loader, int64_t* nanos) {
    std::vector<K> keys;
    keys.reserve(flights_.size());
    for (const std::shared_ptr<Flight>& flight : flights_) keys.push_back(flight->key);
    StopWhenAll stop(flights_.size());
    // Once it is too late for all of them the load has failed, whatever it still brings.
    const std::stop_callback too_late(stop.token(), [this] { Report(false); });
    for (const std::shared_ptr<Flight>& flight : flights_) stop.Watch(flight->stop.get_token());
    LoadTimer timer(core_);
    auto loaded = [&] {
      if constexpr (StoppableBulkLoader<Loader, K, V>) {
        return loader(std::as_const(keys), stop.token());
      } else {
        return loader(std::as_const(keys));
      }
    }();
    timer.ok = IsAnswered(loaded.status());
    *nanos = timer.Elapsed();
    return loaded;
  }

  // What a listener or a weigher throws for one key doesn't keep the others from landing.
  template <class Result>
  void Land(Result& loaded, int64_t nanos) {
    const LoadContext<V> context(nullptr, std::stop_token());
    FirstException thrown;
    const auto finish = [&](Flight& flight, absl::StatusOr<Loaded<V>> value) {
      try {
        core_.Finish(flight, std::move(value), context, nanos);
      } catch (...) {
        thrown.Keep(std::current_exception());
      }
    };
    if (loaded.ok()) {
      std::sort(flights_.begin(), flights_.end(),
                [](const auto& a, const auto& b) { return a->hash.all() < b->hash.all(); });
      for (auto&& item : *loaded) {
        const K& key = item.first;
        if (Flight* flight = Find(key)) finish(*flight, ToLoaded<V>(std::move(item.second)));
      }
    }
    const absl::Status others =
        loaded.ok() ? absl::NotFoundError("the bulk loader found no such key") : loaded.status();
    for (const std::shared_ptr<Flight>& flight : flights_) {
      if (!flight->finished()) finish(*flight, others);
    }
    flights_.clear();
    Rethrow(thrown.Take());
  }

  // Requires: sorted by hash.
  Flight* Find(const K& key) const {
    const uint64_t hash = HashBits(core_.hash_(key)).all();
    auto it = std::lower_bound(
        flights_.begin(), flights_.end(), hash,
        [](const auto& flight, uint64_t wanted) { return flight->hash.all() < wanted; });
    for (; it != flights_.end() && (*it)->hash.all() == hash; ++it) {
      if (core_.eq_((*it)->key, key)) return it->get();
    }
    return nullptr;
  }

  LoadingCore& core_;
  Flights flights_;
  HeldAdmission admission_;
};

// A batch on its way to the executor.
template <class K, class V, class P, class H, class E>
template <class Loader>
class LoadingCore<K, V, P, H, E>::BulkTask {
 public:
  BulkTask(LoadingCore& core, std::shared_ptr<Batch> batch, const Loader& loader)
      : core_(core), batch_(std::move(batch)), loader_(loader) {}

  LoadingCore& core() const { return *core_; }
  void TakeSlot() { slot_ = SlotHold(core_->loads_.limiter()); }
  bool ended() const { return batch_->ended(); }

  void Run() && {
    const LoadControl::Running running(core_->loads_);
    try {
      batch_->Run(loader_, ThreadRecord::Current());
    } catch (...) {
      // Those who wait have been told; there is no caller.
    }
  }

 private:
  Reference core_;
  SlotHold slot_;
  std::shared_ptr<Batch> batch_;
  Loader loader_;
};

// --- How the flights of one call are run.

template <class K, class V, class P, class H, class E>
template <class Loader>
void LoadingCore<K, V, P, H, E>::LeadBatchHere(Batch& batch, Loader& loader, ThreadRecord& thread) {
  if (batch.empty() || !batch.Admit()) return;
  SlotHold slot;
  if (absl::Status status = WaitForSlot(thread, slot); !status.ok()) return batch.Refuse(status);
  batch.Run(loader, thread);
}

// The loader is copied: it may be needed again.
template <class K, class V, class P, class H, class E>
template <class Loader>
void LoadingCore<K, V, P, H, E>::LaunchBatch(std::shared_ptr<Batch> batch, Loader& loader) {
  using Stored = std::remove_const_t<Loader>;
  if (batch->empty()) return;
  if constexpr (!std::copy_constructible<Stored>) {
    batch->Refuse(CannotRunLater());
  } else {
    if (!batch->Admit()) return;
    batch->SetAlarms();
    Enqueue(BulkTask<Stored>(*this, batch, loader), ThreadRecord::Current().loads_led != 0,
            [&batch](const absl::Status& status) { batch->Refuse(status); });
  }
}

// Runs or launches the flights that the findings left to the caller. From `batched` on each of them
// lands, whatever is thrown.
template <class K, class V, class P, class H, class E>
template <class Loader>
void LoadingCore<K, V, P, H, E>::LeadAll(std::vector<Asked>& asked, const LoadRequest& request,
                                         Loader& loader, ThreadRecord& thread, bool& batched) {
  using Verdict = typename Finding::Verdict;
  Flights here;
  Flights later;
  Flights refreshes;
  Flights others;
  for (Asked& item : asked) {
    const Finding& finding = item.finding;
    if (finding.flight == nullptr) continue;
    if (finding.verdict == Verdict::kLead) {
      const bool timed = request.GivesUpAt(static_cast<bool>(finding.value)) != kNever;
      (timed ? later : here).push_back(finding.flight);
    } else {
      (finding.verdict == Verdict::kJoin ? others : refreshes).push_back(finding.flight);
    }
  }
  // One call for all; but a loader must not wait without a deadline for what may be waiting for its
  // own thread of the executor.
  if (!later.empty() && !request.in_loader) {
    later.insert(later.end(), here.begin(), here.end());
    here.clear();
  }
  auto refreshing = std::make_shared<Batch>(*this);
  auto launched = std::make_shared<Batch>(*this);
  Batch led(*this);
  refreshing->Take(std::move(refreshes));
  launched->Take(std::move(later));
  led.Take(std::move(here));
  batched = true;
  LaunchBatch(std::move(refreshing), loader);
  LaunchBatch(std::move(launched), loader);
  LeadBatchHere(led, loader, thread);
  // As in LoadSlowly: a loader's thread begins what it waits for and nobody has begun.
  Batch joined(*this);
  if (request.in_loader) joined.Take(std::move(others));
  joined.Run(loader, thread);
}

// Finds out about each key, then starts what loads that takes. Throws what a key's copy, hash or
// comparison or the loader throws; no flight is left behind then.
template <class K, class V, class P, class H, class E>
template <class Q, class Loader>
void LoadingCore<K, V, P, H, E>::StartLoads(std::span<const Q> keys, std::vector<Asked>& asked,
                                            LoadRequest& request, Loader& loader,
                                            ThreadRecord& thread) {
  using Verdict = typename Finding::Verdict;
  std::unordered_set<const Flight*> own;
  bool batched = false;
  try {
    for (Asked& item : asked) {
      request.refresh_drawn = item.refresh_drawn;
      Finding& finding = item.finding;
      finding = Consider(keys[item.position], item.hash, request);
      if (finding.verdict == Verdict::kLead) own.insert(finding.flight.get());
      // The key a second time. Its load hasn't started yet, whatever has happened to the key.
      if (finding.verdict == Verdict::kJoin && own.contains(finding.flight.get())) {
        finding.verdict = Verdict::kLead;
      }
    }
    LeadAll(asked, request, loader, thread, batched);
  } catch (...) {
    for (const Asked& item : asked) {
      Flight* const flight = item.finding.flight.get();
      if (flight == nullptr) continue;
      if (item.finding.verdict == Verdict::kJoin) {
        LeaveFlight(*flight, AfterTimeout::kGoOn);
      } else if (!batched) {
        Refuse(*flight,
               absl::InternalError("the call that was to load the key threw an exception"));
      }
    }
    throw;
  }
}

// --- The way of a call.

// Answers what can be answered; leaves those keys that must be asked for again.
template <class K, class V, class P, class H, class E>
void LoadingCore<K, V, P, H, E>::AnswerAll(std::vector<Asked>& asked, const LoadRequest& request,
                                           std::vector<absl::StatusOr<V>>& results,
                                           ThreadRecord& thread) {
  std::vector<Asked> again;
  for (const Asked& item : asked) {
    std::optional<absl::StatusOr<LoadResult<V>>> answer = AnswerFor(item.finding, request, thread);
    if (!answer.has_value()) {
      again.push_back({.position = item.position, .hash = item.hash});
    } else if (answer->ok()) {
      results[item.position].emplace(std::move((*answer)->value));
    } else {
      results[item.position] = answer->status();
    }
  }
  asked = std::move(again);
}

// Waits for others' loads only when its own have landed, or run elsewhere: while it waits, nobody
// waits for it.
template <class K, class V, class P, class H, class E>
template <class Q, class Loader>
std::vector<absl::StatusOr<V>> LoadingCore<K, V, P, H, E>::LoadAll(std::span<const Q> keys,
                                                                   Loader& loader,
                                                                   const LoadOptions& options) {
  ThreadRecord& thread = EnterCall();
  const absl::Status valid = options.Validate();
  LoadRequest request(*this, valid.ok() ? options : LoadOptions::Default(), /*wants_age=*/false);
  std::vector<absl::StatusOr<V>> results(keys.size());
  std::vector<Asked> asked;
  for (size_t i = 0; i < keys.size(); ++i) {
    const HashBits hash(hash_(keys[i]));
    request.refresh_drawn = false;
    if (auto hit = HitFor(keys[i], hash, request, thread)) {
      results[i].emplace(std::move(hit->value));
    } else if (valid.ok()) {
      asked.push_back({.position = i, .hash = hash, .refresh_drawn = request.refresh_drawn});
    } else {
      results[i] = valid;
    }
  }
  while (!asked.empty()) {
    StartLoads(keys, asked, request, loader, thread);
    AnswerAll(asked, request, results, thread);
  }
  return results;
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_LOADING_BULK_H_
