// SPDX-License-Identifier: Apache-2.0
//
// ModelServer, ModelTier: a SharedTier without a network, whose troubles the test decides on.

#ifndef LARDER_TESTS_SUPPORT_MODEL_TIER_H_
#define LARDER_TESTS_SUPPORT_MODEL_TIER_H_

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "larder/internal/mutex.h"
#include "larder/shared_tier.h"

namespace larder::test {

class ModelTier;

// What all ModelTiers on it share: the data, the clock, and the run that it is in. Must outlive
// them. Thread-safe.
class ModelServer {
 public:
  struct Value {
    std::string bytes;
    absl::Time expires_at = absl::InfiniteFuture();
  };
  using Data = std::map<std::string, Value, std::less<>>;

  ModelServer() = default;
  ModelServer(const ModelServer&) = delete;
  ModelServer& operator=(const ModelServer&) = delete;

  // --- As a program would that isn't larder; changes are told

  void Put(std::string_view key, std::string_view bytes,
           absl::Duration ttl = absl::InfiniteDuration());
  // True if it was there.
  bool Remove(std::string_view key);
  std::optional<std::string> Peek(std::string_view key) const;
  Data Save() const;
  // Removes everything, which is told as Changes::all.
  void Flush();

  // --- Its runs

  // Another run, with this data: Save() for all, {} for none. All subscriptions are lost, and what
  // they hadn't told.
  void Restart(Data data);
  std::string incarnation() const;

  // --- Its clock, which stands still otherwise

  absl::Time Now() const;
  // What expires is told.
  void Advance(absl::Duration step);

 private:
  friend class ModelTier;

  // nullopt: that everything went.
  void TellAll(const std::optional<std::string>& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LoseAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetLocked(std::string_view key, std::string_view bytes, absl::Duration ttl)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool EraseLocked(std::string_view key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // nullptr where it isn't there.
  const Value* FindLocked(std::string_view key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string IncarnationLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable internal::Mutex mutex_;
  internal::CondVar changed_;
  Data data_ ABSL_GUARDED_BY(mutex_);
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::FromUnixSeconds(1'000'000);
  int run_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<ModelTier*> tiers_ ABSL_GUARDED_BY(mutex_);
};

// The ways in which a ModelTier is called.
enum class ModelCall {
  kGet,
  kSet,
  kErase,
  kGetHeads,
  kTimeToLive,
  kSetIfAbsent,
  kSetIfHead,
  kEraseIfHead,
  kExchange,
  kInvalidate,
  kSubscribe,
  kPing,
};
inline constexpr size_t kModelCalls = 12;

// One process's way to a ModelServer. Changes are told at once, in order, to every subscription of
// every tier, also to the one that made them, and say all (tells_all).
//
// Real time passes in waits only: of Next, and of calls that hang. Thread-safe.
class ModelTier : public SharedTier {
 public:
  enum class Reach {
    kWhole,
    kUnreachable,  // calls fail with Unavailable at once, without having been made
    kHanging,      // calls wait until this is over, and are made then; or until their timeout, and
                   // fail with DeadlineExceeded, without having been made
    kDeaf,         // calls are made, and fail with DeadlineExceeded at once
  };

  // Asked before each call, under no lock: what isn't OK is what the call returns, without having
  // been made. `key`: the first one; empty for calls without one. May wait, and may use other tiers
  // and the server.
  using Gate = std::function<absl::Status(ModelCall call, std::string_view key)>;

  explicit ModelTier(ModelServer* server);
  // Subscriptions must be gone.
  ~ModelTier() override;
  ModelTier(const ModelTier&) = delete;
  ModelTier& operator=(const ModelTier&) = delete;

  // --- Troubles

  // Of calls. Subscriptions that there are go on.
  void SetReach(Reach reach);
  void SetGate(Gate gate);
  // Next fails with Unavailable, without telling of what it hadn't yet.
  void LoseSubscriptions();
  // Both: the network is away, until SetReach(kWhole).
  void CutOff();

  // From now on nothing is told, ...
  void HoldChanges();
  // ... but for as many more changes as this, of each subscription, ...
  void TellHeld(size_t changes);
  // ... until this.
  void ReleaseChanges();

  // --- What goes on

  // Calls so far, those that failed included.
  size_t calls(ModelCall call) const;
  size_t calls() const;
  size_t subscriptions() const;
  // There is a subscription, and all wait in Next for what is not there yet, or held back: whatever
  // they told was dealt with.
  bool Idle() const;

  // --- SharedTier

  absl::StatusOr<std::optional<std::string>> Get(std::string_view key,
                                                 absl::Duration timeout) override;
  absl::Status Set(std::string_view key, std::string_view value, absl::Duration ttl,
                   absl::Duration timeout) override;
  absl::StatusOr<bool> Erase(std::string_view key, absl::Duration timeout) override;
  absl::StatusOr<std::vector<std::optional<std::string>>> GetHeads(
      absl::Span<const std::string_view> keys, size_t bytes, absl::Duration timeout) override;
  absl::StatusOr<absl::Duration> TimeToLive(std::string_view key, absl::Duration timeout) override;
  absl::Time Now() const override;
  absl::StatusOr<bool> SetIfAbsent(std::string_view key, std::string_view value, absl::Duration ttl,
                                   absl::Duration timeout) override;
  absl::StatusOr<bool> SetIfHead(std::string_view key, std::string_view head,
                                 std::string_view value, absl::Duration ttl,
                                 absl::Duration timeout) override;
  absl::StatusOr<bool> EraseIfHead(std::string_view key, std::string_view head,
                                   absl::Duration timeout) override;
  absl::StatusOr<std::optional<std::string>> Exchange(std::string_view key, std::string_view value,
                                                      absl::Duration ttl, size_t head_bytes,
                                                      absl::Duration timeout) override;
  absl::Status Invalidate(absl::Span<const std::string_view> keys, absl::Duration timeout) override;
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(absl::Duration timeout) override;
  absl::Status Ping(absl::Duration timeout) override;

 private:
  friend class ModelServer;
  class Listener;

  // Makes a call: `body` runs under the server's lock, and returns a StatusOr or a Status.
  template <class Body>
  auto Call(ModelCall call, std::string_view key, absl::Duration timeout, Body body)
      -> decltype(body());
  void TellLocked(const std::optional<std::string>& key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mutex_);
  void LoseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mutex_);
  absl::Status Pass(ModelCall call, std::string_view key, absl::Duration timeout);

  ModelServer& server_;
  Reach reach_ ABSL_GUARDED_BY(server_.mutex_) = Reach::kWhole;
  Gate gate_ ABSL_GUARDED_BY(server_.mutex_);
  bool held_ ABSL_GUARDED_BY(server_.mutex_) = false;
  std::vector<Listener*> listeners_ ABSL_GUARDED_BY(server_.mutex_);
  std::array<size_t, kModelCalls> calls_ ABSL_GUARDED_BY(server_.mutex_) = {};
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_MODEL_TIER_H_
